//! All consumer groups of a service group.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use naru_kafka::client::{Client, ClientError};
use naru_kafka::wire::ErrorCode;
use naru_runtime::tasks::Tasks;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::actor::{Actor, Announcement, GroupHandle};
use super::carry::Sides;
use super::complaints::Complaints;
use crate::clock;
use crate::config::RelayConfig;
use crate::govern::State;
use crate::offsets::{Group, GroupConfig, Kept};
use crate::sequence::Millis;
use crate::side::{Side, SideMap};
use crate::sides::{Complaint, Standing};
use crate::upstream::Recognised;

/// Consumer groups of one service group. Each costs an actor of some kilobytes; more than brokers are advised to carry.
const GROUPS_MAX: usize = 20_000;

/// How often the sides are asked for their groups. One that is used through the relay is known at once.
const FOUND_EVERY: Duration = Duration::from_secs(30);

/// A group that no side lists and no client uses for this long is let go of: anybody may ask for a name that nobody has.
/// Four listings; members beat more often.
const UNUSED_MS_MAX: Millis = 120_000;

/// What stays the same in the life of a mirror.
#[derive(Debug, Clone, Copy)]
pub struct MirrorConfig {
    /// Of each group's machine.
    pub group: GroupConfig,
    /// Whether a relay before this one may have sent what is still under way.
    pub succeeds: bool,
    /// Whether no relay with this state was ever here.
    pub adopts: bool,
}

/// A request whose connection was lost is processed by its broker within this time or never: it has been read from the
/// socket by then, and brokers answer commits within their own five seconds (offsets.commit.timeout.ms), mostly within
/// milliseconds.
const SETTLE_MS: Millis = 2_000;
/// Between attempts at a side that fails.
const RETRY_MS: Millis = 250;
/// Client requests of one group without answer: a group has some thousand members at most, each with one.
const WAITING_MAX: usize = 2_000;

impl MirrorConfig {
    /// For a relay that starts now.
    pub(crate) fn of(config: &RelayConfig, adopts: bool) -> Self {
        let group = GroupConfig {
            settle_ms: SETTLE_MS,
            retry_ms: RETRY_MS,
            suspect_after_ms: Millis::try_from(config.suspect_after.as_millis()).unwrap_or(Millis::MAX),
            waiting_max: WAITING_MAX,
            #[cfg(feature = "mutation")]
            mutant: None,
        };
        Self { group, succeeds: true, adopts }
    }
}

/// A group that has an actor.
#[derive(Debug)]
struct Known {
    handle: GroupHandle,
    /// When a client or a listing last named it.
    used: Millis,
}

/// The consumer groups of one service group: an actor each, made when it is first used or found.
#[derive(Debug)]
pub struct Mirror {
    config: MirrorConfig,
    sides: Sides,
    state: Arc<State>,
    announced: watch::Sender<Announcement>,
    groups: Mutex<HashMap<Arc<str>, Known>>,
    groups_max: usize,
    /// Groups of a side found no room when they were listed last.
    is_full: AtomicBool,
    /// When each side first answered with all its coordinators; 0 before that.
    answered_at: SideMap<AtomicU64>,
    complaints: Arc<Complaints>,
    tasks: Tasks,
    stopping: CancellationToken,
}

impl Mirror {
    /// Nothing is served before something holds and there is a lease.
    pub fn new(
        config: MirrorConfig,
        clients: SideMap<Client>,
        recognised: SideMap<Recognised>,
        held: Standing,
        state: Arc<State>,
        tasks: &Tasks,
    ) -> Self {
        let recreated = SideMap::default();
        let announcement =
            Announcement { held, sent: None, lease_until: 0, quiescing: false, comparison: 0, recreated };
        Self {
            config,
            sides: Sides::new(clients, recognised),
            state,
            announced: watch::Sender::new(announcement),
            groups: Mutex::default(),
            groups_max: GROUPS_MAX,
            is_full: AtomicBool::new(false),
            answered_at: SideMap::default(),
            complaints: Arc::default(),
            tasks: tasks.clone(),
            stopping: tasks.stop_token(),
        }
    }

    /// What holds, and what was sent and is not read back.
    pub fn announce(&self, held: Standing, sent: Option<Standing>) {
        self.announced.send_modify(|announced| (announced.held, announced.sent) = (held, sent));
    }

    /// The right to decide ends at this time.
    pub fn lease(&self, until: Millis) {
        self.announced.send_modify(|announced| announced.lease_until = until);
    }

    /// Holds commits, or lets them go on.
    pub fn quiesce(&self, quiescing: bool) {
        self.announced.send_modify(|announced| announced.quiescing = quiescing);
    }

    /// A topic was made again on a side: what the groups had committed there is gone.
    pub fn recreated(&self, side: Side) {
        self.announced.send_modify(|announced| announced.recreated[side] += 1);
    }

    /// What was announced last.
    pub fn announced(&self) -> Announcement {
        *self.announced.borrow()
    }

    pub(super) fn watch(&self) -> watch::Receiver<Announcement> {
        self.announced.subscribe()
    }

    pub(super) fn client(&self, side: Side) -> &Client {
        self.sides.client(side)
    }

