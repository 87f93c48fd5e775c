//! Reading the source: its own logical replication slot, in text form, decoded by code of the audit's own.
//!
//! The changes of a window are kept in memory until it is certified, then the slot is moved on. The WAL that the slot
//! holds back is bounded: beyond the bound the slot is dropped, with an alarm, and windows are certified without the
//! source until the audit is started anew and begins a slot. A database that runs out of disk is worse than a gap in a
//! proof, which every certificate of that time says.

mod connect;
pub mod pgoutput;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use pgwire_replication::{Lsn, ReplicationClient, ReplicationEvent};
use sqlx::Connection as _;

pub use self::connect::SourceOptions;
use self::connect::{connect, connect_stream};
use self::pgoutput::{Column, Message, Relation, SourceFault, Table, kind_of};
use crate::canonical::{Identity, Operation, RecordFault, Writer};
use crate::certificate::{Part, Window};
use crate::gather::{Gathered, Rules, Want};

/// Microseconds from 1970 to 2000, from which PostgreSQL counts.
const EPOCH_MICROS: i64 = 946_684_800_000_000;

/// Why the source could not be read.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The database, or the way to it; a retry may help.
    #[error("the source refused {asked}")]
    Database {
        /// What it was asked for.
        asked: &'static str,
        /// Its answer.
        #[source]
        source: sqlx::Error,
    },
    /// The stream of changes broke; the next reading begins it anew.
    #[error("the stream of changes broke")]
    Stream(#[source] pgwire_replication::PgWireError),
    /// The stream ended.
    #[error("the source ended the stream of changes")]
    Ended,
    /// What came is not what it should be.
    #[error("a change could not be read")]
    Fault(#[from] SourceFault),
    /// A change without canonical bytes.
    #[error("a change without canonical bytes")]
    Record(#[from] RecordFault),
    /// It did not come as far as the window's end in time; a retry may help.
    #[error("the source did not come as far as {to} within {waited:?}")]
    Late {
        /// The window's end.
        to: u64,
        /// How long was waited.
        waited: Duration,
    },
    /// More than is kept of one window.
    #[error("more than {0} bytes of changes in one window")]
    TooLarge(usize),
    /// The slot held back too much and was dropped.
    #[error("the audit's slot held back {held} bytes of WAL and was dropped; start the audit anew for another")]
    Dropped {
        /// Bytes.
        held: u64,
    },
}

/// One change, as it came.
#[derive(Debug)]
struct Kept {
    table: Arc<Table>,
    identity: Identity,
    operation: Operation,
    at_micros: i64,
    message: bytes::Bytes,
    /// Whether the row that was is meant, of a message with both.
    is_old: bool,
}

/// A source.
pub struct SourceReader {
    options: SourceOptions,
    stream: Option<ReplicationClient>,
    tables: HashMap<u32, Arc<Table>>,
    kept: VecDeque<Kept>,
    kept_bytes: usize,
    /// Set while the changes of a window are more than is kept.
    too_large: bool,
    /// The highest position of a change that was let go without being certified: windows that begin before it lack it.
    lost_to: u64,
    /// Of the transaction that is coming: position, time, next sequence.
    transaction: Option<(u64, i64, u64)>,
    /// All that was committed up to here has come.
    came_to: u64,
    /// What was certified, and is skipped when it comes again.
    certified: u64,
    begins_at: u64,
    dropped: Option<u64>,
}

impl std::fmt::Debug for SourceReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SourceReader").field("name", &self.options.name).finish_non_exhaustive()
    }
}

