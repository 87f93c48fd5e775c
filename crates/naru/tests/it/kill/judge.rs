//! What is in the log, held against what was sent and acknowledged.

use std::collections::BTreeMap;

use naru_kafka::client::fetch::{FetchFrom, FetchOptions};
use naru_kafka::client::offsets::OffsetAt;
use naru_kafka::client::{Client, TopicPartition};

use super::load::{History, Id, parse};

/// The most that a batch of ours decompresses to.
const DECOMPRESSED_MAX: usize = 1 << 20;

/// A record that is in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    pub partition: i32,
    pub offset: i64,
    /// None: it is nothing that we wrote.
    pub id: Option<Id>,
}

/// Every record of a topic. Checks every batch's checksum, and that offsets follow one another.
pub async fn read_all(client: &Client, topic: &str, partitions: i32) -> Vec<Stored> {
    let mut stored = Vec::new();
    for partition in 0..partitions {
        let at = TopicPartition::new(topic, partition);
        let end = client.list_offset(&at, OffsetAt::Latest).await.unwrap().offset.unwrap();
        let mut from = FetchFrom::new(at, 0);
        while from.offset < end {
            let fetched = client.fetch_one(&from, &FetchOptions::default()).await.unwrap();
            for batch in fetched.batches {
                batch.verify_crc().unwrap();
                assert_eq!(batch.header().base_offset, from.offset, "offsets without a gap");
                for record in batch.records(DECOMPRESSED_MAX) {
                    let record = record.unwrap();
                    let id = record.value.as_deref().and_then(parse);
                    stored.push(Stored { partition, offset: record.offset, id });
                }
                from.offset = batch.header().next_offset();
            }
        }
    }
    stored
}

/// What is wrong; empty if nothing is.
pub fn violations(history: &History, stored: &[Stored]) -> Vec<String> {
    let mut found = Vec::new();
    let mut places: BTreeMap<Id, (i32, i64)> = BTreeMap::new();
    let mut last: BTreeMap<(i32, u32), u64> = BTreeMap::new();
    for &Stored { partition, offset, id } in stored {
        let Some(id) = id.filter(|id| history.was_sent(*id)) else {
            found.push(format!("{partition}/{offset}: never sent: {id:?}"));
            continue;
        };
        if let Some(first) = places.insert(id, (partition, offset)) {
            found.push(format!("{id:?} doubled: at {first:?} and {:?}", (partition, offset)));
        } else if last.insert((partition, id.0), id.1).is_some_and(|before| before > id.1) {
            found.push(format!("{partition}/{offset}: {id:?} out of order"));
        }
    }
    for acknowledged in history.acknowledged() {
        let expect = (acknowledged.partition, acknowledged.offset);
        match places.get(&acknowledged.id) {
            None => found.push(format!("{:?} lost: acknowledged at {expect:?}", acknowledged.id)),
            Some(place) if *place != expect => {
                found.push(format!("{:?} moved: acknowledged at {expect:?}, is at {place:?}", acknowledged.id));
            }
            Some(_) => {}
        }
    }
    found
}

#[test]
fn every_anomaly_is_seen() {
    let history = History::default();
    history.sends(1, 4);
    for number in 0..3 {
        history.acknowledge((1, number), 0, i64::try_from(number).unwrap());
    }
    let check = |ids: &[Option<Id>], expect: &[&str]| {
        let stored: Vec<_> = (0..).zip(ids).map(|(offset, id)| Stored { partition: 0, offset, id: *id }).collect();
        let found = violations(&history, &stored);
        assert_eq!(found.len(), expect.len(), "{ids:?}: {found:?}");
        for expect in expect {
            assert!(found.iter().any(|violation| violation.contains(expect)), "{expect} in {found:?}");
        }
    };
    let [a, b, c, d] = [0, 1, 2, 3].map(|number| Some((1, number)));
    check(&[a, b, c], &[]);
    check(&[a, b, c, d], &[]);
    check(&[a, b], &["lost"]);
    check(&[a, b, c, a], &["doubled", "moved"]);
    check(&[b, a, c], &["out of order", "moved", "moved"]);
    check(&[a, b, c, Some((1, 9))], &["never sent"]);
    check(&[a, b, c, None], &["never sent"]);
}
