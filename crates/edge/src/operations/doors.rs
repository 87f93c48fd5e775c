//! The ports for operators: admin, metrics where they are wanted, and leases for other gateways. They close and open by themselves, apart from the
//! clients' port, since only one process at a time can have them.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use naru_runtime::tasks::Tasks;
use naru_runtime::telemetry::Metrics;

use super::{admin, sharing};
use crate::adapter::Front;
use crate::gateway::Gateway;

/// The ports.
#[derive(Debug)]
pub struct Doors {
    gateway: Arc<Gateway>,
    front: Arc<Front>,
    metrics: Metrics,
    open: Mutex<Option<Tasks>>,
}

/// Where they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    /// State, headroom, plans, drains.
    pub admin: SocketAddr,
    /// Prometheus, if it is configured.
    pub metrics: Option<SocketAddr>,
}

impl Doors {
    /// Closed ones.
    pub fn new(gateway: &Arc<Gateway>, front: &Arc<Front>, metrics: &Metrics) -> Self {
        let (gateway, front) = (gateway.clone(), front.clone());
        Self { gateway, front, metrics: metrics.clone(), open: Mutex::default() }
    }

    /// Opens them where the configuration in force says.
    ///
    /// # Errors
    /// When an address cannot be bound; then none is open.
    pub async fn open(&self) -> io::Result<Addresses> {
        let tasks = Tasks::new();
        let opened = async {
            let admin = admin::serve(&self.gateway, &self.front, &tasks).await?;
            let metrics = match self.gateway.in_force().config.telemetry.metrics {
                Some(address) => Some(self.metrics.serve(address, &tasks).await?),
                None => None,
            };
            sharing::coordinate(&self.gateway, &tasks).await?;
            Ok(Addresses { admin, metrics })
        };
        let opened = opened.await;
        if opened.is_err() {
            tasks.drained().await;
        } else {
            self.keep(Some(tasks));
        }
        opened
    }

    /// Closes them, and waits for what was asked already.
    pub async fn close(&self) {
        if let Some(tasks) = self.keep(None) {
            tasks.drained().await;
        }
    }

    /// Whether they are open.
    pub fn are_open(&self) -> bool {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    fn keep(&self, tasks: Option<Tasks>) -> Option<Tasks> {
        std::mem::replace(&mut *self.open.lock().unwrap_or_else(PoisonError::into_inner), tasks)
    }
}
