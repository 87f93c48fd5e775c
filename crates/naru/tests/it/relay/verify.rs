//! The comparer finds what was planted between two clusters, names it, and finds nothing between equal ones.
//!
//! No relay runs: both sides are written directly, as a relay would have left them, and then once otherwise.

use std::num::NonZeroU64;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use naru_kafka::client::admin::NewTopic;
use naru_kafka::client::groups::GroupOffset;
use naru_kafka::client::produce::ProduceOptions;
use naru_kafka::client::{Client, ClientConfig, TopicPartition};
use naru_kafka::node::{Node, NodeKind, NodeOptions};
use naru_kafka::wire::{BatchBuilder, Compression};
use naru_relay::verify::{Difference, Follower, Options, Part, Producers, Report, Verifier, VerifyError, Watch};
use naru_relay::{Side, SideMap};
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Longer than anything here takes beside a compiler.
const PATIENCE: Duration = Duration::from_secs(60);

struct Sides {
    clients: SideMap<Client>,
    nodes: SideMap<Node>,
    dir: TempDir,
}

/// A batch of one record per value, as some producer wrote it.
#[derive(Clone, Copy)]
struct Written<'a> {
    sequence: i32,
    values: &'a [&'a str],
}

impl Written<'_> {
    fn bytes(self, codec: Compression, producer_id: i64) -> bytes::Bytes {
        let mut builder = BatchBuilder::new(codec).producer(producer_id, 0, self.sequence);
        for value in self.values {
            builder.push(1_795_000_000_000, Some(b"key"), Some(value.as_bytes()), &[]).unwrap();
        }
        builder.build().unwrap()
    }
}

impl Sides {
    async fn start() -> Self {
        let dir = TempDir::new().unwrap();
        let start = |name: &str| {
            let kind = NodeKind::StandIn { exe: env!("CARGO_BIN_EXE_naru").into() };
            let mut options = NodeOptions::new(kind, dir.path().join(name));
            options.ready_within = PATIENCE;
            Node::start(options)
        };
        let nodes = SideMap { a: start("a").await.unwrap(), b: start("b").await.unwrap() };
        let client = |side| Client::new(ClientConfig::new([nodes[side].address().to_string()])).unwrap();
        Self { clients: SideMap::from_fn(client), nodes, dir }
    }

    /// A relay's configuration for these sides.
    fn config(&self) -> PathBuf {
        let path = self.dir.path().join("relay.toml");
        let [a, b] = Side::BOTH.map(|side| self.nodes[side].address());
        let text = format!("state = 'state'\n[a]\nbootstrap = ['{a}']\n[b]\nbootstrap = ['{b}']\n");
        std::fs::write(&path, text).unwrap();
        path
    }

    async fn topic(&self, name: &str, partitions: i32) {
        for side in Side::BOTH {
            self.clients[side].create_topic(&NewTopic::new(name, partitions), false).await.unwrap();
            self.clients[side].await_topic(name, partitions as usize, PATIENCE).await.unwrap();
        }
    }

    async fn write(&self, side: Side, topic: &str, batch: bytes::Bytes) {
        let at = TopicPartition::new(topic, 0);
        self.clients[side].produce(&at, batch, &ProduceOptions::default()).await.unwrap();
    }

    async fn commit(&self, side: Side, group: &str, topic: &str, offset: i64) {
        let at = TopicPartition::new(topic, 0);
        let offset = GroupOffset { at, offset, leader_epoch: None, metadata: None };
        self.clients[side].commit_offsets(group, &[offset], None).await.unwrap();
    }

    async fn verify(&self, topic: &str) -> Report {
        Verifier::new(self.clients.clone(), options(topic)).once().await.unwrap()
    }
}

fn options(topic: &str) -> Options {
    Options {
        topics: Some([topic.to_owned()].into()),
        // One batch at a time: what is found must not hang on what was read together.
        chunk_bytes: 1,
        settle: Duration::from_millis(300),
        ..Options::default()
    }
}

/// The sides as the relay leaves them, with these batches.
const LOG: [&[&str]; 4] = [&["pay 1", "pay 2"], &["pay 3"], &["pay 4", "pay 5", "pay 6"], &["pay 7"]];

