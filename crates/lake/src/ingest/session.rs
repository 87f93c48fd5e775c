//! One session of a table: open, read, fold, commit.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use naru_kafka::client::fetch::{FetchFrom, FetchOptions, Fetched};
use naru_kafka::client::offsets::OffsetAt;
use naru_kafka::client::{ClientError, TopicPartition};
use naru_kafka::wire::{ErrorCode, Record};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::status::Stage;
use super::{Ingest, Input};
use crate::error::LakeError;
use crate::table::columns::{self, FieldIds};
use crate::table::progress::Complete;
use crate::table::state::{State, new_table_properties};

/// How long a broker may wait for records before it answers: with several brokers, the slowest answer is awaited.
const FETCH_WAIT: Duration = Duration::from_millis(100);
/// The pause behind an answer that has nothing but errors.
const FETCH_PAUSE: Duration = Duration::from_millis(200);
/// How often is looked for a topic, or a schema, that is not there yet.
const LOOK: Duration = Duration::from_millis(500);
/// How often is looked for partitions that were added.
const PARTITIONS: Duration = Duration::from_secs(10);
/// What one batch of the log may decompress to.
const BATCH_BYTES_MAX: usize = 256 << 20;

impl Ingest {
    pub(super) async fn session(&mut self, stop: &CancellationToken) -> Result<(), LakeError> {
        let Some(mut state) = self.open(stop).await? else { return Ok(()) };
        self.publish(&state);
        let mut offsets = self.starts(&mut state, stop).await?;
        self.status.runs();
        let mut partitions_at = Instant::now() + PARTITIONS;
        let mut commit_at: Option<Instant> = None;
        let mut idle_at = Instant::now() + self.limits.idle_commit_interval;
        let client = self.client.clone();
        loop {
            let wanted = self.wanted(&offsets);
            let bytes_max = bytes(self.limits.fetch_bytes_max);
            let options = FetchOptions { max_wait: FETCH_WAIT, bytes_min: 1, bytes_max, committed: true };
            let mark = match &self.input {
                Input::Changes(input) => input.mark(),
                Input::Events(_) => None,
            };
            let fetched = {
                let fetch = client.fetch(&wanted, &options);
                tokio::pin!(fetch);
                tokio::select! {
                    () = stop.cancelled() => break,
                    fetched = &mut fetch => Some(fetched),
                    () = sleep_until(commit_at.unwrap_or(idle_at)) => None,
                }
            };
            if let Some(fetched) = fetched {
                let moved = self.take_in(&mut state, &mut offsets, &wanted, fetched, mark).await?;
                if moved {
                    self.publish(&state);
                    commit_at = commit_at.or(state.has_changes().then(|| Instant::now() + self.limits.commit_interval));
                }
            }
            let now = Instant::now();
            let is_due = commit_at.is_some_and(|at| now >= at) || (now >= idle_at && state.has_moved());
            if is_due || state.hot_bytes() > self.limits.hot_bytes_max {
                self.commit(&mut state).await?;
                commit_at = None;
            }
            if now >= idle_at {
                idle_at = now + self.limits.idle_commit_interval;
            }
            if self.keep_up(&mut state).await? {
                self.publish(&state);
            }
            if now >= partitions_at {
                partitions_at = now + PARTITIONS;
                self.client.forget_leaders(&self.topic);
                for (partition, offset) in self.starts(&mut state, stop).await? {
                    offsets.entry(partition).or_insert(offset);
                }
            }
        }
        if state.has_moved() {
            self.commit(&mut state).await?;
        }
        Ok(())
    }

    async fn commit(&mut self, state: &mut State) -> Result<(), LakeError> {
        let committed = state.commit(&self.catalogue, self.clock.unix_ms()).await;
        if matches!(committed, Err(LakeError::Fenced { .. })) {
            self.status.note(|known| known.fenced += 1);
        }
        committed?;
        self.status.note(|known| known.commits += 1);
        self.publish(state);
        Ok(())
    }

