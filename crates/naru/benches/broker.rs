//! The stand-in beside Apache Kafka 4.3.1, in one run and interleaved: time to start, memory at rest, and records per
//! CPU-second of the broker's process. `./x bench broker`
//!
//! `cargo bench --package naru --bench broker -- write` runs the sides named only, to look at one of them with a profiler.
//!
//! Sides:
//! - write: `naru broker --flush write`: a record is answered when it is with the operating system. Kafka's default.
//! - fsync: `naru broker --flush fsync`: a record is answered when it is on the disk. The stand-in's default; Kafka has
//!   nothing beside it here, because its answer does not wait for the disk.
//! - kafka: `kafka.Kafka`, one node, `-Xmx512m`, with the settings of every rehearsal and test.
//!
//! The load is the same for all: librdkafka, idempotent, acks=all, 1 KiB records without compression, four partitions.
//! The topic of a round is deleted behind it, and Kafka is told to remove its files soon instead of after a minute, so that
//! every side writes into memory that the round before it gave back: in a virtual machine, memory that was never
//! touched costs the host a fault, which would be counted as the broker's, and at 600 MB it outweighs everything else.
//! Kafka is warmed up by the rounds before the first that counts, so that its compiler is done. CPU time is the
//! process's own, user and system, read from /proc; the client's is not in it.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use naru_kafka::node::{Node, NodeKind, NodeOptions};
use rdkafka::ClientContext;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer};

const STARTS: usize = 5;
const WARM_UP_ROUNDS: usize = 4;
/// Odd, so that there is a median.
const ROUNDS: usize = 9;
/// Records in a round: 600 MB, so that each side spends CPU-seconds where Linux counts hundredths.
const RECORDS: u64 = 600_000;
const RECORD_BYTES: usize = 1024;
const PARTITIONS: i32 = 4;
/// What a node is given to come to rest: after its start before its memory is read, and after a round, so that work
/// it has put off is counted as well.
const REST: Duration = Duration::from_secs(2);
/// How long Kafka keeps the files of a deleted topic. Not 0: its scheduler would turn without a pause.
const KAFKA_DELETE_DELAY_MS: u32 = 100;
const PATIENCE: Duration = Duration::from_secs(120);

const RESIDENT_MIB_MAX: f64 = 30.0;
const RATIO_MIN: f64 = 3.0;

/// The side that the others are held against.
const KAFKA: &str = "kafka";

type Failure = Box<dyn std::error::Error>;

struct Side {
    name: &'static str,
    node: Node,
    start_ms: Vec<f64>,
    resident_mib: f64,
    records_per_cpu_second: Vec<f64>,
    records_per_second: Vec<f64>,
}

/// The middle one; 0 when there is none.
fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

async fn side(name: &'static str, kind: NodeKind, args: &[&str], dir: &Path) -> Result<Side, Failure> {
    let options = args.iter().fold(NodeOptions::new(kind, dir.join(name)), |options, arg| options.arg(*arg));
    let options = options.property("log.segment.delete.delay.ms", KAFKA_DELETE_DELAY_MS);
    let node = Node::start(options).await?;
    let (start_ms, records_per_cpu_second, records_per_second) = (Vec::new(), Vec::new(), Vec::new());
    Ok(Side { name, node, start_ms, resident_mib: 0.0, records_per_cpu_second, records_per_second })
}

fn client(bootstrap: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).set_log_level(RDKafkaLogLevel::Emerg);
    config
}

/// Counts acknowledgements.
#[derive(Clone, Default)]
struct Acknowledged(Arc<AtomicU64>);

impl ClientContext for Acknowledged {}

impl ProducerContext for Acknowledged {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if result.is_ok() {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn produce(bootstrap: &str, topic: &str) -> Result<(), Failure> {
    let acknowledged = Acknowledged::default();
    let producer: ThreadedProducer<Acknowledged> = client(bootstrap)
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("linger.ms", "5")
        .set("compression.codec", "none")
        .create_with_context(acknowledged.clone())?;
    let value = [0x5a_u8; RECORD_BYTES];
    for number in 0..RECORDS {
        let partition = i32::try_from(number % PARTITIONS.unsigned_abs() as u64)?;
        let mut record = BaseRecord::<(), [u8]>::to(topic).partition(partition).payload(&value);
        while let Err((error, unsent)) = producer.send(record) {
            if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) {
                return Err(error.into());
            }
            std::thread::sleep(Duration::from_millis(1));
            record = unsent;
        }
    }
    producer.flush(PATIENCE)?;
    match acknowledged.0.load(Ordering::Relaxed) {
        RECORDS => Ok(()),
        count => Err(format!("{topic}: only {count} of {RECORDS} records were acknowledged").into()),
    }
}

impl Side {
    async fn start_again(&mut self) -> Result<(), Failure> {
        self.node.stop(PATIENCE).await?;
        self.node.restart().await?;
        self.start_ms.push(self.node.start_took().as_secs_f64() * 1000.0);
        Ok(())
    }

