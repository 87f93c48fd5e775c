//! The end of a process: a signal, a drain with a deadline, and what to exit with.

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::tasks::Tasks;

/// The same signal again within this time is the same wish: `timeout` and some supervisors signal a process, and then its
/// group, which it belongs to.
const SAME_WISH: Duration = Duration::from_millis(500);

/// SIGTERM and SIGINT, caught from the moment this is made.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Begins to catch both signals; make it before saying that the process is ready.
    ///
    /// # Errors
    /// When the operating system refuses a handler.
    pub fn listen() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// The next signal's name. Without a handler left in the process it never comes.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            Some(()) = self.terminate.recv() => "SIGTERM",
            Some(()) = self.interrupt.recv() => "SIGINT",
            else => std::future::pending().await,
        }
    }
}

/// Why a process stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// A signal, by name.
    Signal(&'static str),
    /// The process told itself to, by [`Tasks::stop`].
    Requested,
    /// This task panicked or failed.
    TaskFailed(&'static str),
}

/// How a process stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    /// Why.
    pub cause: Cause,
    /// The tasks that were cut off at the deadline or by a second signal.
    pub cut: Vec<&'static str>,
    /// Whether a second signal ended the drain.
    pub forced: bool,
}

impl Ending {
    /// 0 after a whole drain, 1 when a task failed or was cut off.
    pub fn exit_code(&self) -> ExitCode {
        let whole = self.cut.is_empty() && !matches!(self.cause, Cause::TaskFailed(_));
        if whole { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// Waits for a signal or for [`Tasks`] to stop, then lets the tasks end for at most `drain_max`; a second signal ends
/// the wait at once, unless it is the first one twice. What has not ended is aborted. `next_signal` is [`Signals::next`] outside of tests.
pub async fn run_until_stopped(
    tasks: &Tasks,
    drain_max: Duration,
    mut next_signal: impl AsyncFnMut() -> &'static str,
) -> Ending {
    let stop = tasks.stop_token();
    let signalled = tokio::select! {
        name = next_signal() => Some(name),
        () = stop.cancelled() => None,
    };
    tracing::info!(signal = signalled, tasks = tasks.names().len(), "draining");
    let since = tokio::time::Instant::now();
    let mut second_signal = async || {
        while signalled == Some(next_signal().await) && since.elapsed() < SAME_WISH {}
    };
    let (mut forced, mut whole) = (false, false);
    tokio::select! {
        drained = tokio::time::timeout(drain_max, tasks.drained()) => whole = drained.is_ok(),
        () = second_signal() => forced = true,
    }
    let cut = if whole { Vec::new() } else { tasks.abort().await };
    if !cut.is_empty() {
        tracing::warn!(tasks = ?cut, forced, "tasks cut off");
    }
    let cause = match (tasks.failed(), signalled) {
        (Some(task), _) => Cause::TaskFailed(task),
        (None, Some(name)) => Cause::Signal(name),
        (None, None) => Cause::Requested,
    };
    Ending { cause, cut, forced }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::future::pending;

    use super::*;

    /// What a task of a test does when the process stops.
    #[derive(Clone, Copy)]
    enum Does {
        EndsOnStop,
        NeverEnds,
        Panics,
        Fails,
        StopsAll,
    }

    fn spawn(tasks: &Tasks, does: Does) {
        let (stop, all) = (tasks.stop_token(), tasks.clone());
        match does {
            Does::EndsOnStop => tasks.spawn("ends", async move { stop.cancelled().await }),
            Does::NeverEnds => tasks.spawn("never ends", pending()),
            Does::Panics => tasks.spawn("panics", async { panic!("on purpose") }),
            Does::Fails => tasks.spawn_fallible("fails", async { Err(io::Error::other("on purpose")) }),
            Does::StopsAll => tasks.spawn("stops all", async move { all.stop() }),
        }
    }

    fn check(does: &[Does], signals: &[&'static str], expect: Ending, code: ExitCode) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        runtime.expect("a runtime").block_on(async {
            let tasks = Tasks::new();
            does.iter().for_each(|does| spawn(&tasks, *does));
            let mut signals: VecDeque<&'static str> = signals.iter().copied().collect();
            // Long enough for tasks that end, since they are all on this thread; waited out only by one that does not.
            let ending = run_until_stopped(&tasks, Duration::from_millis(50), async || match signals.pop_front() {
                Some(name) => name,
                None => pending().await,
            })
            .await;
            assert_eq!(ending, expect);
            assert_eq!(format!("{:?}", ending.exit_code()), format!("{code:?}"));
            assert!(tasks.names().is_empty());
        });
    }

    #[test]
    fn a_process_ends_as_its_tasks_and_signals_say() {
        let ending = |cause, cut: &[&'static str], forced| Ending { cause, cut: cut.to_vec(), forced };
        let (ok, failed) = (ExitCode::SUCCESS, ExitCode::FAILURE);
        let term = Cause::Signal("SIGTERM");
        check(&[], &["SIGTERM"], ending(term, &[], false), ok);
        check(&[Does::EndsOnStop, Does::EndsOnStop], &["SIGTERM"], ending(term, &[], false), ok);
        check(&[Does::EndsOnStop, Does::NeverEnds], &["SIGTERM"], ending(term, &["never ends"], false), failed);
        check(&[Does::NeverEnds], &["SIGTERM", "SIGINT"], ending(term, &["never ends"], true), failed);
        check(&[Does::NeverEnds], &["SIGTERM", "SIGTERM"], ending(term, &["never ends"], false), failed);
        check(&[Does::EndsOnStop, Does::Panics], &[], ending(Cause::TaskFailed("panics"), &[], false), failed);
        check(&[Does::EndsOnStop, Does::Fails], &[], ending(Cause::TaskFailed("fails"), &[], false), failed);
        check(&[Does::EndsOnStop, Does::StopsAll], &[], ending(Cause::Requested, &[], false), ok);
    }

    #[tokio::test]
    async fn a_signal_of_the_operating_system_arrives_by_name() {
        let mut signals = Signals::listen().expect("handlers");
        for name in ["SIGTERM", "SIGINT"] {
            let pid = std::process::id().to_string();
            let sent = std::process::Command::new("kill").args(["-s", &name[3..], &pid]).status();
            assert!(sent.expect("kill is a command").success());
            assert_eq!(signals.next().await, name);
        }
    }
}
