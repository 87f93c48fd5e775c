//! One partition at work: a task that owns its [`crate::sequence::Partition`] and carries out what that wants done.
//!
//! Nothing here decides about the log. The task never waits for anything but its next event, so that its bounded inbox
//! cannot lock up.

mod actor;
mod cache;
mod lane;
mod orders;
mod pace;
mod sizes;

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use naru_kafka::client::TopicPartition;
use naru_kafka::serve::memory::Growing;
use naru_kafka::wire::{Batch, TopicId};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::govern::State;
use crate::measure::Stages;
use crate::sequence::{Acked, Checkpoint, Event, Millis, PartitionConfig, Refusal, Suspicion, Ticket, View};
use crate::side::{Side, SideMap, SideSet};
use crate::sides::{Seen, Standing};
use crate::upstream::Upstream;

pub(crate) use cache::{Cache, CacheMemory, shown_to_consumers};
pub(crate) use pace::Pace;
use sizes::Sizes;

/// Events that wait for a partition's task: as many as a busy partition gets while its task waits for a processor.
/// Senders wait for room, so clients that are too fast are no longer read from.
const INBOX_MAX: usize = 256;

/// What a partition tells its service group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Which partition.
    pub at: TopicPartition,
    /// What.
    pub what: Reported,
    /// The last standing that it had taken in.
    pub seen: Seen,
}

/// What is reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reported {
    /// What it thinks of a side.
    Suspicion {
        /// Of whom.
        side: Side,
        /// What.
        suspicion: Suspicion,
    },
    /// Nothing is in flight and both logs end here.
    Quiesced {
        /// The end of both logs.
        end: i64,
    },
}

/// What everybody may see of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shown {
    /// Gate, log start, readiness, ends.
    pub view: View,
    /// The side that consumers' older reads go to.
    pub active: Side,
    /// The sides that hold all that is below the gate.
    pub in_sync: SideSet,
}

impl Shown {
    /// The other side, if it holds the same below the gate.
    pub(crate) fn other_in_sync(&self) -> Option<Side> {
        self.in_sync.is_pair().then(|| self.active.other())
    }

    /// Whether readers may be answered: with both sides always, with one only within the lease (RELAY-9).
    pub(crate) fn is_leased(&self) -> bool {
        !self.view.solo || clock::now() < self.view.leased_until
    }
}

/// How a partition is started.
pub struct Start {
    /// Its name.
    pub at: TopicPartition,
    /// The relay's identity of the topic.
    pub topic: TopicId,
    /// What stays the same.
    pub config: PartitionConfig,
    /// The group's standing as it was read.
    pub standing: Standing,
    /// A change of it that is not read back.
    pub sent: Option<Standing>,
    /// What was kept of it.
    pub checkpoint: Option<Checkpoint>,
    /// The topic's identity on each side, where it was recorded (RELAY-12).
    pub topic_ids: SideMap<Option<TopicId>>,
    /// Until when this relay decides for it.
    pub lease_until: Millis,
}

/// What partitions share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) upstreams: SideMap<Arc<Upstream>>,
    pub(crate) cache_memory: Arc<CacheMemory>,
    pub(crate) cache_bytes_max: usize,
    /// What a side is told to wait for its replicas.
    pub(crate) replica_wait: Duration,
    pub(crate) stages: Arc<Stages>,
    /// Of copying to sides that come back.
    pub(crate) pace: Arc<Pace>,
    pub(crate) tickets: Arc<AtomicU64>,
    /// Where checkpoints are made durable.
    pub(crate) state: Arc<State>,
}

/// How a batch went; the sender is dropped unused only when the partition is given up.
pub(crate) type Produced = oneshot::Receiver<Result<Acked, Refusal>>;

/// What a partition's task is told.
enum Inbound {
    Produce {
        ticket: Ticket,
        batch: Batch,
        /// When the client's patience ends.
        deadline: Millis,
        reply: oneshot::Sender<Result<Acked, Refusal>>,
        /// The memory of the request that the batch stands in.
        share: Arc<Growing>,
    },
    Delete {
        ticket: Ticket,
        offset: i64,
        reply: oneshot::Sender<Result<i64, Refusal>>,
    },
    Event(Event),
    /// The topic was made again on a side, under this identity.
    Recreated {
        side: Side,
        id: Option<TopicId>,
    },
    Checkpoint(oneshot::Sender<Option<(u64, Checkpoint)>>),
}

/// The partition's task has ended: the relay stops, or gave the partition up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the partition is not served any more")]
pub struct Gone;

struct Inner {
    at: TopicPartition,
    inbox: mpsc::Sender<Inbound>,
    shown: watch::Receiver<Shown>,
    cache: Mutex<Cache>,
    sizes: Mutex<Sizes>,
    tickets: Arc<AtomicU64>,
    retired: CancellationToken,
}

