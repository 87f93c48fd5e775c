//! How a source is reached: sessions of SQL, and the stream of changes.

use std::path::PathBuf;
use std::time::Duration;

use pgwire_replication::{Lsn, ReplicationClient, ReplicationConfig, TlsConfig};
use sqlx::ConnectOptions as _;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};

use super::SourceError;

/// One message of the replication protocol: a row with a large value fits.
const MESSAGE_BYTES_MAX: usize = 256 << 20;

/// Messages between the connection and the reader.
const EVENTS_MAX: usize = 1024;

/// How text forms are written, whatever the database's settings are.
const SETTINGS: &str =
    "-c datestyle=ISO -c intervalstyle=postgres -c timezone=UTC -c bytea_output=hex -c extra_float_digits=3";

/// How the source is reached, and what may be held back there.
#[derive(Clone)]
pub struct SourceOptions {
    /// The source's name: its topics begin with it.
    pub name: String,
    /// Host.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Database.
    pub database: String,
    /// User, with the right to replicate.
    pub user: String,
    /// Its password; empty where none is asked for.
    pub password: String,
    /// Authority of the server's certificate; without it, connections are not encrypted.
    pub authority: Option<PathBuf>,
    /// The publication: the one that capture reads, so that both count the same changes.
    pub publication: String,
    /// The audit's own slot.
    pub slot: String,
    /// Most bytes of WAL that the slot may hold back.
    pub wal_held_max: u64,
    /// Most bytes of changes in one window.
    pub window_bytes_max: usize,
    /// Longest wait for the source to come as far as a window's end.
    pub wait_max: Duration,
}

/// A session for questions to the catalogue.
pub(super) async fn connect(options: &SourceOptions) -> Result<PgConnection, SourceError> {
    let mut to = PgConnectOptions::new_without_pgpass()
        .host(&options.host)
        .port(options.port)
        .username(&options.user)
        .database(&options.database)
        .application_name("naru audit");
    if !options.password.is_empty() {
        to = to.password(&options.password);
    }
    to = match &options.authority {
        Some(authority) => to.ssl_mode(PgSslMode::VerifyFull).ssl_root_cert(authority),
        None => to.ssl_mode(PgSslMode::Disable),
    };
    to.connect().await.map_err(|source| SourceError::Database { asked: "a connection", source })
}

/// The stream of changes from the slot, from a position on.
pub(super) async fn connect_stream(
    options: &SourceOptions,
    certified: u64,
) -> Result<ReplicationClient, pgwire_replication::PgWireError> {
    let tls = match &options.authority {
        Some(authority) => TlsConfig::verify_full(Some(authority.clone())),
        None => TlsConfig::disabled(),
    };
    let config = ReplicationConfig::new(
        options.host.clone(),
        options.user.clone(),
        options.password.clone(),
        options.database.clone(),
        options.slot.clone(),
        options.publication.as_str(),
    );
    let config = config
        .with_port(options.port)
        .with_tls(tls)
        .with_start_lsn(Lsn(certified))
        .with_status_interval(Duration::from_secs(1))
        .with_buffer_size(EVENTS_MAX)
        .with_options(SETTINGS)
        .with_max_message_size(MESSAGE_BYTES_MAX)
        .with_application_name("naru audit");
    let mut client = ReplicationClient::connect(config).await?;
    client.wait_started().await?;
    Ok(client)
}
