//! How long producers and consumers were away when a side was lost or the sides were switched: read off the pulses.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::history::History;
use crate::recorder::{Mark, MarkKind};
use crate::scenario::Scenario;

/// What a pause belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AwayKind {
    /// A side was killed or paused.
    Loss,
    /// A planned switch.
    Switch,
}

/// The longest pause of any partition from one event until the next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Away {
    /// What happened.
    pub kind: AwayKind,
    /// To whom: "cluster a".
    pub subject: String,
    /// When, in microseconds on the run's clock.
    pub at_us: u64,
    /// Between two acknowledgements of one partition; `None` if none came after the event.
    pub producers: Option<Pause>,
    /// Between two deliveries of one partition to the group; `None` if none came after the event.
    pub consumers: Option<Pause>,
}

/// A time without a sign of life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Pause {
    /// How long, in microseconds.
    pub lasts_us: u64,
    /// The last sign before it, in microseconds on the run's clock.
    pub from_us: u64,
}

/// One entry for each loss and each switch of a side. A pause that a later return of the side causes counts, too.
pub fn away(history: &History, scenario: &Scenario, marks: &[Mark]) -> Vec<Away> {
    let Some(relay) = &scenario.relay else { return Vec::new() };
    let sides = [relay.a, relay.b].map(|side| format!("cluster {}", scenario.clusters[side].name));
    let events: Vec<(AwayKind, &Mark)> = marks
        .iter()
        .filter_map(|mark| match mark.kind {
            MarkKind::Killed | MarkKind::Paused if sides.contains(&mark.subject) => Some((AwayKind::Loss, mark)),
            MarkKind::Switching => Some((AwayKind::Switch, mark)),
            _ => None,
        })
        .collect();
    let acknowledged = history.pulses.iter().filter_map(|pulse| Some((pulse.partition, pulse.acknowledged?.at_us)));
    let acknowledged = by_partition(acknowledged);
    let delivered = by_partition(history.pulses_delivered.iter().copied());
    let next = events.iter().skip(1).map(|(_, mark)| mark.at_us).chain([u64::MAX]);
    let whole = events.iter().zip(next).map(|((kind, mark), until_us)| Away {
        kind: *kind,
        subject: mark.subject.clone(),
        at_us: mark.at_us,
        producers: longest(&acknowledged, mark.at_us, until_us),
        consumers: longest(&delivered, mark.at_us, until_us),
    });
    whole.collect()
}

type Times = BTreeMap<i32, Vec<u64>>;

fn by_partition(times: impl Iterator<Item = (i32, u64)>) -> Times {
    let mut by_partition = Times::new();
    for (partition, at_us) in times {
        by_partition.entry(partition).or_default().push(at_us);
    }
    by_partition.values_mut().for_each(|times| times.sort_unstable());
    by_partition
}

/// The longest pause that ends between the two times, in the partition where it is longest: what an event causes begins
/// with the last sign of life before it. `None` as soon as some partition shows nothing between them.
fn longest(times: &Times, from_us: u64, until_us: u64) -> Option<Pause> {
    let of_each = times.values().map(|times| {
        let pauses = times.windows(2).filter(|pair| (from_us..until_us).contains(&pair[1]));
        pauses.map(|pair| Pause { lasts_us: pair[1] - pair[0], from_us: pair[0] }).max()
    });
    of_each.collect::<Option<Vec<Pause>>>()?.into_iter().max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_belongs_to_the_event_after_which_it_ended() {
        let beat = |from: u64, to: u64| (from..to).step_by(10).collect::<Vec<_>>();
        // Partition 0 pauses from 90 to 400, partition 1 only from 90 to 200, and both again from 590.
        let zero = [beat(0, 100), beat(400, 600), beat(650, 1_000)].concat();
        let one = [beat(0, 100), beat(200, 600), beat(650, 1_000)].concat();
        let times = Times::from([(0, zero), (1, one)]);
        let check = |from, until, expect: Option<(u64, u64)>| {
            let expect = expect.map(|(lasts_us, from_us)| Pause { lasts_us, from_us });
            assert_eq!(longest(&times, from, until), expect, "{from}..{until}");
        };
        check(95, 500, Some((310, 90)));
        check(95, 595, Some((310, 90)));
        // Partition 0 shows nothing in between.
        check(95, 300, None);
        check(500, u64::MAX, Some((60, 590)));
        check(981, u64::MAX, Some((10, 980)));
        check(995, u64::MAX, None);
        assert_eq!(longest(&Times::new(), 0, 1), None);
    }
}
