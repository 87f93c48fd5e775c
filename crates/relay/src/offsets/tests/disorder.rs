//! Seeded disorder: commits, lost and late requests, takeovers, planned flips, returns and restarts. At every step each
//! side in sync holds what was acknowledged, or something newer.

use std::collections::BTreeMap;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::world::{CONFIG, SETTLED, Sent, UNSETTLED, World, standing};
use crate::offsets::{Action, Event, Failed, Group, GroupConfig, Kept};
use crate::sequence::{Millis, Suspicion, Ticket};
use crate::side::{Side, SideSet};
use crate::sides::Standing;

const PLACES: i32 = 3;
const STEPS: usize = 600;

struct Disorder {
    config: GroupConfig,
    world: World,
    rng: ChaCha8Rng,
    held: Standing,
    is_pair_sent: bool,
    /// Sent, lost for its sender, and not yet arrived or gone.
    late: Vec<Sent>,
    next_offset: i64,
    /// The newest acknowledged offset by place. Offsets only rise here, so that newer is greater.
    acknowledged: BTreeMap<i32, i64>,
    checked: usize,
    offsets_of: BTreeMap<Ticket, (i32, i64)>,
}

impl Disorder {
    fn new(config: GroupConfig, seed: u64) -> Self {
        let mut world = World::new();
        world.group = Group::new(config, SETTLED, Kept::default());
        world.on(Event::Lease { until: Millis::MAX });
        let held = standing(Side::A, SideSet::PAIR, 1);
        world.stand(held);
        let rng = ChaCha8Rng::seed_from_u64(seed);
        let (late, acknowledged, offsets_of) = Default::default();
        Self {
            config,
            world,
            rng,
            held,
            is_pair_sent: false,
            late,
            next_offset: 1,
            acknowledged,
            checked: 0,
            offsets_of,
        }
    }

    fn hold(&mut self, active: Side, in_sync: SideSet) {
        self.is_pair_sent = false;
        self.held = standing(active, in_sync, self.held.epoch + 1);
        self.world.stand(self.held);
    }

    fn step(&mut self) {
        match self.rng.random_range(0..100) {
            0..25 => {
                let place = self.rng.random_range(0..PLACES);
                let offset = self.next_offset;
                self.next_offset += 1;
                let ticket = self.world.commit(&[(place, offset)]);
                self.offsets_of.insert(ticket, (place, offset));
            }
            25..65 => self.outcome(),
            65..75 => self.arrive_late(),
            75..92 => {
                let ms = self.rng.random_range(1..400);
                // What was sent long ago has arrived or is gone: the assumption behind the time to settle.
                let over = |sent: &Sent, now: Millis| now >= sent.at + CONFIG.settle_ms;
                let now = self.world.now + ms;
                self.late.retain(|sent| !over(sent, now));
                let (old, young): (Vec<_>, Vec<_>) =
                    std::mem::take(&mut self.world.sent).into_iter().partition(|sent| over(sent, now));
                self.world.sent = young;
                for sent in old {
                    self.world.tell(&sent.action, Err(Failed::Unknown));
                }
                self.world.pass(ms);
            }
            92..94 if self.held.is_duplex() => self.hold(self.held.standby(), SideSet::only(self.held.standby())),
            94..95 if self.held.is_duplex() => self.hold(self.held.active, SideSet::only(self.held.active)),
            95..97 => self.world.on(Event::Quiesce),
            97..98 => self.world.on(Event::Resume),
            98 => self.restart(),
            _ => self.world.on(Event::Recheck),
        }
        if std::mem::take(&mut self.world.quiesced) && self.held.is_duplex() {
            self.hold(self.held.standby(), SideSet::PAIR);
            self.world.on(Event::Resume);
        }
        self.rejoin();
    }

