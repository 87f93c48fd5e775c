//! What a client is told before it opens a socket. Values only: reading files and variables is the caller's.

use std::{fmt, sync::Arc, time::Duration};

use super::{
    backoff::{Backoff, Jitter},
    error::ClientError,
    tls::Tls,
};

/// A string that never shows itself in logs or errors.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<str>);

impl Secret {
    /// Wraps a secret.
    pub fn new(secret: impl Into<Arc<str>>) -> Self {
        Self(secret.into())
    }

    /// The secret itself. Do not log it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(redacted)")
    }
}

/// How to prove to a broker who we are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sasl {
    /// The password itself is sent: use it only inside TLS.
    Plain {
        /// User name.
        username: String,
        /// Password.
        password: Secret,
    },
    /// Salted challenge and response; the broker proves that it knows the password, too.
    Scram {
        /// The hash.
        mechanism: ScramMechanism,
        /// User name.
        username: String,
        /// Password.
        password: Secret,
    },
}

/// The hash of a SCRAM exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScramMechanism {
    /// SCRAM-SHA-256 (RFC 7677).
    Sha256,
    /// SCRAM-SHA-512.
    Sha512,
}

/// The settings of one connection, shared by all connections of a client.
#[derive(Debug, Clone)]
pub struct ConnectionConfig {
    /// Shown in the brokers' logs and quotas.
    pub client_id: String,
    /// TLS, or plain TCP.
    pub tls: Option<Tls>,
    /// Authentication, or none.
    pub sasl: Option<Sasl>,
    /// TCP, TLS, version negotiation and authentication together. Default 10 s, as the Java client's connection set-up.
    pub connect_timeout: Duration,
    /// For an answer, from handing the request over, on top of what the request itself tells the broker to wait.
    /// Default 30 s, as the Java client's.
    pub request_timeout: Duration,
    /// Requests on one connection without an answer yet; further ones wait their turn. Default 64: a relay keeps one
    /// batch in flight per partition and a broker serves a connection's requests one after the other, so more only
    /// adds waiting.
    pub in_flight_max: usize,
    /// The largest answer accepted. Default 96 MiB: the broker's default fetch limit of 55 MiB, plus one batch that is
    /// larger than the limit, which brokers return whole so that a reader gets on.
    pub response_bytes_max: usize,
}

impl Default for ConnectionConfig {
    fn default() -> Self {
        Self {
            client_id: "naru".to_owned(),
            tls: None,
            sasl: None,
            connect_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(30),
            in_flight_max: 64,
            response_bytes_max: 96 << 20,
        }
    }
}

/// The settings of a [`super::Client`].
#[derive(Debug)]
pub struct ClientConfig {
    /// `host:port` of one or more brokers to learn the cluster from.
    pub bootstrap: Vec<String>,
    /// Every connection's settings.
    pub connection: ConnectionConfig,
    /// Waits between attempts.
    pub backoff: Backoff,
    /// The randomness of the waits.
    pub jitter: Jitter,
    /// How often a read-only or repeatable request is tried in all. Default 8: with the default waits this bridges
    /// about 5 s, longer than a leader election takes. Batches are never sent twice.
    pub attempts_max: u32,
    /// Metadata older than this is refreshed before it is used. Default 5 min, as the Java client's.
    pub metadata_age_max: Duration,
}

impl ClientConfig {
    /// Defaults, for the given brokers.
    pub fn new(bootstrap: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            bootstrap: bootstrap.into_iter().map(Into::into).collect(),
            connection: ConnectionConfig::default(),
            backoff: Backoff::default(),
            jitter: Jitter::from_os(),
            attempts_max: 8,
            metadata_age_max: Duration::from_secs(300),
        }
    }

    /// Refuses settings that cannot work, all mistakes at once.
    pub fn validate(&self) -> Result<(), ClientError> {
        let mut problems = Vec::new();
        if self.bootstrap.is_empty() {
            problems.push("no bootstrap address: name at least one host:port".to_owned());
        }
        problems.extend(self.bootstrap.iter().filter_map(|address| split_address(address).err()));
        if self.connection.in_flight_max == 0 {
            problems.push("in_flight_max is 0: at least 1".to_owned());
        }
        if self.connection.client_id.len() > i16::MAX as usize {
            problems.push("client_id is longer than 32767 bytes".to_owned());
        }
        if self.attempts_max == 0 {
            problems.push("attempts_max is 0: at least 1".to_owned());
        }
        if problems.is_empty() { Ok(()) } else { Err(ClientError::Config { problem: problems.join("; ") }) }
    }
}

/// Host and port of `host:port`; an IPv6 host stands in brackets.
pub(crate) fn split_address(address: &str) -> Result<(&str, u16), String> {
    let wrong = || format!("address {address:?}: expected host:port, for example broker1:9092 or [::1]:9092");
    let (host, port) = address.rsplit_once(':').ok_or_else(wrong)?;
    let host = match host.strip_prefix('[') {
        Some(inside) => inside.strip_suffix(']').ok_or_else(wrong)?,
        None if host.contains(':') => return Err(wrong()),
        None => host,
    };
    let port = port.parse().map_err(|_| wrong())?;
    if host.is_empty() { Err(wrong()) } else { Ok((host, port)) }
}

/// The inverse of [`split_address`].
pub(crate) fn join_address(host: &str, port: i32) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_split_into_host_and_port() {
        let check = |address: &str, expect: Option<(&str, u16)>| {
            assert_eq!(split_address(address).ok(), expect, "{address}");
        };
        check("broker1:9092", Some(("broker1", 9092)));
        check("127.0.0.1:1", Some(("127.0.0.1", 1)));
        check("[::1]:9092", Some(("::1", 9092)));
        check("::1:9092", None);
        check("[::1:9092", None);
        check("broker1", None);
        check(":9092", None);
        check("broker1:99999", None);
        assert_eq!(join_address("::1", 9092), "[::1]:9092");
    }

    #[test]
    fn every_mistake_is_reported_at_once() {
        let mut config = ClientConfig::new(["a", "b:1"]);
        config.connection.in_flight_max = 0;
        config.attempts_max = 0;
        let text = config.validate().expect_err("three mistakes").to_string();
        for part in ["\"a\"", "in_flight_max", "attempts_max"] {
            assert!(text.contains(part), "{part} missing in: {text}");
        }
    }

    #[test]
    fn a_secret_does_not_show_itself() {
        let sasl = Sasl::Plain { username: "u".into(), password: Secret::new("hunter2") };
        assert!(!format!("{sasl:?}").contains("hunter2"));
    }
}