    /// Compares every group of both sides and makes the other side equal; whether it became so in time. `belongs` says
    /// which groups are of this service group.
    pub async fn copy_offsets(&self, belongs: impl Fn(&str) -> bool, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        match timeout_at(deadline, self.discover(belongs)).await {
            Ok(Ok(())) if !self.is_full() => {}
            Ok(Ok(())) | Err(_) => return false,
            Ok(Err(error)) => {
                tracing::info!(error = &error as &dyn std::error::Error, "consumer groups cannot be listed");
                return false;
            }
        }
        let mut comparison = 0;
        self.announced.send_modify(|announced| {
            announced.comparison += 1;
            comparison = announced.comparison;
        });
        let handles: Vec<_> = self.groups().values().map(|known| known.handle.clone()).collect();
        for handle in handles {
            let mut status = handle.watch();
            let equal = status.wait_for(|status| status.view.equal && status.comparison >= comparison);
            match timeout_at(deadline, equal).await {
                Ok(Ok(_)) => {}
                Ok(Err(_)) | Err(_) => return false,
            }
        }
        true
    }

    /// Gives every group that a side lists an actor: what only the side that follows has is compared, too. Those of one
    /// side also while the other is away.
    async fn discover(&self, belongs: impl Fn(&str) -> bool) -> Result<(), ClientError> {
        let (a, b) = tokio::join!(self.client(Side::A).list_groups(), self.client(Side::B).list_groups());
        let listed = SideMap { a: &a, b: &b };
        for (side, listed) in listed.iter() {
            if listed.is_ok() && self.sides.is_recognised(side) && self.answered_at[side].load(Ordering::Relaxed) == 0 {
                self.answered_at[side].store(clock::now().max(1), Ordering::Relaxed);
            }
        }
        let names = listed.iter().filter_map(|(_, listed)| listed.as_ref().ok()).flatten().map(|one| &*one.group);
        let refused = names.filter(|name| belongs(name)).filter(|name| self.group(name).is_err()).count();
        self.is_full.store(refused > 0, Ordering::Relaxed);
        if refused > 0 {
            tracing::warn!(
                max = self.groups_max,
                refused,
                "more consumer groups than allowed: the rest is not mirrored"
            );
        }
        if listed[self.announced().held.active].is_ok() {
            self.let_go(clock::now());
        }
        a.and(b).map(drop)
    }

    /// Ends the actors of groups that are nowhere. One that anybody holds may have something under way.
    fn let_go(&self, now: Millis) {
        self.groups().retain(|_, Known { handle, used }| {
            let view = handle.status().view;
            let rests = view.ready && view.waiting == 0 && view.behind == 0 && handle.is_alone();
            !rests || now < *used + UNUSED_MS_MAX
        });
    }

    /// Whether what a relay before this one sent to a side has arrived or is lost: each broker of it has answered since,
    /// and a while has passed by this clock. A group that is made before finds that out of its own coordinator.
    fn is_settled(&self, side: Side, now: Millis) -> bool {
        let answered_at = self.answered_at[side].load(Ordering::Relaxed);
        !self.config.succeeds || answered_at != 0 && now >= answered_at + SETTLE_MS
    }

    /// Whether groups of a side are not mirrored for want of room.
    pub(crate) fn is_full(&self) -> bool {
        self.is_full.load(Ordering::Relaxed)
    }

    /// Finds the groups that are there already, and those that somebody makes past the relay. Until the relay stops.
    pub(crate) async fn find(&self, belongs: impl Fn(&str) -> bool) {
        loop {
            if let Err(error) = self.discover(&belongs).await {
                tracing::debug!(error = &error as &dyn std::error::Error, "consumer groups cannot be listed");
            }
            tokio::select! {
                () = self.stopping.cancelled() => return,
                () = tokio::time::sleep(FOUND_EVERY) => {}
            }
        }
    }

    /// The actor of a group.
    pub(super) fn group(&self, name: &str) -> Result<GroupHandle, ErrorCode> {
        let mut groups = self.groups();
        let used = clock::now();
        if let Some(known) = groups.get_mut(name) {
            known.used = used;
            return Ok(known.handle.clone());
        }
        if groups.len() >= self.groups_max {
            return Err(ErrorCode::COORDINATOR_NOT_AVAILABLE);
        }
        let name: Arc<str> = Arc::from(name);
        let kept = Kept { marks: self.state.checkpoints().marks_of(&name), adopts: self.config.adopts };
        let unsettled = SideMap::from_fn(|side| !self.is_settled(side, used));
        let machine = Group::new(self.config.group, unsettled, kept);
        let (handle, actor) = Actor::new(
            Arc::clone(&name),
            self.sides.clone(),
            Arc::clone(&self.state),
            machine,
            self.announced.subscribe(),
            Arc::clone(&self.complaints),
        );
        self.tasks.spawn("a consumer group", actor.run(self.stopping.clone()));
        groups.insert(name, Known { handle: handle.clone(), used });
        Ok(handle)
    }

    /// Whether members of this group may have lost their membership by a takeover.
    pub(super) fn has_orphans(&self, name: &str) -> bool {
        self.groups().get(name).is_some_and(|known| known.handle.status().has_orphans())
    }

    /// What commits have against a side by now.
    pub(crate) fn complaint(&self, side: Side) -> Option<Complaint> {
        self.complaints.oldest(side, clock::now())
    }

    /// Groups, and offsets that the other side is not known to hold.
    pub fn behind(&self) -> (usize, usize) {
        let groups = self.groups();
        (groups.len(), groups.values().map(|known| known.handle.status().view.behind).sum())
    }

    /// Whether the active side alone may be asked now (RELAY-9), and is the cluster that it was.
    pub(super) fn may_ask(&self) -> bool {
        let announced = self.announced();
        let leased = announced.held.is_duplex() || clock::now() < announced.lease_until;
        leased && self.sides.is_recognised(announced.held.active)
    }

    fn groups(&self) -> MutexGuard<'_, HashMap<Arc<str>, Known>> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
