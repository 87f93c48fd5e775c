//! The database: its schema, and what is read from it. All writing is the [`writer`](crate::writer)'s.

use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, Row, SqlitePool};

/// The version of the schema, in SQLite's `user_version`. A database of another version is refused.
const SCHEMA_VERSION: i64 = 2;

const SCHEMA: &str = "
CREATE TABLE store (id TEXT NOT NULL) STRICT;
INSERT INTO store VALUES (lower(hex(randomblob(4))));

-- Every answer that was decided, so that a repeated request gets it again; the writer forgets it after a retention.
CREATE TABLE request (
    idempotency_key TEXT PRIMARY KEY,
    instruction TEXT NOT NULL,
    status INTEGER NOT NULL,
    answer TEXT NOT NULL,
    -- Seconds since 1970, by SQLite's clock.
    decided INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX request_by_decided ON request (decided);

CREATE TABLE operation (
    position INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    user TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    counterparty TEXT NOT NULL,
    currency TEXT NOT NULL,
    minor INTEGER NOT NULL CHECK (minor > 0),
    UNIQUE (user, sequence)
) STRICT;

-- Double entry: the postings of an operation add up to zero in each currency.
CREATE TABLE posting (
    operation INTEGER NOT NULL REFERENCES operation (position),
    account TEXT NOT NULL,
    currency TEXT NOT NULL,
    minor INTEGER NOT NULL
) STRICT;
CREATE INDEX posting_by_operation ON posting (operation);

-- The sum of an account's postings. The money that opens wallets comes from `equity:opening`, which goes below zero.
CREATE TABLE account (
    id TEXT NOT NULL,
    currency TEXT NOT NULL,
    balance INTEGER NOT NULL CHECK (balance >= 0 OR id = 'equity:opening'),
    PRIMARY KEY (id, currency)
) STRICT, WITHOUT ROWID;

CREATE TABLE user_sequence (user TEXT PRIMARY KEY, last INTEGER NOT NULL) STRICT, WITHOUT ROWID;

-- What the log has not acknowledged yet. A row leaves when its acknowledgement is written down.
CREATE TABLE outbox (
    position INTEGER PRIMARY KEY REFERENCES operation (position),
    id TEXT NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL
) STRICT;

-- How far each partition of the topic is known to hold what left the outbox.
CREATE TABLE published (partition INTEGER PRIMARY KEY, next_offset INTEGER NOT NULL) STRICT;
";

/// Why the database did not do what was asked. It is always our side that is at fault.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// SQLite refused or failed. A retry helps when the disk has space again or the file is readable again.
    #[error("the database failed")]
    Sqlite(#[from] sqlx::Error),
    /// A database of another version of this program.
    #[error("the database has schema version {found}, this program wants {SCHEMA_VERSION}: move its directory away")]
    Version {
        /// The version that was found.
        found: i64,
    },
    /// The writer has stopped. Only a restart helps.
    #[error("the writer has stopped")]
    WriterStopped,
    /// A bug of ours: postings that do not add up to zero. Nothing of the group was written.
    #[error("the postings of an operation do not add up to zero")]
    Unbalanced,
}

/// Readers wait this long for one of their connections before they give up.
const ACQUIRE_SECONDS_MAX: Duration = Duration::from_secs(5);
/// Readers: the outbox's, and a few for GET.
const READERS_MAX: u32 = 4;

fn options(file: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(file)
        .journal_mode(SqliteJournalMode::Wal)
        // A commit is on disk before it is answered.
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .disable_statement_logging()
}

/// Opens the database, makes it when there is none, and gives the one connection that may write.
pub async fn open(file: &Path) -> Result<SqliteConnection, StoreError> {
    let mut connection = SqliteConnection::connect_with(&options(file).create_if_missing(true)).await?;
    let found: i64 = sqlx::query_scalar("PRAGMA user_version").fetch_one(&mut connection).await?;
    if found == 0 {
        let mut transaction = connection.begin().await?;
        sqlx::raw_sql(SCHEMA).execute(&mut *transaction).await?;
        sqlx::raw_sql(&format!("PRAGMA user_version = {SCHEMA_VERSION}")).execute(&mut *transaction).await?;
        transaction.commit().await?;
    } else if found != SCHEMA_VERSION {
        return Err(StoreError::Version { found });
    }
    Ok(connection)
}

/// Reads what stands in the database.
#[derive(Debug, Clone)]
pub struct Reader(SqlitePool);

/// A row of the outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxRow {
    /// Its place in the order of commitment.
    pub position: i64,
    /// The operation's id.
    pub id: String,
    /// The record's key.
    pub key: String,
    /// The record's value.
    pub value: String,
}

