//! What can be asked of a running capture: figures for Prometheus, and a report over HTTP.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use naru_runtime::telemetry::{Metrics, Observed, Reading};
use serde::{Deserialize, Serialize};

use crate::change::{Change, Op};
use crate::log::resume::Mark;

/// How the alarms begin.
const HELD: &str = "the database holds";
const VAULT: &str = "nothing is written, since there are no tokens";

/// What a capture says about itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The source's name.
    pub source: String,
    /// What it does: `starting`, `copying`, `streaming`, `waiting`.
    pub phase: String,
    /// Why it waits, if it does.
    pub waits_for: Option<String>,
    /// Everything committed at or before this is on the log.
    pub position: u64,
    /// When that was, microseconds since 1970.
    pub at: i64,
    /// Bytes of write-ahead log that the database holds for the slot.
    pub held_wal_bytes: u64,
    /// What somebody must look at.
    pub alarms: Vec<String>,
    /// Each table's topic.
    pub tables: BTreeMap<String, TableReport>,
}

/// One table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableReport {
    /// Position of its last whole copy.
    pub copied: Option<u64>,
    /// Changes written since the process started, those of copies among them.
    pub records: u64,
    /// Rows copied so far, while it is copied.
    pub copying: Option<u64>,
    /// Why nothing more is written, and the way on.
    pub stopped: Option<String>,
}

/// The state behind the report; the session writes it, scrapes and requests read it.
#[derive(Debug, Default)]
pub struct Status {
    report: Mutex<Report>,
}

impl Status {
    /// Of a source that starts.
    pub fn new(source: &str, topics: impl IntoIterator<Item = String>) -> Self {
        let tables = topics.into_iter().map(|topic| (topic, TableReport::default())).collect();
        let report = Report { source: source.to_owned(), phase: "starting".to_owned(), tables, ..Report::default() };
        Self { report: Mutex::new(report) }
    }

    fn lock(&self) -> MutexGuard<'_, Report> {
        // Nothing panics while holding it; were it so, figures are still figures.
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All of it, now.
    pub fn report(&self) -> Report {
        self.lock().clone()
    }

    pub(crate) fn phase(&self, phase: &str) {
        let mut report = self.lock();
        phase.clone_into(&mut report.phase);
        report.waits_for = None;
    }

    pub(crate) fn waits(&self, reason: String) {
        let mut report = self.lock();
        "waiting".clone_into(&mut report.phase);
        report.waits_for = Some(reason);
    }

    pub(crate) fn wrote(&self, topic: &str, change: &Change) {
        let mut report = self.lock();
        let Some(table) = report.tables.get_mut(topic) else { return };
        table.records += 1;
        table.copying = match change.op {
            Op::Begin => Some(0),
            Op::Read => table.copying.map(|rows| rows + 1),
            Op::End => None,
            _ => table.copying,
        };
    }

    pub(crate) fn stopped(&self, topic: &str, reason: &str) {
        if let Some(table) = self.lock().tables.get_mut(topic) {
            table.stopped = Some(reason.to_owned());
        }
    }

    pub(crate) fn goes_on(&self, topic: &str) {
        if let Some(table) = self.lock().tables.get_mut(topic) {
            table.stopped = None;
        }
    }

    pub(crate) fn marked(&self, mark: &Mark) {
        let mut report = self.lock();
        (report.position, report.at) = (mark.position, mark.at);
        for (topic, table) in &mut report.tables {
            table.copied = mark.copies.get(topic).copied();
        }
    }

    /// Notes what the server holds; true if that is beyond the bound and was not before.
    pub(crate) fn holds(&self, bytes: u64, max: u64) -> bool {
        self.lock().held_wal_bytes = bytes;
        let alarm = format!(
            "{HELD} {bytes} bytes of write-ahead log for the slot, more than the bound of {max}: see why the log or the vault \
             is slow, or stop what cannot be written; a full disk stops the database"
        );
        self.alarm(HELD, (bytes > max).then_some(alarm))
    }

    /// Notes that there are no tokens; true if there were before.
    pub(crate) fn vault_is_away(&self, reason: String) -> bool {
        self.alarm(VAULT, Some(format!("{VAULT}: {reason}")))
    }

    pub(crate) fn vault_answers(&self) {
        self.alarm(VAULT, None);
    }

    /// Raises, renews or ends the alarm that begins so; true if it is new.
    fn alarm(&self, begins: &str, alarm: Option<String>) -> bool {
        let mut report = self.lock();
        let before = report.alarms.len();
        report.alarms.retain(|alarm| !alarm.starts_with(begins));
        let was = report.alarms.len() < before;
        let is_new = alarm.is_some() && !was;
        report.alarms.extend(alarm);
        is_new
    }

    /// Registers the figures.
    pub fn register(self: &std::sync::Arc<Self>, metrics: &Metrics) {
        let of = |label: &'static str, topic: &str, value: u64| Reading {
            labels: vec![(label, Cow::Owned(topic.to_owned()))],
            value,
        };
        let plain = |value: u64| vec![Reading { labels: Vec::new(), value }];
        let status = self.clone();
        metrics.observe("capture_records", "Changes written, by topic", Observed::Counter, move || {
            status.lock().tables.iter().map(|(topic, table)| of("topic", topic, table.records)).collect()
        });
        let status = self.clone();
        metrics.observe("capture_stopped_tables", "Tables that are stopped", Observed::Gauge, move || {
            plain(status.lock().tables.values().filter(|table| table.stopped.is_some()).count() as u64)
        });
        let status = self.clone();
        let help = "Write-ahead log that the database holds for the slot";
        metrics.observe("capture_held_wal_bytes", help, Observed::Gauge, move || plain(status.lock().held_wal_bytes));
        let status = self.clone();
        let help = "Everything committed at or before this log sequence number is on the log";
        metrics.observe("capture_position", help, Observed::Gauge, move || plain(status.lock().position));
        let status = self.clone();
        let help = "When that was committed, seconds since 1970";
        metrics.observe("capture_position_at_seconds", help, Observed::Gauge, move || {
            plain(u64::try_from(status.lock().at / 1_000_000).unwrap_or(0))
        });
        let status = self.clone();
        metrics.observe("capture_alarms", "What somebody must look at", Observed::Gauge, move || {
            plain(status.lock().alarms.len() as u64)
        });
    }
}
