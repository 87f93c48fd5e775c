//! Reading a range of a partition from start to end, one answer's worth of memory at a time.

use std::sync::Arc;

use super::{
    Client, ClientError, TopicPartition,
    error::{Asked, Broker},
    fetch::{FetchFrom, FetchOptions},
};
use crate::wire::{ApiKey, Batch, Record, WireError};

/// How a range is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadOptions {
    /// Waiting and answer sizes; the memory held is about `fetch.bytes_max`, or one batch if that is larger.
    pub fetch: FetchOptions,
    /// Bytes that one batch may decompress to. Default 128 MiB: a batch of 1 MiB can hold much more than itself.
    pub decompressed_bytes_max: usize,
}

impl Default for ReadOptions {
    fn default() -> Self {
        Self { fetch: FetchOptions::default(), decompressed_bytes_max: 128 << 20 }
    }
}

/// How far a range was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadTo {
    /// The offset after the last one read; below the wanted end if the log ends earlier.
    pub next_offset: i64,
    /// Batches given to the consumer.
    pub batches: u64,
    /// Their bytes, compressed.
    pub bytes: u64,
}

/// An error of a range's consumer, in its own type.
type ConsumerError = Box<dyn std::error::Error + Send + Sync>;

impl Client {
    /// Gives every batch that holds an offset in `start..end` to `consume`, in order, its checksum verified. The
    /// first and last may reach beyond the range. Ends at `end`, or where the log ends before it. Retriable errors
    /// are waited out within the bound on attempts, counted anew after every step forward.
    pub async fn read_batches(
        &self,
        at: &TopicPartition,
        start: i64,
        end: i64,
        options: &ReadOptions,
        mut consume: impl FnMut(Batch) -> Result<(), ConsumerError>,
    ) -> Result<ReadTo, ClientError> {
        let mut read = ReadTo { next_offset: start, batches: 0, bytes: 0 };
        let mut retry = self.retry();
        while read.next_offset < end {
            let mut from = FetchFrom::new(at.clone(), read.next_offset);
            from.bytes_max = options.fetch.bytes_max;
            let fetched = match self.fetch_one(&from, &options.fetch).await {
                Ok(fetched) => fetched,
                Err(error) => {
                    retry.wait(error).await?;
                    continue;
                }
            };
            let before = read.next_offset;
            for batch in fetched.batches {
                let header = *batch.header();
                // Brokers start with the batch that holds the offset, or the one before where compaction made a gap.
                if header.last_offset() < read.next_offset {
                    continue;
                }
                if header.base_offset >= end {
                    return Ok(read);
                }
                batch.verify_crc().map_err(|source| damaged(at, &fetched.broker, source))?;
                read.batches += 1;
                read.bytes += batch.bytes().len() as u64;
                read.next_offset = header.next_offset();
                consume(batch).map_err(|error| ClientError::Consumer(Arc::from(error)))?;
            }
            if read.next_offset == before {
                if fetched.high_watermark <= read.next_offset {
                    return Ok(read);
                }
                // There is more, and the broker did not send it: ask again, but not for ever.
                let error = ClientError::NoBroker { asked: Asked::about(ApiKey::Fetch, at), attempts: retry.failures };
                retry.wait(error).await?;
            } else {
                retry = self.retry();
            }
        }
        Ok(read)
    }

    /// As [`Client::read_batches`], record by record: those with offsets in `start..end`, without the markers of
    /// transactions.
    pub async fn read_records(
        &self,
        at: &TopicPartition,
        start: i64,
        end: i64,
        options: &ReadOptions,
        mut consume: impl FnMut(Record) -> Result<(), ConsumerError>,
    ) -> Result<ReadTo, ClientError> {
        let decompressed_bytes_max = options.decompressed_bytes_max;
        self.read_batches(at, start, end, options, |batch| {
            if batch.header().is_control() {
                return Ok(());
            }
            for record in batch.records(decompressed_bytes_max) {
                let record = record?;
                if (start..end).contains(&record.offset) {
                    consume(record)?;
                }
            }
            Ok(())
        })
        .await
    }
}

fn damaged(at: &TopicPartition, broker: &Broker, source: WireError) -> ClientError {
    ClientError::Decode {
        broker: Box::new(broker.clone()),
        asked: Asked::about(ApiKey::Fetch, at),
        outcome: super::Outcome::NotDone,
        source,
    }
}
