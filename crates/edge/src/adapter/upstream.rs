//! A server as Pingora connects to it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pingora_core::protocols::ALPN;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::utils::tls::{WrappedX509, parse_x509};
use pingora_core::{Error, ErrorType, OrErr as _, Result};
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;

use crate::config::PoolConfig;
use crate::gateway::InForce;

/// Longest wait for a connection, with TLS: servers are near, and another one is asked sooner than a person waits.
const CONNECT_MAX: Duration = Duration::from_secs(1);
const CONNECT_TLS_MAX: Duration = Duration::from_secs(3);
/// Longest wait for a server to take some bytes.
const WRITE_MAX: Duration = Duration::from_secs(10);
/// How long a connection to a server may rest before it is closed: less than the 5 s after which the most impatient of the
/// common servers (Node) closes it, so that no request meets a connection that is just going away.
const REST_MAX: Duration = Duration::from_secs(4);

/// Authorities of the servers' certificates, each read once.
#[derive(Debug, Default)]
pub(super) struct Authorities(Mutex<BTreeMap<PathBuf, Arc<[WrappedX509]>>>);

impl Authorities {
    /// How to connect to a server for a route. `streams` is set for an answer that may have no end for long.
    pub fn peer(&self, address: SocketAddr, in_force: &InForce, route: usize, streams: bool) -> Result<Box<HttpPeer>> {
        let route = in_force.route(route);
        let Some(pool) = in_force.pool(&route.pool) else {
            return Error::e_explain(ErrorType::InternalError, "a route without a pool");
        };
        let mut peer = self.of_pool(address, pool)?;
        let options = &mut peer.options;
        options.connection_timeout = Some(CONNECT_MAX);
        options.total_connection_timeout = Some(if pool.tls.is_some() { CONNECT_TLS_MAX } else { CONNECT_MAX });
        options.read_timeout =
            Some(if streams { in_force.config.limits.idle_timeout.max(route.timeout) } else { route.timeout });
        options.write_timeout = Some(WRITE_MAX);
        options.idle_timeout = Some(REST_MAX);
        Ok(Box::new(peer))
    }

    /// A server of a pool, by the protocol and TLS of the pool.
    pub fn of_pool(&self, address: SocketAddr, pool: &PoolConfig) -> Result<HttpPeer> {
        let tls = pool.tls.as_ref();
        let name = tls.map(|tls| tls.server_name.clone()).unwrap_or_default();
        let mut peer = HttpPeer::new(address, tls.is_some(), name);
        peer.options.alpn = match (pool.http2, tls) {
            (true, Some(_)) => ALPN::H2H1,
            (true, None) => ALPN::H2,
            (false, _) => ALPN::H1,
        };
        peer.options.ca = tls.map(|tls| self.read(&tls.authority)).transpose()?;
        Ok(peer)
    }

    fn read(&self, path: &Path) -> Result<Arc<[WrappedX509]>> {
        // Nothing panics while holding it; were it so, the map is still a map.
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(authority) = known.get(path) {
            return Ok(authority.clone());
        }
        let certificates = CertificateDer::pem_file_iter(path)
            .and_then(Iterator::collect::<std::result::Result<Vec<_>, _>>)
            .or_err_with(ErrorType::InvalidCert, || format!("{}: cannot be read as PEM", path.display()))?;
        if certificates.is_empty() {
            return Error::e_explain(ErrorType::InvalidCert, format!("{}: holds no certificate", path.display()));
        }
        let wrapped = |certificate: CertificateDer<'_>| WrappedX509::new(certificate.to_vec(), parse_x509);
        let authority: Arc<[WrappedX509]> = certificates.into_iter().map(wrapped).collect();
        known.insert(path.to_owned(), authority.clone());
        Ok(authority)
    }
}
