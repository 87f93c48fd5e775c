//! Faults at their planned times.

use std::sync::Arc;

use naru_kafka::node::{NodeError, Signal};
use tokio::sync::Mutex;

use super::clusters::{Nodes, lose_unflushed_tail, loses_tail};
use super::{LogKind, RehearsalError};
use crate::expectations;
use crate::observe::Observers;
use crate::plan::PlannedFault;
use crate::progress::Progress;
use crate::recorder::{MarkKind, Recorder};
use crate::scenario::{FaultKind, Scenario};

/// One fault being played.
pub(super) struct Act {
    pub(super) fault: PlannedFault,
    pub(super) log: LogKind,
    pub(super) scenario: Arc<Scenario>,
    pub(super) nodes: Nodes,
    pub(super) observers: Arc<Mutex<Observers>>,
    pub(super) recorder: Arc<Recorder>,
    pub(super) progress: Progress,
}

impl Act {
    /// Waits for its time, does it, waits for its end, and undoes it.
    pub(super) async fn play(self) -> Result<(), RehearsalError> {
        tokio::time::sleep_until(self.recorder.clock().moment(self.fault.at)).await;
        match self.fault.kind {
            FaultKind::Kill { cluster } => {
                let error = |source| self.node_error(cluster, source);
                let mut node = self.nodes[cluster].lock().await;
                node.kill().map_err(error)?;
                self.mark(MarkKind::Killed);
                tokio::time::sleep(self.fault.lasts).await;
                node.restart().await.map_err(error)?;
                if loses_tail(self.log, &self.scenario.clusters[cluster]) {
                    lose_unflushed_tail(&self.scenario.clusters[cluster].name, &node).await?;
                }
                self.mark(MarkKind::Answering);
            }
            FaultKind::Pause { cluster } => {
                let error = |source| self.node_error(cluster, source);
                let node = self.nodes[cluster].lock().await;
                node.signal(Signal::SIGSTOP).map_err(error)?;
                self.mark(MarkKind::Paused);
                tokio::time::sleep(self.fault.lasts).await;
                node.signal(Signal::SIGCONT).map_err(error)?;
                self.mark(MarkKind::Continued);
            }
            FaultKind::Leave { member } => {
                self.set_away(member, true).await?;
                self.mark(MarkKind::Left);
                tokio::time::sleep(self.fault.lasts).await;
                self.set_away(member, false).await?;
                self.mark(MarkKind::Joined);
            }
        }
        Ok(())
    }

    async fn set_away(&self, member: usize, away: bool) -> Result<(), RehearsalError> {
        let moved = self.observers.lock().await.set_away(member, away).await;
        moved.map_err(|error| RehearsalError::Observers(error.into()))
    }

    fn node_error(&self, cluster: usize, source: NodeError) -> RehearsalError {
        RehearsalError::Node { cluster: self.scenario.clusters[cluster].name.clone(), source }
    }

    fn mark(&self, kind: MarkKind) {
        let subject = expectations::subject(&self.scenario, self.fault.kind);
        self.progress.mark(&self.recorder.mark(kind, subject));
    }
}
