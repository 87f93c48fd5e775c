//! Residency as a type: an address is either one of our own networks' or it is rented, and a core peer can hold only
//! the first.
//!
//! [`CorePeer::new`] is the only door to a core peer. It is given the networks that are ours, which come from the
//! edge's own configuration and from nowhere else, so neither a plan nor a slip in a list of peers can make a rented
//! address a core one. Peers are addresses and not names: what a name resolves to is somebody else's decision.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use super::mutant::mutant;

/// Shortest prefix of an IPv4 network of ours: 10.0.0.0/8 is the widest private network there is.
const BITS_MIN_V4: u8 = 8;
/// Shortest prefix of an IPv6 network of ours: no registry hands a wider one to a single site's owner.
const BITS_MIN_V6: u8 = 20;

/// A network in CIDR notation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network {
    base: IpAddr,
    bits: u8,
}

/// A text that is no network of ours. The operator is at fault; no retry helps.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    /// Not `ADDRESS/BITS`.
    #[error("is {found:?}, not a network such as 10.1.0.0/16")]
    Malformed {
        /// What was given.
        found: String,
    },
    /// Bits are set behind the prefix, so one of the two is a slip.
    #[error("is {found:?}, whose address has bits behind the first {bits}")]
    HostBits {
        /// What was given.
        found: String,
        /// The length of the prefix.
        bits: u8,
    },
    /// So wide that rented addresses would lie inside.
    #[error("is {found:?}, wider than any network of one owner")]
    TooWide {
        /// What was given.
        found: String,
    },
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let found = || text.to_owned();
        let malformed = || NetworkError::Malformed { found: found() };
        let (base, bits) = text.split_once('/').ok_or_else(malformed)?;
        let base: IpAddr = base.parse().map_err(|_| malformed())?;
        let bits: u8 = bits.parse().map_err(|_| malformed())?;
        let (bits_min, bits_max) = if base.is_ipv4() { (BITS_MIN_V4, 32) } else { (BITS_MIN_V6, 128) };
        if bits > bits_max || base != base.to_canonical() {
            return Err(malformed());
        }
        if bits < bits_min {
            return Err(NetworkError::TooWide { found: found() });
        }
        let network = Self { base, bits };
        if network.prefix(base) != as_bits(base) {
            return Err(NetworkError::HostBits { found: found(), bits });
        }
        Ok(network)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.bits)
    }
}

/// An address as the highest bits of 128, so that both families are cut alike.
fn as_bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()) << 96,
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

impl Network {
    fn prefix(self, address: IpAddr) -> u128 {
        as_bits(address) & u128::MAX.checked_shl(128 - u32::from(self.bits)).unwrap_or(0)
    }

    /// Whether an address lies inside. An IPv4 address that is written as an IPv6 one is the same address.
    pub fn contains(self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.base.is_ipv4() && self.prefix(address) == as_bits(self.base)
    }
}

/// The networks of our own sites.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OwnedNetworks(Vec<Network>);

impl OwnedNetworks {
    /// These networks and no others.
    pub fn new(networks: impl IntoIterator<Item = Network>) -> Self {
        Self(networks.into_iter().collect())
    }

    /// Whether an address is ours.
    pub fn contain(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(address))
    }
}

impl fmt::Display for OwnedNetworks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<String> = self.0.iter().map(Network::to_string).collect();
        f.write_str(&texts.join(", "))
    }
}

/// An address that cannot be the peer it was to be. Whoever named it is at fault; no retry helps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAPeer {
    /// A peer of an owned site that lies in no network of ours.
    #[error("{0} is in none of the owned networks")]
    NotOwned(SocketAddr),
    /// A rented peer that lies in a network of ours.
    #[error("{0} is in an owned network and cannot be rented")]
    Owned(SocketAddr),
    /// An address to which nothing can be sent.
    #[error("{0} is no address of a server")]
    Nowhere(SocketAddr),
}

fn somewhere(address: SocketAddr) -> Result<SocketAddr, NotAPeer> {
    let ip = address.ip().to_canonical();
    if address.port() == 0 || ip.is_unspecified() || ip.is_multicast() {
        return Err(NotAPeer::Nowhere(address));
    }
    Ok(SocketAddr::new(ip, address.port()))
}

/// A server in a site of ours: the only kind that core requests can be sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CorePeer(SocketAddr);

impl CorePeer {
    /// The only door.
    ///
    /// # Errors
    /// An address outside of the networks that are ours, or of no server.
    pub fn new(address: SocketAddr, owned: &OwnedNetworks) -> Result<Self, NotAPeer> {
        let address = somewhere(address)?;
        if !owned.contain(address.ip()) && !mutant!(OpenDoor) {
            return Err(NotAPeer::NotOwned(address));
        }
        Ok(Self(address))
    }
}

/// A server in a rented site: open requests only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RentedPeer(SocketAddr);

impl RentedPeer {
    /// Takes an address that is not ours.
    ///
    /// # Errors
    /// An address inside of the networks that are ours, or of no server.
    pub fn new(address: SocketAddr, owned: &OwnedNetworks) -> Result<Self, NotAPeer> {
        let address = somewhere(address)?;
        if owned.contain(address.ip()) {
            return Err(NotAPeer::Owned(address));
        }
        Ok(Self(address))
    }
}

/// What both kinds of peers have: an address to send to.
pub trait Peer: Copy + fmt::Debug {
    /// The address.
    fn address(&self) -> SocketAddr;
}

impl Peer for CorePeer {
    fn address(&self) -> SocketAddr {
        self.0
    }
}

impl Peer for RentedPeer {
    fn address(&self) -> SocketAddr {
        self.0
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test panics on failure

    use super::*;

    #[test]
    fn a_network_is_written_exactly() {
        let check = |text: &str, expect: Result<(), &str>| match (text.parse::<Network>(), expect) {
            (Ok(network), Ok(())) => assert_eq!(network.to_string(), text),
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error}"),
            (got, _) => panic!("{text}: {got:?}"),
        };
        check("10.0.0.0/8", Ok(()));
        check("127.1.0.0/16", Ok(()));
        check("192.0.2.7/32", Ok(()));
        check("2001:db8::/32", Ok(()));
        check("10.0.0.0", Err("not a network"));
        check("10.0.0.0/33", Err("not a network"));
        check("::ffff:10.0.0.0/120", Err("not a network"));
        check("10.0.0.1/8", Err("bits behind"));
        check("0.0.0.0/0", Err("wider"));
        check("::/0", Err("wider"));
    }

    #[test]
    fn a_core_peer_is_in_an_owned_network_and_a_rented_one_is_not() {
        let owned = OwnedNetworks::new(["10.1.0.0/16", "2001:db8:1::/48"].map(|text| text.parse().unwrap()));
        let check = |address: &str, core: bool, rented: bool| {
            let address = address.parse().unwrap();
            assert_eq!(CorePeer::new(address, &owned).is_ok(), core, "{address}");
            assert_eq!(RentedPeer::new(address, &owned).is_ok(), rented, "{address}");
        };
        check("10.1.2.3:80", true, false);
        check("10.2.0.1:80", false, true);
        check("[::ffff:10.1.2.3]:80", true, false);
        check("[::ffff:10.2.2.3]:80", false, true);
        check("[2001:db8:1::9]:80", true, false);
        check("[2001:db8:2::9]:80", false, true);
        check("10.1.2.3:0", false, false);
        check("0.0.0.0:80", false, false);
        check("224.0.0.1:80", false, false);
        assert!(CorePeer::new("10.1.2.3:80".parse().unwrap(), &OwnedNetworks::default()).is_err());
    }
}
