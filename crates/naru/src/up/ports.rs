//! The ports of everything, kept from start to start, so that a bookmark and a client's setting stay right.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;

use naru_kafka::node::{NodeError, free_port};
use naru_runtime::durable::replace_file;

/// Where they are kept in the data directory.
const FILE: &str = "ports.json";
/// How often a port is drawn until one is free that nobody of ours has: more means that the machine has none.
const DRAWS_MAX: usize = 32;

/// Why there are no ports. The operator's side.
#[derive(Debug, thiserror::Error)]
pub enum PortsError {
    /// The file of ports cannot be read, or is not one of ours.
    #[error("the ports of the last start, {FILE}: remove the file to have new ones")]
    File(#[source] io::Error),
    /// The file could not be written.
    #[error("the ports cannot be kept in {FILE}")]
    Keep(#[source] io::Error),
    /// No port was free.
    #[error(transparent)]
    None(#[from] NodeError),
    /// Ports are free, but all that were drawn are ours already.
    #[error("no port was found that is free and not taken already")]
    Taken,
}

/// An address for each port, by a name such as `relay.listen`.
#[derive(Debug, Default)]
pub struct Ports {
    kept: BTreeMap<String, SocketAddr>,
    used: BTreeMap<String, SocketAddr>,
}

impl Ports {
    /// Those of the last start, if there was one.
    ///
    /// # Errors
    /// [`PortsError::File`].
    pub fn open(data: &Path) -> Result<Self, PortsError> {
        let kept = match std::fs::read(data.join(FILE)) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| PortsError::File(error.into()))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(PortsError::File(error)),
        };
        Ok(Self { kept, used: BTreeMap::new() })
    }

    /// This one is wanted at an address.
    pub fn pin(&mut self, name: &str, address: SocketAddr) {
        self.used.insert(name.to_owned(), address);
    }

    /// The address of a port of 127.0.0.1: as at the last start, if nobody has it now.
    ///
    /// # Errors
    /// When none is free.
    pub fn take(&mut self, name: &str) -> Result<SocketAddr, PortsError> {
        self.take_at(Ipv4Addr::LOCALHOST.into(), name)
    }

    /// The same of another address of this machine.
    ///
    /// # Errors
    /// When none is free.
    pub fn take_at(&mut self, ip: IpAddr, name: &str) -> Result<SocketAddr, PortsError> {
        if let Some(address) = self.used.get(name) {
            return Ok(*address);
        }
        let mut address = match self.kept.get(name) {
            Some(address) if address.ip() == ip => *address,
            _ => SocketAddr::new(ip, free_port()?),
        };
        let mut draws = 0..DRAWS_MAX;
        while self.used.values().any(|used| used.port() == address.port()) || TcpListener::bind(address).is_err() {
            draws.next().ok_or(PortsError::Taken)?;
            address = SocketAddr::new(ip, free_port()?);
        }
        self.used.insert(name.to_owned(), address);
        Ok(address)
    }

    /// Writes them down for the next start. Those of members that are not there this time stay kept.
    ///
    /// # Errors
    /// [`PortsError::Keep`].
    pub fn keep(&self, data: &Path) -> Result<(), PortsError> {
        let all: BTreeMap<_, _> = self.kept.iter().chain(&self.used).collect();
        let text = serde_json::to_vec_pretty(&all).map_err(|error| PortsError::Keep(error.into()))?;
        replace_file(&data.join(FILE), &text, 0o644).map_err(PortsError::Keep)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test panics on failure

    use super::*;

    #[test]
    fn ports_stay_until_somebody_else_has_one() {
        let dir = tempfile::TempDir::new().unwrap();
        let names = ["relay.listen", "relay.status", "console.page"];
        let take = || {
            let mut ports = Ports::open(dir.path()).unwrap();
            let taken = names.map(|name| ports.take(name).unwrap());
            ports.keep(dir.path()).unwrap();
            taken
        };
        let first = take();
        assert_eq!(first, take());
        let guest = TcpListener::bind(first[1]).unwrap();
        let moved = take();
        assert_eq!((moved[0], moved[2]), (first[0], first[2]));
        assert_ne!(moved[1], first[1]);
        drop(guest);
        assert_eq!(moved, take());
    }

    #[test]
    fn a_file_that_is_not_ours_is_refused() {
        let dir = tempfile::TempDir::new().unwrap();
        std::fs::write(dir.path().join(FILE), "{").unwrap();
        assert!(matches!(Ports::open(dir.path()), Err(PortsError::File(_))));
    }
}
