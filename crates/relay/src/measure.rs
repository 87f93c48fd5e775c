//! What the data path counts: latency per stage, bytes, refusals.

use std::time::Duration;

use naru_runtime::telemetry::Metrics;
use naru_runtime::telemetry::kinds::counter::Counter;
use naru_runtime::telemetry::kinds::family::Family;
use naru_runtime::telemetry::kinds::histogram::Histogram;

use crate::sequence::{Acked, Refusal};

/// Upper bounds of the latency buckets, seconds: from what a loopback write takes to what a client waits at most.
const LATENCY_SECONDS: [f64; 16] =
    [0.000_1, 0.000_2, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 30.0];

type Labels = [(&'static str, &'static str); 1];

/// Counters and latencies of the data path; clones are the same ones.
#[derive(Debug, Clone)]
pub struct Stages {
    accept: Histogram,
    active: Histogram,
    standby: Histogram,
    answer: Histogram,
    refused: Family<Labels, Counter>,
    produced_bytes: Counter,
    fetched_bytes: Family<Labels, Counter>,
}

impl Stages {
    /// Registers them.
    pub fn new(metrics: &Metrics) -> Self {
        let latency: fn() -> Histogram = || Histogram::new(LATENCY_SECONDS);
        let stages: Family<Labels, Histogram, fn() -> Histogram> = metrics.register(
            "relay_stage_seconds",
            "Time per batch: accept (read and checked), active and standby (written there), answer (all of it)",
            Family::new_with_constructor(latency),
        );
        // Looked up once: each is observed for every batch.
        let stage = |name| stages.get_or_create(&[("stage", name)]).clone();
        Self {
            accept: stage("accept"),
            active: stage("active"),
            standby: stage("standby"),
            answer: stage("answer"),
            refused: metrics.register(
                "relay_refused",
                "Batches refused, by the reason",
                Family::<Labels, Counter>::default(),
            ),
            produced_bytes: metrics.register("relay_produced_bytes", "Bytes of batches taken", Counter::default()),
            fetched_bytes: metrics.register(
                "relay_fetched_bytes",
                "Bytes of batches given to consumers, by where they came from",
                Family::<Labels, Counter>::default(),
            ),
        }
    }

    /// A side took a batch, or refused it.
    pub(crate) fn wrote(&self, active: bool, took: Duration) {
        let stage = if active { &self.active } else { &self.standby };
        stage.observe(took.as_secs_f64());
    }

    /// A batch was read and checked.
    pub(crate) fn accepted(&self, bytes: usize, took: Duration) {
        self.produced_bytes.inc_by(bytes as u64);
        self.accept.observe(took.as_secs_f64());
    }

    /// A client's batch is answered.
    pub(crate) fn answered(&self, result: &Result<Acked, Refusal>, took: Duration) {
        match result {
            Ok(_) => self.answer.observe(took.as_secs_f64()),
            Err(refusal) => self.refused(refusal.why),
        }
    }

    /// A batch was refused.
    pub(crate) fn refused(&self, why: &'static str) {
        self.refused.get_or_create(&[("why", why)]).inc();
    }

    /// Bytes went to a consumer.
    pub(crate) fn fetched(&self, from_cache: bool, bytes: usize) {
        let from = if from_cache { "cache" } else { "active" };
        self.fetched_bytes.get_or_create(&[("from", from)]).inc_by(bytes as u64);
    }
}
