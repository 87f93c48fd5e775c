//! Events into a table of facts.

use std::ops::Range;

use naru_kafka::wire::Record;
use naru_runtime::causes::with_causes;

use crate::error::LakeError;
use crate::events::dead::{DeadError, DeadLetters, Letter};
use crate::events::plan::{Event, Plan};
use crate::table::state::State;

/// The way of one topic's events into one table.
#[derive(Debug)]
pub struct EventInput {
    plan: Plan,
    dead: DeadLetters,
}

impl EventInput {
    /// As declared.
    pub fn new(plan: Plan, dead: DeadLetters) -> Self {
        Self { plan, dead }
    }

    /// What is declared.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Writes a letter for a batch that nobody can read; answers how many events it held at most.
    ///
    /// # Errors
    /// When the letter cannot be written.
    pub async fn bury(&mut self, partition: i32, offsets: Range<i64>, why: &LakeError) -> Result<u64, LakeError> {
        let letter = Letter {
            partition,
            offset: offsets.start,
            time_ms: 0,
            key: None,
            value: None,
            headers: Vec::new(),
            reason: format!("the batch of the offsets {} to {}: {}", offsets.start, offsets.end - 1, with_causes(why)),
        };
        self.dead.write(&[letter]).await.map_err(unwritten)?;
        Ok(u64::try_from(offsets.end - offsets.start).unwrap_or(0))
    }

    /// Takes in records of one partition, in their order; answers how many of them did not fit.
    ///
    /// # Errors
    /// When dead letters cannot be written, or the table has other columns.
    pub async fn take_in(&mut self, state: &mut State, partition: i32, records: &[Record]) -> Result<usize, LakeError> {
        let (mut cells, mut offsets, mut letters) = (Vec::new(), Vec::new(), Vec::new());
        for record in records {
            let event = Event {
                offset: record.offset,
                time_ms: record.timestamp,
                key: record.key.as_deref(),
                value: record.value.as_deref(),
            };
            match self.plan.read(event) {
                Ok(read) => {
                    cells.push(read);
                    offsets.push(record.offset);
                }
                Err(reason) => letters.push(Letter {
                    partition,
                    offset: record.offset,
                    time_ms: record.timestamp,
                    key: record.key.as_ref().map(|key| key.to_vec()),
                    value: record.value.as_ref().map(|value| value.to_vec()),
                    headers: record.headers.clone(),
                    reason,
                }),
            }
        }
        // Before the table is past them.
        self.dead.write(&letters).await.map_err(unwritten)?;
        let rows = self.plan.rows(state.schema(), partition, &offsets, &cells);
        let table = state.table().identifier().to_string();
        state.append(rows.map_err(|source| LakeError::Columns { table, source })?);
        if let Some(last) = records.last() {
            state.progress.offsets.insert(partition, last.offset + 1);
        }
        Ok(letters.len())
    }
}

fn unwritten(error: DeadError) -> LakeError {
    match error {
        DeadError::Log(error) => LakeError::Log(error),
        DeadError::Wire(source) => LakeError::Batch { at: "a dead letter".to_owned(), source },
    }
}
