//! The initial copy: the rows of a table in an exported snapshot, as COPY gives them, with bounded memory.

use std::future::poll_fn;
use std::pin::Pin;

use bytes::Bytes;
use futures::Stream;
use sqlx::Executor as _;
use sqlx::postgres::PgConnection;

use super::slot::Snapshot;
use crate::change::Cell;
use crate::error::CaptureError;
use crate::table::{Table, quoted};

/// Puts the session's next statements into the snapshot; when it was taken, microseconds since 1970.
///
/// # Errors
/// The database's.
pub async fn enter(session: &mut PgConnection, snapshot: &Snapshot) -> Result<i64, CaptureError> {
    let asked = "a transaction in the snapshot";
    let begin = "begin transaction isolation level repeatable read, read only";
    session.execute(begin).await.map_err(CaptureError::database(asked))?;
    let set = format!("set transaction snapshot '{}'", snapshot.name.replace('\'', "''"));
    session.execute(set.as_str()).await.map_err(CaptureError::database(asked))?;
    sqlx::query_scalar("select (extract(epoch from now()) * 1000000)::int8")
        .fetch_one(session)
        .await
        .map_err(CaptureError::database(asked))
}

/// Ends that.
///
/// # Errors
/// The database's.
pub async fn leave(session: &mut PgConnection) -> Result<(), CaptureError> {
    session.execute("commit").await.map(drop).map_err(CaptureError::database("the end of the copy's transaction"))
}

/// The rows of a table, one at a time.
pub struct Rows<'s> {
    stream: Pin<Box<dyn Stream<Item = Result<Bytes, sqlx::Error>> + Send + 's>>,
    columns: usize,
}

/// Begins to read the table's columns. A partitioned table's rows are those of its partitions, a plain one's its own.
///
/// # Errors
/// The database's.
pub async fn rows<'s>(
    session: &'s mut PgConnection,
    table: &Table,
    partitioned: bool,
) -> Result<Rows<'s>, CaptureError> {
    let columns: Vec<_> = table.columns.iter().map(|column| quoted(&column.name)).collect();
    let only = if partitioned { "" } else { "only " };
    let statement = format!("copy (select {} from {only}{}) to stdout", columns.join(", "), table.qualified());
    let stream = session.copy_out_raw(&statement).await.map_err(CaptureError::database("a table's rows"))?;
    Ok(Rows { stream, columns: columns.len() })
}

impl Rows<'_> {
    /// The next row.
    ///
    /// # Errors
    /// The database's.
    pub async fn next(&mut self) -> Result<Option<Vec<Cell>>, CaptureError> {
        // The server sends each row in a message of its own.
        match poll_fn(|context| self.stream.as_mut().poll_next(context)).await {
            Some(Ok(line)) => {
                let cells = split(&line);
                if cells.len() != self.columns {
                    let said = format!("a row of {} columns where {} were asked for", cells.len(), self.columns);
                    return Err(CaptureError::database("a table's rows")(sqlx::Error::Protocol(said)));
                }
                Ok(Some(cells))
            }
            Some(Err(error)) => Err(CaptureError::database("a table's rows")(error)),
            None => Ok(None),
        }
    }
}

/// A line of COPY's text format: values between tabs, `\N` for null, control characters behind a backslash.
fn split(line: &Bytes) -> Vec<Cell> {
    let end = if line.last() == Some(&b'\n') { line.len() - 1 } else { line.len() };
    let mut cells = Vec::new();
    let mut start = 0;
    // A tab within a value is written as a backslash and a t.
    for tab in (start..=end).filter(|at| *at == end || line[*at] == b'\t') {
        cells.push(cell(line.slice(start..tab)));
        start = tab + 1;
    }
    cells
}

fn cell(text: Bytes) -> Cell {
    if *text == *b"\\N" {
        return Cell::Null;
    }
    if !text.contains(&b'\\') {
        return Cell::Text(text);
    }
    let mut plain = Vec::with_capacity(text.len());
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        plain.push(match byte {
            b'\\' => match bytes.next() {
                Some(b'b') => 0x08,
                Some(b'f') => 0x0c,
                Some(b'n') => b'\n',
                Some(b'r') => b'\r',
                Some(b't') => b'\t',
                Some(b'v') => 0x0b,
                Some(other) => *other,
                None => b'\\',
            },
            byte => *byte,
        });
    }
    Cell::Text(plain.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::text;

    #[test]
    fn a_line_is_the_row_that_it_was() {
        let check = |line: &[u8], expect: &[Cell]| assert_eq!(split(&Bytes::copy_from_slice(line)), expect, "{line:?}");
        check(b"1\t\\N\t\n", &[text("1"), Cell::Null, text("")]);
        check(b"a\\tb\\\\N\\n\n", &[text("a\tb\\N\n")]);
        check(b"\n", &[text("")]);
        check(b"\\\\x00\t\xed\x99\x8d\n", &[text("\\x00"), text("홍")]);
    }
}
