//! The stream of changes, made into items for the writer: transactions, their order, and definitions as they change.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use sqlx::postgres::PgConnection;

use crate::change::{Cell, Change, Op, Place};
use crate::config::{CaptureConfig, topic};
use crate::error::CaptureError;
use crate::evolve;
use crate::source::catalog;
use crate::source::pgoutput::{Message, Old, Relation};
use crate::table::Table;
use crate::writer::Item;

/// Microseconds from 1970 to 2000, which PostgreSQL counts from.
const EPOCH_MICROS: i64 = 946_684_800_000_000;

/// What the writer is given at once.
#[derive(Debug, Default)]
pub(crate) struct Parcel {
    pub(crate) items: Vec<Item>,
    /// How far the source is read when this is written.
    pub(crate) through: Option<Through>,
    pub(crate) transactions: u64,
}

/// Everything that was committed before `next` has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Through {
    pub(crate) next: u64,
    pub(crate) at: i64,
}

/// The transaction that is being sent.
#[derive(Debug, Clone, Copy)]
struct Open {
    position: u64,
    xid: u32,
    at: i64,
    sequence: u64,
}

/// What is known of a table by its number.
#[derive(Debug)]
enum Shape {
    /// Announced, and nothing of it was needed yet.
    Announced(Relation),
    /// Captured: its definition, and where its columns stand in the stream's rows.
    Captured { table: Arc<Table>, picks: Vec<usize> },
    /// Not in the configuration.
    Ignored,
    /// Stopped; its changes are counted only.
    Stopped,
}

/// Gathers what the stream says.
#[derive(Debug)]
pub(crate) struct Stream {
    shapes: HashMap<u32, Shape>,
    /// The definition of each topic's last record.
    before: BTreeMap<String, Arc<Table>>,
    /// Changes at or below this are in a topic's copy.
    copies: BTreeMap<String, u64>,
    open: Option<Open>,
    parcel: Parcel,
    bytes: usize,
}

impl Stream {
    pub(crate) fn new(before: impl Iterator<Item = Arc<Table>>, copies: BTreeMap<String, u64>) -> Self {
        let before = before.map(|table| (table.topic.to_string(), table)).collect();
        Self { shapes: HashMap::new(), before, copies, open: None, parcel: Parcel::default(), bytes: 0 }
    }

