//! One session between database and log: from what the log says is written, through copies that are missing, to the
//! stream of changes, until something breaks or the process is told to stop.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use naru_kafka::client::Client;
use pgwire_replication::{Lsn, ReplicationClient, ReplicationEvent};
use sqlx::postgres::PgConnection;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::change::{Cell, Change, Op, Place};
use crate::config::{CaptureConfig, TableConfig, topic};
use crate::error::{CaptureError, LostSlot};
use crate::source::catalog::{Before, Found};
use crate::source::pgoutput::Message;
use crate::source::standing::Standing;
use crate::source::{catalog, connect, copy, slot, standing};
use crate::status::Status;
use crate::stream::{Parcel, Stream};
use crate::table::Table;
use crate::writer::{Item, Writer};

/// Parcels between the reader and the writer: one is written while the next is gathered.
const PARCELS_MAX: usize = 1;
/// How often the database is asked where its log ends and what it holds for us.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// Looks between two at how the tables stand: about five seconds.
const STANDING_EVERY: u32 = 10;
/// Rows of a copy that are handed to the writer together, and what they may hold.
const COPY_ROWS: usize = 512;
const COPY_BYTES: usize = 4 << 20;

/// What sessions of one process share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: CaptureConfig,
    pub(crate) client: Client,
    pub(crate) status: Arc<Status>,
    pub(crate) stop: CancellationToken,
}

/// What a session is begun for.
#[derive(Debug, Default)]
pub(crate) struct Task {
    /// Topics that must be copied whatever the log says; a copy takes its topic out.
    pub(crate) copy_anew: BTreeSet<String>,
    /// Whether a session of this process got as far as its copies: a table that is stopped then stays so until somebody
    /// mends it and starts capture again.
    pub(crate) has_copied: bool,
}

/// Runs one session.
pub(crate) async fn run(shared: &Arc<Shared>, task: &mut Task) -> Result<(), CaptureError> {
    let config = &shared.config;
    shared.status.phase("starting");
    let mut statements = connect::statements(config).await?;
    // Before the ends of the topics are read: nobody else may write behind them.
    slot::hold(&mut statements, config).await?;
    let mut writer = Writer::open(config, shared.client.clone(), shared.status.clone()).await?;
    let start = ready(&mut statements, config, &mut writer, task).await?;
    let is_missing = |table: &&TableConfig| {
        let (topic, mark) = (topic_of(config, table), writer.mark());
        let waits = task.has_copied && mark.stopped.contains_key(&topic) && !task.copy_anew.contains(&topic);
        !mark.copies.contains_key(&topic) && !waits
    };
    let missing: Vec<&TableConfig> = config.tables.iter().filter(is_missing).collect();
    if !missing.is_empty() {
        shared.status.phase("copying");
        tokio::select! {
            copied = copy_tables(shared, &missing, &mut writer, &mut statements, start) => copied?,
            () = shared.stop.cancelled() => return Ok(()),
        }
        task.copy_anew.clear();
    }
    task.has_copied = true;
    shared.status.phase("streaming");
    let before = config.tables.iter().filter_map(|table| writer.table(&topic_of(config, table)));
    let stream = Stream::new(before, writer.mark());
    follow(shared, statements, writer, stream, start, &mut task.copy_anew).await
}

/// Finds out which tables cannot be gone on with behind their copies, and marks them so before anything is mended: a process
/// that ends here leaves it to the next.
async fn forget_copies(
    session: &mut PgConnection,
    config: &CaptureConfig,
    writer: &mut Writer,
    standing: &Standing,
    copy_anew: &mut BTreeSet<String>,
) -> Result<(), CaptureError> {
    for said in &config.tables {
        let topic = topic_of(config, said);
        if !writer.mark().copies.contains_key(&topic) {
            continue;
        }
        let copied = writer.mark().tables.get(&topic).map(|copied| copied.number);
        let mut reason = standing.missed(&topic, copied);
        if reason.is_none()
            && let Some(found) = catalog::find(session, &said.schema, &said.name).await?
        {
            reason = match writer.table(&topic) {
                Some(before) => catalog::decided_otherwise(said, &found, &before),
                None => Some("the schema of its last record is not on the log".to_owned()),
            };
            writer.is_of(&topic, found.oid);
        }
        if let Some(reason) = reason {
            tracing::info!(topic, reason, "table is copied anew");
            copy_anew.insert(topic);
        }
    }
    let is_news = copy_anew.iter().any(|topic| writer.mark().copies.contains_key(topic));
    copy_anew.iter().for_each(|topic| writer.forget_copy(topic));
    if is_news {
        writer.write_mark(0, writer.mark().at, 0).await?;
    }
    Ok(())
}

