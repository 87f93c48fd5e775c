//! Records within a batch: reading them one by one, and building batches of them.

use bytes::Bytes;

use crate::wire::batch::{Batch, BatchHeader, HEADER_BYTES, TimestampType, records_possible};
use crate::wire::compression::{compress, decompress};
use crate::wire::read::{uvarint, uvarlong};
use crate::wire::write::put_uvarlong;
use crate::wire::{Compression, WireError};

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its offset in the partition.
    pub offset: i64,
    /// Its time, milliseconds.
    pub timestamp: i64,
    /// The key.
    pub key: Option<Bytes>,
    /// The value; none means that the key is deleted in a compacted topic.
    pub value: Option<Bytes>,
    /// Name and value of each header, in order; names may repeat.
    pub headers: Vec<(Bytes, Option<Bytes>)>,
}

/// The records of a batch, in order. Ends after the first error.
#[derive(Debug)]
pub struct Records {
    header: BatchHeader,
    data: Bytes,
    at: usize,
    left: usize,
    /// Found before the first record; given out once.
    failed: Option<WireError>,
    ended: bool,
}

impl Records {
    pub(crate) fn new(batch: &Batch, decompressed_max: usize) -> Self {
        let header = *batch.header();
        let opened = header.compression().and_then(|codec| {
            let data = match codec {
                Compression::None => batch.payload(),
                _ => decompress(codec, &batch.payload(), decompressed_max)?.into(),
            };
            records_possible(header.record_count, data.len())?;
            Ok(data)
        });
        let (data, failed) = match opened {
            Ok(data) => (data, None),
            Err(error) => (Bytes::new(), Some(error)),
        };
        let left = usize::try_from(header.record_count).unwrap_or(0);
        Self { header, data, at: 0, left, failed, ended: false }
    }

    fn read(&mut self) -> Result<Record, WireError> {
        let length = self.varint("record length")?;
        let size = usize::try_from(length)
            .map_err(|_| WireError::BadLength { field: "record length", length: i64::from(length) })?;
        let left = self.data.len() - self.at;
        if size > left {
            return Err(WireError::Truncated { field: "record", needed: size, left });
        }
        let end = self.at + size;
        // Attributes of a record: unused by the protocol.
        self.at += 1;
        if self.at > end {
            return Err(WireError::Truncated { field: "record attributes", needed: 1, left: 0 });
        }
        let timestamp_delta = self.varlong("timestamp_delta")?;
        let offset_delta = self.varint("offset_delta")?;
        let key = self.piece("key")?;
        let value = self.piece("value")?;
        let headers = self.headers(end)?;
        if self.at != end {
            let (field, left) = ("record", end.abs_diff(self.at));
            return Err(if self.at < end {
                WireError::Trailing { field, left }
            } else {
                WireError::Truncated { field, needed: left, left: 0 }
            });
        }
        let timestamp = match self.header.timestamp_type() {
            TimestampType::LogAppendTime => self.header.max_timestamp,
            TimestampType::CreateTime => self.header.base_timestamp.wrapping_add(timestamp_delta),
        };
        let offset = self.header.base_offset.wrapping_add(i64::from(offset_delta));
        Ok(Record { offset, timestamp, key, value, headers })
    }

    fn headers(&mut self, end: usize) -> Result<Vec<(Bytes, Option<Bytes>)>, WireError> {
        let count = self.varint("header count")?;
        // A header is at least two lengths of one byte.
        let max = end.saturating_sub(self.at) / 2;
        let count = match usize::try_from(count) {
            Ok(count) if count <= max => count,
            _ => {
                return Err(WireError::BadCount { field: "header count", count: i64::from(count), max: max as u64 });
            }
        };
        // Most records have few; a count that lies is found out as it is read.
        let mut headers = Vec::with_capacity(count.min(16));
        for _ in 0..count {
            let name = self.piece("header key")?.ok_or(WireError::Null { field: "header key" })?;
            headers.push((name, self.piece("header value")?));
        }
        Ok(headers)
    }

    fn piece(&mut self, field: &'static str) -> Result<Option<Bytes>, WireError> {
        let length = self.varint(field)?;
        if length == -1 {
            return Ok(None);
        }
        let size = usize::try_from(length).map_err(|_| WireError::BadLength { field, length: i64::from(length) })?;
        let left = self.data.len() - self.at;
        if size > left {
            return Err(WireError::Truncated { field, needed: size, left });
        }
        let start = self.at;
        self.at += size;
        Ok(Some(self.data.slice(start..self.at)))
    }

    fn varint(&mut self, field: &'static str) -> Result<i32, WireError> {
        let (value, size) = uvarint(&self.data[self.at..], field)?;
        self.at += size;
        Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
    }

