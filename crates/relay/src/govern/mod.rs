//! Which side is active and in sync, at work: a task per service group that owns its [`crate::sides::Group`] and carries
//! out what that wants done; beside it the lease, the probes of both sides, and what is kept over restarts.
//!
//! Nothing here decides about sides. A swap of the coordinator's record gets exactly one outcome, a time-out among them.

mod keeping;
mod lease;
mod probe;
mod rebuilds;
mod runner;
mod state;
mod work;

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};

use crate::config::{GroupConfig, RelayConfig};
use crate::relay::Relay;
use crate::sides;
use crate::sides::{Command, CommandRefused, GroupView};

pub(crate) use probe::one_cluster_on_both_sides;
pub(crate) use rebuilds::{Rebuild, Rebuilds};
pub use state::{Made, State, StateError};

/// Commands that wait for a group's runner: operators are few.
const COMMANDS_MAX: usize = 16;

/// A command with the way back for its answer.
#[derive(Debug)]
pub(crate) struct Commanded {
    command: Command,
    reply: oneshot::Sender<Result<(), CommandRefused>>,
}

/// How the rest of the relay speaks to a group's runner.
#[derive(Debug, Clone)]
pub struct GroupHandle {
    commands: mpsc::Sender<Commanded>,
    view: watch::Receiver<GroupView>,
}

/// The group's runner has ended: the relay stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the relay is stopping")]
pub struct Ended;

impl GroupHandle {
    /// What may be seen of the group now.
    pub fn view(&self) -> GroupView {
        self.view.borrow().clone()
    }

    /// Carries out a command; answers when it has been, or why not.
    ///
    /// # Errors
    /// When the relay stops.
    pub async fn command(&self, command: Command) -> Result<Result<(), CommandRefused>, Ended> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(Commanded { command, reply }).await.map_err(|_| Ended)?;
        answer.await.map_err(|_| Ended)
    }
}

/// The bounds of a service group by the configuration.
pub(crate) fn group_config(config: &RelayConfig, group: &GroupConfig) -> sides::GroupConfig {
    let ms = |length: std::time::Duration| u64::try_from(length.as_millis()).unwrap_or(u64::MAX);
    sides::GroupConfig {
        absence: group.absence.into(),
        first_active: group.active.into(),
        takeover_after_ms: ms(config.takeover_after),
        ..sides::GroupConfig::default()
    }
}

/// Starts the lease, the probes, the runners, and the keeping of checkpoints. Returns when the first lease was taken or
/// refused.
pub(crate) async fn start(relay: &Arc<Relay>) {
    lease::take(relay).await;
    relay.tasks.spawn("keeping the lease", lease::run(Arc::clone(relay)));
    let probes = probe::start(relay);
    for name in relay.groups.keys() {
        if let Some(runner) = runner::Runner::new(relay, name, &probes) {
            relay.tasks.spawn("a service group", runner.run());
        }
    }
    relay.tasks.spawn("keeping checkpoints", keeping::run(Arc::clone(relay)));
}
