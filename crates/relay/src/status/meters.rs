//! The figures of service groups.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;

use naru_runtime::telemetry::Metrics;
use naru_runtime::telemetry::kinds::counter::Counter;
use naru_runtime::telemetry::kinds::family::Family;
use naru_runtime::telemetry::kinds::gauge::Gauge;
use naru_runtime::telemetry::kinds::histogram::Histogram;

use super::report::{Mode, StatusReport};
use crate::sequence::Millis;

/// Upper bounds, seconds: a planned switch is below half a second, a takeover below three.
const TAKEOVER_SECONDS: [f64; 9] = [0.05, 0.1, 0.2, 0.5, 1.0, 1.5, 2.0, 3.0, 10.0];

type Labels = Vec<(&'static str, String)>;

pub(super) struct Meters {
    solo_seconds: Family<Labels, Counter<f64, AtomicU64>>,
    takeover_seconds: Family<Labels, Histogram, fn() -> Histogram>,
    in_sync: Family<Labels, Gauge>,
    lag_records: Family<Labels, Gauge>,
    lag_bytes: Family<Labels, Gauge>,
    lag_seconds: Family<Labels, Gauge<f64, AtomicU64>>,
    alarms: Family<Labels, Gauge>,
    read_at: Option<Millis>,
    /// When the last takeover that was counted was, by group.
    takeovers: BTreeMap<String, u64>,
}

impl Meters {
    pub fn new(metrics: &Metrics) -> Self {
        let takeover: fn() -> Histogram = || Histogram::new(TAKEOVER_SECONDS);
        Self {
            solo_seconds: metrics.register(
                "relay_solo_seconds",
                "Time in which one side acknowledged alone, by service group",
                Family::default(),
            ),
            takeover_seconds: metrics.register(
                "relay_takeover_seconds",
                "From the first sign of absence, or the quiescing, until another side was active, by service group",
                Family::new_with_constructor(takeover),
            ),
            in_sync: metrics.register(
                "relay_in_sync",
                "Whether a side holds every acknowledged record, by service group",
                Family::default(),
            ),
            lag_records: metrics.register("relay_lag_records", "Records that a side lacks", Family::default()),
            lag_bytes: metrics.register("relay_lag_bytes", "Bytes that a side lacks", Family::default()),
            lag_seconds: metrics.register("relay_lag_seconds", "Age of what a side lacks", Family::default()),
            alarms: metrics.register("relay_alarms", "Alarms that are raised, by service group", Family::default()),
            read_at: None,
            takeovers: BTreeMap::new(),
        }
    }

    pub fn read(&mut self, report: &StatusReport, now: Millis) {
        let passed_ms = self.read_at.replace(now).map_or(0, |before| now.saturating_sub(before));
        for group in &report.groups {
            let of_group = || vec![("group", group.name.clone())];
            let of_side = |side: &str| vec![("group", group.name.clone()), ("side", side.to_owned())];
            let alone = self.solo_seconds.get_or_create(&of_group());
            if group.mode == Mode::Solo {
                alone.inc_by(passed_ms as f64 / 1000.0);
            }
            for (side, status) in group.sides.iter() {
                let labels = of_side(&side.to_string());
                self.in_sync.get_or_create(&labels).set(i64::from(status.in_sync));
                if let Some(records) = status.lag_records {
                    self.lag_records.get_or_create(&labels).set(records);
                }
                if let Some(bytes) = status.lag_bytes {
                    self.lag_bytes.get_or_create(&labels).set(bytes);
                }
                self.lag_seconds.get_or_create(&labels).set(status.lag_seconds);
            }
            self.alarms.get_or_create(&of_group()).set(i64::try_from(group.alarms.len()).unwrap_or(i64::MAX));
            if let Some(takeover) = &group.last_takeover
                && self.takeovers.insert(group.name.clone(), takeover.at_ms) != Some(takeover.at_ms)
            {
                self.takeover_seconds.get_or_create(&of_group()).observe(takeover.took_ms as f64 / 1000.0);
            }
        }
    }
}
