//! What is kept of one decision.

use std::net::SocketAddr;

use naru_model::{Class, SiteId, SiteKind};

use crate::policy::{Outcome, Reason};

/// Where one request was sent, and why. A copy of fixed size: making one allocates nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// The request id that access logs and traces carry as well; random, so it names nobody.
    pub request_id: u128,
    /// When it was decided, milliseconds since 1970, UTC.
    pub unix_ms: u64,
    /// What the request carries; none when it was on no route.
    pub class: Option<Class>,
    /// Where it was sent; none when it was kept: refused, or shown the waiting room.
    pub place: Option<Place>,
    /// The generation of the capacity plan in force; 0 while there is none.
    pub plan: u64,
    /// Why.
    pub reason: Reason,
}

impl Record {
    /// What is kept of a decision of the policy.
    pub fn of(outcome: &Outcome<'_>, request_id: u128, unix_ms: u64, plan: u64) -> Self {
        let place = outcome.site.zip(outcome.address);
        let place = place.map(|((site, kind), address)| Place { site: site.into(), kind, address });
        Self { request_id, unix_ms, class: outcome.class, place, plan, reason: outcome.reason }
    }
}

/// A server at a site.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// The site.
    pub site: SiteName,
    /// Whose machines it runs on, by the edge's own configuration at that moment.
    pub kind: SiteKind,
    /// The server: whose it is can be checked against the owned networks, whatever the kind says.
    pub address: SocketAddr,
}

/// The name of a site, held in place.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SiteName {
    bytes: [u8; Self::BYTES_MAX],
    length: u8,
}

impl SiteName {
    /// Longest name: a site is a DNS label.
    pub const BYTES_MAX: usize = 63;

    /// The name as text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..usize::from(self.length)]).expect("made of an identifier in ASCII")
    }

    pub(super) fn from_bytes(name: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(name).ok()?;
        Some(Self::from(&SiteId::new(text).ok()?))
    }
}

impl From<&SiteId> for SiteName {
    fn from(id: &SiteId) -> Self {
        let name = id.as_str().as_bytes();
        let mut bytes = [0; Self::BYTES_MAX];
        bytes[..name.len()].copy_from_slice(name);
        // An identifier has at most 63 characters, each one byte.
        Self { bytes, length: name.len() as u8 }
    }
}

impl std::fmt::Display for SiteName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::fmt::Debug for SiteName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Debug::fmt(self.as_str(), f)
    }
}
