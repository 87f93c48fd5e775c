//! The way to a side: several clients, so that batches, reads and long things never wait behind each other.
//!
//! A broker serves the requests of one connection one after the other, and mutes it while it throttles.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use naru_kafka::client::{Client, ClientConfig, ClientError, TopicPartition};

use crate::config::RelayConfig;
use crate::security::{TlsError, tls};
use crate::side::Side;

/// How often a read of ours is tried in all: the partition's core asks again by itself, and waits for no long patience.
const ATTEMPTS_MAX: u32 = 3;
/// Batches of all partitions on one connection without an answer.
const IN_FLIGHT_MAX: usize = 64;

/// Why a side cannot be spoken to as configured. The operator's side.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// The settings do not make sense.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// Certificates or keys.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// Whether the cluster that answers for a side is known to be the side's, as the probes say. What is not recorded
/// under a topic's identity goes nowhere else.
#[derive(Debug, Clone, Default)]
pub struct Recognised(Arc<AtomicBool>);

impl Recognised {
    /// Whether it is.
    pub fn get(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    pub(crate) fn set(&self, recognised: bool) {
        self.0.store(recognised, Ordering::Release);
    }
}

/// One side, as the relay reaches it.
#[derive(Debug)]
pub struct Upstream {
    /// Which.
    pub side: Side,
    /// For metadata, offsets, administration, groups.
    pub control: Client,
    /// For consumers that read what the cache has not.
    pub fetch: Client,
    /// For comparing and copying.
    pub copy: Client,
    /// Whether it is the cluster that it was.
    pub recognised: Recognised,
    produce: Vec<Client>,
}

impl Upstream {
    /// Reads the files of its credentials and checks the settings; opens no connection yet.
    pub fn new(side: Side, config: &RelayConfig) -> Result<Self, UpstreamError> {
        let client = |purpose: &str| Self::client(side, config, purpose);
        let produce = (0..config.produce_connections).map(|_| client("produce")).collect::<Result<_, _>>()?;
        let (control, fetch, copy) = (client("control")?, client("fetch")?, client("copy")?);
        Ok(Self { side, control, fetch, copy, recognised: Recognised::default(), produce })
    }

    /// One more way to a side, with the relay's own credentials, that shares no connection with the others.
    pub fn client(side: Side, config: &RelayConfig, purpose: &str) -> Result<Client, UpstreamError> {
        let of = config.side(side);
        let mut client = ClientConfig::new(of.bootstrap.iter().map(ToString::to_string));
        client.connection.client_id = format!("naru-relay-{}-{purpose}", config.node_id);
        client.connection.connect_timeout = config.request_timeout;
        client.connection.request_timeout = config.request_timeout;
        client.connection.in_flight_max = IN_FLIGHT_MAX;
        client.connection.tls = of.tls.as_ref().map(tls::towards_brokers).transpose()?;
        client.connection.sasl = of.sasl.as_ref().map(tls::credentials);
        client.attempts_max = ATTEMPTS_MAX;
        Ok(Client::new(client)?)
    }

    /// The client whose connections carry a partition's batches: always the same one, which keeps their order.
    pub fn produce(&self, at: &TopicPartition) -> &Client {
        let mut hasher = DefaultHasher::new();
        at.topic.hash(&mut hasher);
        // Partitions of a topic go one after the other: neighbours get different connections.
        let place = hasher.finish().wrapping_add(u64::from(at.partition.unsigned_abs()));
        let index = place % self.produce.len() as u64;
        &self.produce[usize::try_from(index).unwrap_or(0)]
    }

    /// Ends every connection. False if the deadline passed first.
    pub async fn shutdown(&self, deadline: Duration) -> bool {
        let mut in_time = true;
        for client in self.produce.iter().chain([&self.control, &self.fetch, &self.copy]) {
            in_time &= client.shutdown(deadline).await;
        }
        in_time
    }
}
