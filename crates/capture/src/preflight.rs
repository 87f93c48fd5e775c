//! `naru capture preflight`: what stands between a database and its capture, each with what mends it.

use std::fmt;

use serde::Serialize;
use sqlx::postgres::PgConnection;

use crate::config::CaptureConfig;
use crate::error::CaptureError;
use crate::source::catalog::Before;
use crate::source::{catalog, connect, slot};
use crate::table::quoted;

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Capture does not start, or refuses the table.
    Refused,
    /// It would work, and somebody should know.
    Warning,
}

/// Something that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// What is wrong.
    pub what: String,
    /// What mends it.
    pub fix: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Refused => "refused",
            Severity::Warning => "warning",
        };
        write!(f, "{severity}: {}\n  mend: {}", self.what, self.fix)
    }
}

/// Everything that was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// In the order of the checks.
    pub findings: Vec<Finding>,
    /// Tables looked at.
    pub tables: usize,
}

impl Report {
    /// Whether anything is refused.
    pub fn refuses(&self) -> bool {
        self.findings.iter().any(|finding| finding.severity == Severity::Refused)
    }

    fn add(&mut self, severity: Severity, what: impl Into<String>, fix: impl Into<String>) {
        self.findings.push(Finding { severity, what: what.into(), fix: fix.into() });
    }
}

/// Looks at the database. Changes nothing.
///
/// # Errors
/// When the database cannot be asked.
pub async fn run(config: &CaptureConfig) -> Result<Report, CaptureError> {
    let mut session = connect::statements(config).await?;
    let mut report = Report { tables: config.tables.len(), ..Report::default() };
    server(&mut session, config, &mut report).await?;
    let publishes = publication(&mut session, config, &mut report).await?;
    for said in &config.tables {
        let name = format!("{}.{}", said.schema, said.name);
        let Some(found) = catalog::find(&mut session, &said.schema, &said.name).await? else {
            report.add(Severity::Refused, format!("there is no table {name}"), "create it, or remove its [[table]]");
            continue;
        };
        let mut refusals = catalog::identity(said, &found);
        refusals.extend(
            catalog::table(config, said, &found.columns, &found.key, Before::Nothing).err().unwrap_or_default(),
        );
        if found.row_security {
            refusals.push(catalog::row_security(config, said));
        }
        for refusal in refusals {
            report.add(Severity::Refused, refusal.what, refusal.fix);
        }
        table(&mut session, config, &name, found.oid, publishes, &mut report).await?;
    }
    Ok(report)
}

async fn setting(session: &mut PgConnection, name: &'static str) -> Result<String, CaptureError> {
    sqlx::query_scalar("select coalesce(current_setting($1, true), '')")
        .bind(name)
        .fetch_one(session)
        .await
        .map_err(CaptureError::database("its settings"))
}

async fn yes(session: &mut PgConnection, question: &str, of: &str) -> Result<bool, CaptureError> {
    sqlx::query_scalar(question).bind(of).fetch_one(session).await.map_err(CaptureError::database("its catalogue"))
}

