//! The report: one versioned JSON document, and one page made from it that needs nothing else.

mod chart;
mod charts;
mod page;
mod svg;
mod time;

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

pub use page::render;

use crate::away::Away;
use crate::campaign::CampaignFigures;
use crate::check::Verdict;
use crate::crowd::EdgeFigures;
use crate::expectations::LOAD;
use crate::measure::{ConsumerFigures, Percentiles, ServiceFigures};
use crate::recorder::{BacklogSample, Mark, StandingSample};
use crate::sabotage::Sabotaged;
use crate::tables::TableFigures;

/// Version of the JSON document; rises when a field changes its meaning or goes away.
pub const SCHEMA: u32 = 1;

/// Everything that a run has to say.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Whether every check held; never in a sabotaged run.
    pub passed: bool,
    /// The scenario's name.
    pub scenario: String,
    /// The scenario's title.
    pub title: String,
    /// All randomness came from it.
    pub seed: u64,
    /// The command that plays the same plan again.
    pub replay: String,
    /// What was rehearsed, and where.
    pub environment: Environment,
    /// The phases, in their order.
    pub phases: Vec<PhaseSpan>,
    /// What happened to the subject.
    pub marks: Vec<Mark>,
    /// Each service.
    pub services: Vec<ServiceFigures>,
    /// How long after their planned times the requests were sent.
    pub lateness: Option<Percentiles>,
    /// The consumer group.
    pub consumers: ConsumerFigures,
    /// What waited between the two.
    pub backlog: Vec<BacklogSample>,
    /// How the relay said that it stood; empty without one.
    #[serde(default)]
    pub standings: Vec<StandingSample>,
    /// How long clients were away when a side was lost or switched.
    #[serde(default)]
    pub away: Vec<Away>,
    /// The edge, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edge: Option<EdgeFigures>,
    /// The campaign, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub campaign: Option<CampaignFigures>,
    /// The lake's tables, if there is a lake.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tables: Option<TableFigures>,
    /// Records that the group was given more than once, as often as it was.
    #[serde(default)]
    pub read_again: u64,
    /// The verdict of each check.
    pub verdicts: Vec<Verdict>,
    /// What was done wrong on purpose, and whether it was caught; empty in an honest run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sabotaged: Vec<Sabotaged>,
    /// Records that the log held at the end.
    pub log_records: u64,
    /// How many records all observers were given together.
    pub observations: u64,
}

/// What a run shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conclusion {
    /// Every check holds.
    Pass,
    /// Only the load was not what was planned: it says something of this machine, and nothing of the subject.
    NotValid,
    /// The subject did not do what it should.
    Fail,
    /// What was done wrong on purpose was noticed by the checks that are there for it.
    Caught,
    /// It was not, or not by those alone: the judge is at fault.
    Missed,
}

impl Report {
    /// What the run shows, with a sentence that says why.
    pub fn conclusion(&self) -> (Conclusion, String) {
        let count = self.verdicts.len();
        if !self.sabotaged.is_empty() {
            return self.of_sabotage();
        }
        let mut failed = self.verdicts.iter().filter(|verdict| !verdict.passed);
        match (failed.next(), failed.count()) {
            (None, _) => (Conclusion::Pass, format!("all {count} checks hold")),
            (Some(only), 0) if only.check == LOAD => {
                let worst_ms = self.lateness.map_or(0.0, |lateness| lateness.max_us as f64 / 1e3);
                let why = format!(
                    "this machine could not send the load as planned ({} of {} requests, the worst {worst_ms:.0} ms late), \
                     so that another load was tested; the other {} checks hold. Play it again on a quieter machine",
                    only.findings_total,
                    only.examined,
                    count - 1
                );
                (Conclusion::NotValid, why)
            }
            (Some(_), more) => (Conclusion::Fail, format!("{} of {count} checks do not hold", more + 1)),
        }
    }
}

impl Report {
    fn of_sabotage(&self) -> (Conclusion, String) {
        let missed: Vec<&str> =
            self.sabotaged.iter().filter(|sabotaged| !sabotaged.caught).map(|missed| missed.name.as_str()).collect();
        let all = self.sabotaged.len();
        match (missed.as_slice(), self.sabotaged.as_slice()) {
            ([], [only]) => {
                (Conclusion::Caught, format!("the sabotage {} was caught by {}", only.name, only.red.join(", ")))
            }
            ([], _) => (Conclusion::Caught, format!("all {all} sabotages were caught")),
            (missed, _) => {
                let why = format!(
                    "{} of {all} sabotages were not caught as they have to be: {}",
                    missed.len(),
                    missed.join(", ")
                );
                (Conclusion::Missed, why)
            }
        }
    }
}

/// A phase on the run's clock.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PhaseSpan {
    /// Its name.
    pub name: String,
    /// Start, in seconds.
    pub from_s: f64,
    /// End, in seconds.
    pub to_s: f64,
}

/// What was rehearsed, and on what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Environment {
    /// What played the log: `stand-in 0.1.0`, `Apache Kafka 4.3.1`.
    pub subject: String,
    /// How the clusters were set up: `a: fsync, b: fsync`.
    pub clusters: String,
    /// Version of this program.
    pub naru: String,
    /// Version of librdkafka, which the services and consumers use.
    pub librdkafka: String,
    /// Processors that this process may use.
    pub cores: usize,
    /// The operating system's kernel.
    pub kernel: String,
    /// When the run began, in UTC.
    pub began: String,
}

impl Environment {
    /// Looks at this machine.
    pub fn here(subject: String, clusters: String, began: SystemTime) -> Self {
        // Linux keeps it where anybody may read it; on a system without it the report says so.
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease")
            .map_or_else(|_| "unknown kernel".to_owned(), |release| format!("Linux {}", release.trim()));
        Self {
            subject,
            clusters,
            naru: env!("CARGO_PKG_VERSION").to_owned(),
            librdkafka: rdkafka::util::get_rdkafka_version().1,
            cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            kernel,
            began: time::utc(began),
        }
    }
}

#[cfg(test)]
mod tests;
