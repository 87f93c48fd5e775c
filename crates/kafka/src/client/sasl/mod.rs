//! SASL mechanisms as pure exchanges: bytes in, bytes out. The connection carries them.

pub mod plain;
pub mod scram;

use super::config::{Sasl, ScramMechanism};

/// Why an exchange was broken off. Carries no secrets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SaslError {
    /// The broker's message is not what the mechanism allows here.
    #[error("the broker's message is malformed: {0}")]
    Malformed(&'static str),
    /// The broker's nonce does not continue ours: an answer to somebody else's exchange.
    #[error("the broker's nonce does not continue ours")]
    Nonce,
    /// Too few iterations protect nothing, too many stop us.
    #[error(
        "the broker asks for {found} iterations, allowed are {} to {}",
        scram::ITERATIONS_MIN,
        scram::ITERATIONS_MAX
    )]
    Iterations {
        /// What the broker asked for.
        found: u64,
    },
    /// The broker said no, in the mechanism's own words.
    #[error("the broker refused: {0}")]
    Refused(String),
    /// The broker does not know the password either.
    #[error("the broker's signature is wrong: it does not know this user's password")]
    ServerSignature,
    /// The user name cannot be sent by this mechanism.
    #[error("the user name or password holds a character that {0} cannot carry")]
    Forbidden(&'static str),
}

impl Sasl {
    /// The name on the wire.
    pub fn mechanism_name(&self) -> &'static str {
        match self {
            Self::Plain { .. } => "PLAIN",
            Self::Scram { mechanism: ScramMechanism::Sha256, .. } => "SCRAM-SHA-256",
            Self::Scram { mechanism: ScramMechanism::Sha512, .. } => "SCRAM-SHA-512",
        }
    }
}
