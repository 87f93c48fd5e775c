//! The publication and the slot: made if missing, and looked at before they are relied on.

use pgwire_replication::{Lsn, ReplicationClient};
use sqlx::postgres::PgConnection;
use sqlx::{Executor as _, Row as _};

use super::connect;
use super::standing::{Stand, Standing};
use crate::avro::crc64;
use crate::config::{CaptureConfig, TableConfig, topic};
use crate::error::CaptureError;
use crate::table::quoted;

/// What is published: everything that changes rows.
const PUBLISHED: &str = "publish = 'insert, update, delete, truncate', publish_via_partition_root = true";

/// What the server says to one who does not own what it would change (`insufficient_privilege`).
const FORBIDDEN: &str = "42501";

/// A slot as the server describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// Everything before this was confirmed to the server, which sends it no more.
    pub confirmed: u64,
    /// Bytes of log that the server holds for it.
    pub held_bytes: u64,
    /// `reserved`, `extended`, `unreserved` or `lost`.
    pub wal_status: String,
}

/// Makes the publication, or gives it the tables that the configuration names, as far as they are there.
///
/// # Errors
/// The database's: the user must own the tables, or somebody makes the publication for it.
pub async fn ensure_publication(
    session: &mut PgConnection,
    config: &CaptureConfig,
    standing: &Standing,
) -> Result<(), CaptureError> {
    let name = quoted(&config.publication());
    let is_there =
        |(table, stand): &(&TableConfig, &Stand)| stand.number.map(|_| (table.schema.clone(), table.name.clone()));
    let stands = config
        .tables
        .iter()
        .filter_map(|table| Some((table, standing.tables.get(&topic(&config.source, &table.schema, &table.name))?)));
    let stands: Vec<_> = stands.collect();
    let wanted: Vec<_> = stands.iter().filter_map(is_there).collect();
    let Some(publication) = standing.publication else {
        return set(session, &creation(config, &wanted)).await;
    };
    let is_partitioned = stands.iter().any(|(_, stand)| stand.partitioned);
    if !publication.whole || (is_partitioned && !publication.via_root) {
        set(session, &format!("alter publication {name} set ({PUBLISHED})")).await?;
    }
    let is_short = |(_, stand): &(&TableConfig, &Stand)| stand.number.is_some() && (!stand.published || stand.narrowed);
    if !publication.all_tables && !wanted.is_empty() && (publication.others || stands.iter().any(is_short)) {
        set(session, &format!("alter publication {name} set table {}", table_list(&wanted))).await?;
    }
    Ok(())
}

async fn set(session: &mut PgConnection, statement: &str) -> Result<(), CaptureError> {
    match session.execute(statement).await {
        Ok(_) => {
            tracing::info!(statement, "publication set");
            Ok(())
        }
        Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some(FORBIDDEN) => Err(CaptureError::Refused {
            what: format!("capture's user may not set the publication: {}", error.message()),
            fix: format!("as the tables' owner run {statement}"),
        }),
        Err(error) => Err(CaptureError::database("a publication with the tables")(error)),
    }
}

/// Holds the source for this process as long as the session lives: without it a second process would write while the first
/// copies, and what it writes would stand above the copy's rows.
///
/// # Errors
/// The database's, or that another process holds it.
pub async fn hold(session: &mut PgConnection, config: &CaptureConfig) -> Result<(), CaptureError> {
    let slot = config.slot();
    let held: bool = sqlx::query_scalar("select pg_try_advisory_lock($1)")
        .bind(crc64(format!("naru capture {slot}").as_bytes()).cast_signed())
        .fetch_one(session)
        .await
        .map_err(CaptureError::database("its lock"))?;
    if held { Ok(()) } else { Err(CaptureError::Held { slot }) }
}

/// The statement that makes the publication.
pub fn create_publication(config: &CaptureConfig) -> String {
    let wanted: Vec<_> = config.tables.iter().map(|table| (table.schema.clone(), table.name.clone())).collect();
    creation(config, &wanted)
}

fn creation(config: &CaptureConfig, tables: &[(String, String)]) -> String {
    let of_tables = if tables.is_empty() { String::new() } else { format!(" for table {}", table_list(tables)) };
    format!("create publication {}{of_tables} with ({PUBLISHED})", quoted(&config.publication()))
}

fn table_list(tables: &[(String, String)]) -> String {
    let named = tables.iter().map(|(schema, name)| format!("{}.{}", quoted(schema), quoted(name)));
    named.collect::<Vec<_>>().join(", ")
}

