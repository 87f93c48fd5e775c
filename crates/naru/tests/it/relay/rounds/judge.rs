//! What both sides hold, what the relay shows and what the group was given, held against what was acknowledged.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use naru_kafka::client::fetch::{FetchFrom, FetchOptions};
use naru_kafka::client::{Client, TopicPartition};
use naru_relay::Side;

use super::cluster::{Cast, client};
use super::load::{Delivered, Event, GROUP};
use super::{PARTITIONS, TOPIC};
use crate::kill::judge::{Stored, read_all, violations};
use crate::kill::load::{History, Id};

/// Doubled records whose batches are shown.
const EXPLAINED_MAX: usize = 8;

/// What is wrong; empty if nothing is. Lost write, duplicate and nonmonotonic send by each log; inconsistent offsets by
/// comparing the logs; poll skip and nonmonotonic poll by what the group was given.
pub(super) async fn judge(cast: &Cast, history: &History, delivered: &Delivered) -> Vec<String> {
    let logs =
        [("relay", cast.bootstrap().await), ("side a", cast.side(Side::A).await), ("side b", cast.side(Side::B).await)];
    let mut found = Vec::new();
    let mut read: Vec<(&str, Vec<Stored>, BTreeMap<i32, i64>)> = Vec::new();
    for (name, bootstrap) in logs {
        let client = client(&bootstrap);
        let stored = read_all(&client, TOPIC, PARTITIONS).await;
        found.extend(violations(history, &stored).into_iter().map(|finding| format!("{name}: {finding}")));
        let held: HashSet<Id> = stored.iter().filter_map(|stored| stored.id).collect();
        let lost = delivered.unplaced.iter().filter(|id| !held.contains(*id));
        found.extend(lost.map(|id| format!("{name}: {id:?} lost: acknowledged as a duplicate")));
        found.extend(explained(&client, name, &stored).await);
        let all: Vec<TopicPartition> = (0..PARTITIONS).map(|partition| TopicPartition::new(TOPIC, partition)).collect();
        let committed = client.committed_offsets(GROUP, Some(&all)).await.unwrap();
        let committed = committed.into_iter().map(|committed| (committed.at.partition, committed.offset)).collect();
        read.push((name, stored, committed));
        assert!(client.shutdown(Duration::from_secs(5)).await, "the client's connections end");
    }
    let (_, shown, committed) = &read[0];
    for (name, stored, held) in &read[1..] {
        if stored != shown {
            let differs = shown.iter().zip(stored).find(|(shown, stored)| shown != stored);
            found.push(format!(
                "{name} is not what the relay shows: {differs:?} of {} and {}",
                shown.len(),
                stored.len()
            ));
        }
        if held != committed {
            found.push(format!("{name} holds other committed offsets than the relay shows: {held:?}, {committed:?}"));
        }
    }
    found.extend(deliveries(shown, &delivered.events));
    found
}

/// Which batches doubled records stand in: a producer's own doing, or a relay's.
async fn explained(client: &Client, name: &str, stored: &[Stored]) -> Vec<String> {
    let mut first: HashMap<Id, &Stored> = HashMap::new();
    let mut twice: Vec<&Stored> = Vec::new();
    for stored in stored {
        if let Some(before) = stored.id.and_then(|id| first.insert(id, stored)) {
            twice.extend([before, stored]);
        }
    }
    let mut text = Vec::new();
    for stored in twice.into_iter().take(EXPLAINED_MAX) {
        let from = FetchFrom::new(TopicPartition::new(TOPIC, stored.partition), stored.offset);
        let fetched = client.fetch_one(&from, &FetchOptions::default()).await.unwrap();
        text.extend(fetched.batches.first().map(|batch| format!("{name}: {stored:?} in {:?}", batch.header())));
    }
    text
}