    async fn round(&mut self, number: usize) -> Result<(), Failure> {
        let (bootstrap, topic) = (self.node.bootstrap(), format!("round-{number}"));
        let admin: AdminClient<DefaultClientContext> = client(&bootstrap).create()?;
        let options = AdminOptions::new().request_timeout(Some(PATIENCE));
        let topics = [NewTopic::new(&topic, PARTITIONS, TopicReplication::Fixed(1))];
        answered(admin.create_topics(&topics, &options).await?)?;
        let (cpu, began) = (self.node.cpu_time()?, Instant::now());
        let (records, in_topic) = (RECORDS as f64, topic.clone());
        tokio::task::spawn_blocking(move || produce(&bootstrap, &in_topic).map_err(|error| error.to_string()))
            .await??;
        let seconds = began.elapsed().as_secs_f64();
        tokio::time::sleep(REST).await;
        let cpu_seconds = (self.node.cpu_time()? - cpu).as_secs_f64();
        if number >= WARM_UP_ROUNDS {
            self.records_per_cpu_second.push(records / cpu_seconds);
            self.records_per_second.push(records / seconds);
        }
        // The disk holds one round, not all of them.
        answered(admin.delete_topics(&[&topic], &options).await?)
    }
}

fn answered(results: Vec<Result<String, (String, RDKafkaErrorCode)>>) -> Result<(), Failure> {
    for result in results {
        result.map_err(|(_, code)| KafkaError::AdminOp(code))?;
    }
    Ok(())
}

/// Measures the sides that are named; all when none is.
async fn measure(libs: &Path, named: &[String]) -> Result<Vec<Side>, Failure> {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let stand_in = || NodeKind::StandIn { exe: env!("CARGO_BIN_EXE_naru").into() };
    let kafka = || NodeKind::Apache { libs: libs.into(), java: "java".into() };
    let all: [(&str, NodeKind, &[&str]); 3] = [
        ("write", stand_in(), &["--flush", "write"]),
        ("fsync", stand_in(), &["--flush", "fsync"]),
        (KAFKA, kafka(), &[]),
    ];
    let mut sides = Vec::new();
    for (name, kind, args) in all {
        if named.is_empty() || named.iter().any(|one| one == name) {
            sides.push(side(name, kind, args, dir.path()).await?);
        }
    }
    for _ in 0..STARTS {
        for side in &mut sides {
            side.start_again().await?;
        }
    }
    tokio::time::sleep(REST).await;
    for side in &mut sides {
        side.resident_mib = side.node.resident_bytes()? as f64 / f64::from(1 << 20);
    }
    for number in 0..WARM_UP_ROUNDS + ROUNDS {
        for side in &mut sides {
            side.round(number).await?;
        }
    }
    Ok(sides)
}

/// Prints what was measured, and whether the targets hold.
fn report(sides: &[Side]) -> bool {
    let kafka = sides.iter().find(|side| side.name == KAFKA);
    let of_kafka = |value: fn(&Side) -> f64| kafka.map_or(0.0, value);
    let (start, memory) = (|side: &Side| median(&side.start_ms), |side: &Side| side.resident_mib);
    let per_cpu = |side: &Side| median(&side.records_per_cpu_second);
    println!(
        "{:<6} {:>9} {:>9} {:>12} {:>9} {:>15} {:>9} {:>19} {:>11}",
        "side",
        "start ms",
        "x less",
        "resident MiB",
        "x less",
        "records/CPU s",
        "x more",
        "lowest..highest",
        "records/s"
    );
    let mut held = true;
    for side in sides {
        let low = side.records_per_cpu_second.iter().copied().fold(f64::INFINITY, f64::min);
        let high = side.records_per_cpu_second.iter().copied().fold(0.0, f64::max);
        let ratio = per_cpu(side) / of_kafka(per_cpu);
        println!(
            "{:<6} {:>9.0} {:>9.1} {:>12.1} {:>9.1} {:>15.0} {:>9.2} {:>19} {:>11.0}",
            side.name,
            start(side),
            of_kafka(start) / start(side),
            memory(side),
            of_kafka(memory) / memory(side),
            per_cpu(side),
            ratio,
            format!("{low:.0}..{high:.0}"),
            median(&side.records_per_second),
        );
        held &= side.name == KAFKA || memory(side) <= RESIDENT_MIB_MAX;
        held &= side.name != "write" || ratio >= RATIO_MIN || kafka.is_none();
    }
    held
}

#[allow(clippy::disallowed_methods)] // the benchmark's configuration is read here and nowhere else
fn peers() -> Option<PathBuf> {
    std::env::var_os("NARU_PEERS").map(PathBuf::from)
}

fn main() -> ExitCode {
    let Some(peers) = peers() else {
        eprintln!("NARU_PEERS is not set, so there is no Kafka to compare with: run `./x bench broker`");
        return ExitCode::FAILURE;
    };
    // Cargo adds words of its own, which begin with a dash.
    let named: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    println!(
        "start: median of {STARTS}; memory: {}s after the last start; records: {RECORD_BYTES} bytes, median of {ROUNDS} \
         rounds of {RECORDS} after {WARM_UP_ROUNDS} to warm up; rounds interleaved. `write` and `kafka` do not wait for \
         the disk, `fsync` does.",
        REST.as_secs()
    );
    let measured = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(Failure::from)
        .and_then(|runtime| runtime.block_on(measure(&peers.join("kafka-4.3.1/libs"), &named)));
    match measured {
        Ok(sides) => {
            let held = report(&sides);
            println!(
                "\ntarget (stand-in: at most {RESIDENT_MIB_MAX:.0} MiB at rest; `write` at least {RATIO_MIN:.0} times \
                 Kafka's records per CPU-second): {}",
                if held { "held" } else { "MISSED" }
            );
            if held { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("the benchmark could not be run: {error}");
            ExitCode::FAILURE
        }
    }
}
