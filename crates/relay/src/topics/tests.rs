//! An intent that is cut off at any step is finished, and nothing is done twice that must not be.

#![allow(clippy::unwrap_used)] // a test panics on failure

use std::collections::BTreeMap;

use naru_kafka::wire::TopicId;

use super::plan::{self, Observed, Present, Return, Setting, Step};
use super::record::{Change, Life, TopicRecord};
use crate::side::{Side, SideMap, SideSet};

/// Two sides that do what a step says.
#[derive(Debug, Clone)]
struct Sides {
    has: SideMap<Option<Present>>,
    away: Option<Side>,
    next_id: u8,
}

impl Sides {
    fn with(has: SideMap<Option<Present>>) -> Self {
        Self { has, away: None, next_id: 100 }
    }

    fn observed(&self) -> SideMap<Observed> {
        SideMap::from_fn(|side| match &self.has[side] {
            _ if self.away == Some(side) => Observed::Unreachable,
            None => Observed::Absent,
            Some(there) => Observed::Present(there.clone()),
        })
    }

    fn apply(&mut self, record: &TopicRecord, step: &Step) {
        match step {
            Step::Create(side) => {
                assert!(self.has[*side].is_none(), "made twice on {side}");
                self.next_id += 1;
                let configs = record
                    .configs
                    .iter()
                    .map(|(name, value)| (name.clone(), Setting { value: value.clone(), is_default: false }));
                self.has[*side] = Some(Present {
                    id: TopicId([self.next_id; 16]),
                    partitions: record.partitions,
                    replication: 1,
                    configs: configs.collect(),
                });
            }
            Step::Delete(side) => self.has[*side] = None,
            Step::Grow(side, to) => self.has[*side].as_mut().unwrap().partitions = *to,
            Step::Alter(side, changes) => {
                let configs = &mut self.has[*side].as_mut().unwrap().configs;
                for Change { name, value } in changes {
                    let is_default = value.is_none();
                    let value = value.clone().unwrap_or_else(|| "default".to_owned());
                    configs.insert(name.clone(), Setting { value, is_default });
                }
            }
            other => panic!("{other:?} is not done on a side"),
        }
    }
}

fn record(life: Life, sides: SideMap<Option<TopicId>>) -> TopicRecord {
    let configs = BTreeMap::from([("retention.ms".to_owned(), "1000".to_owned())]);
    TopicRecord {
        name: "orders".into(),
        id: TopicId([9; 16]),
        partitions: 3,
        replication: 1,
        configs,
        sides,
        taken_in: 0,
        life,
    }
}

fn there(id: u8) -> Present {
    let setting = Setting { value: "1000".to_owned(), is_default: false };
    let configs = BTreeMap::from([("retention.ms".to_owned(), setting)]);
    Present { id: TopicId([id; 16]), partitions: 3, replication: 1, configs }
}

fn id(byte: u8) -> Option<TopicId> {
    Some(TopicId([byte; 16]))
}

/// Runs an intent to its end. A step changes a side and only [`Step::Record`] what is kept, so that to be cut off between
/// any two and to begin again from what is kept is the same as to go on; that no step is done twice, the sides check.
fn run(mut kept: TopicRecord, mut sides: Sides) -> (TopicRecord, Sides) {
    for _ in 0..30 {
        match plan::next(&kept, SideSet::PAIR, &sides.observed()) {
            Step::Done => return (kept, sides),
            Step::Record(next) => kept = next,
            step => sides.apply(&kept, &step),
        }
    }
    panic!("never comes to its end: {kept:?}");
}

#[track_caller]
fn check(kept: TopicRecord, sides: Sides, expect: impl Fn(&TopicRecord, &Sides) -> bool) {
    let (kept, sides) = run(kept, sides);
    assert!(expect(&kept, &sides), "{kept:?}\n{sides:?}");
}

#[test]
fn a_topic_is_made_on_both_sides_and_its_identities_are_kept() {
    let nowhere = Sides::with(SideMap::default());
    let half = Sides::with(SideMap { a: Some(there(1)), b: None });
    for sides in [nowhere, half] {
        check(record(Life::Creating, SideMap::default()), sides, |kept, sides| {
            let known = Side::BOTH.into_iter().all(|side| kept.sides[side] == sides.has[side].as_ref().map(|t| t.id));
            kept.life == Life::Live && known && sides.has.a.is_some() && sides.has.b.is_some()
        });
    }
}

#[test]
fn a_topic_that_is_there_with_other_partitions_is_not_taken_over() {
    let other = Present { partitions: 5, ..there(1) };
    let sides = Sides::with(SideMap { a: None, b: Some(other) });
    let mut kept = record(Life::Creating, SideMap::default());
    let Step::Create(Side::A) = plan::next(&kept, SideSet::PAIR, &sides.observed()) else { panic!() };
    kept.sides.a = id(1);
    let sides = Sides::with(SideMap { a: Some(there(1)), b: sides.has.b });
    assert!(matches!(plan::next(&kept, SideSet::PAIR, &sides.observed()), Step::Blocked(Side::B, _)));
}