impl SourceReader {
    /// Finds the audit's slot, or makes it.
    ///
    /// # Errors
    /// A database that refuses.
    pub async fn open(options: SourceOptions) -> Result<Self, SourceError> {
        let mut connection = connect(&options).await?;
        let asked = |asked| move |source| SourceError::Database { asked, source };
        let found: Option<(Option<String>, bool)> = sqlx::query_as(
            "select confirmed_flush_lsn::text, coalesce(wal_status = 'lost', false) from pg_replication_slots \
             where slot_name = $1 and plugin = 'pgoutput' and database = current_database()",
        )
        .bind(&options.slot)
        .fetch_optional(&mut connection)
        .await
        .map_err(asked("the audit's slot"))?;
        if let Some((_, true)) = found {
            tracing::error!(
                source = options.name,
                slot = options.slot,
                "the database let the WAL of the audit's slot go: another is begun, and windows before it lack the source"
            );
            sqlx::query("select pg_drop_replication_slot($1)")
                .bind(&options.slot)
                .execute(&mut connection)
                .await
                .map_err(asked("the end of a slot that is lost"))?;
        }
        let begins_at = match found.filter(|(_, is_lost)| !is_lost) {
            Some((at, _)) => at,
            None => {
                let (at,): (Option<String>,) =
                    sqlx::query_as("select lsn::text from pg_create_logical_replication_slot($1, 'pgoutput')")
                        .bind(&options.slot)
                        .fetch_one(&mut connection)
                        .await
                        .map_err(asked("a slot for the audit"))?;
                at
            }
        };
        let begins_at = begins_at.and_then(|at| Lsn::parse(&at).ok()).map_or(0, |at| at.0);
        connection.close().await.map_err(asked("an end"))?;
        Ok(Self {
            options,
            stream: None,
            tables: HashMap::new(),
            kept: VecDeque::new(),
            kept_bytes: 0,
            too_large: false,
            lost_to: 0,
            transaction: None,
            came_to: 0,
            certified: 0,
            begins_at,
            dropped: None,
        })
    }

    /// Where the slot begins: windows that begin before it cannot be proved against the source.
    pub fn begins_at(&self) -> u64 {
        self.begins_at
    }

    /// Up to where changes were let go.
    pub fn certified_to(&self) -> u64 {
        self.certified
    }

    /// Reads a window, once more if it was read and is not certified yet: every table of the publication but those whose
    /// topics `except` names. A table that the logs know nothing of is not passed over, for nothing of it came there.
    ///
    /// # Errors
    /// A source that cannot be read, or not in time, or not within the bounds.
    pub async fn read(
        &mut self,
        except: &[String],
        window: &Window,
        rules: &Rules,
        want: &Want,
        gathered: &mut Gathered,
    ) -> Result<(), SourceError> {
        if let Some(held) = self.dropped {
            return Err(SourceError::Dropped { held });
        }
        self.come_to(window.to).await?;
        if window.after < self.lost_to {
            return Err(SourceError::TooLarge(self.options.window_bytes_max));
        }
        let (mut writer, mut sums) = (Writer::new(), Vec::new());
        for kept in self.kept.iter().filter(|kept| kept.identity.position <= window.to) {
            let topic = &kept.table.topic;
            if kept.identity.position <= window.after || except.contains(topic) {
                continue;
            }
            let row = pgoutput::read(&kept.message)?.row(kept.is_old);
            let what = (kept.identity, kept.operation, kept.at_micros);
            let (left_out, amounts) = (rules.left_out_of(topic), rules.amounts_of(topic));
            let not_in_log = kept.table.not_in_log(rules.columns.get(topic));
            let left_out = &left_out.union(&not_in_log).cloned().collect();
            if !not_in_log.is_empty() {
                gathered.not_in_log.entry(topic.clone()).or_default().extend(not_in_log);
            }
            kept.table.write(what, &row, left_out, amounts, &mut writer, &mut sums)?;
            let hash = rules.key.hash(writer.finish()?);
            gathered.take(want, rules, (topic, Part::Changes), kept.identity, hash, &sums, String::new);
        }
        Ok(())
    }

    /// A window is certified: its changes are let go, and the slot moves on.
    pub fn certified(&mut self, to: u64) {
        while self.kept.front().is_some_and(|kept| kept.identity.position <= to) {
            if let Some(kept) = self.kept.pop_front() {
                self.kept_bytes -= kept.message.len();
            }
        }
        self.certified = self.certified.max(to);
        self.too_large = false;
        if let Some(stream) = &self.stream {
            stream.update_applied_lsn(Lsn(to));
        }
    }

