//! How long producers and consumers are without an answer when the active side is killed, and when it is switched: an
//! idempotent librdkafka producer at a steady rate, and a consumer in a group.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer};

use crate::world::{Failure, GROUP, LOOK, PATIENCE, World, client, create, quantile};

const KILLS: usize = 30;
const SWITCHES: usize = 10;
const PRODUCERS_WITHIN: Duration = Duration::from_secs(3);
const CONSUMERS_WITHIN: Duration = Duration::from_secs(5);
const SWITCH_STALL: Duration = Duration::from_millis(500);
/// One record each 2 ms: finer than what is measured, and far below what the machine can do.
const EVERY: Duration = Duration::from_millis(2);
/// Ordinary load before each fault.
const STEADY: Duration = Duration::from_secs(2);
const TOPIC: &str = "takeover";

/// When records were sent and delivered, and sent and read.
#[derive(Default)]
struct Seen {
    delivered: Mutex<Vec<(Instant, Instant)>>,
    read: Mutex<Vec<(Instant, Instant)>>,
    failed: Mutex<Vec<String>>,
}

impl Seen {
    fn note(list: &Mutex<Vec<(Instant, Instant)>>, sent: Instant) {
        list.lock().unwrap_or_else(PoisonError::into_inner).push((sent, Instant::now()));
    }

    /// How long after `fault` the first record that was sent after it was there.
    fn resumed(list: &Mutex<Vec<(Instant, Instant)>>, fault: Instant) -> Option<Duration> {
        let list = list.lock().unwrap_or_else(PoisonError::into_inner);
        list.iter().find(|(sent, _)| *sent > fault).map(|(_, seen)| *seen - fault)
    }

    /// The longest time without a delivery since then.
    fn stall(&self, since: Instant) -> Duration {
        let list = self.delivered.lock().unwrap_or_else(PoisonError::into_inner);
        let mut last = since;
        let mut longest = Duration::ZERO;
        for (_, seen) in list.iter().filter(|(_, seen)| *seen > since) {
            longest = longest.max(*seen - last);
            last = *seen;
        }
        longest
    }
}

struct Deliveries(Arc<Seen>);

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Box<Instant>;

    fn delivery(&self, result: &DeliveryResult<'_>, sent: Box<Instant>) {
        match result {
            Ok(_) => Seen::note(&self.0.delivered, *sent),
            Err((error, _)) => {
                self.0.failed.lock().unwrap_or_else(PoisonError::into_inner).push(error.to_string());
            }
        }
    }
}

fn settings(bootstrap: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap);
    config
}

fn produce(bootstrap: &str, seen: &Arc<Seen>, start: Instant, stop: &AtomicBool) -> Result<(), String> {
    let producer: ThreadedProducer<Deliveries> = settings(bootstrap)
        .set("enable.idempotence", "true")
        .set("linger.ms", "0")
        .create_with_context(Deliveries(Arc::clone(seen)))
        .map_err(|error| error.to_string())?;
    let mut due = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        let sent = Instant::now();
        let nanos = u64::try_from((sent - start).as_nanos()).map_err(|error| error.to_string())?;
        let payload = nanos.to_be_bytes();
        let record = BaseRecord::<(), [u8], Box<Instant>>::with_opaque_to(TOPIC, Box::new(sent)).payload(&payload);
        producer.send(record).map_err(|(error, _)| error.to_string())?;
        due += EVERY;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    producer.flush(PATIENCE).map_err(|error| error.to_string())
}

fn consume(bootstrap: &str, seen: &Arc<Seen>, start: Instant, stop: &AtomicBool) -> Result<(), String> {
    let consumer: BaseConsumer = settings(bootstrap)
        .set("group.id", "takeover-readers")
        .set("auto.offset.reset", "earliest")
        .set("auto.commit.interval.ms", "200")
        .create()
        .map_err(|error| error.to_string())?;
    consumer.subscribe(&[TOPIC]).map_err(|error| error.to_string())?;
    while !stop.load(Ordering::Relaxed) {
        // Errors that pass are librdkafka's to handle: what counts is when records come again.
        if let Some(Ok(message)) = consumer.poll(Duration::from_millis(100))
            && let Some(nanos) = message.payload().and_then(|payload| payload.first_chunk::<8>())
        {
            Seen::note(&seen.read, start + Duration::from_nanos(u64::from_be_bytes(*nanos)));
        }
    }
    Ok(())
}