#[test]
fn a_deletion_ends_when_both_sides_have_it_no_more_and_spares_a_namesake() {
    let both = SideMap { a: id(1), b: id(2) };
    let sides = Sides::with(SideMap { a: Some(there(1)), b: Some(there(2)) });
    check(record(Life::Deleting, both), sides, |kept, sides| {
        kept.life == Life::Deleted && sides.has.a.is_none() && sides.has.b.is_none()
    });
    let namesake = Sides::with(SideMap { a: Some(there(1)), b: Some(there(7)) });
    check(record(Life::Deleting, both), namesake, |kept, sides| {
        kept.life == Life::Deleted && sides.has.a.is_none() && sides.has.b.is_some()
    });
}

#[test]
fn a_deletion_waits_for_a_side_that_is_away_even_if_it_is_not_needed() {
    let mut sides = Sides::with(SideMap { a: None, b: Some(there(2)) });
    sides.away = Some(Side::B);
    let kept = record(Life::Deleting, SideMap { a: None, b: id(2) });
    assert_eq!(plan::next(&kept, SideSet::only(Side::A), &sides.observed()), Step::Wait(Side::B));
}

#[test]
fn partitions_are_added_and_configurations_changed_on_both_sides() {
    let both = SideMap { a: id(1), b: id(2) };
    let sides = Sides::with(SideMap { a: Some(there(1)), b: Some(there(2)) });
    check(record(Life::Growing { to: 6 }, both), sides.clone(), |kept, sides| {
        kept.partitions == 6 && sides.has.iter().all(|(_, there)| there.as_ref().unwrap().partitions == 6)
    });
    let set = |name: &str, value: Option<&str>| Change { name: name.to_owned(), value: value.map(str::to_owned) };
    let changes = vec![set("retention.ms", None), set("segment.ms", Some("5"))];
    check(record(Life::Altering { changes: changes.clone() }, both), sides, |kept, sides| {
        let told =
            |there: &Present| there.configs["segment.ms"].value == "5" && there.configs["retention.ms"].is_default;
        kept.configs == BTreeMap::from([("segment.ms".to_owned(), "5".to_owned())])
            && sides.has.iter().all(|(_, there)| told(there.as_ref().unwrap()))
    });
}

#[test]
fn a_side_that_is_not_needed_is_left_for_its_return() {
    let mut sides = Sides::with(SideMap::default());
    sides.away = Some(Side::B);
    let kept = record(Life::Creating, SideMap::default());
    let alone = SideSet::only(Side::A);
    assert_eq!(plan::next(&kept, alone, &sides.observed()), Step::Create(Side::A));
    sides.has.a = Some(there(1));
    let Step::Record(known) = plan::next(&kept, alone, &sides.observed()) else { panic!() };
    let Step::Record(live) = plan::next(&known, alone, &sides.observed()) else { panic!() };
    assert_eq!(live.life, Life::Live);
    assert_eq!(plan::assess(&live, Side::B, None), Return::Rebuild);
}

#[test]
fn a_side_that_returns_is_mended_or_made_again() {
    let kept = record(Life::Live, SideMap { a: id(1), b: id(2) });
    let check =
        |there: Option<Present>, expect: Return| assert_eq!(plan::assess(&kept, Side::B, there.as_ref()), expect);
    check(Some(there(2)), Return::Same);
    check(None, Return::Rebuild);
    check(Some(there(7)), Return::Rebuild);
    check(Some(Present { partitions: 4, ..there(2) }), Return::Rebuild);
    check(Some(Present { partitions: 2, ..there(2) }), Return::Mend(vec![Step::Grow(Side::B, 3)]));
    let wanted = Change { name: "retention.ms".to_owned(), value: Some("1000".to_owned()) };
    let plain = Present { configs: BTreeMap::new(), ..there(2) };
    check(Some(plain), Return::Mend(vec![Step::Alter(Side::B, vec![wanted])]));
}

#[test]
fn a_record_reads_as_it_was_written() {
    let changes = vec![Change { name: "retention.ms".to_owned(), value: None }];
    for life in [Life::Creating, Life::Live, Life::Growing { to: 4 }, Life::Altering { changes }, Life::Deleted] {
        let kept = record(life, SideMap { a: id(1), b: None });
        let text = serde_json::to_string(&kept).unwrap();
        assert_eq!(serde_json::from_str::<TopicRecord>(&text).unwrap(), kept, "{text}");
    }
    let text = serde_json::to_string(&record(Life::Live, SideMap::default())).unwrap();
    assert!(serde_json::from_str::<TopicRecord>(&text.replace("0909", "09")).is_err());
}