    fn varlong(&mut self, field: &'static str) -> Result<i64, WireError> {
        let (value, size) = uvarlong(&self.data[self.at..], field)?;
        self.at += size;
        Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
    }
}

impl Iterator for Records {
    type Item = Result<Record, WireError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let next = match self.failed.take() {
            Some(error) => Err(error),
            None if self.left > 0 => {
                self.left -= 1;
                self.read()
            }
            None => {
                self.ended = true;
                let left = self.data.len() - self.at;
                return (left > 0).then_some(Err(WireError::Trailing { field: "records", left }));
            }
        };
        self.ended = next.is_err();
        Some(next)
    }
}

/// Builds one batch out of records.
#[derive(Debug, Clone)]
pub struct BatchBuilder {
    codec: Compression,
    producer_id: i64,
    producer_epoch: i16,
    base_sequence: i32,
    base_offset: i64,
    attributes: i16,
    base_timestamp: i64,
    max_timestamp: i64,
    next_delta: i32,
    last_delta: Option<i32>,
    count: i32,
    records: Vec<u8>,
    /// One record, before its length is known; kept for its memory.
    scratch: Vec<u8>,
}

impl BatchBuilder {
    /// An empty batch without a producer.
    pub fn new(codec: Compression) -> Self {
        Self {
            codec,
            producer_id: -1,
            producer_epoch: -1,
            base_sequence: -1,
            base_offset: 0,
            attributes: 0,
            base_timestamp: 0,
            max_timestamp: -1,
            next_delta: 0,
            last_delta: None,
            count: 0,
            records: Vec::new(),
            scratch: Vec::new(),
        }
    }

    /// Stamps the batch with a producer and the sequence of its first record.
    #[must_use]
    pub fn producer(mut self, id: i64, epoch: i16, base_sequence: i32) -> Self {
        (self.producer_id, self.producer_epoch, self.base_sequence) = (id, epoch, base_sequence);
        self
    }

    /// The offset of the first record. A producer sends 0; brokers refuse another.
    #[must_use]
    pub fn base_offset(mut self, offset: i64) -> Self {
        self.base_offset = offset;
        self
    }

    /// Marks the batch as part of a transaction.
    #[must_use]
    pub fn transactional(mut self) -> Self {
        self.attributes |= 0x10;
        self
    }

    /// Marks the batch as holding markers of transactions.
    #[must_use]
    pub fn control(mut self) -> Self {
        self.attributes |= 0x20;
        self
    }

    /// The offset of the batch's end, less the base offset, where it is not that of the last record: after
    /// compaction, which keeps a batch's range.
    #[must_use]
    pub fn last_offset_delta(mut self, delta: i32) -> Self {
        self.last_delta = Some(delta);
        self
    }

    /// The number of records so far.
    pub fn len(&self) -> usize {
        usize::try_from(self.count).unwrap_or(0)
    }

    /// Whether there is no record yet.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The size of the batch so far, before compression, bytes.
    pub fn size_bytes(&self) -> usize {
        HEADER_BYTES + self.records.len()
    }

    /// Adds a record at the next offset.
    pub fn push(
        &mut self,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&[u8], Option<&[u8]>)],
    ) -> Result<(), WireError> {
        self.push_at(self.next_delta, timestamp, key, value, headers)
    }

    /// Adds a record at an offset counted from the base offset.
    pub fn push_at(
        &mut self,
        offset_delta: i32,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&[u8], Option<&[u8]>)],
    ) -> Result<(), WireError> {
        if self.count == 0 {
            self.base_timestamp = timestamp;
        }
        let mut record = std::mem::take(&mut self.scratch);
        record.clear();
        record.push(0);
        put_varlong(&mut record, timestamp.wrapping_sub(self.base_timestamp));
        put_varlong(&mut record, i64::from(offset_delta));
        put_piece(&mut record, key, "key")?;
        put_piece(&mut record, value, "value")?;
        put_varlong(&mut record, length(headers.len(), "header count")?);
        for (name, value) in headers {
            put_piece(&mut record, Some(name), "header key")?;
            put_piece(&mut record, *value, "header value")?;
        }
        put_varlong(&mut self.records, length(record.len(), "record length")?);
        self.records.extend_from_slice(&record);
        self.scratch = record;
        self.max_timestamp = self.max_timestamp.max(timestamp);
        self.next_delta =
            offset_delta.checked_add(1).ok_or(WireError::Unwritable { field: "offset_delta", version: 2 })?;
        self.count = self.count.checked_add(1).ok_or(WireError::Unwritable { field: "record_count", version: 2 })?;
        Ok(())
    }

    /// The batch.
    pub fn build(self) -> Result<Bytes, WireError> {
        let payload = match self.codec {
            Compression::None => self.records,
            codec => compress(codec, &self.records)?,
        };
        let batch_length = i32::try_from(payload.len() + HEADER_BYTES - 12).map_err(|_| WireError::TooLarge {
            field: "batch length",
            size: payload.len() as u64,
            max: i32::MAX as u64,
        })?;
        let mut header = BatchHeader {
            base_offset: self.base_offset,
            batch_length,
            partition_leader_epoch: -1,
            magic: 2,
            crc: 0,
            attributes: self.attributes | self.codec as i16,
            last_offset_delta: self.last_delta.unwrap_or(self.next_delta - 1).max(0),
            base_timestamp: self.base_timestamp,
            max_timestamp: self.max_timestamp,
            producer_id: self.producer_id,
            producer_epoch: self.producer_epoch,
            base_sequence: self.base_sequence,
            record_count: self.count,
        };
        header.crc = crc32c::crc32c_append(crc32c::crc32c(&header.encode()[21..]), &payload);
        let mut batch = Vec::with_capacity(HEADER_BYTES + payload.len());
        batch.extend_from_slice(&header.encode());
        batch.extend_from_slice(&payload);
        Ok(batch.into())
    }
}

