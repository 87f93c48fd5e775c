//! Three Kafka nodes and a relay: a and b are the relay's sides, `direct` is what it is compared with.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use naru_kafka::client::admin::NewTopic;
use naru_kafka::client::offsets::OffsetAt;
use naru_kafka::client::produce::ProduceOptions;
use naru_kafka::client::{Client, ClientConfig, TopicPartition};
use naru_kafka::node::{Node, NodeKind, NodeOptions};
use naru_kafka::wire::{BatchBuilder, Compression};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Longest wait for anything on a loaded machine.
pub const PATIENCE: Duration = Duration::from_secs(180);
/// Between two looks at something that is awaited.
pub const LOOK: Duration = Duration::from_millis(10);
/// The unit of times in /proc/pid/stat.
const TICK: Duration = Duration::from_millis(10);
/// A topic with this prefix is acknowledged by the active side alone.
pub const ASYNC: &str = "async";
/// The service group of the topics that are acknowledged by both sides.
pub const GROUP: &str = "pay";

/// Everything that is measured.
pub struct World {
    pub a: Node,
    pub b: Node,
    pub direct: Node,
    pub relay: RelayProcess,
    pub peers: PathBuf,
    pub dir: TempDir,
}

impl World {
    /// Starts the nodes and the relay.
    pub async fn start(peers: &Path) -> Result<Self, Failure> {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
        let kafka = || NodeKind::Apache { libs: peers.join("kafka-4.3.1/libs"), java: "java".into() };
        let node = |name: &str| {
            let mut options = NodeOptions::new(kafka(), dir.path().join(name));
            // Each cluster has an identity of its own, which the relay checks.
            options.cluster_id = format!("naru-bench-{name:-<11}");
            Node::start(options)
        };
        let (a, b, direct) = (node("a").await?, node("b").await?, node("direct").await?);
        let relay = RelayProcess::start(dir.path(), &a.bootstrap(), &b.bootstrap())?;
        Ok(Self { a, b, direct, relay, peers: peers.into(), dir })
    }

    /// A client of the relay, and of the node beside it.
    pub fn clients(&self) -> Result<[(&'static str, Client); 2], Failure> {
        Ok([("direct", client(&self.direct.bootstrap())?), ("relay", client(&self.relay.bootstrap)?)])
    }
}

/// A client for load: it does not try again, so that every wait is seen.
pub fn client(bootstrap: &str) -> Result<Client, Failure> {
    Ok(Client::new(ClientConfig::new([bootstrap]))?)
}

/// Makes a topic and waits until it can be used.
pub async fn create(client: &Client, topic: &str, partitions: i32) -> Result<(), Failure> {
    client.create_topic(&NewTopic::new(topic, partitions), false).await?;
    client.await_topic(topic, usize::try_from(partitions)?, PATIENCE).await?;
    // Metadata names a leader before the leader itself knows: what it leads, it can list.
    for partition in 0..partitions {
        let (at, began) = (TopicPartition::new(topic, partition), Instant::now());
        while let Err(error) = client.list_offset(&at, OffsetAt::Latest).await {
            if began.elapsed() > PATIENCE {
                return Err(error.into());
            }
            tokio::time::sleep(LOOK).await;
        }
    }
    Ok(())
}

/// The batches of one idempotent producer in one partition.
pub struct Batches {
    id: i64,
    sequence: i32,
    records: i32,
    value: Vec<u8>,
}

impl Batches {
    /// Batches of about this many bytes, in records of 1 KiB that do not compress.
    pub fn new(id: i64, batch_bytes: usize) -> Result<Self, Failure> {
        let records = i32::try_from((batch_bytes / 1024).max(1))?;
        Ok(Self { id, sequence: 0, records, value: vec![0x5a; 1024.min(batch_bytes)] })
    }

