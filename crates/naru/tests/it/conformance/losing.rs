//! What a broker answers after it was killed and lost the end of a log, on a node of the test's own.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::batch::{Batch, HEADER_BYTES};
use super::broker::{Broker, Fetch, now_ms, unique, until};
use super::code::*;
use super::commits::Commit;
use super::subject::{Subject, block_on, start, subject};

const DAY_MS: i64 = 24 * 3_600_000;
const WRITER: i64 = 5_000_001;
const STRANGER: i64 = 5_000_002;
const FROM_THE_PAST: i64 = 5_000_003;

/// What stands in the first batch that the log loses.
const MARKER: &[u8] = b"the first batch to be cut off";

#[test]
fn a_log_cut_short_goes_on_at_its_shorter_end() {
    let mut node = start("losing");
    let mut broker = Broker::at(node.address());

    // Nobody has asked for a coordinator yet, so there is none.
    let cut = broker.topic("cut");
    let group = unique("cut");
    assert_eq!(broker.commit(8, &cut, &Commit::simple(&group, 3)), NOT_COORDINATOR);
    broker.find_coordinator(&group);
    until("the coordinator takes commits", || (broker.commit(8, &cut, &Commit::simple(&group, 3)) == 0).then_some(()));

    let past = broker.topic_with("past", 1, &[("retention.ms", "-1")]);
    let old = Batch::of(now_ms() - 2 * DAY_MS, &["old"]).producer(FROM_THE_PAST, 0, 0);
    assert_eq!(broker.append_batch(&past, 0, &old), 0);
    for sequence in 0..10 {
        let value = if sequence == 5 { MARKER } else { b"x" };
        let batch = Batch::of(now_ms(), &[value]).producer(WRITER, 0, sequence);
        assert_eq!(broker.append_batch(&cut, 0, &batch), i64::from(sequence));
    }
    node.kill().unwrap();
    cut_before_marker(&node.data_dir());
    block_on(node.restart()).unwrap();

    let mut broker = Broker::at(node.address());
    broker.wait_for_leader(&cut, 0);
    assert_eq!(broker.ends(&cut, 0), (0, 5), "what was cut off is gone, the rest is there");
    assert_eq!(broker.values(&cut, 0), ["x"; 5]);
    broker.find_coordinator(&group);
    assert_eq!(broker.committed(&cut, &group), (0, 3), "a commit that was answered survives");

    let retry = Batch::of(now_ms(), &["x"]).producer(WRITER, 0, 9);
    assert_eq!(broker.produce(&cut, 0, retry.encode()).error_code, OUT_OF_ORDER_SEQUENCE_NUMBER);
    // Of what is left, Kafka still knows each producer's last batch as a duplicate, and no longer those before it.
    let kept = Batch::of(now_ms(), &["other bytes"]).producer(WRITER, 0, 4);
    assert_eq!(broker.append_batch(&cut, 0, &kept), 4, "a duplicate is still known");
    let unknown = Batch::of(now_ms(), &["x"]).producer(STRANGER, 0, 0);
    assert_eq!(broker.append_batch(&cut, 0, &unknown), 5);
    // One that follows what is left goes on.
    assert_eq!(broker.append_batch(&cut, 0, &Batch::of(now_ms(), &["x"]).producer(WRITER, 0, 5)), 6);

    // Since Kafka 4 the leader epoch rises (there by 2: no leader, then the same one again), so that a client can tell
    // that the log may have been cut. On 3.9.2 it stays, and nothing tells.
    let epoch = broker.batches(&cut, 0, 5)[0].leader_epoch;
    let rises = subject() != Subject::Kafka3;
    assert_eq!(epoch > 0, rises, "{epoch}");
    let by_then = if rises { FENCED_LEADER_EPOCH } else { 0 };
    for (leader_epoch, expect) in [(0, by_then), (epoch, 0), (epoch + 1, UNKNOWN_LEADER_EPOCH)] {
        let how = Fetch { leader_epoch, ..Fetch::default() };
        assert_eq!(broker.fetch_with(&cut, 0, 0, how).error_code, expect, "epoch {leader_epoch}");
    }
    for (asked, expect) in [(0, if rises { 5 } else { 7 }), (epoch, 7)] {
        let answer = broker.end_of_epoch(4, &cut, -1, asked);
        assert_eq!((answer.error_code, answer.leader_epoch, answer.end_offset), (0, asked, expect));
    }

    // A producer known only by old batches is forgotten by a restart.
    broker.wait_for_leader(&past, 0);
    assert_eq!(broker.append_batch(&past, 0, &old), 1);
    block_on(node.stop(Duration::from_secs(30))).unwrap();
}

/// Cuts the one file that holds the marker before the batch that it stands in. Kafka and the stand-in both keep
/// batches as they were sent, so that this needs no knowledge of their files.
fn cut_before_marker(data: &Path) {
    let mut files = Vec::new();
    collect(data, &mut files);
    let holders: Vec<(PathBuf, usize)> = files
        .into_iter()
        .filter_map(|path| {
            let bytes = fs::read(&path).unwrap();
            let at = bytes.windows(MARKER.len()).position(|window| window == MARKER)?;
            Some((path, at))
        })
        .collect();
    assert_eq!(holders.len(), 1, "{holders:?}");
    let (path, at) = &holders[0];
    let in_batch = Batch::of(0, &[MARKER]).encode().windows(MARKER.len()).position(|window| window == MARKER).unwrap();
    assert!(in_batch > HEADER_BYTES);
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    file.set_len(u64::try_from(at - in_batch).unwrap()).unwrap();
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { collect(&path, files) } else { files.push(path) }
    }
}