fn topic_of(config: &CaptureConfig, table: &TableConfig) -> String {
    topic(&config.source, &table.schema, &table.name)
}

/// Publication and slot, and from where the stream is read.
async fn ready(
    session: &mut PgConnection,
    config: &CaptureConfig,
    writer: &mut Writer,
    task: &mut Task,
) -> Result<u64, CaptureError> {
    let current = slot::current(session).await?;
    if writer.highest() > current {
        return Err(CaptureError::Refused {
            what: format!(
                "the log holds changes up to {}, and the database's own log ends at {}: it was restored from a backup, or \
                 is another database",
                Lsn::from_u64(writer.highest()),
                Lsn::from_u64(current)
            ),
            fix: "give the source another name, so that its topics begin anew".to_owned(),
        });
    }
    let name = config.slot();
    let written = writer.mark().position;
    let has_copies = !writer.mark().copies.is_empty();
    let everything = config.tables.iter().all(|table| task.copy_anew.contains(&topic_of(config, table)));
    let standing = standing::look(session, config).await?;
    let found = slot::find(session, &name).await?;
    let (is_usable, broken) = match &found {
        None => (false, Some(("is not there", current))),
        Some(slot) if slot.wal_status == "lost" => {
            (false, Some(("is lost (its log was removed: max_slot_wal_keep_size)", current)))
        }
        // It reads the catalogue as it was at each change, and there the publication is missing.
        Some(_) if standing.publication.is_none() => {
            (false, Some(("lost its publication, which somebody dropped", current)))
        }
        Some(slot) if slot.confirmed > written + 1 => {
            (true, Some(("was moved on by somebody else", slot.confirmed - 1)))
        }
        Some(_) => (true, None),
    };
    if let Some((became, until)) = broken.filter(|_| has_copies && !everything) {
        return Err(CaptureError::Lost(LostSlot { slot: name, became: became.to_owned(), written, until }));
    }
    forget_copies(session, config, writer, &standing, &mut task.copy_anew).await?;
    slot::ensure_publication(session, config, &standing).await?;
    if !is_usable {
        if found.is_some() {
            slot::drop(session, &name).await?;
        }
        slot::create(session, &name).await?;
    }
    let confirmed = slot::find(session, &name).await?.map_or(current, |slot| slot.confirmed);
    Ok(confirmed.max(if has_copies { written + 1 } else { 0 }))
}

/// Copies tables in one snapshot, and marks each when it is whole.
async fn copy_tables(
    shared: &Shared,
    missing: &[&TableConfig],
    writer: &mut Writer,
    lock: &mut PgConnection,
    start: u64,
) -> Result<(), CaptureError> {
    let config = &shared.config;
    // A `begin` voids what stands before it: from here on no mark may say that there is a whole copy.
    missing.iter().for_each(|said| writer.forget_copy(&topic_of(config, said)));
    writer.write_mark(start, writer.mark().at, 0).await?;
    let snapshot = slot::export_snapshot(config).await?;
    let mut session = connect::statements(config).await?;
    let at = copy::enter(&mut session, &snapshot).await?;
    // No commit stands at the consistent point less one; every later one is above it.
    let position = snapshot.consistent_point - 1;
    for said in missing {
        let topic = topic_of(config, said);
        let before = writer.table(&topic);
        let (table, found) = match definition(&mut session, config, said, before.as_deref()).await? {
            Ok(found) => found,
            Err(reason) => {
                writer.add(vec![Item::Stop { topic: topic.into(), reason }]).await?;
                continue;
            }
        };
        tracing::info!(topic, position, "copy begins");
        let rows = copy_table(&mut session, &table, found.partitioned, Copy { position, at }, writer).await?;
        if let Some(reason) = writer.mark().stopped.get(&topic) {
            tracing::warn!(topic, reason, "copy ended early");
            // The rest of its rows is still on the way in the old one.
            session = connect::statements(config).await?;
            copy::enter(&mut session, &snapshot).await?;
            continue;
        }
        writer.flush().await?;
        // The lock went with its session, if that is gone: somebody else may have written.
        connect::within("its lock", async { slot::current(lock).await }).await?;
        writer.copied(&topic, position, found.oid);
        // The copy is of now, and what was written before `start` is not: the mark says no more than it did.
        writer.write_mark(start, writer.mark().at, 0).await?;
        tracing::info!(topic, position, rows, "copy is whole");
    }
    writer.write_mark(start, writer.mark().at, 0).await?;
    copy::leave(&mut session).await
}

