//! Sessions with the database: one for statements, and those of the replication protocol.

use std::time::Duration;

use pgwire_replication::{ReplicationClient, ReplicationConfig};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};
use sqlx::{ConnectOptions as _, Connection as _, Executor as _};

use crate::config::CaptureConfig;
use crate::error::CaptureError;

/// How long a session may take to open.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// How often the server hears of us: well within the default wal_sender_timeout of 60 s.
const STATUS_INTERVAL: Duration = Duration::from_secs(1);
/// Events between the socket and us: each is a whole row, so few. What is gathered behind them is bounded by its bytes.
const EVENTS_MAX: usize = 32;
/// The largest row: the server's own limit of a message is 1 GB, and a row that the log does not take stops its table, no
/// other.
const ROW_BYTES_MAX: usize = 1 << 30;
/// An answer of the catalogue takes at most this, or the database is away: an address that is gone says nothing.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// What makes text forms the same everywhere: docs/formats/changes.md promises them.
/// And what makes rows that row security would keep back an error, in place of a copy without them.
const FORMS: [(&str, &str); 6] = [
    ("row_security", "off"),
    ("datestyle", "ISO"),
    ("timezone", "UTC"),
    ("intervalstyle", "postgres"),
    ("bytea_output", "hex"),
    ("extra_float_digits", "3"),
];

/// How the server finds out within half a minute that we are gone without a word: until then our lock keeps others out.
const ALIVE: [(&str, &str); 3] =
    [("tcp_keepalives_idle", "10"), ("tcp_keepalives_interval", "5"), ("tcp_keepalives_count", "4")];

/// Waits for an answer of the database, within bounds.
///
/// # Errors
/// The answer's own, or that none came.
pub async fn within<T>(
    asked: &'static str,
    answer: impl Future<Output = Result<T, CaptureError>>,
) -> Result<T, CaptureError> {
    let late = || sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, "no answer in time"));
    let answered = tokio::time::timeout(ANSWER_WITHIN, answer).await;
    answered.unwrap_or_else(|_| Err(CaptureError::database(asked)(late())))
}

fn application(config: &CaptureConfig) -> String {
    format!("naru capture {}", config.source)
}

/// A session for statements.
///
/// # Errors
/// When the database is away or refuses the user.
pub async fn statements(config: &CaptureConfig) -> Result<PgConnection, CaptureError> {
    let database = &config.database;
    let mut options = PgConnectOptions::new_without_pgpass()
        .port(database.port)
        .username(&database.user)
        .database(&database.database)
        .application_name(&application(config))
        .ssl_mode(PgSslMode::Disable)
        .disable_statement_logging();
    options = match database.host.starts_with('/') {
        true => options.socket(&database.host),
        false => options.host(&database.host),
    };
    if let Some(password) = &database.password {
        options = options.password(password.reveal());
    }
    let asked = "a session";
    let opening = tokio::time::timeout(CONNECT_WITHIN, PgConnection::connect_with(&options));
    let late = |_| sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, "no session in time"));
    let opened = opening.await.map_err(late).and_then(|opened| opened);
    let mut session = opened.map_err(CaptureError::database(asked))?;
    for (name, value) in FORMS.into_iter().chain(ALIVE) {
        let statement = format!("set {name} to '{value}'");
        session.execute(statement.as_str()).await.map_err(CaptureError::database(asked))?;
    }
    Ok(session)
}

/// What a session of the replication protocol is opened with.
pub fn replication(config: &CaptureConfig) -> ReplicationConfig {
    let database = &config.database;
    let password = database.password.as_ref().map_or("", |password| password.reveal());
    let forms: Vec<_> = FORMS.iter().map(|(name, value)| format!("-c {name}={value}")).collect();
    let options = ReplicationConfig::new(
        &database.host,
        &database.user,
        password,
        &database.database,
        config.slot(),
        config.publication(),
    );
    options
        .with_buffer_size(EVENTS_MAX)
        .with_port(database.port)
        .with_tls(pgwire_replication::TlsConfig::disabled())
        .with_application_name(application(config))
        .with_options(forms.join(" "))
        .with_status_interval(STATUS_INTERVAL)
        .with_wakeup_interval(STATUS_INTERVAL)
        .with_max_message_size(ROW_BYTES_MAX)
}

/// A session of the replication protocol that has not begun to stream.
///
/// # Errors
/// When the database is away or refuses the user.
pub async fn gated(config: &CaptureConfig) -> Result<ReplicationClient, CaptureError> {
    ReplicationClient::connect_gated(replication(config)).await.map_err(CaptureError::Stream)
}
