#![allow(clippy::unwrap_used)] // a test panics on failure

use std::sync::Arc;

use naru_kafka::client::TopicPartition;
use naru_kafka::wire::ErrorCode;

mod loss;
mod returning;
mod starting;
mod switching;

use super::*;
use crate::sequence::{Millis, Suspicion};
use crate::side::Side::{A, B};

/// A group with two partitions, and a coordinator that answers at once unless it is told otherwise.
struct Script {
    group: Group,
    now: Millis,
    stored: Option<(u64, GroupRecord)>,
    /// Outcomes of the next swaps, each with whether it is applied; then all are done.
    swaps: Vec<(SwapOutcome, bool)>,
    /// Partitions report equal ends after each announcement, offsets are copied, topics made again, at once.
    obedient: bool,
    /// Everything ordered, but swaps and reads.
    ordered: Vec<Action>,
    /// Every standing that was announced as held, with what was sent.
    announced: Vec<(Standing, Option<Standing>)>,
}

fn partitions() -> [TopicPartition; 2] {
    [TopicPartition::new("pay", 0), TopicPartition::new("pay", 1)]
}

fn standing(active: Side, in_sync: SideSet, epoch: u64) -> Standing {
    Standing { active, in_sync, epoch }
}

fn record(active: Side, in_sync: SideSet, epoch: u64) -> GroupRecord {
    let grant = (!in_sync.is_pair()).then_some(Cause::StandbyAbsent);
    GroupRecord { standing: standing(active, in_sync, epoch), grant, switching: None, rollback: None, confirmed: true }
}

impl Script {
    fn start(config: GroupConfig, boot: Boot) -> Self {
        let mut script = Self {
            group: Group::new(config, boot),
            now: 10_000,
            stored: boot.found,
            swaps: Vec::new(),
            obedient: true,
            ordered: Vec::new(),
            announced: Vec::new(),
        };
        script.on(Event::Lease { until: Millis::MAX });
        for partition in partitions() {
            script.on(Event::Added { partition, duplex: true });
        }
        script
    }

    /// A pair that serves, A active.
    fn pair() -> Self {
        Self::serving(record(A, SideSet::PAIR, 1), Absence::Available)
    }

    fn serving(record: GroupRecord, absence: Absence) -> Self {
        let config = GroupConfig { absence, ..GroupConfig::default() };
        let mut script = Self::start(config, Boot { found: Some((1, record)), ..Boot::default() });
        for side in Side::BOTH {
            script.serve(side);
        }
        script
    }

    fn serve(&mut self, side: Side) {
        self.on(Event::Probed { side, outcome: Probe::Serving });
        if self.held().in_sync.contains(side) {
            self.report(side, Suspicion::Serving);
        }
    }

    fn lose(&mut self, side: Side) {
        let since = self.now;
        self.on(Event::Probed { side, outcome: Probe::Absent { since } });
        self.report(side, Suspicion::Absent { since });
    }

    fn report(&mut self, side: Side, suspicion: Suspicion) {
        for partition in partitions() {
            self.report_at(&partition, side, suspicion);
        }
    }

    fn report_at(&mut self, partition: &TopicPartition, side: Side, suspicion: Suspicion) {
        let seen = self.seen();
        self.on(Event::Report { partition: partition.clone(), side, suspicion, seen });
    }

    fn seen(&self) -> Seen {
        let (held, sent) = self.group.announcement();
        Seen::of(held, sent)
    }

    fn held(&self) -> Standing {
        self.group.announcement().0
    }

    /// Lets time pass in small steps.
    fn pass(&mut self, ms: Millis) {
        let until = self.now + ms;
        while self.now < until {
            self.now += 50;
            self.on(Event::Tick);
        }
    }

    /// The last try to make committed offsets equal ends.
    fn copied(&mut self, side: Side, equal: bool) {
        let attempt = self.group.attempts;
        self.on(Event::OffsetsCopied { side, attempt, equal });
    }

    fn command(&mut self, command: Command) {
        self.on(Event::Command { id: 7, command });
    }

    fn answer(&self) -> Option<Result<(), CommandRefused>> {
        self.ordered.iter().rev().find_map(|action| match action {
            Action::Answer { id: 7, result } => Some(*result),
            _ => None,
        })
    }

    fn ordered(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.ordered)
    }

    fn raised(&self) -> Vec<Alarm> {
        self.group.view().alarms.into_keys().collect()
    }

    fn on(&mut self, event: Event) {
        let mut queue = std::collections::VecDeque::from([event]);
        while let Some(event) = queue.pop_front() {
            let mut out = Vec::new();
            self.group.on(self.now, event, &mut out);
            for action in out {
                self.carry_out(action, &mut queue);
            }
        }
    }

    fn carry_out(&mut self, action: Action, queue: &mut std::collections::VecDeque<Event>) {
        let seen = self.seen();
        match &action {
            Action::Swap { expected, record } => {
                let stands = self.stored.map_or(0, |(version, _)| version);
                let (outcome, applied) = match self.swaps.is_empty() {
                    false => self.swaps.remove(0),
                    true if stands == *expected => (SwapOutcome::Done, true),
                    true => (SwapOutcome::Conflict, false),
                };
                if applied && stands == *expected {
                    self.stored = Some((stands + 1, *record));
                }
                queue.push_back(Event::Swapped(outcome));
                return;
            }
            Action::ReadBack => {
                queue.push_back(Event::Read(Some(self.stored)));
                return;
            }
            Action::Announce { held, sent } => {
                self.announced.push((*held, *sent));
                let out = Side::BOTH.into_iter().find(|side| !held.in_sync.contains(*side));
                if let Some(side) = out.filter(|side| self.obedient && self.group.health.serving_since(*side).is_some())
                {
                    for partition in partitions() {
                        let suspicion = Suspicion::Behind { records: 0 };
                        queue.push_back(Event::Report { partition, side, suspicion, seen });
                    }
                }
            }
            Action::Quiesce if self.obedient => {
                for partition in partitions() {
                    queue.push_back(Event::Quiesced { partition, end: 5, seen });
                }
            }
            Action::AssessReturn { side } if self.obedient => {
                let outcome = Assessment::Ready { rebuild: Vec::new() };
                queue.push_back(Event::Assessed { side: *side, outcome });
                for partition in partitions() {
                    let suspicion = Suspicion::Behind { records: 0 };
                    queue.push_back(Event::Report { partition, side: *side, suspicion, seen });
                }
            }
            Action::CopyOffsets { side, attempt } if self.obedient => {
                queue.push_back(Event::OffsetsCopied { side: *side, attempt: *attempt, equal: true });
            }
            _ => {}
        }
        self.ordered.push(action);
    }
}
