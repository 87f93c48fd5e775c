//! Raw-batch client: connections, metadata, produce, fetch, offsets, groups and the admin calls of a relay.
//!
//! Owns the way to a broker. Invariants: a batch is never sent twice, whatever happens to it (the caller is told
//! whether it may have been written, and decides); every wait, queue, answer and retry has a bound; an error names the
//! broker, what was asked and about what. It speaks by [`crate::wire`] alone and knows nothing of the stand-in.
//!
//! Requests that only read, or that can be repeated without harm, are retried within [`ClientConfig::attempts_max`].

pub mod admin;
mod ask;
pub mod backoff;
pub mod config;
pub mod connection;
pub mod error;
pub mod fetch;
pub mod groups;
mod leaders;
mod link;
pub mod metadata;
pub mod offsets;
#[cfg(test)]
mod peer;
mod pool;
pub mod produce;
pub mod reader;
pub mod sasl;
#[cfg(test)]
mod tests;
pub mod tls;
pub mod versions;

use std::{sync::Arc, time::Duration};

pub use self::{
    backoff::{Backoff, Jitter},
    config::{ClientConfig, ConnectionConfig, Sasl, ScramMechanism, Secret},
    connection::{CallOptions, Connection, Reply},
    error::{Asked, Broker, ClientError, CloseCause, Fault, Outcome},
    link::Lifetime,
    metadata::TopicPartition,
    pool::Lane,
    tls::{Identity, Tls},
};

/// A client of one cluster; clones share its connections and its cache.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

struct Shared {
    config: ClientConfig,
    pool: pool::Pool,
    metadata: metadata::Metadata,
    coordinators: groups::Coordinators,
    lifetime: Lifetime,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("bootstrap", &self.shared.config.bootstrap).finish_non_exhaustive()
    }
}

impl Client {
    /// Checks the settings. Opens nothing yet: the first request does.
    pub fn new(config: ClientConfig) -> Result<Self, ClientError> {
        config.validate()?;
        let lifetime = Lifetime::default();
        let pool = pool::Pool::new(config.connection.clone(), config.backoff, lifetime.clone());
        let metadata = metadata::Metadata::default();
        let coordinators = groups::Coordinators::default();
        Ok(Self { shared: Arc::new(Shared { config, pool, metadata, coordinators, lifetime }) })
    }

    /// An open connection to a broker, shared with all requests of that lane.
    pub async fn connection(&self, broker: &Broker, lane: Lane) -> Result<Connection, ClientError> {
        if self.shared.lifetime.is_over() {
            return Err(ClientError::ShutDown);
        }
        self.shared.pool.connection(broker, lane, &self.shared.config.jitter).await
    }

    /// A connection that nobody else uses, for requests that wait at the broker, such as JoinGroup.
    pub async fn dedicated(&self, broker: &Broker) -> Result<Connection, ClientError> {
        if self.shared.lifetime.is_over() {
            return Err(ClientError::ShutDown);
        }
        Connection::open(&self.shared.config.connection, &broker.address, broker.node_id, &self.shared.lifetime).await
    }

    /// The same for somebody else's requests: the broker is shown that client's id.
    pub async fn dedicated_to(&self, client_id: &str, broker: &Broker) -> Result<Connection, ClientError> {
        if self.shared.lifetime.is_over() {
            return Err(ClientError::ShutDown);
        }
        let config = ConnectionConfig { client_id: client_id.to_owned(), ..self.shared.config.connection.clone() };
        Connection::open(&config, &broker.address, broker.node_id, &self.shared.lifetime).await
    }

    /// Ends every connection and waits for their tasks. False if the deadline passed first.
    pub async fn shutdown(&self, deadline: Duration) -> bool {
        let ended = self.shared.lifetime.end(deadline).await;
        self.shared.pool.clear();
        ended
    }

    fn retry(&self) -> Retry<'_> {
        Retry { client: self, failures: 0 }
    }
}

/// The bounded patience of one repeatable request.
struct Retry<'a> {
    client: &'a Client,
    failures: u32,
}

impl Retry<'_> {
    /// Waits before the next attempt; gives the error back if there is to be none.
    async fn wait(&mut self, error: ClientError) -> Result<(), ClientError> {
        let config = &self.client.shared.config;
        self.failures += 1;
        if !error.retry_can_help() || self.failures >= config.attempts_max || self.client.shared.lifetime.is_over() {
            return Err(error);
        }
        tokio::time::sleep(config.backoff.delay(self.failures, config.jitter.unit())).await;
        Ok(())
    }
}
