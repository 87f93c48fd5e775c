//! What a broker counts of itself, for metrics.

use std::sync::Weak;
use std::sync::atomic::{AtomicU64, Ordering};

use super::api::api_versions::SERVED;
use super::broker::Broker;
use crate::wire::ApiKey;

/// The figures of a broker, as long as it runs; zero and nothing afterwards. Clones read the same.
#[derive(Debug, Clone)]
pub struct Figures(pub(super) Weak<Broker>);

impl Figures {
    /// Connections open now.
    pub fn connections_open(&self) -> u64 {
        self.read(|broker| broker.connections.load(Ordering::Relaxed) as u64)
    }

    /// Requests since the start, by the name of the API.
    pub fn requests(&self) -> Vec<(&'static str, u64)> {
        let Some(broker) = self.0.upgrade() else { return Vec::new() };
        let served = SERVED.iter().zip(&broker.requested.0);
        served.map(|(api, count)| (api.name(), count.load(Ordering::Relaxed))).collect()
    }

    /// Bytes of batches that were appended to partitions and to the groups' own log since the start.
    pub fn appended_bytes(&self) -> u64 {
        self.read(|broker| broker.disk.appended_bytes())
    }

    /// Times that segments were synced to the disk since the start.
    pub fn fsyncs(&self) -> u64 {
        self.read(|broker| broker.disk.fsyncs())
    }

    fn read(&self, figure: impl Fn(&Broker) -> u64) -> u64 {
        self.0.upgrade().map_or(0, |broker| figure(&broker))
    }
}

/// Requests by API, in the order of [`SERVED`].
#[derive(Debug)]
pub(crate) struct Requested([AtomicU64; SERVED.len()]);

impl Default for Requested {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; SERVED.len()])
    }
}

impl Requested {
    pub(crate) fn count(&self, api: ApiKey) {
        if let Some(at) = SERVED.iter().position(|served| *served == api) {
            self.0[at].fetch_add(1, Ordering::Relaxed);
        }
    }
}