/// The slot, if there is one.
///
/// # Errors
/// The database's, or that the name belongs to another kind of slot.
pub async fn find(session: &mut PgConnection, name: &str) -> Result<Option<Slot>, CaptureError> {
    let asked = "its slots";
    let row = sqlx::query(
        "select plugin::text, database::text = current_database() as ours, wal_status::text, \
         (confirmed_flush_lsn - '0/0')::int8 as confirmed, \
         (pg_current_wal_lsn() - coalesce(restart_lsn, confirmed_flush_lsn))::int8 as held \
         from pg_replication_slots where slot_name = $1",
    )
    .bind(name)
    .fetch_optional(session)
    .await
    .map_err(CaptureError::database(asked))?;
    let Some(row) = row else { return Ok(None) };
    let read = |error| CaptureError::Database { asked, source: error };
    let plugin: Option<String> = row.try_get(0).map_err(read)?;
    let ours: Option<bool> = row.try_get(1).map_err(read)?;
    if plugin.as_deref() != Some("pgoutput") || ours != Some(true) {
        return Err(CaptureError::Refused {
            what: format!("the slot {name} belongs to another database or plugin"),
            fix: "choose another name: database.slot".to_owned(),
        });
    }
    let bytes = |value: Option<i64>| value.map_or(0, |value| u64::try_from(value).unwrap_or(0));
    Ok(Some(Slot {
        wal_status: row.try_get::<Option<String>, _>(2).map_err(read)?.unwrap_or_default(),
        confirmed: bytes(row.try_get(3).map_err(read)?),
        held_bytes: bytes(row.try_get(4).map_err(read)?),
    }))
}

/// Makes the slot. The publication must be there: the slot reads the catalogue as it was at each change.
///
/// # Errors
/// The database's.
pub async fn create(session: &mut PgConnection, name: &str) -> Result<(), CaptureError> {
    sqlx::query("select pg_create_logical_replication_slot($1, 'pgoutput')")
        .bind(name)
        .execute(session)
        .await
        .map_err(CaptureError::database("a replication slot"))?;
    tracing::info!(slot = name, "replication slot made");
    Ok(())
}

/// Where the server's log ends now.
///
/// # Errors
/// The database's.
pub async fn current(session: &mut PgConnection) -> Result<u64, CaptureError> {
    let position: i64 = sqlx::query_scalar("select (pg_current_wal_lsn() - '0/0')::int8")
        .fetch_one(session)
        .await
        .map_err(CaptureError::database("where its log ends"))?;
    Ok(position.cast_unsigned())
}

/// A snapshot of the database, and the position that it is joined to. It lives as long as this.
pub struct Snapshot {
    /// What `SET TRANSACTION SNAPSHOT` takes.
    pub name: String,
    /// Commits before this are in it, those from here on are not.
    pub consistent_point: u64,
    /// The session whose temporary slot made it; any further command there would end it.
    _session: ReplicationClient,
}

/// Exports a snapshot by a temporary slot, which the server removes with the session.
///
/// # Errors
/// The database's. It waits for transactions that are open to end.
pub async fn export_snapshot(config: &CaptureConfig) -> Result<Snapshot, CaptureError> {
    let mut session = connect::gated(config).await?;
    let name = format!("{}_copy_{}", config.slot(), std::process::id());
    // The form that every version from 10 on takes.
    let statement = format!("CREATE_REPLICATION_SLOT {name} TEMPORARY LOGICAL pgoutput EXPORT_SNAPSHOT");
    let rows = session.simple_query(&statement).await.map_err(CaptureError::Stream)?;
    let text = |column: usize| {
        let cell = rows.first().and_then(|row| row.get(column)?.as_ref());
        cell.and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default()
    };
    let consistent_point = Lsn::parse(text(1)).map_err(|_| CaptureError::Refused {
        what: format!("the server made a slot without a position: {:?}", text(1)),
        fix: "use PostgreSQL 14 or newer".to_owned(),
    })?;
    Ok(Snapshot { name: text(2).to_owned(), consistent_point: consistent_point.as_u64(), _session: session })
}

/// Removes a slot.
///
/// # Errors
/// The database's.
pub async fn drop(session: &mut PgConnection, name: &str) -> Result<(), CaptureError> {
    sqlx::query("select pg_drop_replication_slot($1)")
        .bind(name)
        .execute(session)
        .await
        .map(std::mem::drop)
        .map_err(CaptureError::database("an end of its slot"))
}
