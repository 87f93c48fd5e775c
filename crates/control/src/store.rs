//! The book on the disk: SQLite. A set of changes is durable whole, or not at all.

use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _};

use crate::access::{Grant, Role};
use crate::book::{Book, Change};

/// The file in the state directory.
pub const FILE: &str = "control.db";
const SCHEMA_VERSION: i64 = 1;
const SCHEMA: &str = "
-- What the book holds, as JSON by kind and key.
CREATE TABLE entries (kind TEXT NOT NULL, key TEXT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (kind, key)) STRICT;
-- What is to stand in the ledger, in order; the chain of segments follows it.
CREATE TABLE notes (id INTEGER PRIMARY KEY, at_unix_ms INTEGER NOT NULL, who TEXT NOT NULL, what TEXT NOT NULL) STRICT;
-- Who may ask: only the hash of a token is kept.
CREATE TABLE tokens (
    name TEXT PRIMARY KEY,
    hash TEXT NOT NULL UNIQUE,
    role TEXT NOT NULL,
    team TEXT NOT NULL,
    until_unix_ms INTEGER NOT NULL
) STRICT;
-- How often control was started: the fence.
CREATE TABLE starts (number INTEGER NOT NULL) STRICT;
INSERT INTO starts VALUES (0);
";
/// How long a writer waits for another process (`naru control token`) to end its write.
const BUSY_MAX: std::time::Duration = std::time::Duration::from_secs(5);

/// How long an answer is given again to the same idempotency key: longer than any job of CI retries.
const REPLIES_MS: i64 = 24 * 3_600_000;

/// Why the book was not read or written. Ours; nothing is answered as done then, and a retry helps when the disk is well.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// SQLite, or the disk.
    #[error("the book")]
    Sqlite(#[from] sqlx::Error),
    /// Of another version.
    #[error("the book has schema version {found}, this program wants {SCHEMA_VERSION}")]
    Version {
        /// The version found.
        found: i64,
    },
    /// Not what was written.
    #[error("the book holds what cannot be read")]
    Malformed(#[from] serde_json::Error),
}

/// A line for the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoteRow {
    /// Its place, from 1 without gaps.
    pub id: u64,
    /// When.
    pub at_unix_ms: i64,
    /// Who decided.
    pub who: String,
    /// What.
    pub what: String,
}

/// The book on the disk.
#[derive(Debug)]
pub struct Store {
    connection: SqliteConnection,
}

fn text<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("what the book holds is plain data with text as keys")
}

