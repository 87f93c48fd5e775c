//! Where relays agree: compare-and-swap, leases, watches. One relay keeps them in a durable file; several will keep
//! them in etcd.

pub mod embedded;

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// A value with the version that a swap must name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Rises with every change of this key; never used twice, also not after a deletion.
    pub version: u64,
    /// The value.
    pub value: Bytes,
}

/// Why a swap is not known to have happened.
#[derive(Debug, thiserror::Error)]
pub enum SwapFailed {
    /// Someone else changed the key. Nothing was written.
    #[error("{key}: changed by someone else, now version {}", held.as_ref().map_or(0, |held| held.version))]
    Conflict {
        /// The key.
        key: String,
        /// What stands there.
        held: Option<Held>,
    },
    /// The change may have been applied or not: read it back before trusting either.
    #[error("{key}: no answer, the change may have been applied")]
    Unknown {
        /// The key.
        key: String,
    },
    /// The coordinator cannot be used; nothing was written. A retry helps once it can.
    #[error("{key}: the coordinator cannot be used")]
    Unavailable {
        /// The key.
        key: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// Why something cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{key}: the coordinator cannot be read")]
pub struct ReadFailed {
    /// The key.
    pub key: String,
    /// Why.
    #[source]
    pub source: std::io::Error,
}

/// A lease that was granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Granted {
    /// Rises with every holder: a fencing token.
    pub term: u64,
    /// It ends this long after the sending of the request, on CLOCK_BOOTTIME (RELAY-9).
    pub time_to_live: Duration,
}

/// Which coordinator it is, and how far it has come. Relays keep the last one they saw: one that is another, or that
/// has come less far, was emptied or restored from a copy (RELAY-13).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Made by chance when it was made.
    pub incarnation: u64,
    /// Rises with every change.
    pub revision: u64,
}

impl Mark {
    /// Whether this can be a later state of the coordinator that the earlier mark was taken of.
    pub fn follows(self, earlier: Self) -> bool {
        self.incarnation == earlier.incarnation && self.revision >= earlier.revision
    }
}

/// A place where relays agree.
pub trait Coordination: Send + Sync + 'static {
    /// What stands at a key.
    fn read(&self, key: &str) -> impl Future<Output = Result<Option<Held>, ReadFailed>> + Send;

    /// Every key that begins so, with its value, in order.
    fn list(&self, prefix: &str) -> impl Future<Output = Result<Vec<(String, Held)>, ReadFailed>> + Send;

    /// Writes a key if its version is the expected one (0: there is none), and says the new version. When it returns
    /// the change is durable.
    fn swap(&self, key: &str, expected: u64, value: Bytes) -> impl Future<Output = Result<u64, SwapFailed>> + Send;

    /// Which one it is now.
    fn mark(&self) -> impl Future<Output = Result<Mark, ReadFailed>> + Send;

    /// Is told a rising number whenever a key that begins so may have changed.
    fn watch(&self, prefix: &str) -> watch::Receiver<u64>;

    /// Takes or renews a lease. None if someone else holds it.
    fn lease(
        &self,
        name: &str,
        holder: &str,
        time_to_live: Duration,
    ) -> impl Future<Output = Result<Option<Granted>, SwapFailed>> + Send;
}
