//! A producer of the rehearsal's own, at a steady beat: how long producers and consumers are away is read off it.
//!
//! A service's records come when its users do, and are published behind its outbox; a gap between them says little about
//! the log. A pulse is due in every partition every [`EVERY`], is sent by an idempotent producer that never gives up, and
//! what the producer is told about it is held against the log at the end.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer as _, ProducerContext, ThreadedProducer};
use tokio_util::sync::CancellationToken;

use crate::recorder::Recorder;

/// The topic of the pulses, with as many partitions as every other.
pub const TOPIC: &str = "rehearsal-pulses";
/// The beat in each partition: a tenth of the shortest stall that anybody bounds, so that the beat itself hardly counts.
pub const EVERY: Duration = Duration::from_millis(25);
/// How long the last pulses may take when the load is over.
const FLUSH_WITHIN: Duration = Duration::from_secs(20);

/// One pulse, and what its producer was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pulse {
    /// The partition.
    pub partition: i32,
    /// When it was handed to the producer, in microseconds on the run's clock. Per partition in the order of sending.
    pub sent_us: u64,
    /// What the producer was told; `None` if nothing.
    pub acknowledged: Option<Acknowledged>,
}

/// A pulse is in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Acknowledged {
    /// At which offset. A batch that is a duplicate from before the last five is acknowledged without one.
    pub offset: Option<i64>,
    /// When the producer was told, in microseconds on the run's clock.
    pub at_us: u64,
}

/// A pulse as the log holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PulseRecord {
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
    /// Its number among all pulses of the run; `None` for what is no pulse of this run.
    pub number: Option<usize>,
}

/// The value of a pulse's record.
pub fn value(seed: u64, number: usize) -> String {
    format!("{seed:016x}-{number}")
}

/// The number of a pulse of this run, given its record's value.
pub fn number(seed: u64, value: &[u8]) -> Option<usize> {
    let (prefix, number) = std::str::from_utf8(value).ok()?.split_once('-')?;
    (u64::from_str_radix(prefix, 16) == Ok(seed)).then(|| number.parse().ok())?
}

/// Takes down what becomes of each pulse.
struct Deliveries(Arc<Recorder>);

impl ClientContext for Deliveries {
    fn log(&self, _level: RDKafkaLogLevel, fac: &str, message: &str) {
        tracing::debug!(fac, message, "librdkafka");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(error = &error as &dyn std::error::Error, reason, "librdkafka");
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Box<usize>;

    fn delivery(&self, result: &DeliveryResult<'_>, number: Self::DeliveryOpaque) {
        match result {
            Ok(message) => self.0.pulse_acknowledged(*number, message.offset()),
            Err((error, _)) => tracing::debug!(error = error as &dyn std::error::Error, number = *number, "a pulse"),
        }
    }
}

/// Sends pulses until `over`, then waits for the last answers.
///
/// # Errors
/// If librdkafka refuses its configuration, or a pulse.
pub async fn run(
    bootstrap: String,
    partitions: i32,
    seed: u64,
    recorder: Arc<Recorder>,
    over: CancellationToken,
) -> Result<(), KafkaError> {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", &bootstrap)
        .set("client.id", "rehearsal-pulse")
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("message.timeout.ms", "0")
        .set("linger.ms", "0")
        // As the observers: the outage is what is measured, not the client's patience.
        .set("reconnect.backoff.ms", "50")
        .set("reconnect.backoff.max.ms", "500")
        .set("log.connection.close", "false")
        .set_log_level(RDKafkaLogLevel::Warning);
    let producer: ThreadedProducer<Deliveries> = config.create_with_context(Deliveries(Arc::clone(&recorder)))?;
    let mut beat = tokio::time::interval(EVERY);
    loop {
        tokio::select! {
            _ = beat.tick() => {}
            () = over.cancelled() => break,
        }
        for partition in 0..partitions {
            let Some(number) = recorder.pulse_sent(partition) else { continue };
            let text = value(seed, number);
            let record = BaseRecord::<(), str, _>::with_opaque_to(TOPIC, Box::new(number));
            producer.send(record.partition(partition).payload(&text)).map_err(|(error, _)| error)?;
        }
    }
    // It blocks; what is not answered by then stays unknown, and the checkers know that.
    let flushed = tokio::task::spawn_blocking(move || producer.flush(FLUSH_WITHIN)).await;
    if !matches!(flushed, Ok(Ok(()))) {
        tracing::debug!("the last pulses were not answered");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pulse_is_known_by_its_value() {
        let check = |text: &str, expect: Option<usize>| assert_eq!(number(7, text.as_bytes()), expect, "{text}");
        check(&value(7, 3), Some(3));
        check(&value(8, 3), None);
        check("x", None);
        check("", None);
    }
}
