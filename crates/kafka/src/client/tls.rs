//! TLS settings: the roots we trust and, where brokers want one, our certificate.

use std::{fmt, sync::Arc};

use rustls::{
    ClientConfig as RustlsConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName},
};

use super::error::ClientError;

/// A certificate chain and its key.
pub struct Identity {
    /// Leaf first.
    pub chain: Vec<CertificateDer<'static>>,
    /// The leaf's key.
    pub key: PrivateKeyDer<'static>,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("chain_certificates", &self.chain.len()).field("key", &"redacted").finish()
    }
}

/// How to speak TLS with a cluster. Only the given roots are trusted: brokers of a company carry that company's
/// certificates, and the public roots would only widen who can pose as one.
#[derive(Clone)]
pub struct Tls {
    config: Arc<RustlsConfig>,
    server_name: Option<ServerName<'static>>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("server_name", &self.server_name).finish_non_exhaustive()
    }
}

impl Tls {
    /// Trusts the given roots; shows the given certificate when asked for one.
    pub fn new(
        roots: impl IntoIterator<Item = CertificateDer<'static>>,
        identity: Option<Identity>,
    ) -> Result<Self, ClientError> {
        let refused = |problem| move |source| ClientError::TlsConfig { problem, source };
        let mut store = RootCertStore::empty();
        for root in roots {
            store.add(root).map_err(refused("a root certificate"))?;
        }
        let builder = RustlsConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(refused("protocol versions"))?
            .with_root_certificates(store);
        let config = match identity {
            None => builder.with_no_client_auth(),
            Some(Identity { chain, key }) => {
                builder.with_client_auth_cert(chain, key).map_err(refused("the client certificate or its key"))?
            }
        };
        Ok(Self { config: Arc::new(config), server_name: None })
    }

    /// Uses settings made elsewhere.
    pub fn from_config(config: Arc<RustlsConfig>) -> Self {
        Self { config, server_name: None }
    }

    /// Expects this name in the broker's certificate instead of the host that is connected to, for brokers behind an
    /// address that no certificate names.
    pub fn with_server_name(mut self, name: &str) -> Result<Self, ClientError> {
        self.server_name = Some(parse_name(name)?);
        Ok(self)
    }

    pub(crate) fn connector(&self) -> tokio_rustls::TlsConnector {
        tokio_rustls::TlsConnector::from(Arc::clone(&self.config))
    }

    pub(crate) fn server_name(&self, host: &str) -> Result<ServerName<'static>, ClientError> {
        match &self.server_name {
            Some(name) => Ok(name.clone()),
            None => parse_name(host),
        }
    }
}

fn parse_name(name: &str) -> Result<ServerName<'static>, ClientError> {
    ServerName::try_from(name.to_owned())
        .map_err(|_| ClientError::Config { problem: format!("{name:?} is neither a host name nor an IP address") })
}