/// A table in the snapshot, or why it cannot be captured.
async fn definition(
    session: &mut PgConnection,
    config: &CaptureConfig,
    said: &TableConfig,
    before: Option<&Table>,
) -> Result<Result<(Arc<Table>, Found), String>, CaptureError> {
    let Some(found) = catalog::find(session, &said.schema, &said.name).await? else {
        return Ok(Err(format!("the table {}.{} is not there; create it, or remove it here", said.schema, said.name)));
    };
    let mut refusals = catalog::identity(said, &found);
    if found.row_security {
        refusals.push(catalog::row_security(config, said));
    }
    let before = before.map_or(Before::Nothing, Before::Anew);
    match catalog::table(config, said, &found.columns, &found.key, before) {
        Ok(table) if refusals.is_empty() => return Ok(Ok((table, found))),
        Ok(_) => {}
        Err(more) => refusals.extend(more),
    }
    let reasons: Vec<_> = refusals.iter().map(|refusal| format!("{}: {}", refusal.what, refusal.fix)).collect();
    Ok(Err(reasons.join("; ") + "; then start capture again"))
}

/// Where the records of a copy stand.
#[derive(Clone, Copy)]
struct Copy {
    position: u64,
    at: i64,
}

async fn copy_table(
    session: &mut PgConnection,
    table: &Arc<Table>,
    partitioned: bool,
    copy: Copy,
    writer: &mut Writer,
) -> Result<u64, CaptureError> {
    let change = |op, sequence, row| {
        let place = Place { position: copy.position, sequence };
        Item::Change(Change { table: table.clone(), op, place, transaction: 0, at: copy.at, row })
    };
    writer.add(vec![change(Op::Begin, 0, Vec::new())]).await?;
    let mut rows = copy::rows(session, table, partitioned).await?;
    let mut sequence = 0;
    let mut gathered = Vec::with_capacity(COPY_ROWS);
    let mut bytes = 0;
    while let Some(row) = rows.next().await? {
        sequence += 1;
        bytes += row.iter().filter_map(Cell::bytes).map(bytes::Bytes::len).sum::<usize>();
        gathered.push(change(Op::Read, sequence, row));
        if gathered.len() == COPY_ROWS || bytes > COPY_BYTES {
            writer.add(std::mem::take(&mut gathered)).await?;
            bytes = 0;
            if writer.mark().stopped.contains_key(&*table.topic) {
                return Ok(sequence);
            }
        }
    }
    gathered.push(change(Op::End, sequence + 1, Vec::new()));
    writer.add(gathered).await?;
    Ok(sequence)
}

/// Streams until it breaks or is told to stop.
async fn follow(
    shared: &Arc<Shared>,
    statements: PgConnection,
    writer: Writer,
    mut stream: Stream,
    start: u64,
    copy_anew: &mut BTreeSet<String>,
) -> Result<(), CaptureError> {
    let options = connect::replication(&shared.config).with_start_lsn(Lsn::from_u64(start));
    let mut client = ReplicationClient::connect(options).await.map_err(CaptureError::Stream)?;
    client.wait_started().await.map_err(CaptureError::Stream)?;
    tracing::info!(start = %Lsn::from_u64(start), "streaming");
    let (parcels, received) = mpsc::channel(PARCELS_MAX);
    let (confirm, confirmed) = watch::channel(start);
    let interval = shared.config.mark_interval;
    let mut writing = tokio::task::JoinSet::new();
    writing.spawn(write(writer, received, confirm, interval, start));
    let reader = Reader { shared, statements, client, confirmed, start, current: u64::MAX };
    let read = reader.run(&mut stream, parcels).await;
    if let Err(CaptureError::CopyAnew { table, .. }) = &read {
        copy_anew.insert(table.clone());
    }
    // The reader is gone and with it the parcels' sender: the writer ends with what it has.
    let wrote = match writing.join_next().await {
        Some(Ok(wrote)) => wrote,
        Some(Err(error)) => std::panic::resume_unwind(error.into_panic()),
        None => Ok(()),
    };
    match (read, wrote) {
        (Err(CaptureError::WriterGone), Err(error)) | (Ok(()), Err(error)) => Err(error),
        (read, _) => read,
    }
}

/// The writing half: each parcel is written and acknowledged; marks follow by the clock.
async fn write(
    mut writer: Writer,
    mut parcels: mpsc::Receiver<Parcel>,
    confirm: watch::Sender<u64>,
    interval: Duration,
    start: u64,
) -> Result<(), CaptureError> {
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut next, mut at, mut transactions, mut is_new) = (start, writer.mark().at, 0, false);
    loop {
        let ended = tokio::select! {
            parcel = parcels.recv() => match parcel {
                Some(parcel) => {
                    writer.add(parcel.items).await?;
                    writer.flush().await?;
                    transactions += parcel.transactions;
                    if let Some(through) = parcel.through {
                        (next, at, is_new) = (next.max(through.next), through.at, true);
                    }
                    false
                }
                None => true,
            },
            _ = ticks.tick(), if is_new => {
                writer.write_mark(next, at, transactions).await?;
                (transactions, is_new) = (0, false);
                // Whoever reads it may be gone already.
                confirm.send_replace(next);
                false
            }
        };
        if ended {
            if is_new {
                writer.write_mark(next, at, transactions).await?;
            }
            return Ok(());
        }
    }
}

