//! The lake: how fresh its tables are, by SQL, and questions that people ask.

use std::pin::Pin;
use std::time::Duration;

use futures::TryStreamExt as _;
use naru_runtime::config::Secret;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgRow, PgSslMode};
use sqlx::{Column as _, ConnectOptions as _, Connection as _, Executor as _, Row as _};

use crate::config::LakeSource;

/// Rows of an answer that are shown, and bytes of them: what a page can hold and a person can read.
pub const ROWS_MAX: usize = 1_000;
const ANSWER_BYTES_MAX: usize = 2 << 20;
/// How fresh each table is.
const FRESHNESS: &str = "select table_name, stage, reason, cast(rows as varchar) as rows, \
     cast(records_behind as varchar) as behind, cast(dead_letters as varchar) as dead, \
     cast(cast(caught_up_at as bigint) as varchar) as caught_up_us from naru.freshness order by table_name";

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Unasked {
    /// The lake's word: the question cannot be answered, or nobody is there.
    #[error("{0}")]
    Lake(String),
    /// It took longer than a question may.
    #[error("no answer within {0:?}")]
    Late(Duration),
    /// The answer has no end that a page could show.
    #[error("the answer is longer than {ANSWER_BYTES_MAX} bytes: ask for fewer rows or columns")]
    Long,
}

/// How a table is.
#[derive(Debug, Clone, Default)]
pub struct Table {
    /// Its name.
    pub name: String,
    /// `running`, `waiting`, `opening`, `stopped`.
    pub stage: String,
    /// Why it does not get on.
    pub reason: String,
    /// Rows.
    pub rows: Option<u64>,
    /// Records of the log that it has not.
    pub behind: Option<u64>,
    /// Records that did not fit.
    pub dead: Option<u64>,
    /// When it had everything, in milliseconds since 1970.
    pub caught_up_ms: Option<i64>,
}

/// A table as an answer.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Answer {
    /// Names of the columns.
    pub columns: Vec<String>,
    /// Rows; a value that is null is none.
    pub rows: Vec<Vec<Option<String>>>,
    /// Whether there were more rows than are shown.
    pub cut: bool,
}

/// One connection to the lake, made again when it has broken.
pub struct Questioner {
    options: PgConnectOptions,
    connection: Option<PgConnection>,
}

impl Questioner {
    /// For the lake at an address; nothing is asked yet. `None` without an SQL port.
    pub fn new(source: &LakeSource) -> Option<Self> {
        let at = source.sql.as_ref()?;
        let mut options = PgConnectOptions::new_without_pgpass()
            .host(&at.host)
            .port(at.port)
            .username(&source.user)
            .database("naru")
            .ssl_mode(PgSslMode::Disable)
            .disable_statement_logging();
        if let Some(password) = &source.password {
            options = options.password(Secret::reveal(password));
        }
        Some(Self { options, connection: None })
    }

    /// Asks for the rows of one statement.
    ///
    /// # Errors
    /// Every [`Unasked`].
    pub async fn ask(&mut self, sql: &str, within: Duration) -> Result<Answer, Unasked> {
        // In a box of a named type: the compiler cannot see that sqlx's own future may move between threads.
        let asked: Pin<Box<dyn Future<Output = Result<Vec<PgRow>, sqlx::Error>> + Send + '_>> = Box::pin(async {
            let mut connection = match self.connection.take() {
                Some(connection) => connection,
                None => PgConnection::connect_with(&self.options).await?,
            };
            let (mut rows, mut whole) = (Vec::new(), true);
            let mut stream = connection.fetch(sql);
            while let Some(row) = stream.try_next().await? {
                rows.push(row);
                if rows.len() > ROWS_MAX {
                    whole = false;
                    break;
                }
            }
            drop(stream);
            // One in the midst of an answer cannot be asked again: it is closed, which ends the question at the lake, too.
            if whole {
                self.connection = Some(connection);
            }
            Ok(rows)
        });
        match tokio::time::timeout(within, asked).await {
            Ok(Ok(rows)) => answer(&rows),
            Ok(Err(sqlx::Error::Database(error))) => Err(Unasked::Lake(error.message().to_owned())),
            Ok(Err(error)) => Err(Unasked::Lake(error.to_string())),
            Err(_elapsed) => Err(Unasked::Late(within)),
        }
    }

    /// Asks how fresh the tables are.
    ///
    /// # Errors
    /// Every [`Unasked`].
    pub async fn freshness(&mut self, within: Duration) -> Result<Vec<Table>, Unasked> {
        let answer = self.ask(FRESHNESS, within).await?;
        let table = |row: &Vec<Option<String>>| {
            let text = |index: usize| row.get(index).cloned().flatten();
            Table {
                name: text(0).unwrap_or_default(),
                stage: text(1).unwrap_or_default(),
                reason: text(2).unwrap_or_default(),
                rows: text(3).and_then(|text| text.parse().ok()),
                behind: text(4).and_then(|text| text.parse().ok()),
                dead: text(5).and_then(|text| text.parse().ok()),
                caught_up_ms: text(6).and_then(|text| text.parse::<i64>().ok()).map(|us| us / 1_000),
            }
        };
        Ok(answer.rows.iter().map(table).collect())
    }
}

fn answer(rows: &[PgRow]) -> Result<Answer, Unasked> {
    let columns = rows.first().map_or(&[][..], |row| row.columns());
    let columns: Vec<_> = columns.iter().map(|column| column.name().to_owned()).collect();
    let mut bytes = 0;
    let mut shown = Vec::new();
    for row in rows.iter().take(ROWS_MAX) {
        let mut values = Vec::with_capacity(columns.len());
        for index in 0..columns.len() {
            let value = row.try_get_unchecked::<Option<&str>, _>(index);
            let value = value.map_err(|error| Unasked::Lake(error.to_string()))?;
            bytes += value.map_or(0, str::len);
            values.push(value.map(str::to_owned));
        }
        if bytes > ANSWER_BYTES_MAX {
            return Err(Unasked::Long);
        }
        shown.push(values);
    }
    Ok(Answer { columns, rows: shown, cut: rows.len() > ROWS_MAX })
}
