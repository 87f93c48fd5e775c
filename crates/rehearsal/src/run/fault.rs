//! Faults at their planned times.

use std::process::ExitStatus;
use std::sync::Arc;

use naru_kafka::node::{NodeError, Signal};
use tokio::sync::Mutex;

use super::clusters::{self, Nodes, lose_unflushed_tail, loses_tail};
use super::copier::Failover;
use super::lake;
use super::relay::{self, Asker};
use super::role;
use super::services::Services;
use super::sites::{self, Pages};
use super::{LogKind, RehearsalError};
use crate::children::{self, Ended, Ending};
use crate::expectations;
use crate::observe::Observers;
use crate::plan::PlannedFault;
use crate::progress::Progress;
use crate::recorder::{MarkKind, Recorder};
use crate::scenario::{FaultKind, Scenario, Victim};
use crate::service_process::{ServiceError, ServiceProcess};

/// Processes that ended before the plan meant them to.
pub(super) type Endings = Arc<Mutex<Vec<Ended>>>;

/// How playing a fault ended.
type Played = Result<(), RehearsalError>;

/// One fault being played.
pub(super) struct Act {
    pub(super) fault: PlannedFault,
    pub(super) log: LogKind,
    pub(super) scenario: Arc<Scenario>,
    pub(super) nodes: Nodes,
    pub(super) services: Services,
    pub(super) pages: Option<Pages>,
    pub(super) relay: Option<(role::Process, Asker)>,
    pub(super) lake: Option<role::Process>,
    pub(super) failover: Option<Arc<Failover>>,
    pub(super) endings: Endings,
    pub(super) observers: Arc<Mutex<Observers>>,
    pub(super) recorder: Arc<Recorder>,
    pub(super) progress: Progress,
}