    /// Looks how much WAL the slot holds back, and drops it if that is too much.
    ///
    /// # Errors
    /// A database that refuses; the slot that was dropped.
    pub async fn hold_within_bound(&mut self) -> Result<u64, SourceError> {
        if let Some(held) = self.dropped {
            return Err(SourceError::Dropped { held });
        }
        let asked = |asked| move |source| SourceError::Database { asked, source };
        let mut connection = connect(&self.options).await?;
        let held: Option<(Option<i64>,)> = sqlx::query_as(
            "select pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)::bigint from pg_replication_slots where slot_name = $1",
        )
        .bind(&self.options.slot)
        .fetch_optional(&mut connection)
        .await
        .map_err(asked("what the slot holds back"))?;
        let held = held.and_then(|(held,)| held).and_then(|held| u64::try_from(held).ok()).unwrap_or(0);
        if held <= self.options.wal_held_max {
            connection.close().await.map_err(asked("an end"))?;
            return Ok(held);
        }
        self.end().await;
        sqlx::query(
            "select pg_terminate_backend(active_pid) from pg_replication_slots where slot_name = $1 and active",
        )
        .bind(&self.options.slot)
        .execute(&mut connection)
        .await
        .map_err(asked("the end of the slot's reader"))?;
        sqlx::query("select pg_drop_replication_slot($1)")
            .bind(&self.options.slot)
            .execute(&mut connection)
            .await
            .map_err(asked("the end of the audit's slot"))?;
        tracing::error!(
            source = self.options.name,
            slot = self.options.slot,
            held_bytes = held,
            bound_bytes = self.options.wal_held_max,
            "the audit's slot held back too much and was dropped: windows are certified without the source"
        );
        self.dropped = Some(held);
        Err(SourceError::Dropped { held })
    }

    /// Ends the stream of changes.
    pub async fn end(&mut self) {
        if let Some(mut stream) = self.stream.take()
            && let Err(error) = stream.shutdown().await
        {
            tracing::debug!(error = &error as &dyn std::error::Error, "the stream of changes did not end well");
        }
        self.kept.clear();
        self.kept_bytes = 0;
        // All of it comes again.
        (self.too_large, self.lost_to) = (false, 0);
        self.transaction = None;
        self.came_to = 0;
        self.tables.clear();
    }

    async fn come_to(&mut self, to: u64) -> Result<(), SourceError> {
        let deadline = tokio::time::Instant::now() + self.options.wait_max;
        while self.came_to < to {
            let late = SourceError::Late { to, waited: self.options.wait_max };
            // What has come is taken to its end: a message that is dropped half-way does not come again.
            let Ok(event) = tokio::time::timeout_at(deadline, self.received()).await else { return Err(late) };
            let taken = match event {
                Ok(event) => self.take_event(event).await,
                Err(error) => Err(error),
            };
            if let Err(error) = taken {
                // What comes again after a broken stream comes from the last certified window on.
                self.end().await;
                return Err(error);
            }
        }
        Ok(())
    }