/// An operation as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// Who paid.
    pub user: String,
    /// The place among the user's operations, from 1.
    pub sequence: i64,
    /// Who was paid.
    pub counterparty: String,
    /// The currency.
    pub currency: String,
    /// The amount in minor units.
    pub minor: i64,
}

impl Reader {
    /// Opens read-only connections to a database that [`open`] has made.
    pub async fn open(file: &Path) -> Result<Self, StoreError> {
        let pool = SqlitePoolOptions::new().max_connections(READERS_MAX).acquire_timeout(ACQUIRE_SECONDS_MAX);
        Ok(Self(pool.connect_with(options(file).read_only(true)).await?))
    }

    /// The first rows of the outbox after a position, in order.
    pub async fn outbox(&self, after: i64, count_max: usize) -> Result<Vec<OutboxRow>, StoreError> {
        let query = "SELECT position, id, key, value FROM outbox WHERE position > ? ORDER BY position LIMIT ?";
        let rows = sqlx::query_as::<_, (i64, String, String, String)>(query)
            .bind(after)
            .bind(i64::try_from(count_max).unwrap_or(i64::MAX))
            .fetch_all(&self.0)
            .await?;
        Ok(rows.into_iter().map(|(position, id, key, value)| OutboxRow { position, id, key, value }).collect())
    }

    /// Up to where each partition is known to hold what left the outbox: (partition, next offset).
    pub async fn published(&self) -> Result<Vec<(i32, i64)>, StoreError> {
        Ok(sqlx::query_as("SELECT partition, next_offset FROM published").fetch_all(&self.0).await?)
    }

    /// The operation with an id.
    pub async fn operation(&self, id: &str) -> Result<Option<Operation>, StoreError> {
        let query = "SELECT user, sequence, counterparty, currency, minor FROM operation WHERE id = ?";
        let row = sqlx::query(query).bind(id).fetch_optional(&self.0).await?;
        row.map(|row| {
            Ok(Operation {
                user: row.try_get(0)?,
                sequence: row.try_get(1)?,
                counterparty: row.try_get(2)?,
                currency: row.try_get(3)?,
                minor: row.try_get(4)?,
            })
        })
        .transpose()
    }

    /// The balances of an account: (currency, minor units). Empty for an account that was never used.
    pub async fn balances(&self, account: &str) -> Result<Vec<(String, i64)>, StoreError> {
        let query = "SELECT currency, balance FROM account WHERE id = ? ORDER BY currency";
        Ok(sqlx::query_as(query).bind(account).fetch_all(&self.0).await?)
    }

    /// The idempotency keys that are remembered, in their order.
    #[cfg(test)]
    pub(crate) async fn keys(&self) -> Result<Vec<String>, StoreError> {
        let query = "SELECT idempotency_key FROM request ORDER BY idempotency_key";
        Ok(sqlx::query_scalar(query).fetch_all(&self.0).await?)
    }

    /// What an auditor would ask: operations and currencies whose postings do not add up to zero, and accounts whose
    /// balance is not the sum of their postings. Reads every posting; zero in a sound database.
    pub async fn imbalances(&self) -> Result<i64, StoreError> {
        let query = "
            SELECT (SELECT count(*) FROM
                       (SELECT 1 FROM posting GROUP BY operation, currency HAVING sum(minor) <> 0))
                 + (SELECT count(*) FROM account WHERE balance <>
                       (SELECT sum(minor) FROM posting WHERE account = account.id AND currency = account.currency))";
        Ok(sqlx::query_scalar(query).fetch_one(&self.0).await?)
    }

    /// Closes the connections.
    pub async fn close(&self) {
        self.0.close().await;
    }
}
