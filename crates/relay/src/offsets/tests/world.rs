//! Two sides as far as a consumer group sees them, and everything that was sent to them and has no outcome yet.

use std::collections::BTreeMap;

use naru_kafka::{client::TopicPartition, wire::ErrorCode};

use crate::offsets::{Action, Changes, Event, Failed, Group, GroupConfig, Kept, Marks, Offsets, Position, View};
use crate::sequence::{Millis, Suspicion, Ticket};
use crate::side::{Side, SideMap, SideSet};
use crate::sides::Standing;

pub(super) const CONFIG: GroupConfig = GroupConfig {
    settle_ms: 1_000,
    retry_ms: 100,
    suspect_after_ms: 3_000,
    waiting_max: 100,
    #[cfg(feature = "mutation")]
    mutant: None,
};

/// No relay was there before, or long ago.
pub(super) const SETTLED: SideMap<bool> = SideMap { a: false, b: false };
/// A relay that was killed a moment ago.
pub(super) const UNSETTLED: SideMap<bool> = SideMap { a: true, b: true };

/// What one side holds.
#[derive(Debug, Default, Clone)]
pub(super) struct Holds {
    pub(super) offsets: Offsets,
    pub(super) has_members: bool,
    /// Rises when members are removed: what they sent before is refused.
    pub(super) generation: u64,
}

/// Something on its way to a side.
#[derive(Debug, Clone)]
pub(super) struct Sent {
    pub(super) action: Action,
    pub(super) at: Millis,
    generation: u64,
}

pub(super) struct World {
    pub(super) group: Group,
    pub(super) now: Millis,
    pub(super) sides: SideMap<Holds>,
    pub(super) sent: Vec<Sent>,
    pub(super) requests: BTreeMap<Ticket, Changes>,
    pub(super) answers: Vec<(Ticket, Result<Vec<ErrorCode>, ErrorCode>)>,
    pub(super) suspicions: Vec<(Side, Suspicion)>,
    pub(super) quiesced: bool,
    /// What the disk holds. It refuses as long as there is none.
    pub(super) disk: Option<Marks>,
    last_ticket: u64,
}

pub(super) fn at(partition: i32) -> TopicPartition {
    TopicPartition::new("orders", partition)
}

pub(super) fn position(offset: i64) -> Position {
    Position { offset, metadata: "".into() }
}

pub(super) fn standing(active: Side, in_sync: SideSet, epoch: u64) -> Standing {
    Standing { active, in_sync, epoch }
}

impl World {
    /// Side A active, both in sync, the lease long, nothing said yet.
    pub(super) fn new() -> Self {
        let mut world = Self {
            group: Group::new(CONFIG, SETTLED, Kept::default()),
            now: 0,
            sides: SideMap::default(),
            sent: Vec::new(),
            requests: BTreeMap::new(),
            answers: Vec::new(),
            suspicions: Vec::new(),
            quiesced: false,
            disk: Some(Marks::new()),
            last_ticket: 0,
        };
        world.on(Event::Lease { until: Millis::MAX });
        world
    }

    /// The same, and both sides were read.
    pub(super) fn opened() -> Self {
        let mut world = Self::new();
        world.stand(standing(Side::A, SideSet::PAIR, 1));
        world.deliver_all();
        world
    }

    pub(super) fn on(&mut self, event: Event) {
        let mut out = Vec::new();
        self.group.on(self.now, event, &mut out);
        for action in out {
            match action {
                Action::Answer { ticket, result } => {
                    let result = result.map(|codes| codes.into_iter().map(|(_, code)| code).collect());
                    self.answers.push((ticket, result));
                }
                Action::Suspect { side, suspicion } => self.suspicions.push((side, suspicion)),
                Action::Quiesced => self.quiesced = true,
                Action::Keep { order, marks } => {
                    let done = self.disk.is_some();
                    self.disk = self.disk.is_some().then_some(marks);
                    self.on(Event::Kept { order, done });
                }
                action => {
                    let generation = side_of(&action).map_or(0, |side| self.sides[side].generation);
                    if let Action::Forward { side, .. } = action {
                        self.sides[side].has_members = true;
                    }
                    self.sent.push(Sent { action, at: self.now, generation });
                }
            }
        }
    }

    /// The relay is killed and starts again.
    pub(super) fn restart(&mut self, held: Standing) {
        let kept = Kept { marks: self.disk.clone().unwrap_or_default(), adopts: false };
        (self.group, self.sent) = (Group::new(CONFIG, SETTLED, kept), Vec::new());
        self.on(Event::Lease { until: Millis::MAX });
        self.stand(held);
    }

    pub(super) fn stand(&mut self, held: Standing) {
        self.on(Event::Standing { held, sent: None });
    }