impl Store {
    /// Opens the book of a state directory, and makes one if there is none.
    ///
    /// # Errors
    /// The disk's, and for a book of another version.
    pub async fn open(directory: &Path) -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::new()
            .filename(directory.join(FILE))
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // What was committed is acted on: it must survive the loss of power.
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY_MAX)
            .disable_statement_logging();
        let mut connection = SqliteConnection::connect_with(&options).await?;
        let found: i64 = sqlx::query_scalar("PRAGMA user_version").fetch_one(&mut connection).await?;
        if found == 0 {
            let mut transaction = connection.begin().await?;
            sqlx::raw_sql(SCHEMA).execute(&mut *transaction).await?;
            sqlx::raw_sql(&format!("PRAGMA user_version = {SCHEMA_VERSION}")).execute(&mut *transaction).await?;
            transaction.commit().await?;
        } else if found != SCHEMA_VERSION {
            return Err(StoreError::Version { found });
        }
        Ok(Self { connection })
    }

    /// Counts a start, and gives its number: the fence of everything that is done from here on.
    ///
    /// # Errors
    /// The disk's.
    pub async fn start(&mut self) -> Result<u64, StoreError> {
        let number: i64 = sqlx::query_scalar("UPDATE starts SET number = number + 1 RETURNING number")
            .fetch_one(&mut self.connection)
            .await?;
        Ok(u64::try_from(number).unwrap_or(0))
    }

    /// Reads the book.
    ///
    /// # Errors
    /// The disk's, and for what cannot be read.
    pub async fn load(&mut self, now_unix_ms: i64) -> Result<Book, StoreError> {
        sqlx::query("DELETE FROM entries WHERE kind = 'reply' AND json_extract(body, '$.at_unix_ms') < ?")
            .bind(now_unix_ms - REPLIES_MS)
            .execute(&mut self.connection)
            .await?;
        let rows: Vec<(String, String, String)> =
            sqlx::query_as("SELECT kind, key, body FROM entries").fetch_all(&mut self.connection).await?;
        let mut book = Book::default();
        fn read<T: DeserializeOwned>(body: &str) -> Result<T, serde_json::Error> {
            serde_json::from_str(body)
        }
        for (kind, key, body) in &rows {
            match kind.as_str() {
                "draft" => book.apply(Change::Draft(key.clone(), Some(read(body)?))),
                "resource" => book.apply(Change::Resource(read(body)?)),
                "item" => book.apply(Change::Item(read(body)?)),
                "plan" => book.apply(Change::Plan(read(body)?)),
                "reply" => book.apply(Change::Reply(key.clone(), read(body)?)),
                _ => {}
            }
        }
        Ok(book)
    }

    /// Keeps changes, all or none; returns when they are durable.
    ///
    /// # Errors
    /// The disk's.
    pub async fn commit(&mut self, changes: &[Change], now_unix_ms: i64) -> Result<(), StoreError> {
        let mut transaction = self.connection.begin().await?;
        for change in changes {
            let (kind, key, body) = match change {
                Change::Draft(name, None) => {
                    let delete = sqlx::query("DELETE FROM entries WHERE kind = 'draft' AND key = ?").bind(name);
                    delete.execute(&mut *transaction).await?;
                    continue;
                }
                Change::Note(who, what) => {
                    let insert = sqlx::query("INSERT INTO notes (at_unix_ms, who, what) VALUES (?, ?, ?)");
                    insert.bind(now_unix_ms).bind(who).bind(what).execute(&mut *transaction).await?;
                    continue;
                }
                Change::Draft(name, Some(draft)) => ("draft", name.clone(), text(draft)),
                Change::Resource(resource) => ("resource", resource.id.to_string(), text(resource)),
                Change::Item(item) => ("item", item.key.clone(), text(item)),
                Change::Plan(record) => ("plan", record.plan.hash.clone(), text(record)),
                Change::Reply(key, reply) => ("reply", key.clone(), text(reply)),
            };
            let put = "INSERT INTO entries VALUES (?, ?, ?) ON CONFLICT (kind, key) DO UPDATE SET body = excluded.body";
            sqlx::query(put).bind(kind).bind(key).bind(body).execute(&mut *transaction).await?;
        }
        Ok(transaction.commit().await?)
    }

    /// Lines for the ledger behind a place, in order.
    ///
    /// # Errors
    /// The disk's.
    pub async fn notes_after(&mut self, id: u64, most: u32) -> Result<Vec<NoteRow>, StoreError> {
        let rows: Vec<(i64, i64, String, String)> =
            sqlx::query_as("SELECT id, at_unix_ms, who, what FROM notes WHERE id > ? ORDER BY id LIMIT ?")
                .bind(i64::try_from(id).unwrap_or(i64::MAX))
                .bind(most)
                .fetch_all(&mut self.connection)
                .await?;
        let row = |(id, at_unix_ms, who, what)| NoteRow { id: u64::try_from(id).unwrap_or(0), at_unix_ms, who, what };
        Ok(rows.into_iter().map(row).collect())
    }

    /// Keeps a token's hash; one of the same name is replaced.
    ///
    /// # Errors
    /// The disk's.
    pub async fn put_token(&mut self, hash: &str, grant: &Grant) -> Result<(), StoreError> {
        sqlx::query("INSERT OR REPLACE INTO tokens VALUES (?, ?, ?, ?, ?)")
            .bind(&grant.name)
            .bind(hash)
            .bind(grant.role.name())
            .bind(&grant.team)
            .bind(grant.until_unix_ms)
            .execute(&mut self.connection)
            .await?;
        Ok(())
    }

    /// Forgets a token; false when there was none.
    ///
    /// # Errors
    /// The disk's.
    pub async fn remove_token(&mut self, name: &str) -> Result<bool, StoreError> {
        let removed = sqlx::query("DELETE FROM tokens WHERE name = ?").bind(name).execute(&mut self.connection).await?;
        Ok(removed.rows_affected() > 0)
    }

    /// What a token's hash allows, whether or not its time has passed.
    ///
    /// # Errors
    /// The disk's.
    pub async fn token(&mut self, hash: &str) -> Result<Option<Grant>, StoreError> {
        let row: Option<(String, String, String, i64)> =
            sqlx::query_as("SELECT name, role, team, until_unix_ms FROM tokens WHERE hash = ?")
                .bind(hash)
                .fetch_optional(&mut self.connection)
                .await?;
        Ok(row.and_then(|(name, role, team, until_unix_ms)| {
            Some(Grant { name, role: Role::from_name(&role)?, team, until_unix_ms })
        }))
    }
}
