//! Reading both sides: bounded patience, a bounded rate, and nothing of the relay's own readers.

use std::num::NonZeroU64;
use std::time::Duration;

use naru_kafka::client::fetch::{FetchFrom, FetchOptions};
use naru_kafka::client::offsets::OffsetAt;
use naru_kafka::client::{Backoff, Client, ClientError, Jitter, TopicPartition};
use naru_kafka::wire::{Batch, ErrorCode};
use tokio::time::{Instant, sleep, sleep_until};

use super::lockstep::{Compared, Lockstep};
use super::{Difference, Options, VerifyError};
use crate::side::{Side, SideMap};

/// How often one read is tried. With the default waits about 5 s, longer than a leader election takes.
const ATTEMPTS_MAX: u32 = 8;

/// How long a broker may wait for records: those asked for are there, so this only bounds a surprise.
const FETCH_WAIT: Duration = Duration::from_millis(100);

/// How often a log may be cut under the comparison of one range before it is given up.
const CUTS_MAX: u32 = 16;

/// Partitions per ListOffsets request: an answer of about 64 KB.
const PARTITIONS_AT_ONCE: usize = 1_000;

/// Holds the reading to a rate.
#[derive(Debug)]
pub(super) struct Pace {
    bytes_per_second: Option<NonZeroU64>,
    free_at: Instant,
}

impl Pace {
    pub fn new(bytes_per_second: Option<NonZeroU64>) -> Self {
        Self { bytes_per_second, free_at: Instant::now() }
    }

    /// Waits until so many bytes more are within the rate.
    pub async fn spend(&mut self, bytes: u64) {
        let Some(rate) = self.bytes_per_second else { return };
        self.free_at = self.free_at.max(Instant::now()) + Duration::from_secs_f64(bytes as f64 / rate.get() as f64);
        sleep_until(self.free_at).await;
    }
}

/// Where the logs of a partition begin and end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bounds {
    pub start: i64,
    pub end: i64,
}

/// The two sides as the comparer reads them.
#[derive(Debug)]
pub(super) struct Reader {
    pub clients: SideMap<Client>,
    jitter: Jitter,
}

impl Reader {
    pub fn new(clients: SideMap<Client>) -> Self {
        Self { clients, jitter: Jitter::from_os() }
    }

    /// Walks a range of a partition on both sides to its end.
    pub async fn compare(
        &self,
        at: &TopicPartition,
        range: std::ops::Range<i64>,
        options: &Options,
        pace: &mut Pace,
        out: &mut (impl FnMut(Difference) + Send),
    ) -> Result<Compared, VerifyError> {
        let mut lockstep = Lockstep::new(at.clone(), range.start, range.end, options);
        let (mut found, mut cuts) = (Vec::new(), 0);
        loop {
            lockstep.step(&mut found);
            found.drain(..).for_each(&mut *out);
            if lockstep.is_done() {
                return Ok(lockstep.compared());
            }
            let read = |side| {
                let from = lockstep.wants(side);
                async move {
                    match from {
                        Some(from) => Some((from, self.read(side, at, from, options.chunk_bytes).await)),
                        None => None,
                    }
                }
            };
            let (a, b) = tokio::join!(read(Side::A), read(Side::B));
            let mut bytes = 0;
            for (side, read) in [(Side::A, a), (Side::B, b)] {
                let Some((from, read)) = read else { continue };
                match read {
                    Ok(batches) => {
                        bytes += batches.iter().map(|batch| batch.bytes().len() as u64).sum::<u64>();
                        lockstep.take(side, from, batches, &mut found);
                    }
                    // Retention, or the relay, cut the log behind us.
                    Err(error) if error.code() == Some(ErrorCode::OFFSET_OUT_OF_RANGE) => {
                        cuts += 1;
                        if cuts > CUTS_MAX {
                            return Err(VerifyError::Moving { side, at: at.to_string() });
                        }
                        let start = self.place(side, at, OffsetAt::Earliest).await?;
                        if from < start {
                            lockstep.begin_at(start);
                        } else {
                            // Beyond the end of a log that became shorter: nothing is there.
                            lockstep.take(side, from, Vec::new(), &mut found);
                        }
                    }
                    Err(source) => return Err(VerifyError::Side { side, source }),
                }
            }
            pace.spend(bytes).await;
        }
    }

    async fn read(&self, side: Side, at: &TopicPartition, from: i64, bytes: i32) -> Result<Vec<Batch>, ClientError> {
        let from = FetchFrom { bytes_max: bytes, ..FetchFrom::new(at.clone(), from) };
        let options = FetchOptions { max_wait: FETCH_WAIT, bytes_min: 1, bytes_max: bytes, committed: false };
        let mut failures = 0;
        loop {
            let failed = match self.clients[side].fetch_one(&from, &options).await {
                // There is more, and the broker did not send it: ask again, but not for ever.
                Ok(fetched) if fetched.batches.is_empty() && fetched.high_watermark > from.offset => None,
                Ok(fetched) => return Ok(fetched.batches),
                Err(error) => Some(error),
            };
            failures += 1;
            match failed {
                Some(error) if failures >= ATTEMPTS_MAX || !error.retry_can_help() => return Err(error),
                None if failures >= ATTEMPTS_MAX => return Ok(Vec::new()),
                _ => sleep(Backoff::default().delay(failures, self.jitter.unit())).await,
            }
        }
    }

    /// One place of one partition.
    pub async fn place(&self, side: Side, at: &TopicPartition, place: OffsetAt) -> Result<i64, VerifyError> {
        let listed = self.clients[side].list_offset(at, place).await;
        let failed = |source| VerifyError::Side { side, source };
        Ok(listed.map_err(failed)?.offset.unwrap_or(0))
    }

    /// Where partitions begin and end on both sides, ends first: an end that is read later can only be larger.
    pub async fn bounds(&self, partitions: &[TopicPartition]) -> Result<Vec<SideMap<Bounds>>, VerifyError> {
        let of = |side: Side| async move {
            let ends = places(&self.clients[side], partitions, OffsetAt::Latest).await;
            let starts = places(&self.clients[side], partitions, OffsetAt::Earliest).await;
            let failed = |source| VerifyError::Side { side, source };
            Ok::<_, VerifyError>((ends.map_err(failed)?, starts.map_err(failed)?))
        };
        let ((ends_a, starts_a), (ends_b, starts_b)) = tokio::try_join!(of(Side::A), of(Side::B))?;
        let bounds = |index: usize| SideMap {
            a: Bounds { start: starts_a[index], end: ends_a[index] },
            b: Bounds { start: starts_b[index], end: ends_b[index] },
        };
        Ok((0..partitions.len()).map(bounds).collect())
    }
}

/// One place in each of these partitions.
pub(super) async fn places(
    client: &Client,
    partitions: &[TopicPartition],
    place: OffsetAt,
) -> Result<Vec<i64>, ClientError> {
    let mut offsets = Vec::with_capacity(partitions.len());
    for some in partitions.chunks(PARTITIONS_AT_ONCE) {
        let asked: Vec<_> = some.iter().map(|at| (at.clone(), place)).collect();
        for listed in client.list_offsets(&asked).await {
            offsets.push(listed?.offset.unwrap_or(0));
        }
    }
    Ok(offsets)
}
