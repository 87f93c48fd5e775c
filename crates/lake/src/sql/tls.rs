//! TLS of the SQL port.

use std::path::PathBuf;
use std::sync::Arc;

use datafusion_postgres::pgwire::tokio::TlsAcceptor;
use datafusion_postgres::pgwire::tokio::tokio_rustls::rustls;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::config::SqlTls;

/// Why certificate and key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read as PEM.
    #[error("{path} cannot be read as PEM", path = path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What the reader says.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// The key is everybody's.
    #[error("the key {path} can be read by others: chmod 600 it", path = path.display())]
    Open {
        /// The file.
        path: PathBuf,
    },
    /// The two do not fit each other.
    #[error("{path} cannot be used", path = path.display())]
    Identity {
        /// The certificate.
        path: PathBuf,
        /// What rustls says.
        #[source]
        source: rustls::Error,
    },
}

/// What connections are encrypted with.
///
/// # Errors
/// When certificate or key cannot be used.
pub fn acceptor(tls: &SqlTls) -> Result<TlsAcceptor, TlsError> {
    use std::os::unix::fs::PermissionsExt as _;
    let pem = |path: &PathBuf| {
        let path = path.clone();
        move |source| TlsError::Pem { path, source }
    };
    let chain = CertificateDer::pem_file_iter(&tls.certificate).map_err(pem(&tls.certificate))?;
    let chain = chain.collect::<Result<Vec<_>, _>>().map_err(pem(&tls.certificate))?;
    let is_open = std::fs::metadata(&tls.key).is_ok_and(|metadata| metadata.permissions().mode() & 0o077 != 0);
    if is_open {
        return Err(TlsError::Open { path: tls.key.clone() });
    }
    let key = PrivateKeyDer::from_pem_file(&tls.key).map_err(pem(&tls.key))?;
    let identity = |source| TlsError::Identity { path: tls.certificate.clone(), source };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = builder.map_err(identity)?.with_no_client_auth().with_single_cert(chain, key).map_err(identity)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}
