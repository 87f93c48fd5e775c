//! The lake's process, and the judge as one of its clients.

use std::net::Ipv4Addr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection, PgRow, PgSslMode};
use sqlx::{ConnectOptions as _, Connection as _, Executor as _, Row as _};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use super::role::{self, Process};
use super::{ANSWER_WITHIN, Options, RehearsalError};
use crate::clock::RunClock;
use crate::history::History;
use crate::scenario::ServiceKind;
use crate::service_process::Listen;
use crate::state::State;
use crate::tables::{Asked, Row, Said, TableRecorder, Total};

/// As the report names it.
pub(super) const NAME: &str = crate::judge::LAKE;
/// Between two looks at whether the tables have what the log holds.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long reading all rows may take.
const ROWS_WITHIN: Duration = Duration::from_secs(60);
/// What the services publish, as declared columns.
const TABLES: &str = include_str!("../../../../examples/sample-tables.toml");

/// Writes the lake's configuration, and starts it on the log at `bootstrap`.
pub(super) async fn start(options: &Options, state: &State, bootstrap: &str) -> Result<Process, RehearsalError> {
    let dir = state.child(NAME);
    let text = configuration(&dir, bootstrap);
    let listen = Listen::Flag(Ipv4Addr::LOCALHOST.into());
    let process = role::start(options, NAME, (dir, listen), &text).await?;
    Ok(Arc::new(Mutex::new(process)))
}

fn configuration(dir: &Path, bootstrap: &str) -> String {
    format!("warehouse = {:?}\n\n[log]\nbootstrap = [{bootstrap:?}]\n\n{TABLES}", dir.join("warehouse"))
}

/// The table of a service's records.
fn table(kind: ServiceKind) -> String {
    format!("pay.{}", kind.topic())
}

/// One client of the lake, which connects again whenever it has to.
pub(super) struct Client {
    options: PgConnectOptions,
    connection: Option<PgConnection>,
}

impl Client {
    pub(super) async fn new(process: &Process) -> Self {
        let address = process.lock().await.address();
        let options = PgConnectOptions::new_without_pgpass()
            .host(&address.ip().to_string())
            .port(address.port())
            .username("judge")
            .database("naru")
            .ssl_mode(PgSslMode::Disable)
            .disable_statement_logging();
        Self { options, connection: None }
    }

    /// All rows of an answer. After a failure the next question goes over another connection.
    async fn ask(&mut self, sql: &str, within: Duration) -> Result<Vec<PgRow>, String> {
        // In a box of a named type: the compiler cannot see that sqlx's own future may move between threads.
        let asked: Pin<Box<dyn Future<Output = Result<Vec<PgRow>, sqlx::Error>> + Send + '_>> = Box::pin(async {
            let mut connection = match self.connection.take() {
                Some(connection) => connection,
                None => PgConnection::connect_with(&self.options).await?,
            };
            let rows = connection.fetch_all(sql).await?;
            self.connection = Some(connection);
            Ok(rows)
        });
        match tokio::time::timeout(within, asked).await {
            Ok(rows) => rows.map_err(|error| error.to_string()),
            Err(_elapsed) => Err(format!("SQL gave no answer within {within:?}")),
        }
    }

    /// Rows and money of every table, at one moment each.
    async fn totals(&mut self) -> Result<Vec<Total>, String> {
        let count = |(index, kind): (usize, &ServiceKind)| {
            let table = table(*kind);
            format!("select {index} as topic, count(*) as rows, coalesce(sum(amount), 0) as amount from {table}")
        };
        let parts: Vec<String> = ServiceKind::ALL.iter().enumerate().map(count).collect();
        let rows = self.ask(&parts.join(" union all "), ANSWER_WITHIN).await?;
        let mut totals = vec![Total::default(); ServiceKind::ALL.len()];
        for row in rows {
            let [topic, rows, amount_minor] = [number(&row, 0)?, number(&row, 1)?, number(&row, 2)?];
            let total = usize::try_from(topic).ok().and_then(|topic| totals.get_mut(topic));
            let total = total.ok_or_else(|| format!("a row of table {topic}, which nobody asked for"))?;
            *total = Total { rows: u64::try_from(rows).map_err(|error| error.to_string())?, amount_minor };
        }
        Ok(totals)
    }

    /// Every row of every table.
    async fn rows(&mut self) -> Result<Vec<Row>, String> {
        let mut all = Vec::new();
        for (topic, kind) in ServiceKind::ALL.iter().enumerate() {
            let sql = format!("select id, sequence, payer, payee, currency, amount from {}", table(*kind));
            for row in self.ask(&sql, ROWS_WITHIN).await? {
                let text = |column: usize| row.try_get::<&str, _>(column).map_err(|error| error.to_string());
                all.push(Row {
                    topic: u16::try_from(topic).map_err(|error| error.to_string())?,
                    id: text(0)?.into(),
                    sequence: u64::try_from(number(&row, 1)?).map_err(|error| error.to_string())?,
                    user: text(2)?.into(),
                    peer: text(3)?.into(),
                    currency: text(4)?.into(),
                    amount_minor: number(&row, 5)?,
                });
            }
        }
        Ok(all)
    }

    /// Asks for the totals again and again, until `over`.
    pub(super) async fn sample(
        mut self,
        (clock, every): (RunClock, Duration),
        recorder: Arc<TableRecorder>,
        over: CancellationToken,
    ) {
        let mut every = tokio::time::interval(every);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                _ = every.tick() => {}
                () = over.cancelled() => return,
            }
            self.look(clock, &recorder).await;
        }
    }

    async fn look(&mut self, clock: RunClock, recorder: &TableRecorder) -> Option<Vec<Total>> {
        let at_us = clock.now_us();
        let totals = self.totals().await;
        if let Err(why) = &totals {
            tracing::debug!(why, "the tables did not answer");
        }
        let totals = totals.ok();
        recorder.asked(Asked { at_us, totals: totals.clone() });
        totals
    }

    /// Waits until there are as many rows as the log has records, up to `bound`, then reads all of them.
    pub(super) async fn finish(
        mut self,
        clock: RunClock,
        recorder: &TableRecorder,
        history: &History,
        bound: Duration,
    ) -> Said {
        let logged = history.log.len() as u64;
        let deadline = tokio::time::Instant::now() + bound;
        loop {
            let told = self.look(clock, recorder).await;
            let rows: u64 = told.iter().flatten().map(|total| total.rows).sum();
            if told.is_some() && rows >= logged || tokio::time::Instant::now() >= deadline {
                break;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        let rows = self.rows().await;
        Said { asked: recorder.take(), rows: Some(rows) }
    }
}

/// A whole number, as SQL gives it as text.
fn number(row: &PgRow, column: usize) -> Result<i64, String> {
    row.try_get_unchecked::<&str, _>(column)
        .map_err(|error| error.to_string())
        .and_then(|text| text.parse().map_err(|_| format!("{text:?} is not a whole number")))
}
