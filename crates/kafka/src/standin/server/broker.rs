//! What all connections share.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;

use tokio_util::sync::CancellationToken;

use super::clock::Clock;
use super::connection::Caller;
use super::coordinator::Coordinator;
use super::figures::Requested;
use super::topics::Topics;
use crate::serve::Memory;
use crate::serve::memory::Budget;
use crate::standin::StandinConfig;
use crate::standin::faults::Faults;
use crate::standin::storage::Disk;
use crate::wire::StrBytes;

/// The broker: everything that outlives a connection.
#[derive(Debug)]
pub(crate) struct Broker {
    pub(crate) config: StandinConfig,
    pub(crate) cluster_id: String,
    pub(crate) clock: Arc<Clock>,
    pub(crate) disk: Arc<Disk>,
    pub(crate) topics: Arc<Topics>,
    pub(crate) coordinator: Coordinator,
    pub(crate) faults: Mutex<Faults>,
    /// Memory of requests in flight.
    pub(crate) requests: Memory,
    /// Memory of records on their way out.
    pub(crate) answers: Budget,
    pub(crate) connections: AtomicUsize,
    pub(crate) requested: Requested,
    /// Set when no further request is taken.
    pub(crate) stopping: CancellationToken,
}

impl Broker {
    /// Where the caller is told that the node is: as configured, or as it came.
    pub(crate) fn endpoint(&self, caller: &Caller) -> (StrBytes, i32) {
        match &self.config.advertised {
            Some((host, port)) => (StrBytes::from_string(host.clone()), i32::from(*port)),
            None => (StrBytes::from_string(caller.local.ip().to_string()), i32::from(caller.local.port())),
        }
    }
}