pub async fn run(world: &mut World) -> Result<bool, Failure> {
    create(&client(&world.relay.bootstrap)?, TOPIC, 4).await?;
    let (seen, stop, start) = (Arc::new(Seen::default()), Arc::new(AtomicBool::new(false)), Instant::now());
    let load = |work: fn(&str, &Arc<Seen>, Instant, &AtomicBool) -> Result<(), String>| {
        let (bootstrap, seen, stop) = (world.relay.bootstrap.clone(), Arc::clone(&seen), Arc::clone(&stop));
        tokio::task::spawn_blocking(move || work(&bootstrap, &seen, start, &stop))
    };
    let (producer, consumer) = (load(produce), load(consume));
    let measured = faults(world, &seen).await;
    stop.store(true, Ordering::Relaxed);
    producer.await??;
    consumer.await??;
    let failed = seen.failed.lock().unwrap_or_else(PoisonError::into_inner).clone();
    if !failed.is_empty() {
        return Err(format!("{} records failed, first: {}", failed.len(), failed[0]).into());
    }
    measured
}

async fn faults(world: &mut World, seen: &Seen) -> Result<bool, Failure> {
    let (mut producers, mut consumers, mut stalls) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..KILLS {
        world.relay.await_in_sync(GROUP).await?;
        tokio::time::sleep(STEADY).await;
        let is_a = world.relay.group(GROUP).await?["active"] == "a";
        let node = if is_a { &mut world.a } else { &mut world.b };
        let killed = Instant::now();
        node.kill()?;
        producers.push(resumed(&seen.delivered, killed, number).await?);
        consumers.push(resumed(&seen.read, killed, number).await?);
        node.restart().await?;
    }
    for _ in 0..SWITCHES {
        world.relay.await_in_sync(GROUP).await?;
        tokio::time::sleep(STEADY).await;
        let to = if world.relay.group(GROUP).await?["active"] == "a" { "b" } else { "a" };
        let began = Instant::now();
        world.relay.switch(GROUP, to).await?;
        tokio::time::sleep(STEADY).await;
        stalls.push(seen.stall(began).as_secs_f64() * 1000.0);
    }
    println!(
        "\n{KILLS} SIGKILLs of the active side, {SWITCHES} planned switches, a record each {EVERY:?}, milliseconds:"
    );
    println!("{:<28} {:>8} {:>8} {:>8}", "", "p50", "p90", "longest");
    let mut held = true;
    for (what, values, bound) in [
        ("producers resume", &producers, PRODUCERS_WITHIN),
        ("consumers resume", &consumers, CONSUMERS_WITHIN),
        ("stall of a planned switch", &stalls, SWITCH_STALL),
    ] {
        let longest = quantile(values, 1.0);
        let within = longest <= bound.as_secs_f64() * 1000.0;
        held &= within;
        let (p50, p90) = (quantile(values, 0.5), quantile(values, 0.9));
        let said = if within { "held" } else { "MISSED" };
        println!("{what:<28} {p50:>8.0} {p90:>8.0} {longest:>8.0}   within {bound:?}: {said}");
    }
    Ok(held)
}

async fn resumed(list: &Mutex<Vec<(Instant, Instant)>>, fault: Instant, number: usize) -> Result<f64, Failure> {
    loop {
        if let Some(after) = Seen::resumed(list, fault) {
            return Ok(after.as_secs_f64() * 1000.0);
        }
        if fault.elapsed() > PATIENCE {
            return Err(format!("kill {number}: nothing for {PATIENCE:?}").into());
        }
        tokio::time::sleep(LOOK).await;
    }
}
