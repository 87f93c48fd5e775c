//! The stream of changes, made into items for the writer: transactions, their order, and definitions as they change.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use sqlx::postgres::PgConnection;

use crate::change::{Cell, Change, Op, Place};
use crate::config::{CaptureConfig, topic};
use crate::error::CaptureError;
use crate::evolve;
use crate::log::resume::Mark;
use crate::source::catalog::{self, Before};
use crate::source::pgoutput::{Message, Old, Relation};
use crate::source::standing::Standing;
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
    /// The topics of tables that were copied, by the tables' numbers: whatever they are called.
    numbers: HashMap<u32, String>,
    /// When the last transaction was committed.
    at: i64,
    open: Option<Open>,
    parcel: Parcel,
    bytes: usize,
}

impl Stream {
    pub(crate) fn new(before: impl Iterator<Item = Arc<Table>>, mark: &Mark) -> Self {
        let before = before.map(|table| (table.topic.to_string(), table)).collect();
        Self {
            shapes: HashMap::new(),
            before,
            copies: mark.copies.clone(),
            numbers: mark.tables.iter().map(|(topic, copied)| (copied.number, topic.clone())).collect(),
            at: mark.at,
            open: None,
            parcel: Parcel::default(),
            bytes: 0,
        }
    }

    /// Why changes of a table were missed since its copy, if that is so.
    pub(crate) fn missed(&self, standing: &Standing) -> Option<CaptureError> {
        let number = |topic: &String| self.numbers.iter().find(|(_, of)| *of == topic).map(|(number, _)| *number);
        self.copies.keys().find_map(|topic| {
            let reason = standing.missed(topic, number(topic))?;
            Some(CaptureError::CopyAnew { table: topic.clone(), reason })
        })
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
        self.at = open.at;
        self.parcel.through = Some(Through { next, at: open.at });
    }

    /// The server has sent everything before this, unless it is within a transaction. Its clock says something about that
    /// only if it is not behind `current`, where its log was seen to end.
    pub(crate) fn keep_alive(&mut self, next: u64, current: u64, server_time_micros: i64) -> Option<u64> {
        if self.open.is_some() {
            return None;
        }
        let at = if next >= current { server_time_micros + EPOCH_MICROS } else { self.at };
        self.through(Through { next, at });
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
        if let (Some(Old::Key(was)), Some(Shape::Captured { table, picks })) = (&old, self.shapes.get(&relation)) {
            // A key that is stored out of line comes with the old row.
            for at in table.key.iter().filter_map(|at| picks.get(*at)).copied() {
                if let (Some(cell @ Cell::Kept), Some(was)) = (new.get_mut(at), was.get(at)) {
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
        let position = self.open.map_or(0, |open| open.position);
        let said = config.table(&relation.schema, &relation.name);
        let called = said.map(|said| topic(&config.source, &said.schema, &said.name));
        if let Some(known) = self.numbers.get(&number)
            && called.as_ref() != Some(known)
        {
            if self.copies.get(known).is_some_and(|copied| position <= *copied) {
                // What it was called before it was copied.
                return Ok(());
            }
            let reason = format!("the table is called {}.{} now", relation.schema, relation.name);
            return Err(CaptureError::CopyAnew { table: known.clone(), reason });
        }
        let (Some(said), Some(topic)) = (said, called) else {
            self.shapes.insert(number, Shape::Ignored);
            return Ok(());
        };
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
        let goes_on = before.as_deref().map_or(Before::Nothing, Before::GoesOn);
        match catalog::table(config, said, &columns, &now.key, goes_on) {
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

/// The columns that leave, in their order. Cells are pieces of the message, and each keeps all of it in memory: where the
/// smaller part is picked, it is copied.
fn picked(mut row: Vec<Cell>, picks: &[usize]) -> Vec<Cell> {
    if picks.len() == row.len() {
        return row;
    }
    let bytes = |row: &[Cell]| row.iter().filter_map(Cell::bytes).map(Bytes::len).sum::<usize>();
    let all = bytes(&row);
    let mut take = |at: &usize| row.get_mut(*at).map_or(Cell::Null, |cell| std::mem::replace(cell, Cell::Null));
    let mut picked: Vec<Cell> = picks.iter().map(&mut take).collect();
    if bytes(&picked) < all / 2 {
        for cell in &mut picked {
            if let Cell::Text(text) = cell {
                *text = Bytes::copy_from_slice(text);
            }
        }
    }
    picked
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test panics on failure

    use super::*;
    use crate::change::text;
    use crate::table::tests::{column, table};

    fn stream(columns: usize) -> Stream {
        let mut stream = Stream::new(std::iter::empty(), &Mark::default());
        let columns = (1..).take(columns).map(|number| column(number, &format!("c{number}"), 25, -1)).collect();
        let captured = Shape::Captured { table: Arc::new(table(columns, vec![0])), picks: vec![0, 1] };
        stream.shapes.insert(7, captured);
        stream.begin(100, 1, 0);
        stream
    }

    #[test]
    fn a_key_that_is_stored_out_of_line_is_that_of_the_old_row() {
        let mut stream = stream(2);
        let key = "k".repeat(9_000);
        let old = Some(Old::Key(vec![text(&key), Cell::Null]));
        stream.update(7, old, vec![Cell::Kept, text("new")]);
        let items = stream.take().items;
        let [Item::Change(change)] = &items[..] else { panic!("{items:?}") };
        assert_eq!((change.op, &change.row[0]), (Op::Update, &text(&key)));
        assert_eq!(change.key().unwrap(), serde_json::to_vec(&[&key]).unwrap());
    }

    #[test]
    fn a_small_part_of_a_row_does_not_keep_all_of_it_in_memory() {
        let message = Bytes::from(vec![b'x'; 1 << 20]);
        let row = vec![Cell::Text(message.slice(..3)), Cell::Text(message.slice(3..))];
        let small = picked(row.clone(), &[0]);
        assert_eq!(small, [text("xxx")]);
        let is_within = |cell: &Cell| message.as_ptr_range().contains(&cell.bytes().unwrap().as_ptr());
        assert!(!is_within(&small[0]));
        assert!(is_within(&picked(row, &[1])[0]), "the larger part is no second copy");
    }

    #[test]
    fn the_clock_of_a_server_that_is_behind_says_nothing() {
        let check = |next: u64, current: u64, expect: i64| {
            let mut stream = stream(2);
            stream.commit(101);
            stream.take();
            stream.keep_alive(next, current, 77);
            assert_eq!(stream.take().through.unwrap().at, expect);
        };
        check(200, 150, EPOCH_MICROS + 77);
        check(200, 300, EPOCH_MICROS);
    }
}
