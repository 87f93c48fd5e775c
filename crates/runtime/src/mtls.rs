//! Mutual TLS between roles: both sides show a certificate of the house's own authority, and each is held to the role
//! that its certificate names.
//!
//! The role stands in the certificate as the DNS name `<role>.role.naru.internal` (`.internal` is reserved for private
//! use), beside whatever else it names. TLS 1.3 only: both ends are ours.

mod client;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::client::verify_server_name;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{
    ClientConfig, DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme, version,
};

pub use client::RoleClient;

use crate::keys::{KeyError, refuse_exposed};

crate::config! {
    /// Files of mutual TLS between roles, all in PEM.
    pub struct MtlsFiles {
        /// Certificate of the authority that signs every role's certificate.
        pub authority: PathBuf,
        /// This role's certificate, any intermediate ones behind it.
        pub certificate: PathBuf,
        /// This role's private key, readable by its owner only.
        pub key: PathBuf,
    }
}

/// Why a TLS configuration could not be made. The operator is at fault; no retry helps without a change.
#[derive(Debug, thiserror::Error)]
pub enum MtlsError {
    /// A file could not be read as PEM.
    #[error("{what} {path}: cannot be read as PEM")]
    Pem {
        /// `authority`, `certificate` or `key`.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the reader says.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// A file holds no certificate.
    #[error("{what} {path}: holds no certificate")]
    Empty {
        /// `authority` or `certificate`.
        what: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// The private key can be read by others, or not at all.
    #[error("private key of mutual TLS")]
    Key(#[from] KeyError),
    /// The certificate does not name the role that uses it.
    #[error("certificate {path}: does not name this role; it needs the DNS name {name}")]
    WrongRole {
        /// The file.
        path: PathBuf,
        /// The name that is missing.
        name: String,
    },
    /// A role's name is none.
    #[error("role {role:?}: use 1 to 63 of a-z, 0-9 and -, not - at an end")]
    RoleName {
        /// What was given.
        role: String,
    },
    /// The files do not make a TLS identity together: a key of another certificate, or one that is broken.
    #[error("certificate {path}: cannot be used with its key and authority")]
    Identity {
        /// The certificate's file.
        path: PathBuf,
        /// What rustls says.
        #[source]
        source: rustls::Error,
    },
    /// The authority cannot verify anything.
    #[error("authority {path}: cannot verify with it")]
    Authority {
        /// The file.
        path: PathBuf,
        /// What rustls says.
        #[source]
        source: rustls::server::VerifierBuilderError,
    },
}

/// The name that a certificate of this role carries, and that a client asks a server of this role for.
///
/// # Errors
/// When the role cannot be part of a DNS name.
pub fn role_name(role: &str) -> Result<ServerName<'static>, MtlsError> {
    let plain = role.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if !plain || role.is_empty() || role.len() > 63 || role.starts_with('-') || role.ends_with('-') {
        return Err(MtlsError::RoleName { role: role.to_owned() });
    }
    ServerName::try_from(dns_name(role)).map_err(|_| MtlsError::RoleName { role: role.to_owned() })
}

/// What a server of `own_role` accepts connections with: only clients whose certificate names one of `allowed_roles`.
///
/// # Errors
/// When the files do not fit, with the file and what is wrong.
pub fn server_config(
    files: &MtlsFiles,
    own_role: &str,
    allowed_roles: &[&str],
) -> Result<Arc<ServerConfig>, MtlsError> {
    let identity = Identity::load(files, own_role)?;
    let allowed = allowed_roles.iter().map(|role| role_name(role)).collect::<Result<Vec<_>, _>>()?;
    let chain = WebPkiClientVerifier::builder_with_provider(Arc::new(identity.roots), provider())
        .build()
        .map_err(|source| MtlsError::Authority { path: files.authority.clone(), source })?;
    let identity_error = |source| MtlsError::Identity { path: files.certificate.clone(), source };
    let config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&version::TLS13])
        .map_err(identity_error)?
        .with_client_cert_verifier(Arc::new(RoleVerifier { chain, allowed }))
        .with_single_cert(identity.certificates, identity.key)
        .map_err(identity_error)?;
    Ok(Arc::new(config))
}

/// What a client of `own_role` connects with; connect to the [`role_name`] of the role that is asked for.
///
/// # Errors
/// When the files do not fit, with the file and what is wrong.
pub fn client_config(files: &MtlsFiles, own_role: &str) -> Result<Arc<ClientConfig>, MtlsError> {
    let identity = Identity::load(files, own_role)?;
    let identity_error = |source| MtlsError::Identity { path: files.certificate.clone(), source };
    let config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&version::TLS13])
        .map_err(identity_error)?
        .with_root_certificates(identity.roots)
        .with_client_auth_cert(identity.certificates, identity.key)
        .map_err(identity_error)?;
    Ok(Arc::new(config))
}

/// Which of these roles the other side's verified certificate names.
pub fn peer_role<'r>(certificates: Option<&[CertificateDer<'_>]>, roles: &[&'r str]) -> Option<&'r str> {
    let parsed = ParsedCertificate::try_from(certificates?.first()?).ok()?;
    let named = |role: &&&str| role_name(role).is_ok_and(|name| verify_server_name(&parsed, &name).is_ok());
    roles.iter().find(named).copied()
}

fn dns_name(role: &str) -> String {
    format!("{role}.role.naru.internal")
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

struct Identity {
    roots: RootCertStore,
    certificates: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Identity {
    fn load(files: &MtlsFiles, own_role: &str) -> Result<Self, MtlsError> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates("authority", &files.authority)? {
            roots.add(certificate).map_err(|source| MtlsError::Identity { path: files.authority.clone(), source })?;
        }
        let certificates = certificates("certificate", &files.certificate)?;
        let own_name = role_name(own_role)?;
        let names_it = ParsedCertificate::try_from(&certificates[0])
            .map_err(|source| MtlsError::Identity { path: files.certificate.clone(), source })
            .map(|parsed| verify_server_name(&parsed, &own_name).is_ok())?;
        if !names_it {
            return Err(MtlsError::WrongRole { path: files.certificate.clone(), name: dns_name(own_role) });
        }
        refuse_exposed(&files.key)?;
        let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|source| MtlsError::Pem {
            what: "key",
            path: files.key.clone(),
            source,
        })?;
        Ok(Self { roots, certificates, key })
    }
}

/// The certificates of a file, at least one.
fn certificates(what: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, MtlsError> {
    let pem = |source| MtlsError::Pem { what, path: path.to_owned(), source };
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).map_err(pem)?.collect();
    let certificates = certificates.map_err(pem)?;
    if certificates.is_empty() {
        return Err(MtlsError::Empty { what, path: path.to_owned() });
    }
    Ok(certificates)
}

/// Checks the chain as usual, and then the role.
#[derive(Debug)]
struct RoleVerifier {
    chain: Arc<dyn ClientCertVerifier>,
    allowed: Vec<ServerName<'static>>,
}

impl ClientCertVerifier for RoleVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chain.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let verified = self.chain.verify_client_cert(end_entity, intermediates, now)?;
        let parsed = ParsedCertificate::try_from(end_entity)?;
        let mut refusal = rustls::CertificateError::ApplicationVerificationFailure.into();
        for name in &self.allowed {
            match verify_server_name(&parsed, name) {
                Ok(()) => return Ok(verified),
                // Names what the certificate has and what one of the allowed roles needs.
                Err(error) => refusal = error,
            }
        }
        Err(refusal)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chain.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chain.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests;
