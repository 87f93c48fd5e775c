//! TLS on both ends: what clients connect by, and what the relay connects to brokers by.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use naru_kafka::client::{ClientError, Identity, Sasl, ScramMechanism, Secret, Tls};
use naru_runtime::keys::{KeyError, refuse_exposed};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};

use super::Principal;
use super::config::{BrokerMechanism, BrokerSasl, BrokerTls, ClientCertificates, ListenerTls};
use super::subject::common_name;

/// Why TLS cannot be used as configured. The operator's side; a retry helps after the files are mended.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file could not be read as PEM.
    #[error("{what} {path}: cannot be read as PEM", path = path.display())]
    Pem {
        /// Which file of the configuration.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the reader says.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// A file holds no certificate.
    #[error("{what} {path}: holds no certificate", path = path.display())]
    Empty {
        /// Which file of the configuration.
        what: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// The private key can be read by others, or not at all.
    #[error("private key")]
    Key(#[from] KeyError),
    /// The files do not fit each other.
    #[error("{what} {path}: cannot be used", path = path.display())]
    Identity {
        /// Which file of the configuration.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What rustls says.
        #[source]
        source: rustls::Error,
    },
    /// The authority cannot verify anything.
    #[error("client authority {path}: cannot verify with it", path = path.display())]
    Authority {
        /// The file.
        path: PathBuf,
        /// What rustls says.
        #[source]
        source: rustls::server::VerifierBuilderError,
    },
    /// The client towards the brokers refuses the settings.
    #[error("tls towards a cluster")]
    Client(#[from] ClientError),
}

/// What the listener accepts connections with.
pub fn listener(tls: &ListenerTls) -> Result<Arc<ServerConfig>, TlsError> {
    let chain = certificates("certificate", &tls.certificate)?;
    let key = private_key(&tls.key)?;
    let identity = |source| TlsError::Identity { what: "certificate", path: tls.certificate.clone(), source };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    // TLS 1.2 as well: clients are whatever speaks Kafka.
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder.with_safe_default_protocol_versions().map_err(identity)?;
    let builder = match &tls.client_authority {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots(path)?), provider);
            let verifier = match tls.client_certificates {
                ClientCertificates::Required => verifier,
                ClientCertificates::Wanted => verifier.allow_unauthenticated(),
            };
            let authority = |source| TlsError::Authority { path: path.clone(), source };
            builder.with_client_cert_verifier(verifier.build().map_err(authority)?)
        }
    };
    Ok(Arc::new(builder.with_single_cert(chain, key).map_err(identity)?))
}

/// Whom a verified client certificate names; none: it has no common name that can be used.
pub fn principal(chain: &[CertificateDer<'_>]) -> Option<Principal> {
    common_name(chain.first()?).map(Principal::new)
}

/// How the relay speaks TLS with a cluster.
pub fn towards_brokers(tls: &BrokerTls) -> Result<Tls, TlsError> {
    let identity = match (&tls.certificate, &tls.key) {
        (Some(certificate), Some(key)) => {
            Some(Identity { chain: certificates("certificate", certificate)?, key: private_key(key)? })
        }
        _ => None,
    };
    let made = Tls::new(certificates("authority", &tls.authority)?, identity)?;
    match &tls.server_name {
        Some(name) => Ok(made.with_server_name(name)?),
        None => Ok(made),
    }
}

/// How the relay proves to brokers who it is.
pub fn credentials(sasl: &BrokerSasl) -> Sasl {
    let (username, password) = (sasl.username.clone(), Secret::new(sasl.password.reveal()));
    let scram = |mechanism| Sasl::Scram { mechanism, username: username.clone(), password: password.clone() };
    match sasl.mechanism {
        BrokerMechanism::Plain => Sasl::Plain { username, password },
        BrokerMechanism::Sha256 => scram(ScramMechanism::Sha256),
        BrokerMechanism::Sha512 => scram(ScramMechanism::Sha512),
    }
}

fn roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates("client authority", path)? {
        let refused = |source| TlsError::Identity { what: "client authority", path: path.to_owned(), source };
        roots.add(certificate).map_err(refused)?;
    }
    Ok(roots)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    refuse_exposed(path)?;
    let pem = |source| TlsError::Pem { what: "key", path: path.to_owned(), source };
    PrivateKeyDer::from_pem_file(path).map_err(pem)
}

/// The certificates of a file, at least one.
fn certificates(what: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = |source| TlsError::Pem { what, path: path.to_owned(), source };
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).map_err(pem)?.collect();
    let certificates = certificates.map_err(pem)?;
    if certificates.is_empty() {
        return Err(TlsError::Empty { what, path: path.to_owned() });
    }
    Ok(certificates)
}
