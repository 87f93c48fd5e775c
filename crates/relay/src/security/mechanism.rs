//! The mechanisms that clients may authenticate by.

use std::fmt;

use naru_kafka::client::ScramMechanism;
use ring::{digest, hmac, pbkdf2};

/// How a client authenticates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mechanism {
    /// The password itself is sent.
    Plain,
    /// Challenge and response over a salted password.
    Scram(ScramMechanism),
}

impl Mechanism {
    /// Every mechanism, the strongest first: clients that choose for themselves take the first they know.
    pub const ALL: [Self; 3] = [Self::Scram(ScramMechanism::Sha512), Self::Scram(ScramMechanism::Sha256), Self::Plain];

    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::Scram(hash) => scram_name(hash),
        }
    }

    /// The mechanism of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mechanism| mechanism.name() == name)
    }
}

impl fmt::Display for Mechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

pub(super) fn scram_name(hash: ScramMechanism) -> &'static str {
    match hash {
        ScramMechanism::Sha256 => "SCRAM-SHA-256",
        ScramMechanism::Sha512 => "SCRAM-SHA-512",
    }
}

/// The hash as ring names it.
pub(super) struct Algorithms {
    pub hmac: hmac::Algorithm,
    pub digest: &'static digest::Algorithm,
    pub pbkdf2: pbkdf2::Algorithm,
}

pub(super) fn algorithms(hash: ScramMechanism) -> Algorithms {
    match hash {
        ScramMechanism::Sha256 => {
            Algorithms { hmac: hmac::HMAC_SHA256, digest: &digest::SHA256, pbkdf2: pbkdf2::PBKDF2_HMAC_SHA256 }
        }
        ScramMechanism::Sha512 => {
            Algorithms { hmac: hmac::HMAC_SHA512, digest: &digest::SHA512, pbkdf2: pbkdf2::PBKDF2_HMAC_SHA512 }
        }
    }
}

/// Whether two secrets are the same, in a time that does not tell where they differ.
pub(super) fn same(a: &[u8], b: &[u8]) -> bool {
    let key = hmac::Key::new(hmac::HMAC_SHA256, b"naru relay: compare");
    hmac::verify(&key, a, hmac::sign(&key, b).as_ref()).is_ok()
}
