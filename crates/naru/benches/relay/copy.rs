//! What a side that returns costs: megabytes copied per CPU-second of the relay, beside MirrorMaker 2 that copies the same
//! between the same nodes.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use naru_kafka::client::offsets::OffsetAt;
use naru_kafka::client::{Client, TopicPartition};

use crate::world::{Batches, Failure, GROUP, LOOK, PATIENCE, World, client, cpu_time, create, write};

const COPIED_BYTES: usize = 512 << 20;
const BATCH_BYTES: usize = 256 << 10;
/// What warms MirrorMaker 2 up, so that its compiler is done.
const WARM_UP_BYTES: usize = 256 << 20;
const RATIO_MIN: f64 = 8.0;
/// Longer than the relay takes to give a side up.
const GIVEN_UP: Duration = Duration::from_secs(30);

pub async fn run(world: &mut World) -> Result<bool, Failure> {
    let relay = relay(world).await?;
    let mirror = mirror(world).await?;
    let ratio = relay / mirror;
    println!("\ncatch-up copy, 1 KiB records in {} KiB batches, MB per CPU-second of the copier:", BATCH_BYTES >> 10);
    println!("relay {relay:.0}, MirrorMaker 2 {mirror:.0}: {ratio:.1}x");
    let held = ratio >= RATIO_MIN;
    println!("at least {RATIO_MIN} x MirrorMaker 2: {}", if held { "held" } else { "MISSED" });
    Ok(held)
}

/// B is killed, A takes records alone, B returns and is copied to.
async fn relay(world: &mut World) -> Result<f64, Failure> {
    let client = client(&world.relay.bootstrap)?;
    create(&client, "returning", 1).await?;
    world.relay.await_in_sync(GROUP).await?;
    let active = world.relay.group(GROUP).await?["active"].as_str().ok_or("no active side")?.to_owned();
    let standby = if active == "a" { &mut world.b } else { &mut world.a };
    standby.kill()?;
    let at = TopicPartition::new("returning", 0);
    let began = Instant::now();
    // An absence is felt where something is written. The batch is the same each time, so it is written once.
    while let Err(error) = write(&client, &at, Batches::new((1 << 58) + 1, 1024)?, 1, 1).await {
        if began.elapsed() > GIVEN_UP {
            return Err(error);
        }
        tokio::time::sleep(LOOK).await;
    }
    while world.relay.group(GROUP).await?["mode"] != "solo" {
        if began.elapsed() > GIVEN_UP {
            return Err("the relay does not go on without its standby".into());
        }
        tokio::time::sleep(LOOK).await;
    }
    let count = COPIED_BYTES / BATCH_BYTES;
    let bytes = write(&client, &at, Batches::new(1 << 58, BATCH_BYTES)?, count, 5).await? as f64 / 1e6;
    standby.restart().await?;
    let cpu = world.relay.cpu_time()?;
    world.relay.await_in_sync(GROUP).await?;
    Ok(bytes / (world.relay.cpu_time()? - cpu).as_secs_f64())
}

/// MirrorMaker 2 between the direct node and A.
async fn mirror(world: &World) -> Result<f64, Failure> {
    let source = client(&world.direct.bootstrap())?;
    create(&source, "mirrored", 1).await?;
    let mut mirror = Mirror::start(world)?;
    let at = TopicPartition::new("mirrored", 0);
    let target = client(&world.a.bootstrap())?;
    let copy = TopicPartition::new("direct.mirrored", 0);
    let warm_up = WARM_UP_BYTES / BATCH_BYTES;
    write(&source, &at, Batches::new(1 << 57, BATCH_BYTES)?, warm_up, 5).await?;
    let records = |batches: usize| i64::try_from(batches * BATCH_BYTES / 1024);
    mirror.await_end(&target, &copy, records(warm_up)?).await?;
    // What is copied is there before its copying is timed: the relay is not told as it comes, either.
    kill_stop(&mirror, true)?;
    let count = COPIED_BYTES / BATCH_BYTES;
    let bytes = write(&source, &at, Batches::new((1 << 57) + 1, BATCH_BYTES)?, count, 5).await? as f64 / 1e6;
    let cpu = cpu_time(mirror.0.id())?;
    kill_stop(&mirror, false)?;
    mirror.await_end(&target, &copy, records(warm_up + count)?).await?;
    Ok(bytes / (cpu_time(mirror.0.id())? - cpu).as_secs_f64())
}

fn kill_stop(mirror: &Mirror, stop: bool) -> Result<(), Failure> {
    use nix::sys::signal::{Signal, kill};
    let pid = nix::unistd::Pid::from_raw(mirror.0.id().cast_signed());
    Ok(kill(pid, if stop { Signal::SIGSTOP } else { Signal::SIGCONT })?)
}

struct Mirror(Child);

impl Mirror {
    fn start(world: &World) -> Result<Self, Failure> {
        let file = world.dir.path().join("mirror.properties");
        let settings = format!(
            "clusters = direct, a\ndirect.bootstrap.servers = {}\na.bootstrap.servers = {}\n\
             direct->a.enabled = true\na->direct.enabled = false\ndirect->a.topics = mirrored\ntasks.max = 1\n\
             replication.factor = 1\ncheckpoints.topic.replication.factor = 1\nheartbeats.topic.replication.factor = 1\n\
             offset-syncs.topic.replication.factor = 1\noffset.storage.replication.factor = 1\n\
             status.storage.replication.factor = 1\nconfig.storage.replication.factor = 1\n\
             emit.heartbeats.enabled = false\nemit.checkpoints.enabled = false\nrefresh.topics.interval.seconds = 2\n\
             a.producer.batch.size = {BATCH_BYTES}\na.producer.linger.ms = 5\na.producer.buffer.memory = 67108864\n",
            world.direct.bootstrap(),
            world.a.bootstrap(),
        );
        std::fs::write(&file, settings)?;
        let log = std::fs::File::create(world.dir.path().join("mirror.log"))?;
        let [kafka, mirror] = ["kafka-4.3.1/libs", "mirror-4.3.1/libs"].map(|libs| world.peers.join(libs));
        let child = Command::new("java")
            .args(["-Xmx1g", "-XX:+UseSerialGC", "-cp"])
            .arg(format!("{}/*:{}/*", mirror.display(), kafka.display()))
            .arg("org.apache.kafka.connect.mirror.MirrorMaker")
            .arg(&file)
            .stdout(log.try_clone()?)
            .stderr(log)
            .stdin(Stdio::null())
            .spawn()?;
        Ok(Self(child))
    }

    async fn await_end(&mut self, target: &Client, at: &TopicPartition, end: i64) -> Result<(), Failure> {
        let began = Instant::now();
        loop {
            // Until the first record is copied there is no such topic.
            let reached = target.list_offset(at, OffsetAt::Latest).await.is_ok_and(|listed| listed.offset >= Some(end));
            if reached {
                return Ok(());
            }
            if let Some(status) = self.0.try_wait()? {
                return Err(format!("MirrorMaker 2 ended with {status}").into());
            }
            if began.elapsed() > PATIENCE {
                return Err(format!("MirrorMaker 2 has not copied {end} records in {PATIENCE:?}").into());
            }
            tokio::time::sleep(10 * LOOK).await;
        }
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        if let Err(error) = self.0.kill().and_then(|()| self.0.wait()) {
            eprintln!("MirrorMaker 2 could not be stopped: {error}");
        }
    }
}
