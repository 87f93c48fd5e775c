//! A server as Pingora connects to it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use naru_runtime::config::Located;
use pingora_core::protocols::ALPN;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::utils::tls::{WrappedX509, parse_x509};
use pingora_core::{Error, ErrorType, Result};
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject as _};

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

/// Why the authority of a pool cannot be used. The operator is at fault.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// The file cannot be read, or holds something else.
    #[error("{}: cannot be read as PEM", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: pem::Error,
    },
    /// It holds nothing that a certificate could be checked against.
    #[error("{}: holds no certificate", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
}

/// Authorities of the servers' certificates as they were when a configuration came into force.
#[derive(Debug, Clone, Default)]
pub(crate) struct Authorities(Arc<BTreeMap<PathBuf, Arc<[WrappedX509]>>>);

impl Authorities {
    /// Reads what the pools name, each file once.
    pub fn read(pools: &[Located<PoolConfig>]) -> Result<Self, AuthorityError> {
        let mut known = BTreeMap::new();
        for tls in pools.iter().filter_map(|pool| pool.tls.as_ref()) {
            if !known.contains_key(&tls.authority) {
                known.insert(tls.authority.clone(), read(&tls.authority)?);
            }
        }
        Ok(Self(Arc::new(known)))
    }

    /// A server of a pool, by the protocol and TLS of the pool.
    pub(super) fn of_pool(&self, address: SocketAddr, pool: &PoolConfig) -> Result<HttpPeer> {
        let tls = pool.tls.as_ref();
        let name = tls.map(|tls| tls.server_name.clone()).unwrap_or_default();
        let mut peer = HttpPeer::new(address, tls.is_some(), name);
        peer.options.alpn = match (pool.http2, tls) {
            (true, Some(_)) => ALPN::H2H1,
            (true, None) => ALPN::H2,
            (false, _) => ALPN::H1,
        };
        if let Some(tls) = tls {
            // Without it, Pingora would trust every authority that the machine does.
            let Some(authority) = self.0.get(&tls.authority) else {
                return Error::e_explain(ErrorType::InternalError, "a pool whose authority was not read");
            };
            peer.options.ca = Some(authority.clone());
        }
        Ok(peer)
    }
}

fn read(path: &Path) -> std::result::Result<Arc<[WrappedX509]>, AuthorityError> {
    let certificates = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<std::result::Result<Vec<_>, _>>)
        .map_err(|source| AuthorityError::Pem { path: path.to_owned(), source })?;
    if certificates.is_empty() {
        return Err(AuthorityError::Empty { path: path.to_owned() });
    }
    let wrapped = |certificate: CertificateDer<'_>| WrappedX509::new(certificate.to_vec(), parse_x509);
    Ok(certificates.into_iter().map(wrapped).collect())
}

/// How to connect to a server for a route. `streams` is set for an answer that may have no end for long.
pub(super) fn peer(address: SocketAddr, in_force: &InForce, route: usize, streams: bool) -> Result<Box<HttpPeer>> {
    let route = in_force.route(route);
    let Some(pool) = in_force.pool(&route.pool) else {
        return Error::e_explain(ErrorType::InternalError, "a route without a pool");
    };
    let mut peer = in_force.authorities.of_pool(address, pool)?;
    let options = &mut peer.options;
    options.connection_timeout = Some(CONNECT_MAX);
    options.total_connection_timeout = Some(if pool.tls.is_some() { CONNECT_TLS_MAX } else { CONNECT_MAX });
    options.read_timeout =
        Some(if streams { in_force.config.limits.idle_timeout.max(route.timeout) } else { route.timeout });
    options.write_timeout = Some(WRITE_MAX);
    options.idle_timeout = Some(REST_MAX);
    Ok(Box::new(peer))
}
