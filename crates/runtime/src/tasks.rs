//! Tracked tasks: everything a process spawns has a name, and has ended when the process exits.

use std::any::Any;
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long aborted tasks get to reach their next await before the process goes without them.
const ABORT_WAIT: Duration = Duration::from_secs(1);

/// The tasks of a process, and the token that tells them to end. Clones are the same set.
///
/// A task that panics, or that fails when it was spawned with [`Tasks::spawn_fallible`], is an ERROR in the log and
/// stops the process in good order: half a process serves nobody.
#[derive(Debug, Clone, Default)]
pub struct Tasks {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    tracker: TaskTracker,
    stop: CancellationToken,
    running: Mutex<Running>,
}

#[derive(Debug, Default)]
struct Running {
    next_id: u64,
    /// A task is listed before it is spawned, and gets its handle behind that.
    tasks: BTreeMap<u64, (&'static str, Option<AbortHandle>)>,
    failed: Option<&'static str>,
}

impl Shared {
    fn running(&self) -> MutexGuard<'_, Running> {
        // Nothing panics while holding it; were it so, the map is still a map.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fail(&self, task: &'static str) {
        self.running().failed.get_or_insert(task);
        self.stop.cancel();
    }
}

/// Takes a task off the list when it ends, is aborted, or is dropped with its runtime.
struct Listed {
    shared: Arc<Shared>,
    id: u64,
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.shared.running().tasks.remove(&self.id);
    }
}

impl Tasks {
    /// An empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// The token that tells every task to end; tasks wait for it beside their work.
    pub fn stop_token(&self) -> CancellationToken {
        self.shared.stop.clone()
    }

    /// Tells every task to end.
    pub fn stop(&self) {
        self.shared.stop.cancel();
    }

    /// The first task that panicked or failed.
    pub fn failed(&self) -> Option<&'static str> {
        self.shared.running().failed
    }

    /// The names of the tasks that have not ended.
    pub fn names(&self) -> Vec<&'static str> {
        self.shared.running().tasks.values().map(|(name, _)| *name).collect()
    }

    /// Runs a task until it ends by itself; the caller bounds how many.
    pub fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let id = {
            let mut running = self.shared.running();
            let id = running.next_id;
            running.next_id += 1;
            running.tasks.insert(id, (name, None));
            id
        };
        // Not under the lock: a runtime that is shutting down drops the task at once, and the task then locks.
        let listed = Listed { shared: self.shared.clone(), id };
        let mut task = Box::pin(task);
        let handle = self.shared.tracker.spawn(async move {
            let listed = listed;
            let polled = poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| task.as_mut().poll(context))) {
                Ok(poll) => poll.map(|()| Ok(())),
                Err(panic) => Poll::Ready(Err(panic)),
            });
            if let Err(panic) = polled.await {
                tracing::error!(task = name, panic = panic_message(panic.as_ref()), "task panicked, stopping");
                listed.shared.fail(name);
            }
        });
        if let Some((_, listed)) = self.shared.running().tasks.get_mut(&id) {
            *listed = Some(handle.abort_handle());
        }
    }

    /// Runs a task whose failure stops the process.
    pub fn spawn_fallible<E: std::error::Error + Send + 'static>(
        &self,
        name: &'static str,
        task: impl Future<Output = Result<(), E>> + Send + 'static,
    ) {
        let shared = self.shared.clone();
        self.spawn(name, async move {
            if let Err(error) = task.await {
                tracing::error!(task = name, error = &error as &dyn std::error::Error, "task failed, stopping");
                shared.fail(name);
            }
        });
    }

    /// Tells every task to end and waits until all have.
    pub async fn drained(&self) {
        self.shared.stop.cancel();
        self.shared.tracker.close();
        self.shared.tracker.wait().await;
    }

    /// Aborts the tasks that have not ended; answers with their names.
    pub async fn abort(&self) -> Vec<&'static str> {
        let left: Vec<_> = self.shared.running().tasks.values().cloned().collect();
        left.iter().filter_map(|(_, handle)| handle.as_ref()).for_each(AbortHandle::abort);
        self.shared.tracker.close();
        if tokio::time::timeout(ABORT_WAIT, self.shared.tracker.wait()).await.is_err() {
            tracing::warn!(tasks = ?self.names(), "tasks do not reach an await, going without them");
        }
        left.into_iter().map(|(name, _)| name).collect()
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Spawns another task when it is dropped.
    struct SpawnsWhenDropped(Tasks);

    impl Drop for SpawnsWhenDropped {
        fn drop(&mut self) {
            self.0.spawn("too late", async {});
        }
    }

    #[test]
    fn a_task_spawned_while_the_runtime_goes_is_dropped_without_a_trace() {
        let tasks = Tasks::new();
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let held = SpawnsWhenDropped(tasks.clone());
        runtime.block_on(async {
            tasks.spawn("held", async move {
                let _held = held;
                std::future::pending().await
            });
            assert_eq!(tasks.names(), ["held"]);
        });
        drop(runtime);
        assert!(tasks.names().is_empty());
    }
}
