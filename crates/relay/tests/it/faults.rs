//! What goes wrong, drawn from the seed. Each seed has its own kinds of faults, so that rare combinations get seeds of
//! their own.
//!
//! No fault destroys the only copy of what was promised: a side loses its log only while the other is in sync and
//! whole. That both burn down is not what two sides can help against.

use naru_kafka::wire::{ErrorCode, TopicId};
use naru_relay::Side;
use naru_relay::sequence::Millis;
use naru_relay::sides::{Command, Event as GroupEvent};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::coordinator::Mood;
use crate::world::{Due, World, pick};

/// One kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// SIGKILL of the relay.
    RelayDies,
    /// SIGSTOP of the relay, also beyond its lease.
    RelayStops,
    /// SIGKILL between two of the things that one step wants done; and so between the answers of the two sides.
    RelayDiesWithin,
    /// The connection to a side breaks.
    ConnectionLost,
    /// There is no way to a side for some time.
    SideCut,
    /// A side's brokers go and come back with everything.
    SideDies,
    /// SIGSTOP of a side: what is sent to it arrives later.
    SideStops,
    /// Everything takes long there.
    SideSlow,
    /// A side refuses writes, or says so after the append.
    SideRefuses,
    /// The standby refuses for good what the active side takes.
    StandbyRejects,
    /// An unclean election: a tail is gone.
    TailLost,
    /// A side forgets producers, as if their time was over.
    ProducersForgotten,
    /// While a side was away its topic was made again.
    TopicMadeAgain,
    /// Retention moves one side's log start.
    Retention,
    /// A client has records deleted.
    RecordsDeleted,
    /// A side forgets a committed offset, as if its time was over; no broker does while the group has members there.
    OffsetsExpired,
    /// An unclean election of the partition that holds committed offsets: older ones are read.
    CommitsLost,
    /// The coordinator does not answer, or not truly.
    CoordinatorMoody,
    /// The coordinator is lost, and restored from a copy or empty.
    CoordinatorRestored,
    /// A client's connection breaks.
    ClientLost,
    /// A client begins a new epoch.
    ClientRenews,
    /// A client gives up and another begins.
    ClientGivesUp,
    /// An operator switches the active side.
    Switch,
}

impl Fault {
    const ALL: [Self; 23] = [
        Self::RelayDies,
        Self::RelayStops,
        Self::RelayDiesWithin,
        Self::ConnectionLost,
        Self::SideCut,
        Self::SideDies,
        Self::SideStops,
        Self::SideSlow,
        Self::SideRefuses,
        Self::StandbyRejects,
        Self::TailLost,
        Self::ProducersForgotten,
        Self::TopicMadeAgain,
        Self::Retention,
        Self::RecordsDeleted,
        Self::OffsetsExpired,
        Self::CommitsLost,
        Self::CoordinatorMoody,
        Self::CoordinatorRestored,
        Self::ClientLost,
        Self::ClientRenews,
        Self::ClientGivesUp,
        Self::Switch,
    ];
}

impl Fault {
    fn takes_sides_away(self) -> bool {
        use Fault::{SideCut, SideDies, SideRefuses, SideSlow, SideStops, StandbyRejects, TopicMadeAgain};
        matches!(self, SideCut | SideDies | SideRefuses | SideSlow | SideStops | StandbyRejects | TopicMadeAgain)
    }
}

/// The faults of a seed.
#[derive(Debug)]
pub struct Faults {
    kinds: Vec<Fault>,
    interval_ms: Millis,
    end_ms: Millis,
    pub late_ms_max: Millis,
    /// The relay dies within a step with this probability.
    death: f64,
    pub struck: u64,
}

impl Faults {
    pub fn new(random: &mut ChaCha8Rng, end_ms: Millis) -> Self {
        let share = *pick(random, &[0.0, 0.1, 0.3, 0.6]);
        let mut kinds: Vec<Fault> = Fault::ALL.into_iter().filter(|_| random.random_bool(share)).collect();
        #[allow(clippy::disallowed_methods)] // narrows a search by hand; not the binary's configuration
        if let Ok(only) = std::env::var("NARU_SIMULATE_FAULTS") {
            kinds = Fault::ALL.into_iter().filter(|k| only.split(',').any(|word| word == format!("{k:?}"))).collect();
        }
        let dies_within = kinds.contains(&Fault::RelayDiesWithin);
        Self {
            interval_ms: *pick(random, &[300, 1_000, 3_000]),
            end_ms,
            late_ms_max: *pick(random, &[50, 1_000, 6_000]),
            death: if dies_within { 0.000_5 } else { 0.0 },
            kinds,
            struck: 0,
        }
    }

    pub fn takes_sides_away(&self) -> bool {
        self.kinds.iter().any(|kind| kind.takes_sides_away())
    }