    async fn received(&mut self) -> Result<ReplicationEvent, SourceError> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            none => none.insert(connect_stream(&self.options, self.certified).await.map_err(SourceError::Stream)?),
        };
        stream.recv().await.map_err(SourceError::Stream)?.ok_or(SourceError::Ended)
    }

    async fn take_event(&mut self, event: ReplicationEvent) -> Result<(), SourceError> {
        match event {
            ReplicationEvent::Begin { final_lsn, commit_time_micros, .. } => {
                // All before it has come: transactions come in the order of their commits.
                self.came_to = self.came_to.max(final_lsn.0.saturating_sub(1));
                self.transaction = Some((final_lsn.0, commit_time_micros + EPOCH_MICROS, 0));
            }
            ReplicationEvent::Commit { lsn, .. } => {
                self.transaction = None;
                self.came_to = self.came_to.max(lsn.0);
            }
            ReplicationEvent::KeepAlive { wal_end, .. } if self.transaction.is_none() => {
                self.came_to = self.came_to.max(wal_end.0);
            }
            ReplicationEvent::XLogData { data, .. } => self.take(data).await?,
            _ => {}
        }
        Ok(())
    }

    async fn take(&mut self, message: bytes::Bytes) -> Result<(), SourceError> {
        let read = pgoutput::read(&message)?;
        if let Message::Relation(relation) = read {
            let table = self.table(&relation).await?;
            self.tables.insert(relation.id, Arc::new(table));
            return Ok(());
        }
        let table = |id: u32| self.tables.get(&id).cloned().ok_or(SourceFault::Table(id));
        // By their places in the transaction; nothing stands where a place is counted and no record written.
        let mut changes = Vec::with_capacity(2);
        match &read {
            Message::Insert(id, _) => changes.push(Some((table(*id)?, Operation::Insert, false))),
            Message::Delete(id, _) => changes.push(Some((table(*id)?, Operation::Delete, false))),
            Message::Update(id, old, new) => {
                let table = table(*id)?;
                match old {
                    None => changes.push(Some((table, Operation::Update, false))),
                    Some(old) if table.key_changes(old, new) => {
                        changes.push(Some((Arc::clone(&table), Operation::Delete, true)));
                        changes.push(Some((table, Operation::Insert, false)));
                    }
                    Some(_) => changes.extend([None, Some((table, Operation::Update, false))]),
                }
            }
            Message::Truncate(ids) => {
                for id in ids {
                    changes.push(Some((table(*id)?, Operation::Truncate, false)));
                }
            }
            Message::Relation(_) | Message::Other => {}
        }
        for change in changes {
            let (position, at_micros, sequence) = self.transaction.unwrap_or_default();
            self.transaction = Some((position, at_micros, sequence + 1));
            let Some((table, operation, is_old)) = change.filter(|_| position > self.certified) else { continue };
            self.kept_bytes += message.len();
            if self.kept_bytes > self.options.window_bytes_max {
                self.too_large = true;
                self.kept.clear();
                self.kept_bytes = 0;
            }
            if self.too_large {
                self.lost_to = self.lost_to.max(position);
            } else {
                let identity = Identity { position, sequence };
                let message = message.clone();
                self.kept.push_back(Kept { table, identity, operation, at_micros, message, is_old });
            }
        }
        Ok(())
    }

    /// Numbers and key of a table's columns, which messages do not tell, from the catalogue.
    async fn table(&self, relation: &Relation) -> Result<Table, SourceError> {
        let asked = |source| SourceError::Database { asked: "the columns of a table", source };
        let mut connection = connect(&self.options).await?;
        let numbers: Vec<(String, i16)> = sqlx::query_as(
            "select attname::text, attnum from pg_attribute where attrelid = $1::oid and attnum > 0 and not attisdropped",
        )
        .bind(i64::from(relation.id))
        .fetch_all(&mut connection)
        .await
        .map_err(asked)?;
        let key: Vec<(String,)> = sqlx::query_as(
            "select attname::text from pg_index, unnest(indkey::int2[]) with ordinality as k(number, place), pg_attribute \
             where indrelid = $1::oid and indisprimary and attrelid = indrelid and attnum = number order by place",
        )
        .bind(i64::from(relation.id))
        .fetch_all(&mut connection)
        .await
        .map_err(asked)?;
        connection.close().await.map_err(asked)?;
        let topic = match relation.schema.as_str() {
            "public" => format!("{}.{}", self.options.name, relation.name),
            schema => format!("{}.{schema}.{}", self.options.name, relation.name),
        };
        let numbers: BTreeMap<String, i16> = numbers.into_iter().collect();
        let column = |described: &pgoutput::Described| {
            let number = numbers.get(&described.name).and_then(|number| u16::try_from(*number).ok());
            let gone = || SourceFault::Column { table: topic.clone(), column: described.name.clone() };
            let kind = kind_of(described.type_oid, described.modifier);
            Ok(Column { number: number.ok_or_else(gone)?, name: described.name.clone(), kind })
        };
        let columns = relation.columns.iter().map(column).collect::<Result<Vec<_>, SourceFault>>()?;
        let place = |(name,): &(String,)| columns.iter().position(|column| column.name == *name);
        let key = key.iter().filter_map(place).collect();
        Ok(Table { topic, columns, key })
    }
}
