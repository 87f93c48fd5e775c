//! One partition at work between two stand-ins of this very process.

#![allow(clippy::unwrap_used)] // a test panics on failure

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::AtomicU64;

use naru_kafka::client::admin::NewTopic;
use naru_kafka::client::offsets::OffsetAt;
use naru_kafka::standin::storage::Flush;
use naru_kafka::standin::{Standin, StandinConfig};
use naru_kafka::wire::{BatchBuilder, Compression};
use naru_runtime::config::Sources;
use naru_runtime::telemetry::Metrics;
use tempfile::TempDir;
use tokio::task::JoinSet;

use super::*;
use crate::config::RelayConfig;

const PATIENCE: Duration = Duration::from_secs(60);
const TOPIC: TopicId = TopicId([1; 16]);

struct World {
    shared: Shared,
    sides: SideMap<Option<Standin>>,
    dir: TempDir,
}

struct Running {
    handle: PartitionHandle,
    _reports: mpsc::Receiver<Report>,
    tasks: JoinSet<()>,
}

impl World {
    async fn start() -> Self {
        let dir = TempDir::new().unwrap();
        let start = async |name: &str| {
            let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
            let config = StandinConfig { flush: Flush::Write, ..StandinConfig::new(dir.path().join(name), listen) };
            Standin::start(config).await.unwrap()
        };
        let sides = SideMap { a: start("a").await, b: start("b").await };
        let config: RelayConfig = Sources::default()
            .flag("state", "unused")
            .flag("a.bootstrap", sides.a.local_addr().to_string())
            .flag("b.bootstrap", sides.b.local_addr().to_string())
            .load()
            .unwrap();
        let upstreams = SideMap::from_fn(|side| Arc::new(Upstream::new(side, &config).unwrap()));
        for side in Side::BOTH {
            let topic =
                NewTopic { name: "orders".to_owned(), partitions: 1, replication: 1, configs: Default::default() };
            upstreams[side].control.create_topic(&topic, false).await.unwrap();
        }
        let shared = Shared {
            pace: Arc::new(Pace::new(0)),
            upstreams,
            cache_memory: Arc::new(CacheMemory::new(1 << 20)),
            cache_bytes_max: 1 << 20,
            replica_wait: Duration::from_secs(1),
            stages: Arc::new(Stages::new(&Metrics::new())),
            tickets: Arc::new(AtomicU64::new(0)),
            state: Arc::new(State::open(&dir.path().join("state")).await.unwrap()),
        };
        Self { shared, sides: SideMap { a: Some(sides.a), b: Some(sides.b) }, dir }
    }

    fn partition(&self, checkpoint: Option<Checkpoint>) -> Running {
        let start = Start {
            at: TopicPartition::new("orders", 0),
            topic: TOPIC,
            config: PartitionConfig::new(1 << 60, 1 << 59),
            standing: Standing::first(Side::A),
            sent: None,
            checkpoint,
            topic_ids: SideMap::default(),
            lease_until: Millis::MAX,
        };
        let (reporter, reports) = mpsc::channel(64);
        let (handle, task) = PartitionHandle::start(start, &self.shared, reporter, &CancellationToken::new());
        let mut tasks = JoinSet::new();
        tasks.spawn(task);
        Running { handle, _reports: reports, tasks }
    }

    /// What listened there listens no more, and connections end.
    fn stop(&mut self, side: Side) {
        drop(self.sides[side].take());
    }

    async fn ends(&self) -> SideMap<i64> {
        let at = TopicPartition::new("orders", 0);
        let mut ends = SideMap::default();
        for side in Side::BOTH {
            let listed = self.shared.upstreams[side].control.list_offset(&at, OffsetAt::Latest).await;
            ends[side] = listed.unwrap().offset.unwrap();
        }
        ends
    }
}

impl Running {
    async fn produce(&self, producer: Option<(i64, i32)>, values: &[&str]) -> Result<i64, Refusal> {
        let mut builder = BatchBuilder::new(Compression::None);
        if let Some((id, sequence)) = producer {
            builder = builder.producer(id, 0, sequence);
        }
        for value in values {
            builder.push(1_795_000_000_000, None, Some(value.as_bytes()), &[]).unwrap();
        }
        let batch = Batch::split_first(&mut builder.build().unwrap()).unwrap();
        let deadline = clock::now() + 30_000;
        let produced = self.handle.produce(batch, deadline, Arc::new(Growing::new(0))).await.unwrap();
        produced.await.unwrap().map(|acked| acked.base_offset)
    }

    async fn until(&self, what: &str, met: impl Fn(&Shown) -> bool) -> Shown {
        let mut watch = self.handle.watch();
        let met = tokio::time::timeout(PATIENCE, watch.wait_for(|shown| met(shown))).await.map(|shown| *shown.unwrap());
        met.unwrap_or_else(|_| panic!("{what}: never, but {:?}", self.handle.shown()))
    }