    pub fn next_in(&self, random: &mut ChaCha8Rng) -> Millis {
        random.random_range(1..=2 * self.interval_ms)
    }

    /// Whether the relay dies in this step, and after how many of its actions.
    pub fn relay_dies_within(&mut self, now: Millis, random: &mut ChaCha8Rng, actions: usize) -> Option<usize> {
        // A step that does nothing is no place of interest.
        (self.death > 0.0 && actions > 0 && now < self.end_ms && random.random_bool(self.death))
            .then(|| random.random_range(0..=actions))
    }
}

/// A time that is mostly short.
fn some_time(random: &mut ChaCha8Rng) -> Millis {
    let most = *pick(random, &[100, 1_000, 5_000]);
    random.random_range(10..=most)
}

impl World {
    pub fn strike(&mut self) {
        if self.is_calm() || self.faults.kinds.is_empty() {
            return;
        }
        let next = self.faults.next_in(&mut self.random);
        self.at(self.now + next, Due::Strike);
        let fault = *pick(&mut self.random, &self.faults.kinds.clone());
        let side = *pick(&mut self.random, &Side::BOTH);
        let time = some_time(&mut self.random);
        let partition = self.random.random_range(0..self.durable.topics.len());
        let client = self.random.random_range(0..self.clients.len());
        self.faults.struck += 1;
        let now = self.now;
        self.trace.note(now, || format!("FAULT {fault:?} (side {side}, partition {partition}, {time} ms)"));
        match fault {
            Fault::RelayDies => self.relay_dies(time.min(2_000)),
            Fault::RelayStops => self.relay_pauses(time),
            Fault::RelayDiesWithin => {}
            Fault::ConnectionLost => self.lose_connection(side),
            Fault::SideCut => {
                self.network.cut_until[side] = now + time;
                self.lose_connection(side);
            }
            Fault::SideDies => self.side_dies(side, time),
            Fault::SideStops => self.brokers[side].frozen_until = now + time,
            Fault::SideSlow => self.brokers[side].slow = (now + time, self.random.random_range(2..=60)),
            Fault::SideRefuses => {
                let codes = [
                    ErrorCode::NOT_ENOUGH_REPLICAS,
                    ErrorCode::NOT_ENOUGH_REPLICAS_AFTER_APPEND,
                    ErrorCode::NOT_LEADER_OR_FOLLOWER,
                    ErrorCode::REQUEST_TIMED_OUT,
                ];
                self.brokers[side].refuses = (now + time, *pick(&mut self.random, &codes));
            }
            Fault::StandbyRejects => self.brokers[side].rejects_until = now + time,
            Fault::TailLost => self.lose_tail(side, partition),
            Fault::ProducersForgotten => self.forget_producers(side, partition),
            Fault::TopicMadeAgain => self.make_topic_again(side, partition, time),
            Fault::Retention => self.retain(side, partition),
            Fault::RecordsDeleted => {
                let gate = self.oracle.gate(partition);
                let offset = self.random.random_range(-1..=gate);
                self.delete_before(partition, offset);
            }
            Fault::OffsetsExpired => {
                let held = self.durable.coordinator.standing();
                let lives = self.commits.has_members && side == held.active;
                if self.commits.may_forget(side, partition, held) && !lives {
                    self.commits.forget(side, partition, Some(self.now));
                }
            }
            Fault::CommitsLost => self.lose_commits_end(side, partition),
            Fault::CoordinatorMoody => {
                let moods = [Mood::Unavailable, Mood::AppliesInSilence, Mood::AppliesLate, Mood::Loses];
                self.durable.coordinator.mood = *pick(&mut self.random, &moods);
                self.durable.coordinator.mood_until = now + time;
            }
            Fault::CoordinatorRestored => {
                if self.random.random_bool(0.5) {
                    self.durable.coordinator.take_copy();
                } else {
                    self.durable.coordinator.restore();
                    self.group_hears(GroupEvent::Changed);
                }
            }
            Fault::ClientLost => self.clients[client].lose_connection(now),
            Fault::ClientRenews => self.clients[client].renew = true,
            Fault::ClientGivesUp => {
                let id = self.random_id();
                let number = self.new_identity();
                self.clients[client].give_up(number, id);
            }
            Fault::Switch => {
                self.group_hears(GroupEvent::Command { id: self.faults.struck, command: Command::Switch { to: side } });
            }
        }
    }

    pub fn heal(&mut self, fault: Fault, side: Side) {
        self.trace.note(self.now, || format!("{fault:?} of {side} is over"));
        let broker = &mut self.brokers[side];
        broker.down = false;
        for log in &mut broker.logs {
            log.leader_epoch += 1;
            log.recall_producers();
        }
    }