impl Inner {
    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sizes(&self) -> MutexGuard<'_, Sizes> {
        self.sizes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How the rest of the relay speaks to a partition; clones speak to the same one.
#[derive(Clone)]
pub struct PartitionHandle {
    inner: Arc<Inner>,
}

impl fmt::Debug for PartitionHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PartitionHandle").field("at", &self.inner.at).field("shown", &self.shown()).finish()
    }
}

impl PartitionHandle {
    /// Makes a partition: its handle, and the task to be spawned, which ends when it is retired or `stop` is set.
    pub(crate) fn start(
        start: Start,
        shared: &Shared,
        reports: mpsc::Sender<Report>,
        stop: &CancellationToken,
    ) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let (inbox, inbound) = mpsc::channel(INBOX_MAX);
        let Standing { active, in_sync, .. } = start.standing;
        let compared = !start.config.awaits_comparison(start.checkpoint.as_ref());
        let view = View { compared, ..View::default() };
        let (shown, watched) = watch::channel(Shown { view, active, in_sync });
        let retired = stop.child_token();
        let inner = Arc::new(Inner {
            at: start.at.clone(),
            inbox,
            shown: watched,
            cache: Mutex::new(Cache::new(shared.cache_bytes_max, Arc::clone(&shared.cache_memory))),
            sizes: Mutex::default(),
            tickets: Arc::clone(&shared.tickets),
            retired,
        });
        let actor = actor::Actor::new(start, shared.clone(), Arc::clone(&inner), shown, reports);
        (Self { inner }, actor.run(inbound))
    }

    /// Its name.
    pub fn at(&self) -> &TopicPartition {
        &self.inner.at
    }

    /// What may be seen of it now.
    pub fn shown(&self) -> Shown {
        *self.inner.shown.borrow()
    }

    /// For waiting until something that may be seen changes.
    pub fn watch(&self) -> watch::Receiver<Shown> {
        self.inner.shown.clone()
    }

    /// Tells it of something that happened: of the group's standing, a lease, a quiesce, a topic made again. Waits for
    /// room in its inbox.
    pub async fn send(&self, event: Event) -> Result<(), Gone> {
        self.inner.inbox.send(Inbound::Event(event)).await.map_err(|_| Gone)
    }

    /// Tells it that its topic was made again on a side: the identity that counts from now on (RELAY-12).
    pub async fn recreated(&self, side: Side, id: Option<TopicId>) -> Result<(), Gone> {
        self.inner.inbox.send(Inbound::Recreated { side, id }).await.map_err(|_| Gone)
    }

    /// What must be kept of it now, and a number that is higher the later that was made. None while it is not known.
    pub async fn checkpoint(&self) -> Result<Option<(u64, Checkpoint)>, Gone> {
        let (reply, answer) = oneshot::channel();
        self.inner.inbox.send(Inbound::Checkpoint(reply)).await.map_err(|_| Gone)?;
        answer.await.map_err(|_| Gone)
    }

    /// Hands a batch over; batches handed over one after the other are sequenced in that order.
    pub(crate) async fn produce(&self, batch: Batch, deadline: Millis, share: Arc<Growing>) -> Result<Produced, Gone> {
        let (reply, produced) = oneshot::channel();
        let inbound = Inbound::Produce { ticket: self.ticket(), batch, deadline, reply, share };
        self.inner.inbox.send(inbound).await.map_err(|_| Gone)?;
        Ok(produced)
    }

    /// Deletes the records before an offset on both sides; the new log start.
    pub(crate) async fn delete_records(&self, offset: i64) -> Result<Result<i64, Refusal>, Gone> {
        let (reply, answer) = oneshot::channel();
        let inbound = Inbound::Delete { ticket: self.ticket(), offset, reply };
        self.inner.inbox.send(inbound).await.map_err(|_| Gone)?;
        answer.await.map_err(|_| Gone)
    }

    /// What the cache has from an offset on, below a gate: headers and payloads. None if it does not hold the offset.
    pub(crate) fn read_cached(&self, from: i64, gate: i64, bytes_max: usize, one: bool) -> Option<Vec<Bytes>> {
        self.inner.cache().read(from, gate, bytes_max, one)
    }

    /// Bytes that a side lacks of what the active side holds. What has not passed since the start is taken to be of the
    /// mean size of what has; None while that, or an end, is not known.
    pub fn lag_bytes(&self, side: Side, active: Side) -> Option<i64> {
        let ends = self.shown().view.ends;
        self.inner.sizes().between(ends[side]?, ends[active]?)
    }

    /// Ends the partition's task. Clients that wait are told that it is gone.
    pub fn retire(&self) {
        self.inner.retired.cancel();
    }

    fn ticket(&self) -> Ticket {
        Ticket(self.inner.tickets.fetch_add(1, Ordering::Relaxed))
    }
}

/// Those who wait for their batches.
type Waiting = HashMap<Ticket, actor::Waiter>;

#[cfg(test)]
mod tests;
