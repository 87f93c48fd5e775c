//! What SQL over the lake's tables said while the load ran, and the rows that it gave at the end.
//!
//! The lake is asked as any client would ask it. Nothing of its own bookkeeping is believed: rows are held against the
//! log as the judge has read it, and how far the tables are behind against what clients were acknowledged.

mod figures;
pub mod judge;
#[cfg(test)]
mod tests;

use std::sync::{Mutex, PoisonError};

pub use figures::{Behind, TableFigures};

use crate::history::LogRecord;

/// Answers that are kept; at four a second this is a run of more than half a day.
const ANSWERS_MAX: usize = 200_000;

/// Rows and money of one table, as one answer gave them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Total {
    /// Rows.
    pub rows: u64,
    /// The sum of their amounts, in minor units of KRW.
    pub amount_minor: i64,
}

/// One question for all tables at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// When it was asked, in microseconds on the run's clock.
    pub at_us: u64,
    /// By index into [`crate::history::History::topics`]; `None` if there was no answer.
    pub totals: Option<Vec<Total>>,
}

/// One row, as SQL gave it at the end.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Row {
    /// Index into [`crate::history::History::topics`] of the topic that the table is made of.
    pub topic: u16,
    /// The identifier that the service gave.
    pub id: Box<str>,
    /// The service's number of it for the user.
    pub sequence: u64,
    /// The user.
    pub user: Box<str>,
    /// The merchant, or who gets the transfer.
    pub peer: Box<str>,
    /// The currency.
    pub currency: Box<str>,
    /// The amount in minor units.
    pub amount_minor: i64,
}

impl Row {
    /// What a record is in its table.
    pub fn of(record: &LogRecord) -> Self {
        Self {
            topic: record.place.topic,
            id: record.id.clone(),
            sequence: record.sequence,
            user: record.user.clone(),
            peer: record.peer.clone(),
            currency: record.currency.clone(),
            amount_minor: record.amount_minor,
        }
    }
}

/// Everything that the tables said.
#[derive(Debug, Clone, Default)]
pub struct Said {
    /// While the load ran, in the order of time.
    pub asked: Vec<Asked>,
    /// At the end: the rows of all tables, or why there are none.
    pub rows: Option<Result<Vec<Row>, String>>,
}

impl Said {
    /// The last totals that were told.
    pub fn last(&self) -> Option<&[Total]> {
        self.asked.iter().rev().find_map(|asked| asked.totals.as_deref())
    }
}

/// Takes answers down while the load runs.
#[derive(Debug, Default)]
pub struct TableRecorder {
    asked: Mutex<Vec<Asked>>,
}

impl TableRecorder {
    /// One question and its answer. Beyond [`ANSWERS_MAX`] it is not kept.
    pub fn asked(&self, asked: Asked) {
        let mut list = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if list.len() < ANSWERS_MAX {
            list.push(asked);
        }
    }

    /// All of them.
    pub fn take(&self) -> Vec<Asked> {
        std::mem::take(&mut *self.asked.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