/// Writes LOG to both sides; of side B `plant` says what becomes of each batch (none: it is left out).
async fn written(sides: &Sides, topic: &str, plant: impl Fn(usize) -> Option<&'static [&'static str]>) {
    sides.topic(topic, 2).await;
    let mut sequence = 0;
    for (index, values) in LOG.into_iter().enumerate() {
        let of_a = Written { sequence, values };
        sides.write(Side::A, topic, of_a.bytes(Compression::Zstd, 77)).await;
        if let Some(values) = plant(index) {
            let bytes = Written { sequence, values }.bytes(Compression::Zstd, 77);
            sides.write(Side::B, topic, bytes).await;
        }
        sequence += values.len() as i32;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_differs_between_the_sides_is_found_and_named() {
    let sides = Sides::start().await;

    written(&sides, "equal", |index| Some(LOG[index])).await;
    for side in Side::BOTH {
        sides.commit(side, "settlement", "equal", 6).await;
    }
    let report = sides.verify("equal").await;
    assert!(report.equal(), "{report:?}");
    assert_eq!((report.topics, report.partitions, report.batches, report.restamped), (1, 2, 4, 0));
    assert_eq!((report.groups, report.committed), (1, 1));

    written(&sides, "byte", |index| Some(if index == 2 { &["pay 4", "pay 5", "pay 9"] } else { LOG[index] })).await;
    let report = sides.verify("byte").await;
    let [Difference::Batch { topic, partition, offset, part, sides: seen }] = &report.differences[..] else {
        panic!("{report:?}");
    };
    assert_eq!((topic.as_str(), *partition, *offset, *part), ("byte", 0, 3, Part::Record { offset: 5 }));
    assert_ne!(seen.a.crc, seen.b.crc);
    assert_eq!(report.batches, 4, "what follows the difference is compared, too");

    // In the middle: the batch behind it took its place, so that B ends early, too.
    sides.topic("middle", 1).await;
    for (side, left_out) in [(Side::A, usize::MAX), (Side::B, 1)] {
        for (index, values) in LOG.into_iter().enumerate().filter(|(index, _)| *index != left_out) {
            // Each batch is of its own producer: B has nothing to miss a sequence by.
            let bytes = Written { sequence: 0, values }.bytes(Compression::None, 1_000 + index as i64);
            sides.write(side, "middle", bytes).await;
        }
    }
    let report = sides.verify("middle").await;
    let Difference::MissingBatch { offset, missing_on, held, instead: Some(instead), shifts: true, .. } =
        &report.differences[0]
    else {
        panic!("{report:?}");
    };
    assert_eq!((*offset, *missing_on, held.first_offset), (2, Side::B, 2));
    assert_ne!(held.crc, instead.crc);

    // At the end.
    written(&sides, "end", |index| (index < 3).then(|| LOG[index])).await;
    let report = sides.verify("end").await;
    let [Difference::MissingTail { offset, missing_on, records, held: Some(_), .. }] = &report.differences[..] else {
        panic!("{report:?}");
    };
    assert_eq!((*offset, *missing_on, *records), (6, Side::B, 1));

    written(&sides, "commits", |index| Some(LOG[index])).await;
    for (side, offset) in [(Side::A, 6), (Side::B, 5)] {
        sides.commit(side, "settlement", "commits", offset).await;
    }
    let report = sides.verify("commits").await;
    let [difference @ Difference::Committed { .. }] = &report.differences[..] else { panic!("{report:?}") };
    assert_eq!(difference.to_string(), "group settlement, commits-0: committed 6 on a, 5 on b");

    // As an operator asks for it.
    let config = sides.config();
    let naru = |topic: &str, more: &[&str]| {
        let config = config.to_str().unwrap();
        let args = ["relay", "verify", "--config", config, "--topic", topic, "--settle", "300ms"];
        let output = Command::new(env!("CARGO_BIN_EXE_naru")).args(args).args(more).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap())
    };
    let check = |topic: &str, more: &[&str], code: i32, expect: &[&str]| {
        let (found, said) = naru(topic, more);
        assert_eq!(found, Some(code), "{topic}: {said}");
        expect.iter().for_each(|expect| assert!(said.contains(expect), "{topic}: {expect:?} is not in {said}"));
    };
    check("equal", &[], 0, &["1 topics, 2 partitions, 4 batches", "both sides are equal"]);
    check("equal", &["--rate", "10kB", "--json"], 0, &["\"differences\": []"]);
    check("byte", &[], 1, &["1 difference\n", "byte-0 offset 3: batches differ in the record at offset 5; checksum"]);
    check("byte", &["--json"], 1, &["\"kind\": \"batch\"", "\"offset\": 3", "\"crc\""]);
    check("end", &[], 1, &["end-0 offset 6: b ends here, a has 1 more, the first batch with checksum"]);
    check("end", &["--ignore-tails"], 0, &["both sides are equal"]);
    check("commits", &[], 1, &["group settlement, commits-0: committed 6 on a, 5 on b"]);
    check("nowhere", &[], 3, &["topic nowhere is on neither side"]);
    // Whatever answers for the relay says how far both must be equal: here side A, which has all of it.
    let gate = sides.nodes.a.address().to_string();
    check("end", &["--relay", &gate], 1, &["end-0 offset 6: b ends here"]);

    // All at once, with every topic, and with one topic on one side only.
    sides.clients.a.create_topic(&NewTopic::new("alone", 1), false).await.unwrap();
    let all = Options { topics: None, ..options("") };
    let report = Verifier::new(sides.clients.clone(), all).once().await.unwrap();
    let rules: Vec<_> = report.differences.iter().map(|difference| difference.rule().id()).collect();
    for rule in ["RELAY-1", "RELAY-3", "RELAY-4", "RELAY-12"] {
        assert!(rules.contains(&rule), "{report:?}");
    }
    // And what is not kept is counted all the same.
    let few = Options { topics: None, differences_max: 1, ..options("") };
    let counted = Verifier::new(sides.clients.clone(), few).once().await.unwrap();
    assert_eq!(counted.differences.len() as u64 + counted.not_kept, report.differences.len() as u64);
    assert!(!counted.equal());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copiers_stamp_is_counted_and_only_a_difference_if_asked_for() {
    let sides = Sides::start().await;
    sides.topic("history", 1).await;
    for (side, producer_id) in [(Side::A, 5), (Side::B, 9_000_000_001)] {
        let bytes = Written { sequence: 0, values: LOG[0] }.bytes(Compression::None, producer_id);
        sides.write(side, "history", bytes).await;
    }
    let report = sides.verify("history").await;
    assert!(report.equal() && report.restamped == 1, "{report:?}");
    for (producers, equal) in [
        (Producers::Compared, false),
        (Producers::Copiers(9_000_000_001), true),
        // A batch under a producer that is nobody's.
        (Producers::Copiers(9_000_000_002), false),
    ] {
        let options = Options { producers, ..options("history") };
        let report = Verifier::new(sides.clients.clone(), options).once().await.unwrap();
        let differs = matches!(report.differences[..], [Difference::Batch { part: Part::Producer, .. }]);
        assert!(report.equal() == equal && differs != equal, "{producers:?}: {report:?}");
    }
    // Each side's own retention.
    sides.clients.a.delete_records(&TopicPartition::new("history", 0), Some(1)).await.unwrap();
    let report = sides.verify("history").await;
    assert!(report.equal() && matches!(report.begin_apart[..], [Difference::LogStart { .. }]), "{report:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_side_that_cannot_be_read_is_no_verdict() {
    let mut sides = Sides::start().await;
    written(&sides, "gone", |index| Some(LOG[index])).await;
    sides.nodes.b.kill().unwrap();
    let error = Verifier::new(sides.clients.clone(), options("gone")).once().await.unwrap_err();
    assert!(matches!(error, VerifyError::Side { side: Side::B, .. }) && error.retry_can_help(), "{error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_follower_goes_behind_the_gate_and_tells_a_mismatch_once() {
    let sides = Sides::start().await;
    written(&sides, "followed", |index| Some(if index == 1 { &["pay !"] } else { LOG[index] })).await;
    for side in Side::BOTH {
        sides.commit(side, "settlement", "followed", if side == Side::A { 3 } else { 2 }).await;
    }
    let watch = |gate, in_sync| Watch { at: TopicPartition::new("followed", 0), log_start: 0, gate, in_sync };
    let watched = Arc::new(Mutex::new(watch(2, true)));
    let told: Arc<Mutex<Vec<Difference>>> = Arc::default();
    let (seen, telling) = (Arc::clone(&watched), Arc::clone(&told));
    let options = Options { bytes_per_second: NonZeroU64::new(1 << 20), ..options("followed") };
    let mismatch = Arc::new(move |difference: &Difference| telling.lock().unwrap().push(difference.clone()));
    let follower = Follower::new(sides.clients.clone(), options, move || vec![seen.lock().unwrap().clone()], mismatch)
        .commits_every(Duration::from_millis(50));
    let (followed, stop, mut tasks) = (follower.followed(), CancellationToken::new(), JoinSet::new());
    tasks.spawn(follower.run(stop.clone()));
    let compared = async |batches: u64| {
        let all = async {
            while followed.batches.load(Ordering::Relaxed) < batches {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, all).await.unwrap();
    };
    // History first seen at the gate: the batch that differs is above it, and not looked at.
    compared(1).await;
    let batches = |told: &[Difference]| {
        told.iter().filter(|difference| matches!(difference, Difference::Batch { .. })).cloned().collect::<Vec<_>>()
    };
    assert_eq!(batches(&told.lock().unwrap()), []);
    // Out of sync: the gate rises by one side's word, and the comparer waits.
    *watched.lock().unwrap() = watch(7, false);
    let rounds = followed.commit_rounds.load(Ordering::Relaxed);
    while followed.commit_rounds.load(Ordering::Relaxed) < rounds + 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(followed.batches.load(Ordering::Relaxed), 1);
    // In sync again: everything between is compared.
    *watched.lock().unwrap() = watch(7, true);
    compared(4).await;
    let found = batches(&told.lock().unwrap());
    assert!(matches!(found[..], [Difference::Batch { offset: 2, .. }]), "{found:?}");
    let rounds = followed.commit_rounds.load(Ordering::Relaxed);
    while followed.commit_rounds.load(Ordering::Relaxed) < rounds + 4 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let commits = told.lock().unwrap().iter().filter(|one| matches!(one, Difference::Committed { .. })).count();
    assert!((1..=2).contains(&commits), "once per time in sync, not once per round: {commits}");
    stop.cancel();
    tasks.join_all().await;
}