    /// A follower that is equal becomes a member of the pair: first both are required, and equal once more.
    fn rejoin(&mut self) {
        let equal = (self.held.standby(), Suspicion::Behind { records: 0 });
        let is_equal = std::mem::take(&mut self.world.suspicions).contains(&equal);
        if self.held.is_duplex() || !is_equal {
            return;
        }
        if self.is_pair_sent {
            self.hold(self.held.active, SideSet::PAIR);
        } else {
            self.is_pair_sent = true;
            let pair = standing(self.held.active, SideSet::PAIR, self.held.epoch + 1);
            self.world.on(Event::Standing { held: self.held, sent: Some(pair) });
        }
    }

    /// Something that was sent is answered, or refused before, or done without an answer, or neither for now.
    fn outcome(&mut self) {
        if self.world.sent.is_empty() {
            return;
        }
        let chosen = self.rng.random_range(0..self.world.sent.len());
        let sent = self.world.sent.remove(chosen);
        match self.rng.random_range(0..10) {
            0 => self.world.tell(&sent.action, Err(Failed::NotSent)),
            1 => {
                let _applied = self.world.apply(&sent);
                self.world.tell(&sent.action, Err(Failed::Unknown));
            }
            2 => {
                self.world.tell(&sent.action, Err(Failed::Unknown));
                self.late.push(sent);
            }
            _ => {
                let outcome = self.world.apply(&sent);
                self.world.tell(&sent.action, outcome);
            }
        }
    }

    fn arrive_late(&mut self) {
        if !self.late.is_empty() {
            let chosen = self.rng.random_range(0..self.late.len());
            let sent = self.late.remove(chosen);
            let _applied = self.world.apply(&sent);
        }
    }

    /// The relay's process ends; what it had sent may still arrive, and its clients ask again.
    fn restart(&mut self) {
        self.late.append(&mut self.world.sent);
        self.late.retain(|sent| !matches!(sent.action, Action::Read { .. }));
        let marks = self.world.disk.clone().unwrap_or_default();
        self.world.group = Group::new(self.config, UNSETTLED, Kept { marks, adopts: false });
        self.world.quiesced = false;
        self.is_pair_sent = false;
        self.world.on(Event::Lease { until: Millis::MAX });
        self.world.stand(self.held);
    }

    fn check(&mut self) {
        for (ticket, result) in &self.world.answers[self.checked..] {
            let (place, offset) = self.offsets_of[ticket];
            if result.as_ref().is_ok_and(|codes| codes.iter().all(|code| code.0 == 0)) {
                let newest = self.acknowledged.entry(place).or_insert(offset);
                *newest = offset.max(*newest);
            }
        }
        self.checked = self.world.answers.len();
        for (place, offset) in &self.acknowledged {
            for side in Side::BOTH.into_iter().filter(|side| self.held.in_sync.contains(*side)) {
                let held = self.world.held(side, *place).unwrap_or(-1);
                assert!(held >= *offset, "{side} holds {held} in {place}, {offset} was acknowledged; {}", self.held);
            }
        }
    }
}

/// Runs a seed to its end and says how many commits were acknowledged.
fn run(config: GroupConfig, seed: u64) -> usize {
    let mut disorder = Disorder::new(config, seed);
    for _ in 0..STEPS {
        disorder.step();
        disorder.check();
    }
    disorder.world.answers.iter().filter(|(_, result)| result.is_ok()).count()
}

#[test]
fn no_disorder_loses_an_acknowledged_offset() {
    let mut acknowledged = 0;
    for seed in 0..500 {
        let outcome = std::panic::catch_unwind(|| run(CONFIG, seed));
        match outcome {
            Ok(count) => acknowledged += count,
            Err(cause) => {
                eprintln!("seed {seed}");
                std::panic::resume_unwind(cause);
            }
        }
    }
    assert!(acknowledged > 500 * 10, "only {acknowledged} commits were acknowledged: nothing was tried");
}

#[cfg(feature = "mutation")]
#[test]
fn every_seeded_fault_is_caught() {
    for mutant in crate::offsets::Mutant::ALL {
        let config = GroupConfig { mutant: Some(*mutant), ..CONFIG };
        let caught = (0..500).any(|seed| std::panic::catch_unwind(|| run(config, seed)).is_err());
        assert!(caught, "{mutant:?} was not caught");
    }
}
