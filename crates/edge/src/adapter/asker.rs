//! Who asks: whoever is connected, or whoever a trusted proxy in front of the edge says it carries.
//!
//! A proxy is trusted by its address, in the edge's own configuration. What anybody else says about where a request comes
//! from is his claim, and counts for nothing.

use std::net::{IpAddr, SocketAddr};

use http::HeaderValue;
use http::header::HeaderName;
use pingora_http::RequestHeader;

use crate::gateway::Gateway;
use crate::policy::OwnedNetworks;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// The client of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Asker {
    /// As a number, in logs and for rates.
    pub number: u64,
    /// Whether the client's own connection is encrypted.
    pub is_tls: bool,
    /// The address as servers of ours get it.
    pub address: HeaderValue,
}

impl Asker {
    pub fn new(address: IpAddr, is_tls: bool, gateway: &Gateway) -> Self {
        let address = address.to_canonical();
        let text = HeaderValue::try_from(address.to_string()).expect("an address is plain ASCII");
        Self { number: gateway.client_number(address), is_tls, address: text }
    }

    /// Whom a trusted proxy speaks for; none when it does not say.
    pub fn forwarded(
        request: &RequestHeader,
        proxy: SocketAddr,
        is_tls: bool,
        trusted: &OwnedNetworks,
        gateway: &Gateway,
    ) -> Option<Self> {
        if !trusted.contain(proxy.ip()) {
            return None;
        }
        let fields = request.headers.get_all(FORWARDED_FOR);
        let address = client(fields.iter().map(HeaderValue::as_bytes).rev(), trusted);
        let is_tls = match request.headers.get_all(FORWARDED_PROTO).iter().next_back().map(HeaderValue::as_bytes) {
            Some(scheme) => scheme.eq_ignore_ascii_case(b"https"),
            None => is_tls,
        };
        Some(Self::new(address.unwrap_or(proxy.ip()), is_tls, gateway))
    }
}

/// The last address that is no trusted proxy's. `fields` are those of X-Forwarded-For, the last one first: each proxy adds
/// whom it was asked by at the end, so that everything in front of what the first trusted one added is the client's claim. Where
/// something stands that is no address, whoever added it hides who asked: then it was the proxy before.
fn client<'f>(fields: impl Iterator<Item = &'f [u8]>, trusted: &OwnedNetworks) -> Option<IpAddr> {
    let mut last = None;
    for entry in fields.flat_map(|field| field.rsplit(|byte| *byte == b',')) {
        let Some(address) = address(entry.trim_ascii()) else { break };
        last = Some(address);
        if !trusted.contain(address) {
            break;
        }
    }
    last
}

/// An address, which some proxies write with a port or in brackets.
fn address(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?;
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    bare.parse()
        .ok()
        .or_else(|| Some(text.parse::<SocketAddr>().ok()?.ip()))
        .map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test panics on failure

    use super::*;

    #[test]
    fn the_client_is_the_last_one_that_is_no_proxy() {
        let trusted = OwnedNetworks::new(["10.9.0.0/16", "2001:db8:9::/48"].map(|network| network.parse().unwrap()));
        let check = |fields: &[&str], expect: Option<&str>| {
            let found = client(fields.iter().rev().map(|field| field.as_bytes()), &trusted);
            assert_eq!(found, expect.map(|address| address.parse().unwrap()), "{fields:?}");
        };
        check(&["203.0.113.7"], Some("203.0.113.7"));
        check(&["198.51.100.1, 203.0.113.7"], Some("203.0.113.7"));
        check(&["198.51.100.1, 203.0.113.7, 10.9.0.1"], Some("203.0.113.7"));
        check(&["198.51.100.1", "203.0.113.7", "10.9.0.1,10.9.3.3"], Some("203.0.113.7"));
        check(&["203.0.113.7:4711"], Some("203.0.113.7"));
        check(&["2001:db8::7"], Some("2001:db8::7"));
        check(&["[2001:db8::7]"], Some("2001:db8::7"));
        check(&["[2001:db8::7]:443 , 2001:db8:9::1"], Some("2001:db8::7"));
        check(&["::ffff:203.0.113.7"], Some("203.0.113.7"));
        check(&["10.9.0.1"], Some("10.9.0.1"));
        check(&["203.0.113.7, unknown"], None);
        check(&["203.0.113.7, unknown, 10.9.0.1"], Some("10.9.0.1"));
        check(&["203.0.113.7,"], None);
        check(&[""], None);
        check(&[], None);
    }
}