/// The reading half.
struct Reader<'s> {
    shared: &'s Arc<Shared>,
    statements: PgConnection,
    client: ReplicationClient,
    confirmed: watch::Receiver<u64>,
    start: u64,
    /// Where the database's log was last seen to end.
    current: u64,
}

impl Reader<'_> {
    async fn run(mut self, stream: &mut Stream, parcels: mpsc::Sender<Parcel>) -> Result<(), CaptureError> {
        let memory_max = self.shared.config.memory_max.as_usize() / 2;
        let mut looks = tokio::time::interval(LOOK_INTERVAL);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (mut reached, mut looked) = (self.start, 0u32);
        loop {
            let is_full = stream.bytes() >= memory_max;
            tokio::select! {
                biased;
                // What was gathered and not sent is read again at the next start.
                () = self.shared.stop.cancelled() => return Ok(()),
                changed = self.confirmed.changed() => match changed {
                    Ok(()) => {
                        let next = *self.confirmed.borrow_and_update();
                        self.client.update_applied_lsn(Lsn::from_u64(next));
                    }
                    Err(_) => return Err(CaptureError::WriterGone),
                },
                // Nothing is gathered beyond what one look at the channel gives while the writer is free.
                permit = parcels.reserve(), if is_full || (stream.has_something() && stream.is_at_rest()) => {
                    match permit {
                        Ok(permit) => permit.send(stream.take()),
                        Err(_) => return Err(CaptureError::WriterGone),
                    }
                }
                event = self.client.recv(), if !is_full => {
                    let Some(event) = event.map_err(CaptureError::Stream)? else {
                        return Err(CaptureError::Stream(pgwire_replication::PgWireError::Task(
                            "the server ended the stream".to_owned(),
                        )));
                    };
                    let answer = connect::within("a table's definition", self.event(stream, event)).await?;
                    if let Some(next) = answer {
                        reached = reached.max(next);
                    }
                }
                _ = looks.tick() => {
                    connect::within("where its log ends", self.look(stream, reached)).await?;
                    looked = (looked + 1) % STANDING_EVERY;
                    if looked == 0 {
                        let look = standing::look(&mut self.statements, &self.shared.config);
                        let standing = connect::within("how its tables are published", look).await?;
                        stream.missed(&standing).map_or(Ok(()), Err)?;
                    }
                }
            }
        }
    }

    /// Takes one event in; the position that everything before is known to have come.
    async fn event(&mut self, stream: &mut Stream, event: ReplicationEvent) -> Result<Option<u64>, CaptureError> {
        match event {
            ReplicationEvent::Begin { final_lsn, xid, commit_time_micros } => {
                stream.begin(final_lsn.as_u64(), xid, commit_time_micros);
                Ok(None)
            }
            ReplicationEvent::Commit { end_lsn, .. } => {
                stream.commit(end_lsn.as_u64());
                Ok(Some(end_lsn.as_u64()))
            }
            ReplicationEvent::XLogData { data, .. } => {
                let message = Message::decode(data)?;
                let Self { statements, shared, .. } = self;
                stream.message(&shared.config, statements, message).await?;
                Ok(None)
            }
            ReplicationEvent::KeepAlive { wal_end, server_time_micros, .. } => {
                Ok(stream.keep_alive(wal_end.as_u64(), self.current, server_time_micros))
            }
            ReplicationEvent::Message { .. } | ReplicationEvent::StoppedAt { .. } => Ok(None),
        }
    }

    /// Asks the database how much it holds, and whether it is idle: then everything up to now is written.
    async fn look(&mut self, stream: &mut Stream, reached: u64) -> Result<(), CaptureError> {
        let config = &self.shared.config;
        let (current, at): (i64, i64) = sqlx::query_as(
            "select (pg_current_wal_lsn() - '0/0')::int8, (extract(epoch from clock_timestamp()) * 1000000)::int8",
        )
        .fetch_one(&mut self.statements)
        .await
        .map_err(CaptureError::database("where its log ends"))?;
        self.current = current.cast_unsigned();
        stream.idle(self.current, reached, at);
        if let Some(slot) = slot::find(&mut self.statements, &config.slot()).await?
            && self.shared.status.holds(slot.held_bytes, config.held_wal_max.bytes())
        {
            let (held, max) = (slot.held_bytes, config.held_wal_max.bytes());
            tracing::error!(held, max, "the slot holds more write-ahead log than the bound");
        }
        Ok(())
    }
}