impl Act {
    /// Waits for its time, does it, waits for its end, and undoes it.
    pub(super) async fn play(self) -> Played {
        tokio::time::sleep_until(self.recorder.clock().moment(self.fault.at)).await;
        match self.fault.kind {
            FaultKind::Kill { victim: Victim::Cluster(cluster), lose_disk } => {
                let error = |source| self.node_error(cluster, source);
                let mut node = self.nodes[cluster].lock().await;
                if !node.is_running().map_err(error)? {
                    self.ended_early(clusters::exit_code(self.log), None).await;
                }
                node.kill().map_err(error)?;
                self.mark(MarkKind::Killed);
                let lasts = tokio::time::sleep(self.fault.lasts);
                self.give_up(cluster).await?;
                lasts.await;
                if lose_disk {
                    clusters::start_empty(&mut node).await.map_err(error)?;
                } else {
                    node.restart().await.map_err(error)?;
                }
                if loses_tail(self.log, &self.scenario.clusters[cluster]) {
                    lose_unflushed_tail(&self.scenario.clusters[cluster].name, &node).await?;
                }
                self.mark(MarkKind::Answering);
            }
            FaultKind::Kill { victim: Victim::Service(service), .. } => {
                self.kill(&self.services[service], |source| self.service_error(service, source)).await?;
            }
            FaultKind::Kill { victim: Victim::Relay, .. } => {
                self.kill(&self.relay()?.0, role::error(relay::NAME)).await?
            }
            FaultKind::Kill { victim: Victim::Lake, .. } => self.kill(self.lake()?, role::error(lake::NAME)).await?,
            FaultKind::Kill { victim: Victim::Site(site), .. } => {
                let pages = self.pages()?;
                if let Some(status) = sites::kill(pages, site).await? {
                    self.ended_early(children::ENDS_WELL, Some(status)).await;
                }
                self.mark(MarkKind::Killed);
                tokio::time::sleep(self.fault.lasts).await;
                sites::restart(pages, site).await?;
                self.mark(MarkKind::Answering);
            }
            // The scenario's reader knows no such fault.
            FaultKind::Pause { victim: Victim::Site(_) } => {
                return Err(RehearsalError::Unfit("a site can be lost, and not be paused".to_owned()));
            }
            FaultKind::Pause { victim: Victim::Relay } => {
                self.pause(&self.relay()?.0, role::error(relay::NAME)).await?
            }
            FaultKind::Pause { victim: Victim::Lake } => self.pause(self.lake()?, role::error(lake::NAME)).await?,
            FaultKind::Switch { to } => {
                let (_, asker) = self.relay()?;
                let side = self.scenario.relay.as_ref().and_then(|relay| relay.side_of(to));
                let side = self.staged(side, "relay")?;
                // As an operator does: first look, then order. What is refused leaves no mark, and fails the check of faults.
                asker.settle(self.scenario.settle_max).await;
                self.mark(MarkKind::Switching);
                match asker.switch(side).await {
                    Ok(()) => self.mark(MarkKind::Switched),
                    Err(why) => self.progress.stage(&format!("the relay did not switch to side {side}: {why}")),
                }
            }
            FaultKind::Pause { victim: Victim::Service(service) } => {
                self.pause(&self.services[service], |source| self.service_error(service, source)).await?;
            }
            FaultKind::Pause { victim: Victim::Cluster(cluster) } => {
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

    /// SIGKILL to a child, and its start where it was on the same data.
    async fn kill(&self, process: &Mutex<ServiceProcess>, error: impl Fn(ServiceError) -> RehearsalError) -> Played {
        let mut process = process.lock().await;
        if let Some(status) = process.kill().map_err(&error)? {
            self.ended_early(children::ENDS_WELL, Some(status)).await;
        }
        self.mark(MarkKind::Killed);
        tokio::time::sleep(self.fault.lasts).await;
        process.restart().await.map_err(&error)?;
        self.mark(MarkKind::Answering);
        Ok(())
    }

    /// SIGSTOP to a child, and SIGCONT.
    async fn pause(&self, process: &Mutex<ServiceProcess>, error: impl Fn(ServiceError) -> RehearsalError) -> Played {
        process.lock().await.signal(Signal::SIGSTOP).map_err(&error)?;
        self.mark(MarkKind::Paused);
        tokio::time::sleep(self.fault.lasts).await;
        process.lock().await.signal(Signal::SIGCONT).map_err(&error)?;
        self.mark(MarkKind::Continued);
        Ok(())
    }

    /// The control's clients leave a cluster that is lost.
    async fn give_up(&self, cluster: usize) -> Result<(), RehearsalError> {
        let (Some(failover), Some(copier)) = (&self.failover, self.scenario.copier) else { return Ok(()) };
        if copier.from == cluster && failover.give_up(&self.services).await? {
            let subject = format!("cluster {}", self.scenario.clusters[copier.to].name);
            self.progress.mark(&self.recorder.mark(MarkKind::Pointed, subject));
        }
        Ok(())
    }

    fn relay(&self) -> Result<&(role::Process, Asker), RehearsalError> {
        self.staged(self.relay.as_ref(), "relay")
    }

    fn lake(&self) -> Result<&role::Process, RehearsalError> {
        self.staged(self.lake.as_ref(), "lake")
    }

    fn pages(&self) -> Result<&Pages, RehearsalError> {
        self.staged(self.pages.as_ref(), "site")
    }

    fn staged<T>(&self, part: Option<T>, name: &str) -> Result<T, RehearsalError> {
        let none = || RehearsalError::Unfit(format!("the scenario has no {name} to {}", self.fault.kind.name()));
        part.ok_or_else(none)
    }

    async fn set_away(&self, member: usize, away: bool) -> Result<(), RehearsalError> {
        let moved = self.observers.lock().await.set_away(member, away).await;
        moved.map_err(|error| RehearsalError::Observers(error.into()))
    }

    /// The planned fault found its victim gone already.
    async fn ended_early(&self, code: i32, status: Option<ExitStatus>) {
        let child = expectations::subject(&self.scenario, self.fault.kind);
        self.endings.lock().await.push(Ended { child, code, ending: Ending::Early(status) });
    }

    fn service_error(&self, service: usize, source: ServiceError) -> RehearsalError {
        RehearsalError::Service { name: self.scenario.services[service].kind.name().to_owned(), source }
    }

    fn node_error(&self, cluster: usize, source: NodeError) -> RehearsalError {
        RehearsalError::Node { cluster: self.scenario.clusters[cluster].name.clone(), source }
    }

    fn mark(&self, kind: MarkKind) {
        let subject = expectations::subject(&self.scenario, self.fault.kind);
        self.progress.mark(&self.recorder.mark(kind, subject));
    }
}
