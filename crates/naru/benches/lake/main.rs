//! From the log's acknowledgement to an answer of SQL, at a fixed rate. `./x bench lake [SECONDS]`
//!
//! A stand-in broker, a lake and the writer share the machine. 2,000 events a second are written, 20 at a time; a client of
//! PostgreSQL asks for the count over and over. An event's latency is from just before it was handed to the log until the
//! end of the first answer that counts it, so that it holds the log's own time and the query's. Once with the
//! compaction of every second and once without any.

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use naru_kafka::client::admin::NewTopic;
use naru_kafka::client::produce::ProduceOptions;
use naru_kafka::client::{Client, ClientConfig, TopicPartition};
use naru_kafka::node::{Node, NodeKind, NodeOptions};
use naru_kafka::wire::{BatchBuilder, Compression};
use naru_rehearsal::service_process::{ServiceOptions, ServiceProcess};
use sqlx::{Connection as _, PgConnection, Row as _};

type Failure = Box<dyn std::error::Error + Send + Sync>;

const NARU: &str = env!("CARGO_BIN_EXE_naru");
const BATCH: u64 = 20;
const BATCHES_PER_SECOND: u64 = 100;
const PARTITIONS: i32 = 6;
/// What issue and design ask for: half of the events, and all but one in a hundred.
const P50_MAX: Duration = Duration::from_millis(700);
const P99_MAX: Duration = Duration::from_millis(1500);

fn config(dir: &Path, bootstrap: &str, upkeep: &str) -> String {
    format!(
        r#"
warehouse = {:?}
[log]
bootstrap = ["{bootstrap}"]
[upkeep]
interval = "{upkeep}"
small_files_max = 4
[[events]]
topic = "payments"
table = "pay.payments"
column = [
  {{ name = "id", type = "long" }},
  {{ name = "payer", from = "user", type = "string" }},
  {{ name = "amount", from = "amount.minor", type = "long" }},
  {{ name = "at", from = "$time", type = "timestamp" }},
]
"#,
        dir.join("warehouse")
    )
}

async fn write(client: Client, seconds: u64) -> Result<Vec<Instant>, Failure> {
    let began = Instant::now();
    let mut sent = Vec::new();
    for number in 0..seconds * BATCHES_PER_SECOND {
        let due = began + Duration::from_millis(number * 1000 / BATCHES_PER_SECOND);
        tokio::time::sleep_until(due.into()).await;
        let mut batch = BatchBuilder::new(Compression::None);
        for id in number * BATCH..(number + 1) * BATCH {
            let value =
                format!(r#"{{"id":{id},"user":"u{}","amount":{{"currency":"KRW","minor":{}}}}}"#, id % 999, id % 77);
            batch.push(1_700_000_000_000, Some(b"k"), Some(value.as_bytes()), &[])?;
        }
        let at = TopicPartition::new("payments", i32::try_from(number).unwrap_or(0) % PARTITIONS);
        sent.push(Instant::now());
        client.produce(&at, batch.build()?, &ProduceOptions::default()).await?;
    }
    Ok(sent)
}

/// When each count was first answered.
async fn watch(url: String, total: u64, within: Duration) -> Result<Vec<(u64, Instant)>, Failure> {
    let mut connection = PgConnection::connect(&url).await?;
    let (mut seen, deadline) = (Vec::new(), Instant::now() + within);
    let mut last = 0;
    while last < total && Instant::now() < deadline {
        let rows = sqlx::raw_sql("select count(*) as n from pay.payments").fetch_all(&mut connection).await;
        // The table is there once its topic is.
        let count =
            rows.ok().and_then(|rows| rows.first().and_then(|row| row.try_get::<i64, _>("n").ok())).unwrap_or(0);
        let count = u64::try_from(count)?;
        if count > last {
            last = count;
            seen.push((count, Instant::now()));
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(seen)
}

async fn run(name: &str, upkeep: &str, seconds: u64) -> Result<bool, Failure> {
    let dir = tempfile::tempdir()?;
    let options = NodeOptions::new(NodeKind::StandIn { exe: NARU.into() }, dir.path().join("broker"));
    let node = Node::start(options.arg("--flush").arg("write")).await?;
    let client = Client::new(ClientConfig::new([node.address().to_string()]))?;
    let topic =
        NewTopic { name: "payments".to_owned(), partitions: PARTITIONS, replication: 1, configs: Default::default() };
    client.create_topic(&topic, false).await?;
    let file = dir.path().join("lake.toml");
    std::fs::write(&file, config(dir.path(), &node.address().to_string(), upkeep))?;
    let args = vec!["lake".to_owned(), "--config".to_owned(), file.display().to_string()];
    let options = ServiceOptions { name: "lake".to_owned(), program: NARU.into(), args, dir: dir.path().join("lake") };
    let lake = ServiceProcess::start(options).await?;
    let url = format!("postgres://bench@{}/naru?sslmode=disable", lake.address());
    let total = seconds * BATCHES_PER_SECOND * BATCH;
    let watching = watch(url, total, Duration::from_secs(seconds + 30));
    let (sent, seen) = tokio::join!(write(client, seconds), watching);
    let (sent, seen) = (sent?, seen?);
    let mut latencies: Vec<Duration> = Vec::new();
    let mut answers = seen.iter();
    let mut answer = answers.next();
    for (number, at) in (1u64..).zip(&sent) {
        // Batches of other partitions may be counted before this one: it is counted at the latest with all up to it.
        while answer.is_some_and(|(count, _)| *count < number * BATCH) {
            answer = answers.next();
        }
        if let Some((_, seen)) = answer {
            latencies.push(seen.saturating_duration_since(*at));
        }
    }
    latencies.sort_unstable();
    let at = |share: f64| latencies.get((latencies.len() as f64 * share) as usize).copied().unwrap_or(Duration::MAX);
    let (p50, p99, max) = (at(0.5), at(0.99), latencies.last().copied().unwrap_or(Duration::MAX));
    let missing = sent.len() - latencies.len();
    let held = p50 <= P50_MAX && p99 <= P99_MAX && missing == 0;
    println!(
        "{name}: {} events, p50 {} ms, p99 {} ms, max {} ms, {missing} batches never seen: {}",
        total,
        p50.as_millis(),
        p99.as_millis(),
        max.as_millis(),
        if held { "held" } else { "MISSED" }
    );
    Ok(held)
}

fn main() -> ExitCode {
    // Cargo adds words of its own, which begin with a dash.
    let seconds = std::env::args().skip(1).find_map(|word| word.parse().ok()).unwrap_or(20);
    let measured =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Failure::from).and_then(|runtime| {
            runtime.block_on(async {
                let quiet = run("without compaction", "1d", seconds).await?;
                Ok(quiet & run("with compaction each second", "1s", seconds).await?)
            })
        });
    match measured {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