/// The server as a whole: its log, slots and senders, and what the user may.
async fn server(session: &mut PgConnection, config: &CaptureConfig, report: &mut Report) -> Result<(), CaptureError> {
    let version: i32 = setting(session, "server_version_num").await?.parse().unwrap_or(0);
    if version < 140_000 {
        report.add(Severity::Refused, format!("the server is version {version}"), "use PostgreSQL 14 or newer");
    }
    if setting(session, "wal_level").await? != "logical" {
        report.add(
            Severity::Refused,
            "wal_level is not logical: the server's log cannot be decoded",
            "run ALTER SYSTEM SET wal_level = logical, and restart the server",
        );
    }
    let user = &config.database.user;
    let may = "select rolreplication or rolsuper from pg_roles where rolname = $1";
    if !yes(session, may, user).await? {
        let fix = format!("run ALTER ROLE {} REPLICATION", quoted(user));
        report.add(Severity::Refused, format!("the user {user} may not replicate"), fix);
    }
    let slot = slot::find(session, &config.slot()).await?;
    match &slot {
        Some(slot) if slot.wal_status == "lost" => report.add(
            Severity::Refused,
            format!("the slot {} is lost: the server removed log that it needed", config.slot()),
            "start once with naru capture --copy-anew; raise max_slot_wal_keep_size",
        ),
        Some(slot) if slot.held_bytes > config.held_wal_max.bytes() => report.add(
            Severity::Warning,
            format!("the slot {} holds {} bytes of the server's log", config.slot(), slot.held_bytes),
            "see why capture is behind, or remove a slot that nobody uses: SELECT pg_drop_replication_slot(...)",
        ),
        _ => {}
    }
    // One for the stream, and one for a copy's snapshot.
    let used = "select (select count(*) from pg_replication_slots where slot_name <> $1) + 2 \
                <= current_setting('max_replication_slots')::int";
    if !yes(session, used, &config.slot()).await? {
        let fix = "run ALTER SYSTEM SET max_replication_slots = ... (two more than are used), and restart the server";
        report.add(Severity::Refused, "there is no room for two more replication slots", fix);
    }
    if setting(session, "max_slot_wal_keep_size").await? == "-1" {
        report.add(
            Severity::Warning,
            "max_slot_wal_keep_size is -1: while capture is away the server keeps its log until the disk is full",
            "run ALTER SYSTEM SET max_slot_wal_keep_size = '50GB' (what the disk can spare), then SELECT pg_reload_conf()",
        );
    }
    Ok(())
}

/// Whether the publication is there with all that is wanted.
async fn publication(
    session: &mut PgConnection,
    config: &CaptureConfig,
    report: &mut Report,
) -> Result<bool, CaptureError> {
    let name = config.publication();
    if !yes(session, "select exists (select from pg_publication where pubname = $1)", &name).await? {
        return Ok(false);
    }
    let all = "select pubinsert and pubupdate and pubdelete and pubtruncate from pg_publication where pubname = $1";
    let kept_back = "select exists (select from pg_publication_rel r join pg_publication p on p.oid = r.prpubid where \
                     p.pubname = $1 and (to_jsonb(r) ->> 'prqual' is not null or to_jsonb(r) ->> 'prattrs' is not null))";
    if yes(session, kept_back, &name).await? {
        let fix =
            format!("as its owner run ALTER PUBLICATION {} SET TABLE ..., without WHERE and columns", quoted(&name));
        report.add(Severity::Refused, format!("the publication {name} keeps rows or columns back"), fix);
    }
    if !yes(session, all, &name).await? {
        let fix = format!("run ALTER PUBLICATION {} SET (publish = 'insert, update, delete, truncate')", quoted(&name));
        report.add(Severity::Refused, format!("the publication {name} leaves changes out"), fix);
    }
    let mut wanted: Vec<_> = config.tables.iter().map(|table| (table.schema.clone(), table.name.clone())).collect();
    let mut published: Vec<(String, String)> =
        sqlx::query_as("select schemaname::text, tablename::text from pg_publication_tables where pubname = $1")
            .bind(&name)
            .fetch_all(session)
            .await
            .map_err(CaptureError::database("its publications"))?;
    wanted.sort();
    published.sort();
    Ok(wanted == published)
}

/// What the user may do with a table.
async fn table(
    session: &mut PgConnection,
    config: &CaptureConfig,
    name: &str,
    oid: u32,
    publishes: bool,
    report: &mut Report,
) -> Result<(), CaptureError> {
    let (oid, user) = (oid.to_string(), &config.database.user);
    if !yes(session, "select has_table_privilege($1::oid, 'select')", &oid).await? {
        let fix = format!("run GRANT SELECT ON {name} TO {}", quoted(user));
        report.add(Severity::Refused, format!("the user {user} may not read {name}"), fix);
    }
    let owns = "select pg_has_role(relowner, 'usage') from pg_class where oid = $1::oid";
    if !publishes && !yes(session, owns, &oid).await? {
        report.add(
            Severity::Refused,
            format!("the table {name} is not in the publication, and the user {user} does not own it"),
            format!("as its owner run {}", slot::create_publication(config)),
        );
    }
    Ok(())
}