    pub(super) fn commit(&mut self, changes: &[(i32, i64)]) -> Ticket {
        self.request(changes.iter().map(|(place, offset)| (at(*place), Some(position(*offset)))).collect())
    }

    pub(super) fn request(&mut self, changes: Changes) -> Ticket {
        self.last_ticket += 1;
        let ticket = Ticket(self.last_ticket);
        self.requests.insert(ticket, changes.clone());
        self.on(Event::Commit { ticket, changes });
        ticket
    }

    pub(super) fn pass(&mut self, ms: Millis) {
        self.now += ms;
        self.on(Event::Tick);
    }

    /// Does at its side what was sent, and says what it answers.
    pub(super) fn apply(&mut self, sent: &Sent) -> Result<Vec<(TopicPartition, ErrorCode)>, Failed> {
        match &sent.action {
            Action::Forward { ticket, side } => {
                if self.sides[*side].generation != sent.generation {
                    return Err(Failed::Refused(ErrorCode::UNKNOWN_MEMBER_ID));
                }
                let changes = self.requests[ticket].clone();
                Ok(self.store(*side, &changes))
            }
            Action::Write { side, changes, .. } => {
                if self.sides[*side].has_members {
                    return Err(Failed::Refused(ErrorCode::UNKNOWN_MEMBER_ID));
                }
                Ok(self.store(*side, changes))
            }
            Action::RemoveMembers { side, .. } => {
                self.sides[*side].has_members = false;
                self.sides[*side].generation += 1;
                Ok(Vec::new())
            }
            _ => Ok(Vec::new()),
        }
    }

    fn store(&mut self, side: Side, changes: &Changes) -> Vec<(TopicPartition, ErrorCode)> {
        let held = &mut self.sides[side].offsets;
        for (place, position) in changes {
            match position {
                Some(position) => held.insert(place.clone(), position.clone()),
                None => held.remove(place),
            };
        }
        changes.keys().map(|place| (place.clone(), ErrorCode::NONE)).collect()
    }

    /// Tells the group how something ended.
    pub(super) fn tell(&mut self, action: &Action, outcome: Result<Vec<(TopicPartition, ErrorCode)>, Failed>) {
        self.on(match action {
            Action::Forward { ticket, .. } => Event::Forwarded { ticket: *ticket, outcome },
            Action::Write { order, side, .. } => Event::Written { order: *order, side: *side, outcome },
            Action::Read { order, side } => {
                let outcome = outcome.map(|_| self.sides[*side].offsets.clone());
                Event::OffsetsRead { order: *order, side: *side, outcome }
            }
            Action::RemoveMembers { order, side } => {
                Event::MembersRemoved { order: *order, side: *side, outcome: outcome.map(drop) }
            }
            other => panic!("{other:?} has no outcome"),
        });
    }

    /// The oldest thing that was sent is done and answered.
    pub(super) fn deliver(&mut self) {
        let sent = self.sent.remove(0);
        let outcome = self.apply(&sent);
        self.tell(&sent.action, outcome);
    }

    pub(super) fn deliver_all(&mut self) {
        for _ in 0..1_000 {
            if self.sent.is_empty() {
                return;
            }
            self.deliver();
        }
        panic!("never comes to rest: {:?}", self.sent);
    }

    /// The oldest thing that was sent has no outcome: given back, so that it can arrive later.
    pub(super) fn lose(&mut self) -> Sent {
        let sent = self.sent.remove(0);
        self.tell(&sent.action, Err(Failed::Unknown));
        sent
    }

    pub(super) fn view(&self) -> View {
        self.group.view()
    }

    pub(super) fn held(&self, side: Side, place: i32) -> Option<i64> {
        self.sides[side].offsets.get(&at(place)).map(|position| position.offset)
    }

    /// What was sent and has no outcome, in short.
    pub(super) fn under_way(&self) -> Vec<String> {
        let short = |sent: &Sent| match &sent.action {
            Action::Forward { ticket, side } => format!("forward {} to {side}", ticket.0),
            Action::Write { side, changes, .. } => {
                let change = |(place, position): (&TopicPartition, &Option<Position>)| match position {
                    Some(position) => format!("{}={}", place.partition, position.offset),
                    None => format!("{} forgotten", place.partition),
                };
                format!("write {} to {side}", changes.iter().map(change).collect::<Vec<_>>().join(" "))
            }
            Action::Read { side, .. } => format!("read {side}"),
            Action::RemoveMembers { side, .. } => format!("remove members at {side}"),
            other => format!("{other:?}"),
        };
        self.sent.iter().map(short).collect()
    }
}

pub(super) fn side_of(action: &Action) -> Option<Side> {
    match action {
        Action::Forward { side, .. }
        | Action::Write { side, .. }
        | Action::Read { side, .. }
        | Action::RemoveMembers { side, .. } => Some(*side),
        _ => None,
    }
}
