//! A role of which nothing but metrics is read.

use naru_runtime::exposition::{Sample, parse};

use crate::ask::{Asker, Unanswered};
use crate::config::MetricsSource;

/// What it says.
#[derive(Debug, Clone, Default)]
pub struct Process {
    /// Its metrics.
    pub samples: Vec<Sample>,
}

/// Asks it.
///
/// # Errors
/// When it does not answer.
pub async fn ask(asker: &Asker, source: &MetricsSource) -> Result<Process, Unanswered> {
    Ok(Process { samples: parse(&asker.text(&source.metrics, "/metrics").await?).samples })
}

impl Process {
    /// How often an invariant did not hold there.
    pub fn violations(&self) -> f64 {
        violations(&self.samples)
    }
}

/// How often an invariant did not hold, by a role's metrics.
pub fn violations(samples: &[Sample]) -> f64 {
    samples.iter().filter(|sample| sample.name == "naru_invariant_violations_total").map(|sample| sample.value).sum()
}