fn length(size: usize, field: &'static str) -> Result<i64, WireError> {
    i32::try_from(size).map(i64::from).map_err(|_| WireError::TooLarge {
        field,
        size: size as u64,
        max: i32::MAX as u64,
    })
}

fn put_varlong(out: &mut Vec<u8>, value: i64) {
    put_uvarlong(out, ((value << 1) ^ (value >> 63)).cast_unsigned());
}

fn put_piece(out: &mut Vec<u8>, piece: Option<&[u8]>, field: &'static str) -> Result<(), WireError> {
    match piece {
        None => put_varlong(out, -1),
        Some(piece) => {
            put_varlong(out, length(piece.len(), field)?);
            out.extend_from_slice(piece);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test panics on failure

    use kafka_protocol::records::RecordBatchDecoder;
    use proptest::prelude::*;

    use super::*;

    /// Far above what any test expands to.
    const PLENTY: usize = 1 << 20;

    type Pushed = (i64, Option<Vec<u8>>, Option<Vec<u8>>, Vec<(Vec<u8>, Option<Vec<u8>>)>);

    fn build(codec: Compression, records: &[Pushed]) -> Bytes {
        let mut builder = BatchBuilder::new(codec).producer(1 << 61, 4, 9).base_offset(500);
        for (timestamp, key, value, headers) in records {
            let headers: Vec<_> = headers.iter().map(|(name, value)| (name.as_slice(), value.as_deref())).collect();
            builder.push(*timestamp, key.as_deref(), value.as_deref(), &headers).unwrap();
        }
        builder.build().unwrap()
    }

    fn batch(bytes: &Bytes) -> Batch {
        let mut rest = bytes.clone();
        let batch = Batch::split_first(&mut rest).unwrap();
        assert!(rest.is_empty());
        batch.verify_crc().unwrap();
        batch
    }

    fn any_record() -> impl Strategy<Value = Pushed> {
        let bytes = || prop::collection::vec(any::<u8>(), 0..40);
        let optional = move || prop::option::of(bytes());
        let headers = prop::collection::vec((bytes(), optional()), 0..3);
        (any::<i64>(), optional(), optional(), headers)
    }

    proptest! {
        #[test]
        fn records_come_back_as_they_were_pushed(
            records in prop::collection::vec(any_record(), 1..20),
            codec in prop::sample::select(Compression::ALL.to_vec()),
        ) {
            let batch = batch(&build(codec, &records));
            let read: Vec<_> = batch.records(PLENTY).collect::<Result<_, _>>().unwrap();
            prop_assert_eq!(read.len(), records.len());
            for (index, (read, pushed)) in read.iter().zip(&records).enumerate() {
                prop_assert_eq!(read.offset, 500 + index as i64);
                prop_assert_eq!(read.timestamp, pushed.0);
                prop_assert_eq!(read.key.as_deref(), pushed.1.as_deref());
                prop_assert_eq!(read.value.as_deref(), pushed.2.as_deref());
                let headers: Vec<_> =
                    read.headers.iter().map(|(name, value)| (name.to_vec(), value.as_ref().map(|v| v.to_vec()))).collect();
                prop_assert_eq!(&headers, &pushed.3);
            }
            prop_assert_eq!(batch.header().max_timestamp, records.iter().map(|record| record.0).max().unwrap().max(-1));
        }

        #[test]
        fn a_changed_byte_is_told_by_the_checksum_and_never_panics(
            records in prop::collection::vec(any_record(), 1..5),
            codec in prop::sample::select(Compression::ALL.to_vec()),
            at in any::<prop::sample::Index>(),
            flip in 1..=255_u8,
        ) {
            let mut bytes = build(codec, &records).to_vec();
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            if let Ok(batch) = Batch::split_first(&mut Bytes::from(bytes)) {
                // Base offset and leader epoch are outside the checksum; the length says what is inside.
                prop_assert_eq!(batch.verify_crc().is_ok(), at < 8 || (12..16).contains(&at), "byte {}", at);
                let read = batch.records(PLENTY).take_while(Result::is_ok).count();
                prop_assert!(read <= batch.header().record_count as usize);
            }
        }
    }

    #[test]
    fn kafka_protocol_reads_what_the_builder_wrote() {
        let records: Vec<Pushed> = (0..5)
            .map(|index| (1_000 + index, Some(vec![7; 3]), None, vec![(b"h".to_vec(), Some(vec![index as u8]))]))
            .collect();
        let bytes = build(Compression::None, &records);
        let theirs = RecordBatchDecoder::decode(&mut bytes.clone()).unwrap();
        let ours: Vec<_> = batch(&bytes).records(PLENTY).map(Result::unwrap).collect();
        assert_eq!(theirs.records.len(), ours.len());
        for (theirs, ours) in theirs.records.iter().zip(&ours) {
            assert_eq!((theirs.offset, theirs.timestamp), (ours.offset, ours.timestamp));
            assert_eq!((&theirs.key, &theirs.value), (&ours.key, &ours.value));
            assert_eq!((theirs.producer_id, theirs.producer_epoch), (1 << 61, 4));
            assert_eq!(theirs.headers.len(), 1);
        }
    }

    #[test]
    fn a_compacted_batch_keeps_its_range() {
        let mut builder = BatchBuilder::new(Compression::None).base_offset(100).last_offset_delta(9);
        builder.push_at(2, 5, Some(b"a"), None, &[]).unwrap();
        builder.push_at(7, 6, Some(b"b"), None, &[]).unwrap();
        let batch = batch(&builder.build().unwrap());
        assert_eq!(batch.header().next_offset(), 110);
        let offsets: Vec<_> = batch.records(PLENTY).map(|record| record.unwrap().offset).collect();
        assert_eq!(offsets, [102, 107]);
    }

    /// The records of a batch whose uncompressed payload is `payload`.
    fn check_payload(record_count: i32, payload: &[u8], expect: WireError) {
        let mut header = *batch(&build(Compression::None, &[(0, None, None, vec![])])).header();
        header.record_count = record_count;
        header.batch_length = i32::try_from(HEADER_BYTES + payload.len()).unwrap() - 12;
        let mut bytes = Bytes::from([&header.encode(), payload].concat());
        let read = Batch::split_first(&mut bytes).map(|batch| batch.records(PLENTY).collect::<Result<Vec<_>, _>>());
        assert_eq!(read.unwrap_or_else(Err), Err(expect));
    }

    #[test]
    fn a_record_that_cannot_be_true_is_refused_with_its_field() {
        let truncated = |field, needed, left| WireError::Truncated { field, needed, left };
        check_payload(2, &[12, 0, 0, 0, 1, 1, 0], WireError::BadCount { field: "record_count", count: 2, max: 1 });
        check_payload(1, &[200, 1, 0, 0, 1, 1, 0], truncated("record", 100, 5));
        check_payload(1, &[1, 0, 0, 0, 1, 1, 0], WireError::BadLength { field: "record length", length: -1 });
        check_payload(1, &[0, 0, 0, 0, 1, 1, 0], truncated("record attributes", 1, 0));
        check_payload(1, &[12, 0, 0, 0, 3, 1, 0], WireError::BadLength { field: "key", length: -2 });
        check_payload(1, &[12, 0, 0, 0, 40, 1, 0], truncated("key", 20, 2));
        check_payload(1, &[12, 0, 0, 0, 1, 1, 40], WireError::BadCount { field: "header count", count: 20, max: 0 });
        check_payload(1, &[16, 0, 0, 0, 1, 1, 2, 1, 1], WireError::Null { field: "header key" });
        check_payload(1, &[14, 0, 0, 0, 1, 1, 0, 0], WireError::Trailing { field: "record", left: 1 });
        check_payload(1, &[10, 0, 0, 0, 1, 1, 0], truncated("record", 1, 0));
        check_payload(1, &[12, 0, 0, 0, 1, 1, 0, 9], WireError::Trailing { field: "records", left: 1 });
        check_payload(0, &[12, 0], WireError::Trailing { field: "records", left: 2 });
    }
}
