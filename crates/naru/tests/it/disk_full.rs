//! A full disk: KAFKA_STORAGE_ERROR, nothing acknowledged that is not there, and on with it when space returns.
//!
//! The disk is a small memory file system if this process may mount one; else the broker is asked for
//! the fault, and the output says so.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use naru_kafka::client::admin::NewTopic;
use naru_kafka::client::produce::ProduceOptions;
use naru_kafka::client::{Client, ClientConfig, ClientError, TopicPartition};
use naru_kafka::node::{Node, NodeKind, NodeOptions};
use naru_kafka::wire::{BatchBuilder, Compression, ErrorCode};
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::kill::judge;

const TOPIC: &str = "filling";

/// Room for some dozen batches besides the broker's own files; and afterwards for all that the test writes.
const SMALL: &str = "size=2m";
const LARGE: &str = "size=16m";

const VALUE_BYTES: usize = 50_000;

/// Batches acknowledged before the fault is asked for, where the disk is not small.
const BEFORE_FAULT: i32 = 10;

/// More than fit on the small disk.
const BATCHES_MAX: i32 = 100;

/// A file system of a bounded size, unmounted when dropped.
struct Mounted(PathBuf);

impl Mounted {
    /// None if this process may not mount.
    fn small(at: &Path) -> Option<Self> {
        std::fs::create_dir_all(at).unwrap();
        let mounted = mount(Some("tmpfs"), at, Some("tmpfs"), MsFlags::empty(), Some(SMALL));
        mounted.ok().map(|()| Self(at.to_owned()))
    }

    fn enlarge(&self) {
        mount(Some("tmpfs"), &self.0, Some("tmpfs"), MsFlags::MS_REMOUNT, Some(LARGE)).unwrap();
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Err(error) = umount2(&self.0, MntFlags::MNT_DETACH) {
            eprintln!("cannot unmount {}: {error}", self.0.display());
        }
    }
}

async fn fault(node: &Node, full: bool) {
    let admin = node.admin().expect("the broker announces its admin port");
    let body = format!("{{\"disk_full\": {full}}}");
    let asked = reqwest::Client::new().post(format!("http://{admin}/faults")).body(body).send().await.unwrap();
    assert!(asked.status().is_success(), "{asked:?}");
}

#[expect(clippy::disallowed_methods, reason = "a test dates its records itself")]
fn batch(sequence: i32) -> Bytes {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    let value = format!("0:{sequence}:{}", "x".repeat(VALUE_BYTES));
    let mut builder = BatchBuilder::new(Compression::None).producer(7, 0, sequence);
    builder.push(i64::try_from(now).unwrap(), None, Some(value.as_bytes()), &[]).unwrap();
    builder.build().unwrap()
}

async fn send(client: &Client, sequence: i32) -> Result<i64, ErrorCode> {
    let at = TopicPartition::new(TOPIC, 0);
    match client.produce(&at, batch(sequence), &ProduceOptions::default()).await {
        Ok(appended) => Ok(appended.base_offset),
        Err(ClientError::Answered { code, .. }) => Err(code),
        Err(other) => panic!("batch {sequence}: {other}"),
    }
}

async fn assert_holds(client: &Client, count: i32) {
    let stored = judge::read_all(client, TOPIC, 1).await;
    let numbers: Vec<_> = stored.iter().map(|stored| stored.id.unwrap().1).collect();
    assert_eq!(numbers, (0..u64::from(count.unsigned_abs())).collect::<Vec<_>>());
    let offsets: Vec<_> = stored.iter().map(|stored| stored.offset).collect();
    assert_eq!(offsets, (0..i64::from(count)).collect::<Vec<_>>());
}

async fn fills_up(small_disk: bool) {
    let dir = tempfile::tempdir().unwrap();
    let mounted = if small_disk { Mounted::small(&dir.path().join("data")) } else { None };
    if small_disk && mounted.is_none() {
        // Not by println!, which the test harness keeps to itself when the test passes.
        let note = "disk_full: this process may not mount a file system, so no real disk was filled: the broker was asked \
                    to act as if; run the tests as root to fill one\n";
        std::io::stderr().write_all(note.as_bytes()).unwrap();
    }
    let exe = env!("CARGO_BIN_EXE_naru").into();
    let options = NodeOptions::new(NodeKind::StandIn { exe }, dir.path()).arg("--admin").arg("127.0.0.1:0");
    let mut node = Node::start(options).await.unwrap();
    let client = Client::new(ClientConfig::new([node.bootstrap()])).unwrap();
    client.create_topic(&NewTopic::new(TOPIC, 1), false).await.unwrap();

    let mut sequence = 0;
    let refused = loop {
        if mounted.is_none() && sequence == BEFORE_FAULT {
            fault(&node, true).await;
        }
        match send(&client, sequence).await {
            Ok(offset) => assert_eq!(offset, i64::from(sequence)),
            Err(code) => break code,
        }
        sequence += 1;
        assert!(sequence < BATCHES_MAX, "the disk does not fill up");
    };
    assert_eq!(refused, ErrorCode::KAFKA_STORAGE_ERROR);
    assert!(sequence >= BEFORE_FAULT, "only {sequence} batches were acknowledged before");
    assert_eq!(send(&client, sequence).await, Err(ErrorCode::KAFKA_STORAGE_ERROR), "it is still full");
    assert_eq!(send(&client, sequence + 1).await, Err(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER));
    assert_holds(&client, sequence).await;

    match &mounted {
        Some(mounted) => mounted.enlarge(),
        None => fault(&node, false).await,
    }
    for next in sequence..sequence + 10 {
        assert_eq!(send(&client, next).await, Ok(i64::from(next)), "space is back");
    }
    assert_holds(&client, sequence + 10).await;
    node.kill().unwrap();
    node.restart().await.unwrap();
    assert_holds(&client, sequence + 10).await;
    node.stop(Duration::from_secs(10)).await.unwrap();
}

#[tokio::test]
async fn a_small_disk_fills_up_and_gets_room_again() {
    fills_up(true).await;
}

#[tokio::test]
async fn a_broker_that_is_told_that_its_disk_is_full_acts_so() {
    fills_up(false).await;
}