    fn side_dies(&mut self, side: Side, back_after: Millis) {
        if !self.brokers[side].down {
            self.brokers[side].down = true;
            self.lose_connection(side);
            self.at(self.now + back_after, Due::Heal(Fault::SideDies, side));
        }
    }

    /// A tail is lost by an election without its leader. Mostly the connection to the leader ends; where the new leader
    /// had one already, only its answers tell.
    fn lose_tail(&mut self, side: Side, partition: usize) {
        let log = &self.brokers[side].logs[partition];
        let depth = *pick(&mut self.random, &[1, 3, 20]);
        let from = (log.end - self.random.random_range(0..=depth)).max(log.log_start);
        // To the boundary of a batch, as logs are cut.
        let from = log.from(from).next().map_or(log.end, |stored| stored.base_offset()).max(log.log_start);
        self.cut_log(side, partition, from);
    }

    fn cut_log(&mut self, side: Side, partition: usize, from: i64) {
        let held = self.durable.coordinator.standing();
        let other = &self.brokers[side.other()];
        let other_serves = self.is_known_to_serve(side.other())
            && other.refuses.0.max(other.rejects_until).max(other.slow.0) <= self.now;
        if other_serves && self.oracle.may_lose((partition, from), side, &self.brokers, held) {
            self.trace.note(self.now, || format!("{side}/{partition} loses everything from {from}"));
            self.oracle.lost(partition, side, from, self.brokers[side].logs[partition].end);
            self.brokers[side].logs[partition].lose_from(from);
            // Unheard of, it must not meet a takeover to that very side: that would be both sides at once.
            if self.faults.takes_sides_away() || self.random.random_bool(0.7) {
                self.lose_connection(side);
            }
        }
    }

    /// Whether a side can be reached, also for all the relay knows, and none of its topics is another one than was
    /// recorded: an empty one is away then, too.
    fn is_known_to_serve(&self, side: Side) -> bool {
        let view = self.relay.as_ref().map(|relay| relay.governor.group.view());
        let absent = view.as_ref().and_then(|view| view.absent_since[side]);
        // The relay may be about to leave it behind.
        let is_left = view.and_then(|view| view.sent).is_some_and(|sent| !sent.in_sync.contains(side));
        if absent.is_some() || is_left || !self.is_reachable(side) {
            return false;
        }
        let recorded = |partition: usize| self.durable.topic_ids[side][self.durable.topics[partition]];
        self.brokers[side].logs.iter().enumerate().all(|(partition, log)| log.topic_id == recorded(partition))
    }

    /// Only while nothing is on its way there that a broker would have known again.
    fn forget_producers(&mut self, side: Side, partition: usize) {
        if self.has_writes_under_way(side) {
            return;
        }
        let everything = self.random.random_bool(0.3);
        for id in self.brokers[side].logs[partition].producer_ids() {
            if everything || self.random.random_bool(0.5) {
                self.brokers[side].logs[partition].forget(id);
            }
        }
    }

    fn make_topic_again(&mut self, side: Side, partition: usize, time: Millis) {
        let topic = self.durable.topics[partition];
        let of_topic: Vec<usize> =
            (0..self.durable.topics.len()).filter(|other| self.durable.topics[*other] == topic).collect();
        let held = self.durable.coordinator.standing();
        let (oracle, brokers, commits) = (&mut self.oracle, &self.brokers, &self.commits);
        let mut may = |p: &usize| oracle.may_lose((*p, 0), side, brokers, held) && commits.may_forget(side, *p, held);
        let other = &brokers[side.other()];
        let other_serves = other.refuses.0.max(other.rejects_until).max(other.slow.0) <= self.now;
        // Unheard of, it must not meet a takeover to that very side: that would be both sides at once.
        if brokers[side].down
            || !other_serves
            || !of_topic.iter().all(&mut may)
            || !self.is_known_to_serve(side.other())
        {
            return;
        }
        self.side_dies(side, time);
        self.network.connections_at[side] = self.network.connections;
        let id = TopicId(self.random.random::<u128>().to_be_bytes());
        for partition in of_topic {
            self.oracle.lost(partition, side, 0, self.brokers[side].logs[partition].end);
            self.brokers[side].logs[partition].recreate(id);
            self.commits.forget(side, partition, Some(self.now));
        }
    }

    fn retain(&mut self, side: Side, partition: usize) {
        // What no checkpoint knows yet is too new for any retention.
        let gate = self.durable.checkpoints[partition].1.as_ref().map_or(0, |checkpoint| checkpoint.gate);
        let log = &mut self.brokers[side].logs[partition];
        let before = self.random.random_range(0..=gate).min(log.end);
        let before = log.from(before).next().map_or(before, |stored| stored.base_offset());
        self.oracle.deletion_wanted(partition, before);
        if log.delete_before(before).is_ok() {
            self.trace.note(self.now, || format!("{side}/{partition} begins at {before}"));
        }
    }
}