/// Of the group: each delivery is what stands there, a session's deliveries follow one another, a session begins at or
/// above what had been acknowledged as committed before it, and nothing is left out.
fn deliveries(shown: &[Stored], events: &[Event]) -> Vec<String> {
    let mut found = Vec::new();
    let log: HashMap<(i32, i64), Option<Id>> = shown.iter().map(|s| ((s.partition, s.offset), s.id)).collect();
    let mut committed: HashMap<i32, i64> = HashMap::new();
    // What had been committed when a session began.
    let mut begins: HashMap<(usize, u32), HashMap<i32, i64>> = HashMap::new();
    let mut last: HashMap<(usize, u32, i32), i64> = HashMap::new();
    let mut given: HashMap<(i32, i64), ()> = HashMap::new();
    for event in events {
        match *event {
            Event::Assigned { member, session } => drop(begins.insert((member, session), committed.clone())),
            Event::Committed { partition, offset } => {
                let highest = committed.entry(partition).or_default();
                *highest = (*highest).max(offset);
            }
            Event::Given { member, session, partition, offset, id } => {
                let place = format!("{partition}/{offset}");
                if log.get(&(partition, offset)) != Some(&id) {
                    found.push(format!("{place}: member {member} was given {id:?}, the log holds another or nothing"));
                }
                given.insert((partition, offset), ());
                match last.insert((member, session, partition), offset) {
                    Some(before) if offset <= before => {
                        found.push(format!("{place}: member {member} was given it after {before} (nonmonotonic poll)"));
                    }
                    Some(before) if offset > before + 1 => {
                        found.push(format!("{place}: member {member} was given it after {before} (poll skip)"));
                    }
                    Some(_) => {}
                    None => {
                        let known = begins.get(&(member, session)).and_then(|known| known.get(&partition));
                        if let Some(known) = known.filter(|known| offset < **known) {
                            found.push(format!("{place}: member {member} began there, {known} had been committed"));
                        }
                    }
                }
            }
        }
    }
    let skipped = shown.iter().filter(|stored| !given.contains_key(&(stored.partition, stored.offset)));
    found.extend(skipped.map(|s| format!("{}/{}: never given to the group (poll skip)", s.partition, s.offset)));
    found
}

#[test]
fn every_anomaly_of_a_group_is_seen() {
    let stored = |offset| Stored { partition: 0, offset, id: Some((1, offset as u64)) };
    let shown: Vec<Stored> = (0..6).map(stored).collect();
    let given = |session, offset: i64| {
        let id = Some((1, offset as u64));
        Event::Given { member: 0, session, partition: 0, offset, id }
    };
    let assigned = |session| Event::Assigned { member: 0, session };
    let committed = |offset| Event::Committed { partition: 0, offset };
    let whole = |second: i64| {
        let first = [assigned(1), given(1, 0), given(1, 1), given(1, 2), committed(2), assigned(2)];
        first.into_iter().chain((second..6).map(|offset| given(2, offset))).collect::<Vec<_>>()
    };
    let check = |events: Vec<Event>, expect: &[&str]| {
        let found = deliveries(&shown, &events);
        assert_eq!(found.len(), expect.len(), "{found:?}");
        assert!(found.iter().zip(expect).all(|(finding, expect)| finding.contains(expect)), "{found:?}");
    };
    check(whole(3), &[]);
    // Read again from the commit: at least once.
    check(whole(2), &[]);
    check(whole(1), &["2 had been committed"]);
    check(whole(4), &["0/3: never given"]);
    let without = |index: usize| {
        let mut events = whole(3);
        events.remove(index);
        events
    };
    check(without(2), &["0/2: member 0 was given it after 0 (poll skip)", "0/1: never given"]);
    check([whole(3), vec![given(2, 4)]].concat(), &["nonmonotonic poll"]);
    let other = Event::Given { member: 1, session: 1, partition: 0, offset: 3, id: Some((9, 9)) };
    check([whole(3), vec![other]].concat(), &["the log holds another"]);
}