    async fn end(mut self) {
        self.handle.retire();
        while self.tasks.join_next().await.is_some() {}
    }
}

#[tokio::test]
async fn what_is_acknowledged_is_on_both_sides_and_in_the_cache() {
    let world = World::start().await;
    let partition = world.partition(None);
    assert_eq!(partition.produce(None, &["a", "b"]).await, Ok(0));
    assert_eq!(partition.produce(Some((7 << 50, 0)), &["c"]).await, Ok(2));
    assert_eq!(partition.produce(Some((7 << 50, 1)), &["d"]).await, Ok(3));
    assert_eq!(world.ends().await, SideMap { a: 4, b: 4 });
    let shown = partition.until("the gate at the end", |shown| shown.view.gate == 4).await;
    assert!(shown.view.ready && shown.view.writable);
    assert_eq!(partition.handle.read_cached(0, i64::MAX, usize::MAX, true).map(|chunks| chunks.len()), Some(6));
    assert_eq!(partition.produce(Some((7 << 50, 1)), &["d"]).await, Ok(3));
    partition.end().await;
}

#[tokio::test]
async fn a_start_without_a_checkpoint_takes_what_both_sides_hold() {
    let world = World::start().await;
    let partition = world.partition(None);
    for sequence in 0..3 {
        assert_eq!(partition.produce(Some((7 << 50, sequence)), &["x"]).await, Ok(i64::from(sequence)));
    }
    let checkpoint = partition.handle.checkpoint().await.unwrap().map(|(_, checkpoint)| checkpoint);
    partition.end().await;
    for (producer, checkpoint) in [(9 << 50, None), (10 << 50, checkpoint)] {
        let partition = world.partition(checkpoint);
        let shown = partition.until("a gate", |shown| shown.view.ready && shown.view.gate > 2).await;
        let end = shown.view.gate;
        assert_eq!(partition.produce(Some((producer, 0)), &["y"]).await, Ok(end));
        assert_eq!(world.ends().await, SideMap { a: end + 1, b: end + 1 });
        partition.end().await;
    }
}

#[tokio::test]
async fn where_the_log_is_shown_to_begin_survives_a_kill() {
    let world = World::start().await;
    let partition = world.partition(None);
    for sequence in 0..3 {
        assert_eq!(partition.produce(Some((7 << 50, sequence)), &["x"]).await, Ok(i64::from(sequence)));
    }
    let killed_at = async |shown: i64| {
        partition.until("the log start", |now| now.view.log_start == shown).await;
        // The disk as a kill at this moment leaves it.
        let copy = TempDir::new().unwrap();
        let files = world.dir.path().join("state/checkpoints/checkpoints");
        std::fs::create_dir_all(copy.path().join("checkpoints")).unwrap();
        std::fs::copy(files, copy.path().join("checkpoints/checkpoints")).unwrap();
        let kept = State::open(copy.path()).await.unwrap().take_checkpoint(partition.handle.at(), TOPIC);
        kept.map(|checkpoint| (checkpoint.log_start, checkpoint.gate))
    };
    // One side's own retention.
    partition.handle.send(Event::BeginsAt { side: Side::A, log_start: 1 }).await.unwrap();
    assert_eq!(killed_at(1).await, Some((1, 3)));
    assert_eq!(partition.handle.delete_records(2).await.unwrap(), Ok(2));
    assert_eq!(killed_at(2).await, Some((2, 3)));
    partition.end().await;
}

#[tokio::test]
async fn what_a_side_that_is_away_lacks_is_counted_in_bytes() {
    let mut world = World::start().await;
    let partition = world.partition(None);
    assert_eq!(partition.produce(None, &["on both"]).await, Ok(0));
    partition.until("both ends", |shown| shown.view.ends == SideMap { a: Some(1), b: Some(1) }).await;
    assert_eq!(partition.handle.lag_bytes(Side::B, Side::A), Some(0));

    world.stop(Side::B);
    let alone = Standing { in_sync: SideSet::only(Side::A), ..Standing::first(Side::A) };
    partition.handle.send(Event::Standing { held: alone, sent: None }).await.unwrap();
    assert_eq!(partition.produce(None, &["a"]).await, Ok(1));
    assert_eq!(partition.produce(None, &[&"b".repeat(5000)]).await, Ok(2));
    let shown = partition.until("a lag", |shown| shown.view.gate == 3).await;
    assert_eq!(shown.view.ends[Side::B], Some(1));
    let stored = partition.handle.read_cached(1, i64::MAX, usize::MAX, true).unwrap();
    let bytes: usize = stored.iter().map(Bytes::len).sum();
    assert!(bytes > 5000);
    assert_eq!(partition.handle.lag_bytes(Side::B, Side::A), Some(bytes as i64));
    assert_eq!(partition.handle.lag_bytes(Side::A, Side::A), Some(0));
    partition.end().await;
}