    /// The next one.
    #[expect(clippy::disallowed_methods, reason = "a benchmark dates its records itself")]
    pub fn next(&mut self) -> Result<Bytes, Failure> {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
        let mut batch = BatchBuilder::new(Compression::None).producer(self.id, 0, self.sequence);
        for _ in 0..self.records {
            batch.push(i64::try_from(now.as_millis())?, None, Some(&self.value), &[])?;
        }
        self.sequence += self.records;
        Ok(batch.build()?)
    }
}

/// Writes so many batches to one partition with a bounded number in flight; how many bytes that was.
pub async fn write(
    client: &Client,
    at: &TopicPartition,
    mut batches: Batches,
    count: usize,
    in_flight: usize,
) -> Result<u64, Failure> {
    let options = ProduceOptions::default();
    let mut pending = std::collections::VecDeque::new();
    let mut bytes = 0;
    for _ in 0..count {
        let batch = batches.next()?;
        bytes += batch.len() as u64;
        pending.push_back(client.begin_produce(at, batch, &options).await?);
        if pending.len() >= in_flight
            && let Some(oldest) = pending.pop_front()
        {
            oldest.appended().await?;
        }
    }
    for rest in pending {
        rest.appended().await?;
    }
    Ok(bytes)
}

/// `naru relay`, stopped when dropped.
pub struct RelayProcess {
    child: Child,
    pub bootstrap: String,
    status: String,
}

impl RelayProcess {
    fn start(dir: &Path, a: &str, b: &str) -> Result<Self, Failure> {
        let file = dir.join("relay.toml");
        std::fs::write(
            &file,
            format!(
                "listen = '127.0.0.1:0'\nstatus_listen = '127.0.0.1:0'\nstate = '{}'\ndiscovery_interval = '500ms'\n\
                 [a]\nbootstrap = ['{a}']\n[b]\nbootstrap = ['{b}']\n\
                 [[group]]\nname = '{ASYNC}'\ntopics = ['{ASYNC}*']\nconsumers = []\nmode = 'async'\n\
                 [[group]]\nname = '{GROUP}'\ntopics = ['*']\nconsumers = ['*']\n",
                dir.join("relay-state").display()
            ),
        )?;
        let log = std::fs::File::create(dir.join("relay.log"))?;
        let mut child = Command::new(env!("CARGO_BIN_EXE_naru"))
            .args(["relay", "--config"])
            .arg(&file)
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()?;
        let mut line = String::new();
        let stdout = child.stdout.take().ok_or("the relay has no output")?;
        BufReader::new(stdout).read_line(&mut line)?;
        let word = |name: &str| {
            let found = line.split_whitespace().find_map(|word| word.strip_prefix(name));
            found.map(str::to_owned).ok_or_else(|| format!("the relay did not become ready: {line:?}"))
        };
        Ok(Self { bootstrap: word("listen=")?, status: word("status=")?, child })
    }

    /// CPU time of user and system since it was started.
    pub fn cpu_time(&self) -> Result<Duration, Failure> {
        cpu_time(self.child.id())
    }

    /// The most memory that was ever resident, bytes.
    pub fn resident_bytes_max(&self) -> Result<u64, Failure> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
        let kib: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
        Ok(kib << 10)
    }

    /// What it says of a service group.
    pub async fn group(&self, name: &str) -> Result<serde_json::Value, Failure> {
        let report: serde_json::Value = reqwest::get(format!("http://{}/status", self.status)).await?.json().await?;
        let groups = report["groups"].as_array().ok_or("a status without groups")?;
        let found = groups.iter().find(|group| group["name"] == name).ok_or("no such group in the status")?;
        Ok(found.clone())
    }

    /// Waits until both sides of a group are in sync.
    pub async fn await_in_sync(&self, name: &str) -> Result<(), Failure> {
        let began = Instant::now();
        loop {
            let group = self.group(name).await?;
            if ["a", "b"].iter().all(|side| group["sides"][side]["in_sync"] == true) {
                return Ok(());
            }
            if began.elapsed() > PATIENCE {
                return Err(format!("not in sync after {PATIENCE:?}: {group}").into());
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// A planned switch.
    pub async fn switch(&self, group: &str, to: &str) -> Result<(), Failure> {
        let order = serde_json::json!({ "group": group, "to": to });
        let answer = reqwest::Client::new().post(format!("http://{}/switch", self.status)).json(&order).send().await?;
        if answer.status().is_success() { Ok(()) } else { Err(answer.text().await?.into()) }
    }
}

impl Drop for RelayProcess {
    fn drop(&mut self) {
        let pid = Pid::from_raw(self.child.id().cast_signed());
        // One that has ended already is gone, which is what is wanted.
        if kill(pid, Signal::SIGKILL).is_ok()
            && let Err(error) = self.child.wait()
        {
            eprintln!("the relay could not be waited for: {error}");
        }
    }
}

/// CPU time of a process, user and system.
pub fn cpu_time(pid: u32) -> Result<Duration, Failure> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let after_command = stat.rsplit_once(')').ok_or("no command in stat")?.1;
    let mut fields = after_command.split_ascii_whitespace().skip(11);
    let mut ticks = || -> Result<u32, Failure> { Ok(fields.next().ok_or("no times in stat")?.parse()?) };
    Ok(TICK * (ticks()? + ticks()?))
}

/// The value below which this part of the values lies; 0 when there is none.
pub fn quantile(values: &[f64], part: f64) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let index = (part * values.len() as f64) as usize;
    values.get(index.min(values.len().saturating_sub(1))).copied().unwrap_or_default()
}