    /// Shows the table as it is now to readers, unless they have seen more of it: a session begins at the snapshot, and
    /// rows that were in memory when the last one failed come again out of the log.
    pub(super) fn publish(&self, state: &State) {
        let is_behind = self.published.borrow().as_ref().is_some_and(|shown| {
            let same = shown.table.metadata().uuid() == state.table().metadata().uuid();
            same && state.progress.is_behind(&shown.progress)
        });
        if !is_behind {
            self.published.send_replace(Some(Arc::new(state.view())));
        }
    }

    /// The table as its snapshot says; made if missing, once its columns are known. None when told to stop before.
    async fn open(&mut self, stop: &CancellationToken) -> Result<Option<State>, LakeError> {
        loop {
            let found = self.catalogue.find(&self.table).await?;
            let declared = match (&self.input, &found) {
                (Input::Events(input), _) => Some((input.plan().declared(), 0)),
                (Input::Changes(_), Some(_)) => None,
                (Input::Changes(input), None) => match input.newest().await {
                    Ok(schema) => schema.map(|schema| (schema.columns.clone(), schema.order)),
                    // The topic of schemas is made by whoever writes it.
                    Err(LakeError::Log(error)) if error.code() == Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION) => None,
                    Err(error) => return Err(error),
                },
            };
            let table = match (found, &declared) {
                (Some(table), _) => table,
                (None, Some((declared, order))) => {
                    let (schema, ids) = columns::schema(self.kind, declared, &FieldIds::new(), 0)?;
                    let mut properties = new_table_properties(self.kind, &ids);
                    properties.insert(crate::table::evolve::SCHEMA_ORDER.to_owned(), order.to_string());
                    self.catalogue.create(&self.table, schema, properties).await?
                }
                (None, None) => {
                    self.status.is(Stage::Waiting);
                    tokio::select! {
                        () = stop.cancelled() => return Ok(None),
                        () = sleep(LOOK) => continue,
                    }
                }
            };
            let mut state = State::open(table, &self.topic, self.kind, self.upkeep.retention()).await?;
            if let (Input::Events(_), Some((declared, order))) = (&self.input, &declared) {
                let (schema, _) = columns::schema(
                    self.kind,
                    declared,
                    &crate::table::state::field_ids(state.table())?,
                    state.table().metadata().last_column_id(),
                )?;
                if columns::arrow(&schema)? != *state.schema() {
                    state.evolve_to(&self.catalogue, declared, *order, self.clock.unix_ms()).await?;
                }
            }
            if let Input::Changes(input) = &mut self.input {
                input.begin(&state)?;
            }
            return Ok(Some(state));
        }
    }

    /// Where to read on in each partition; nowhere when told to stop before there is a topic.
    async fn starts(&self, state: &mut State, stop: &CancellationToken) -> Result<BTreeMap<i32, i64>, LakeError> {
        let topic = loop {
            match self.client.topic(&self.topic).await {
                Ok(topic) => break topic,
                Err(error) if error.code() == Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION) => {
                    self.status.is(Stage::Waiting);
                    tokio::select! {
                        () = stop.cancelled() => return Ok(BTreeMap::new()),
                        () = sleep(LOOK) => {}
                    }
                }
                Err(error) => return Err(error.into()),
            }
        };
        if !topic.id.is_nil() {
            let now = topic.id.to_string();
            match &state.progress.topic_id {
                Some(before) if *before != now && !self.limits.other_topic_ids => {
                    return Err(LakeError::OtherTopic { topic: self.topic.clone(), before: before.clone(), now });
                }
                Some(before) if *before == now => {}
                _ => state.progress.topic_id = Some(now),
            }
        }
        let mut starts = BTreeMap::new();
        for partition in &topic.partitions {
            let at = TopicPartition::new(self.topic.as_str(), partition.partition);
            let begins = self.client.list_offset(&at, OffsetAt::Earliest).await?.offset.unwrap_or(0);
            let needed = state.progress.offsets.get(&partition.partition).copied();
            match needed {
                Some(needed) if needed < begins => return Err(LakeError::Gone { at: at.to_string(), begins, needed }),
                Some(needed) => starts.insert(partition.partition, needed),
                None => {
                    // Kept with the next commit, so that what is trimmed before it is read is missed and told.
                    state.progress.offsets.insert(partition.partition, begins);
                    starts.insert(partition.partition, begins)
                }
            };
        }
        Ok(starts)
    }

    fn wanted(&self, offsets: &BTreeMap<i32, i64>) -> Vec<FetchFrom> {
        let share = (self.limits.fetch_bytes_max / offsets.len().max(1)).max(64 << 10);
        let from = |(partition, offset): (&i32, &i64)| {
            let at = TopicPartition::new(self.topic.as_str(), *partition);
            FetchFrom { bytes_max: bytes(share), ..FetchFrom::new(at, *offset) }
        };
        offsets.iter().map(from).collect()
    }

    /// Takes in what was read; whether anything was.
    async fn take_in(
        &mut self,
        state: &mut State,
        offsets: &mut BTreeMap<i32, i64>,
        wanted: &[FetchFrom],
        fetched: Vec<Result<Fetched, ClientError>>,
        mark: Option<Complete>,
    ) -> Result<bool, LakeError> {
        let (mut moved, mut failed, mut behind) = (false, 0, false);
        let mut ends = BTreeMap::new();
        for (from, fetched) in wanted.iter().zip(fetched) {
            let partition = from.at.partition;
            let fetched = match fetched {
                Ok(fetched) => fetched,
                Err(error) if error.code() == Some(ErrorCode::OFFSET_OUT_OF_RANGE) => {
                    let begins = self.client.list_offset(&from.at, OffsetAt::Earliest).await?.offset.unwrap_or(-1);
                    return Err(LakeError::Gone { at: from.at.to_string(), begins, needed: from.offset });
                }
                Err(error) if error.retry_can_help() => {
                    tracing::debug!(at = %from.at, error = &error as &dyn std::error::Error, "a partition was not read");
                    failed += 1;
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let (records, next) = match (records(from, &fetched), &mut self.input) {
                (Ok(read), _) => {
                    self.damaged.remove(&partition);
                    read
                }
                // Once more: it may have been damaged on its way.
                (Err(_), _) if self.damaged.insert(partition, from.offset) != Some(from.offset) => {
                    failed += 1;
                    continue;
                }
                (Err(damaged), Input::Changes(_)) => return Err(damaged.error),
                (Err(damaged), Input::Events(input)) if damaged.read.1 == from.offset => {
                    // What stands in it is nobody's to read; the events behind it are.
                    let letters = input.bury(partition, damaged.offsets.clone(), &damaged.error).await?;
                    self.status.note(|known| known.dead += letters);
                    (Vec::new(), damaged.offsets.end)
                }
                // What stands before it first.
                (Err(damaged), Input::Events(_)) => damaged.read,
            };
            if !records.is_empty() {
                match &mut self.input {
                    Input::Changes(input) => {
                        input.take_in(state, &self.catalogue, self.clock.unix_ms(), partition, &records).await?;
                    }
                    Input::Events(input) => {
                        let dead = input.take_in(state, partition, &records).await?;
                        self.status.note(|known| known.dead += dead as u64);
                    }
                }
            }
            if next > from.offset {
                state.progress.offsets.insert(partition, next);
                offsets.insert(partition, next);
                moved = true;
            }
            // What is behind an open transaction is not there yet.
            let end = match fetched.last_stable_offset {
                stable if stable >= 0 => stable.min(fetched.high_watermark),
                _ => fetched.high_watermark,
            };
            behind |= next < end;
            ends.insert(partition, end);
            self.status.note(|known| {
                known.ends.insert(partition, end);
            });
        }
        if let (0, Input::Changes(input)) = (failed, &mut self.input) {
            let before = state.progress.complete;
            input.complete(state, mark, ends);
            moved |= before != state.progress.complete;
        }
        if failed == 0 && !behind {
            let now = self.clock.unix_ms();
            self.status.note(|known| known.caught_up_ms = now);
        }
        if failed == wanted.len() {
            sleep(FETCH_PAUSE).await;
        }
        Ok(moved)
    }
}

/// A batch that cannot be read, and what stands before it.
#[derive(Debug)]
struct Damaged {
    /// The records in front of it, and the offset behind them.
    read: (Vec<Record>, i64),
    /// The batch's own offsets.
    offsets: Range<i64>,
    error: LakeError,
}

/// The records of an answer from where it was asked for, without those of aborted transactions, and the offset behind
/// them.
fn records(from: &FetchFrom, fetched: &Fetched) -> Result<(Vec<Record>, i64), Box<Damaged>> {
    let (mut records, mut next) = (Vec::new(), from.offset);
    let mut begun = fetched.aborted.clone();
    begun.sort_unstable_by_key(|(_, first)| std::cmp::Reverse(*first));
    let mut aborting = BTreeSet::new();
    for batch in &fetched.batches {
        let header = batch.header();
        if header.last_offset() < next {
            continue;
        }
        while let Some((producer, _)) = begun.pop_if(|(_, first)| *first <= header.last_offset()) {
            aborting.insert(producer);
        }
        let before = records.len();
        let read = batch.verify_crc().and_then(|()| match header.is_control() {
            true => {
                // Whatever it says, the producer's transaction is over.
                aborting.remove(&header.producer_id);
                Ok(())
            }
            false if header.is_transactional() && aborting.contains(&header.producer_id) => Ok(()),
            false => {
                for record in batch.records(BATCH_BYTES_MAX) {
                    let record = record?;
                    if record.offset >= from.offset {
                        records.push(record);
                    }
                }
                Ok(())
            }
        });
        if let Err(source) = read {
            records.truncate(before);
            let error = LakeError::Batch { at: from.at.to_string(), source };
            let offsets = header.base_offset.max(from.offset)..header.next_offset();
            return Err(Box::new(Damaged { read: (records, next), offsets, error }));
        }
        next = header.next_offset();
    }
    Ok((records, next))
}

fn bytes(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test panics on failure

    use naru_kafka::client::Broker;
    use naru_kafka::wire::{Batch, BatchBuilder, Compression};

    use super::*;

    /// A batch of one record whose value is its name, by a producer, within a transaction or its end.
    fn batch(base: i64, producer: i64, value: &str, is_control: bool) -> Batch {
        let mut builder =
            BatchBuilder::new(Compression::None).producer(producer, 0, 0).transactional().base_offset(base);
        if is_control {
            builder = builder.control();
        }
        builder.push(1, None, Some(value.as_bytes()), &[]).unwrap();
        Batch::split_first(&mut builder.build().unwrap()).unwrap()
    }

    #[test]
    fn records_of_aborted_transactions_are_none() {
        let batches = vec![
            batch(0, 1, "a", false),
            batch(1, 2, "b", false),
            batch(2, 1, "abort", true),
            batch(3, 1, "c", false),
            batch(4, 2, "commit", true),
            batch(5, 2, "d", false),
            batch(6, 2, "abort", true),
        ];
        let check = |aborted: &[(i64, i64)], from: i64, expect: &str| {
            let fetched = Fetched {
                batches: batches.clone(),
                high_watermark: 7,
                last_stable_offset: 7,
                aborted: aborted.to_vec(),
                log_start: None,
                broker: Broker { address: "a:1".into(), node_id: None },
            };
            let from = FetchFrom::new(TopicPartition::new("t", 0), from);
            let (records, next) = records(&from, &fetched).unwrap();
            let text = |record: &Record| String::from_utf8(record.value.clone().unwrap().to_vec()).unwrap();
            assert_eq!((records.iter().map(text).collect::<String>().as_str(), next), (expect, 7), "{aborted:?}");
        };
        check(&[], 0, "abcd");
        check(&[(1, 0)], 0, "bcd");
        check(&[(1, 0), (2, 5)], 0, "bc");
        check(&[(2, 5), (1, 0)], 1, "bc");
    }
}