    /// Bytes that are gathered.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn has_something(&self) -> bool {
        !self.parcel.items.is_empty() || self.parcel.through.is_some()
    }

    /// Whether no transaction is half gathered.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.open.is_none()
    }

    /// What is gathered.
    pub(crate) fn take(&mut self) -> Parcel {
        self.bytes = 0;
        std::mem::take(&mut self.parcel)
    }

    pub(crate) fn begin(&mut self, position: u64, xid: u32, commit_time_micros: i64) {
        self.open = Some(Open { position, xid, at: commit_time_micros + EPOCH_MICROS, sequence: 0 });
    }

    pub(crate) fn commit(&mut self, next: u64) {
        let Some(open) = self.open.take() else { return };
        // One without a captured change is sent, too; it moves the position and counts for nothing.
        self.parcel.transactions += u64::from(open.sequence > 0);
        self.parcel.through = Some(Through { next, at: open.at });
    }

    /// The server has sent everything before this, unless it is within a transaction.
    pub(crate) fn keep_alive(&mut self, next: u64, server_time_micros: i64) -> Option<u64> {
        if self.open.is_some() {
            return None;
        }
        self.through(Through { next, at: server_time_micros + EPOCH_MICROS });
        Some(next)
    }

    /// The server's log ended at `current` at that time, and everything before `reached` has come.
    pub(crate) fn idle(&mut self, current: u64, reached: u64, at: i64) {
        if self.open.is_none() && reached >= current {
            self.through(Through { next: reached, at });
        }
    }

    fn through(&mut self, through: Through) {
        if self.parcel.through.is_none_or(|known| known.next <= through.next) {
            self.parcel.through = Some(through);
        }
    }

    /// Takes a message of the open transaction.
    pub(crate) async fn message(
        &mut self,
        config: &CaptureConfig,
        session: &mut PgConnection,
        message: Message,
    ) -> Result<(), CaptureError> {
        match message {
            Message::Relation(relation) => {
                self.shapes.insert(relation.id, Shape::Announced(relation));
                Ok(())
            }
            Message::Insert { relation, new } => {
                self.resolve(config, session, relation).await?;
                self.row(relation, Op::Insert, new);
                Ok(())
            }
            Message::Update { relation, old, new } => {
                self.resolve(config, session, relation).await?;
                self.update(relation, old, new);
                Ok(())
            }
            Message::Delete { relation, old } => {
                self.resolve(config, session, relation).await?;
                self.delete(relation, &old);
                Ok(())
            }
            Message::Truncate { relations } => {
                for relation in relations {
                    self.resolve(config, session, relation).await?;
                    self.row(relation, Op::Truncate, Vec::new());
                }
                Ok(())
            }
            Message::Other => Ok(()),
        }
    }

    /// The next place in the transaction. Counts whether or not it is used.
    fn place(&mut self) -> Option<(Open, Place)> {
        let open = self.open.as_mut()?;
        let place = Place { position: open.position, sequence: open.sequence };
        open.sequence += 1;
        Some((*open, place))
    }

    fn row(&mut self, relation: u32, op: Op, row: Vec<Cell>) {
        let Some((open, place)) = self.place() else { return };
        let Some(Shape::Captured { table, picks }) = self.shapes.get(&relation) else { return };
        let row = if row.is_empty() { row } else { picked(row, picks) };
        let change = Change { table: table.clone(), op, place, transaction: open.xid, at: open.at, row };
        self.push(Item::Change(change));
    }

    fn push(&mut self, item: Item) {
        if let Item::Change(change) = &item {
            self.bytes += change.size_bytes();
        }
        self.parcel.items.push(item);
    }

    fn update(&mut self, relation: u32, old: Option<Old>, mut new: Vec<Cell>) {
        if let Some(Old::Full(was)) = &old {
            // All that was is here: what was not sent again is known.
            for (cell, was) in new.iter_mut().zip(was) {
                if *cell == Cell::Kept {
                    *cell = was.clone();
                }
            }
        }
        let moved = match (&old, self.shapes.get(&relation)) {
            (Some(old), Some(Shape::Captured { table, picks })) => {
                let key = table.key.iter().filter_map(|at| picks.get(*at)).copied();
                let differs = |at: usize| new.get(at) != Some(&Cell::Kept) && new.get(at) != old.cells().get(at);
                { key }.any(differs)
            }
            _ => false,
        };
        let Some(old) = old else {
            self.row(relation, Op::Update, new);
            return;
        };
        if !moved {
            // Whatever is known of the table when it is read again, an update with an old row counts two.
            self.place();
            self.row(relation, Op::Update, new);
            return;
        }
        let has_kept = new.contains(&Cell::Kept);
        self.delete(relation, &old);
        if has_kept && let Some(Shape::Captured { table, .. }) = self.shapes.get(&relation) {
            let name = table.qualified();
            let reason = format!(
                "the key of a row of {name} changed while large values of it did not, and those are not sent; run ALTER TABLE \
                 {name} REPLICA IDENTITY FULL, then start capture again, which copies the table anew"
            );
            self.stop(relation, reason);
        }
        self.row(relation, Op::Insert, new);
    }

    fn delete(&mut self, relation: u32, old: &Old) {
        let mut row = old.cells().to_vec();
        if let Some(Shape::Captured { table, picks }) = self.shapes.get(&relation) {
            let key: Vec<usize> = table.key.iter().filter_map(|at| picks.get(*at)).copied().collect();
            for (at, cell) in row.iter_mut().enumerate() {
                if !key.contains(&at) {
                    *cell = Cell::Null;
                }
            }
        }
        self.row(relation, Op::Delete, row);
    }

    fn stop(&mut self, relation: u32, reason: String) {
        if let Some(Shape::Captured { table, .. }) = self.shapes.insert(relation, Shape::Stopped) {
            self.push(Item::Stop { topic: table.topic.clone(), reason });
        }
    }

    /// Finds out what an announced table is, when the first change of it comes that is not in its copy.
    async fn resolve(
        &mut self,
        config: &CaptureConfig,
        session: &mut PgConnection,
        number: u32,
    ) -> Result<(), CaptureError> {
        let Some(Shape::Announced(relation)) = self.shapes.get(&number) else { return Ok(()) };
        let said = config.table(&relation.schema, &relation.name);
        let Some(said) = said else {
            self.shapes.insert(number, Shape::Ignored);
            return Ok(());
        };
        let topic = topic(&config.source, &said.schema, &said.name);
        let position = self.open.map_or(0, |open| open.position);
        let Some(copied) = self.copies.get(&topic).copied() else {
            // It has no copy, since it was stopped: the writer has the reason.
            self.shapes.insert(number, Shape::Stopped);
            return Ok(());
        };
        if position <= copied {
            // It stays announced: as it is in the copy is what counts, and that is known already.
            return Ok(());
        }
        let anew = |reason: String| CaptureError::CopyAnew { table: topic.clone(), reason };
        let Some(now) = catalog::find(session, &said.schema, &said.name).await? else {
            let reason = format!(
                "the table {}.{} is gone; remove it here, or create it and start again",
                said.schema, said.name
            );
            self.parcel.items.push(Item::Stop { topic: topic.into(), reason });
            self.shapes.insert(number, Shape::Stopped);
            return Ok(());
        };
        if now.oid != number {
            return Err(anew("the table was dropped and made again".to_owned()));
        }
        let before = self.before.get(&topic).cloned();
        let columns = evolve::numbered(&relation.columns, before.as_deref(), &now.columns).map_err(anew)?;
        let mut refusals = catalog::identity(said, &now);
        match catalog::table(config, said, &columns, &now.key, before.as_deref()) {
            Ok(table) if refusals.is_empty() => {
                let table = match &before {
                    Some(before) if before.fingerprint == table.fingerprint => before.clone(),
                    _ => table,
                };
                let at = |number: i16| columns.iter().position(|column| column.number == number);
                let picks = table.columns.iter().filter_map(|column| at(column.number)).collect();
                self.before.insert(topic, table.clone());
                self.shapes.insert(number, Shape::Captured { table, picks });
                return Ok(());
            }
            Ok(_) => {}
            Err(more) => refusals.extend(more),
        }
        let reasons: Vec<_> = refusals.iter().map(|refusal| format!("{}: {}", refusal.what, refusal.fix)).collect();
        let reason = reasons.join("; ") + "; then start capture again, which copies the table anew";
        self.parcel.items.push(Item::Stop { topic: topic.into(), reason });
        self.shapes.insert(number, Shape::Stopped);
        Ok(())
    }
}

/// The columns that leave, in their order.
fn picked(mut row: Vec<Cell>, picks: &[usize]) -> Vec<Cell> {
    if picks.len() == row.len() {
        return row;
    }
    let mut take = |at: &usize| row.get_mut(*at).map_or(Cell::Null, |cell| std::mem::replace(cell, Cell::Null));
    picks.iter().map(&mut take).collect()
}
