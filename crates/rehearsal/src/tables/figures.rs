//! How far the tables were behind what clients had been told.

use serde::{Deserialize, Serialize};

use super::Said;
use crate::history::{History, Outcome};
use crate::measure::Percentiles;

/// How far the tables were behind at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Behind {
    /// When they were asked, in microseconds on the run's clock.
    pub at_us: u64,
    /// How long the first acknowledged request that no table had yet had been acknowledged, in microseconds; 0 if there
    /// was none; `None` if there was no answer. Counted, not told apart: as many requests are there as there are rows.
    pub behind_us: Option<u64>,
}

/// The tables over the run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableFigures {
    /// Question by question.
    pub asked: Vec<Behind>,
    /// Over the answers.
    pub behind: Option<Percentiles>,
    /// Questions without an answer.
    pub unanswered: u64,
    /// Rows of all tables in the last answer.
    pub rows: u64,
    /// The sum of their amounts, in won.
    pub amount_minor: i64,
}

impl TableFigures {
    /// From what the tables said, and when clients were acknowledged.
    pub fn of(said: &Said, history: &History) -> Self {
        let mut acknowledged: Vec<Vec<u64>> = vec![Vec::new(); history.topics.len()];
        for operation in &history.operations {
            if let (Outcome::Acknowledged { .. }, Some(ended_us)) = (&operation.outcome, operation.ended_us) {
                acknowledged[usize::from(operation.topic)].push(ended_us);
            }
        }
        acknowledged.iter_mut().for_each(|times| times.sort_unstable());
        let behind = |at_us: u64, rows: &[super::Total]| {
            let of_table = |(times, total): (&Vec<u64>, &super::Total)| {
                let first_absent = usize::try_from(total.rows).ok().and_then(|rows| times.get(rows).copied());
                at_us.saturating_sub(first_absent.unwrap_or(at_us))
            };
            acknowledged.iter().zip(rows).map(of_table).max().unwrap_or(0)
        };
        let asked: Vec<Behind> = said
            .asked
            .iter()
            .map(|asked| Behind {
                at_us: asked.at_us,
                behind_us: asked.totals.as_ref().map(|totals| behind(asked.at_us, totals)),
            })
            .collect();
        let last = said.last().unwrap_or_default();
        Self {
            behind: Percentiles::of(asked.iter().filter_map(|asked| asked.behind_us)),
            unanswered: asked.iter().filter(|asked| asked.behind_us.is_none()).count() as u64,
            rows: last.iter().map(|total| total.rows).sum(),
            amount_minor: last.iter().map(|total| total.amount_minor).sum(),
            asked,
        }
    }
}
