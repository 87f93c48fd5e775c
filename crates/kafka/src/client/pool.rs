//! The connections of a client: one per broker and lane, opened on demand, opened again after a backoff.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
};

use tokio::time::{Instant, sleep_until, timeout_at};

use super::{
    backoff::{Backoff, Jitter},
    config::ConnectionConfig,
    connection::Connection,
    error::{Broker, ClientError},
    link::Lifetime,
};

/// A broker serves one request at a time per connection, so requests that wait at the broker get connections of
/// their own: a long fetch must not hold back a batch, nor either of them a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Lane {
    /// Metadata, offsets and administration.
    Control,
    /// Batches.
    Produce,
    /// Fetches, which wait for records.
    Fetch,
    /// Group offsets and membership.
    Group,
}

#[derive(Default)]
struct State {
    connection: Option<Connection>,
    failures: u32,
    not_before: Option<Instant>,
}

/// Locked while connecting, so that one caller connects and the others wait for what it got.
type Slot = Arc<tokio::sync::Mutex<State>>;

pub(super) struct Pool {
    config: ConnectionConfig,
    backoff: Backoff,
    lifetime: Lifetime,
    slots: Mutex<HashMap<(Broker, Lane), Slot>>,
}

impl Pool {
    pub(super) fn new(config: ConnectionConfig, backoff: Backoff, lifetime: Lifetime) -> Self {
        Self { config, backoff, lifetime, slots: Mutex::default() }
    }

    /// An open connection. Waits no longer than the connection time-out, the backoff included.
    pub(super) async fn connection(
        &self,
        broker: &Broker,
        lane: Lane,
        jitter: &Jitter,
    ) -> Result<Connection, ClientError> {
        let slot = Arc::clone(self.slots().entry((broker.clone(), lane)).or_default());
        let deadline = Instant::now() + self.config.connect_timeout;
        match timeout_at(deadline, self.connect(&slot, broker, jitter)).await {
            Ok(connection) => connection,
            Err(_) => Err(ClientError::no_session(broker, self.config.connect_timeout)),
        }
    }

    async fn connect(&self, slot: &Slot, broker: &Broker, jitter: &Jitter) -> Result<Connection, ClientError> {
        let mut state = slot.lock().await;
        if let Some(connection) = &state.connection {
            if !connection.is_closed() {
                return Ok(connection.clone());
            }
            // One that lasted shows that the broker is there; one that a broker cuts at once must not make us hammer it.
            state.connection = None;
            state.failures = 1;
            state.not_before = Some(Instant::now() + self.backoff.delay(state.failures, jitter.unit()));
        }
        if let Some(not_before) = state.not_before {
            sleep_until(not_before).await;
        }
        // Stands if this attempt is cut off from outside by its time limit.
        state.failures = state.failures.saturating_add(1);
        state.not_before = Some(Instant::now() + self.backoff.delay(state.failures, jitter.unit()));
        let connection = Connection::open(&self.config, &broker.address, broker.node_id, &self.lifetime).await?;
        tracing::debug!(broker = %broker, "connected");
        state.failures = 0;
        state.not_before = None;
        state.connection = Some(connection.clone());
        Ok(connection)
    }

    /// Forgets the brokers that metadata no longer names, so that the pool is bounded by the cluster's size.
    pub(super) fn retain(&self, keep: impl Fn(&Broker) -> bool) {
        self.slots().retain(|(broker, _), _| keep(broker));
    }

    /// Ends every connection.
    pub(super) fn clear(&self) {
        self.slots().clear();
    }

    fn slots(&self) -> MutexGuard<'_, HashMap<(Broker, Lane), Slot>> {
        self.slots.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}
