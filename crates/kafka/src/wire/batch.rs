//! Record batches of format 2, read and rewritten where they lie.
//!
//! A rewrite never makes a corrupt batch valid: the new checksum is derived from the old one and the change, not from
//! the bytes as they happen to be.

use bytes::{Buf, Bytes};

use crate::wire::record::Records;
use crate::wire::{Compression, RecordData, WireError, checksum};

/// The size of a batch's header, bytes: all that stands before the records.
pub const HEADER_BYTES: usize = 61;

/// What precedes the bytes that `batch_length` counts: base offset and the length itself.
const PREFIX_BYTES: usize = 12;

/// Where the checksum's range begins: at the attributes. Base offset, length, leader epoch, magic and the checksum
/// itself are outside.
const CHECKED_FROM: usize = 21;

/// The smallest record: length, attributes, two deltas, key and value lengths and a header count of one byte each.
pub(crate) const RECORD_BYTES_MIN: usize = 7;

const ATTRIBUTE_LOG_APPEND_TIME: i16 = 0x08;
const ATTRIBUTE_TRANSACTIONAL: i16 = 0x10;
const ATTRIBUTE_CONTROL: i16 = 0x20;

/// What a record's time means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimestampType {
    /// Set by the producer.
    CreateTime,
    /// Set by the broker: every record has the batch's `max_timestamp`.
    LogAppendTime,
}

/// The header of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchHeader {
    /// The offset of the first record.
    pub base_offset: i64,
    /// The batch's size after this field, bytes.
    pub batch_length: i32,
    /// The leader's epoch when it was appended; outside the checksum.
    pub partition_leader_epoch: i32,
    /// The format; 2.
    pub magic: i8,
    /// CRC-32C of everything from the attributes on.
    pub crc: u32,
    /// Codec, timestamp type, transactional and control bits.
    pub attributes: i16,
    /// The offset of the last record less the base offset.
    pub last_offset_delta: i32,
    /// The time that the records' times are counted from, milliseconds.
    pub base_timestamp: i64,
    /// The latest time in the batch, milliseconds.
    pub max_timestamp: i64,
    /// The producer's id; -1 if it has none.
    pub producer_id: i64,
    /// The producer's epoch; -1 if it has none.
    pub producer_epoch: i16,
    /// The sequence of the first record; -1 if there is none.
    pub base_sequence: i32,
    /// The number of records.
    pub record_count: i32,
}

impl BatchHeader {
    /// Reads a header. Checks the format and that the length covers the header, nothing else.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let Some(mut bytes) = bytes.get(..HEADER_BYTES) else {
            return Err(WireError::Truncated { field: "batch header", needed: HEADER_BYTES, left: bytes.len() });
        };
        let header = Self {
            base_offset: bytes.get_i64(),
            batch_length: bytes.get_i32(),
            partition_leader_epoch: bytes.get_i32(),
            magic: bytes.get_i8(),
            crc: bytes.get_u32(),
            attributes: bytes.get_i16(),
            last_offset_delta: bytes.get_i32(),
            base_timestamp: bytes.get_i64(),
            max_timestamp: bytes.get_i64(),
            producer_id: bytes.get_i64(),
            producer_epoch: bytes.get_i16(),
            base_sequence: bytes.get_i32(),
            record_count: bytes.get_i32(),
        };
        // Format 0 and 1 have the magic at the same place: name the real reason first.
        if header.magic != 2 {
            return Err(WireError::BadMagic { magic: header.magic });
        }
        if header.batch_length < (HEADER_BYTES - PREFIX_BYTES) as i32 {
            return Err(WireError::BadLength { field: "batch length", length: i64::from(header.batch_length) });
        }
        Ok(header)
    }

    /// Writes the header as it stands on the wire, checksum included as it is.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut out = [0; HEADER_BYTES];
        out[0..8].copy_from_slice(&self.base_offset.to_be_bytes());
        out[8..12].copy_from_slice(&self.batch_length.to_be_bytes());
        out[12..16].copy_from_slice(&self.partition_leader_epoch.to_be_bytes());
        out[16] = self.magic.cast_unsigned();
        out[17..21].copy_from_slice(&self.crc.to_be_bytes());
        out[21..23].copy_from_slice(&self.attributes.to_be_bytes());
        out[23..27].copy_from_slice(&self.last_offset_delta.to_be_bytes());
        out[27..35].copy_from_slice(&self.base_timestamp.to_be_bytes());
        out[35..43].copy_from_slice(&self.max_timestamp.to_be_bytes());
        out[43..51].copy_from_slice(&self.producer_id.to_be_bytes());
        out[51..53].copy_from_slice(&self.producer_epoch.to_be_bytes());
        out[53..57].copy_from_slice(&self.base_sequence.to_be_bytes());
        out[57..61].copy_from_slice(&self.record_count.to_be_bytes());
        out
    }

    /// The whole batch's size, bytes.
    pub fn size_bytes(&self) -> usize {
        // Not negative: `decode` checks it.
        PREFIX_BYTES + usize::try_from(self.batch_length).unwrap_or(0)
    }

    /// The offset of the last record, or of where it was before compaction.
    pub fn last_offset(&self) -> i64 {
        self.base_offset.saturating_add(i64::from(self.last_offset_delta))
    }

    /// The offset that follows the batch.
    pub fn next_offset(&self) -> i64 {
        self.last_offset().saturating_add(1)
    }

    /// The sequence of the last record. Sequences go from 2,147,483,647 on to 0.
    pub fn last_sequence(&self) -> i32 {
        if self.base_sequence < 0 {
            return self.base_sequence;
        }
        self.base_sequence.wrapping_add(self.last_offset_delta) & i32::MAX
    }

    /// How the records are compressed.
    pub fn compression(&self) -> Result<Compression, WireError> {
        Compression::from_attributes(self.attributes)
    }

    /// What the records' times mean.
    pub fn timestamp_type(&self) -> TimestampType {
        if self.attributes & ATTRIBUTE_LOG_APPEND_TIME != 0 {
            TimestampType::LogAppendTime
        } else {
            TimestampType::CreateTime
        }
    }

    /// Whether the batch belongs to a transaction.
    pub fn is_transactional(&self) -> bool {
        self.attributes & ATTRIBUTE_TRANSACTIONAL != 0
    }

    /// Whether the batch holds markers of transactions and no records.
    pub fn is_control(&self) -> bool {
        self.attributes & ATTRIBUTE_CONTROL != 0
    }

    /// Whether a producer id stands in the batch.
    pub fn has_producer(&self) -> bool {
        self.producer_id >= 0
    }
}

/// One batch: its header was read, and its bytes are whole. The checksum is not checked until asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    header: BatchHeader,
    bytes: Bytes,
}

impl Batch {
    /// Takes the first batch from record data, without copying. Checks the format, the length, the codec, and that
    /// the counts can be true; not the checksum.
    pub fn split_first(data: &mut Bytes) -> Result<Self, WireError> {
        let header = BatchHeader::decode(data)?;
        let size = header.size_bytes();
        if size > data.len() {
            return Err(WireError::Truncated { field: "batch", needed: size, left: data.len() });
        }
        let payload = size - HEADER_BYTES;
        if header.last_offset_delta < 0 {
            return Err(WireError::BadValue { field: "last_offset_delta", value: i64::from(header.last_offset_delta) });
        }
        if header.record_count < 0 {
            return Err(WireError::BadCount {
                field: "record_count",
                count: i64::from(header.record_count),
                max: payload as u64,
            });
        }
        if header.compression()? == Compression::None {
            records_possible(header.record_count, payload)?;
        }
        Ok(Self { header, bytes: data.split_to(size) })
    }

    /// The header.
    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// The whole batch.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The whole batch, taken out.
    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }

    /// What follows the header: the records, compressed as the header says.
    pub fn payload(&self) -> Bytes {
        self.bytes.slice(HEADER_BYTES..)
    }

    /// Compares the checksum with the bytes.
    pub fn verify_crc(&self) -> Result<(), WireError> {
        let computed = checksum::crc32c(&self.bytes[CHECKED_FROM..]);
        if computed != self.header.crc {
            return Err(WireError::BadCrc { stored: self.header.crc, computed });
        }
        Ok(())
    }

    /// The records. Uncompressed ones share the batch's memory; compressed ones are expanded to at most
    /// `decompressed_max` bytes. Ends after the first error.
    pub fn records(&self, decompressed_max: usize) -> Records {
        Records::new(self, decompressed_max)
    }

    /// The batch with another base offset and leader epoch, the payload not moved.
    pub fn with_offset(&self, base_offset: i64, partition_leader_epoch: i32) -> RecordData {
        let header = BatchHeader { base_offset, partition_leader_epoch, ..self.header };
        RecordData::Stamped { header: header.encode(), payload: self.payload() }
    }

    /// The batch with another producer, the payload neither moved nor read. The checksum follows the change.
    pub fn with_producer(&self, producer_id: i64, producer_epoch: i16, base_sequence: i32) -> RecordData {
        let mut header = self.header.encode();
        rewrite_producer(&mut header, self.bytes.len() - HEADER_BYTES, producer_id, producer_epoch, base_sequence);
        RecordData::Stamped { header, payload: self.payload() }
    }
}

/// Refuses a number of records that so many bytes cannot hold.
pub(crate) fn records_possible(record_count: i32, payload_bytes: usize) -> Result<(), WireError> {
    let max = payload_bytes / RECORD_BYTES_MIN;
    match usize::try_from(record_count) {
        Ok(count) if count <= max => Ok(()),
        _ => Err(WireError::BadCount { field: "record_count", count: i64::from(record_count), max: max as u64 }),
    }
}

fn whole_header(batch: &[u8]) -> Result<(), WireError> {
    if batch.len() < HEADER_BYTES {
        return Err(WireError::Truncated { field: "batch header", needed: HEADER_BYTES, left: batch.len() });
    }
    Ok(())
}

/// Sets the base offset of the batch that starts here. Outside the checksum.
pub fn set_base_offset(batch: &mut [u8], base_offset: i64) -> Result<(), WireError> {
    whole_header(batch)?;
    batch[0..8].copy_from_slice(&base_offset.to_be_bytes());
    Ok(())
}

/// Sets the leader epoch of the batch that starts here. Outside the checksum.
pub fn set_partition_leader_epoch(batch: &mut [u8], epoch: i32) -> Result<(), WireError> {
    whole_header(batch)?;
    batch[12..16].copy_from_slice(&epoch.to_be_bytes());
    Ok(())
}

/// Sets the producer of the batch that starts here; the checksum follows the change. A batch that was corrupt before
/// stays so.
pub fn set_producer(
    batch: &mut [u8],
    producer_id: i64,
    producer_epoch: i16,
    base_sequence: i32,
) -> Result<(), WireError> {
    let payload_bytes = BatchHeader::decode(batch)?.size_bytes() - HEADER_BYTES;
    let header = batch.first_chunk_mut::<HEADER_BYTES>().ok_or(WireError::Truncated {
        field: "batch header",
        needed: HEADER_BYTES,
        left: 0,
    })?;
    rewrite_producer(header, payload_bytes, producer_id, producer_epoch, base_sequence);
    Ok(())
}

/// Marks the batch that starts here as stamped by the broker: log append time, and that time as the latest one. The
/// checksum follows the change.
pub fn set_log_append_time(batch: &mut [u8], timestamp_ms: i64) -> Result<(), WireError> {
    let header = BatchHeader::decode(batch)?;
    let payload_bytes = header.size_bytes() - HEADER_BYTES;
    let bytes = batch.first_chunk_mut::<HEADER_BYTES>().ok_or(WireError::Truncated {
        field: "batch header",
        needed: HEADER_BYTES,
        left: 0,
    })?;
    rewrite(bytes, payload_bytes, |bytes| {
        bytes[21..23].copy_from_slice(&(header.attributes | ATTRIBUTE_LOG_APPEND_TIME).to_be_bytes());
        bytes[35..43].copy_from_slice(&timestamp_ms.to_be_bytes());
    });
    Ok(())
}

fn rewrite_producer(
    header: &mut [u8; HEADER_BYTES],
    payload_bytes: usize,
    producer_id: i64,
    producer_epoch: i16,
    base_sequence: i32,
) {
    rewrite(header, payload_bytes, |header| {
        header[43..51].copy_from_slice(&producer_id.to_be_bytes());
        header[51..53].copy_from_slice(&producer_epoch.to_be_bytes());
        header[53..57].copy_from_slice(&base_sequence.to_be_bytes());
    });
}

/// Changes a header within the checksum's range, and the checksum with it.
///
/// CRC is linear: the checksum of header and payload is the header's, carried over the payload's length, xor the
/// payload's. So the payload's share is found by taking the old header's share out, and need not be read again.
fn rewrite(header: &mut [u8; HEADER_BYTES], payload_bytes: usize, change: impl FnOnce(&mut [u8; HEADER_BYTES])) {
    let before = crc32c::crc32c(&header[CHECKED_FROM..]);
    change(header);
    let after = crc32c::crc32c(&header[CHECKED_FROM..]);
    let stored = u32::from_be_bytes([header[17], header[18], header[19], header[20]]);
    let crc = stored ^ checksum::over_zeros(before ^ after, payload_bytes);
    header[17..21].copy_from_slice(&crc.to_be_bytes());
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test panics on failure

    use super::*;
    use crate::wire::BatchBuilder;

    fn batch(codec: Compression) -> Bytes {
        let mut builder = BatchBuilder::new(codec);
        for index in 0..10 {
            builder.push(1_000 + index, Some(b"key"), Some(&[7; 300]), &[]).unwrap();
        }
        builder.build().unwrap()
    }

    #[test]
    fn a_header_is_written_as_it_was_read() {
        let bytes = batch(Compression::None);
        let header = BatchHeader::decode(&bytes).unwrap();
        assert_eq!(header.encode(), bytes[..HEADER_BYTES]);
        assert_eq!((header.last_offset(), header.next_offset(), header.record_count), (9, 10, 10));
        assert_eq!((header.base_timestamp, header.max_timestamp), (1_000, 1_009));
        assert_eq!(header.size_bytes(), bytes.len());
    }

    #[test]
    fn rewriting_keeps_a_batch_valid_whichever_way_it_is_done() {
        for codec in Compression::ALL {
            let whole = batch(codec);
            let mut copy = whole.to_vec();
            set_base_offset(&mut copy, 77).unwrap();
            set_partition_leader_epoch(&mut copy, 5).unwrap();
            set_producer(&mut copy, 1 << 62, 3, 12).unwrap();
            set_log_append_time(&mut copy, 4_000).unwrap();
            let rewritten = Batch::split_first(&mut Bytes::from(copy)).unwrap();
            rewritten.verify_crc().unwrap();
            let header = rewritten.header();
            assert_eq!((header.base_offset, header.partition_leader_epoch), (77, 5));
            assert_eq!((header.producer_id, header.producer_epoch, header.base_sequence), (1 << 62, 3, 12));
            assert_eq!((header.timestamp_type(), header.max_timestamp), (TimestampType::LogAppendTime, 4_000));
            assert!(rewritten.records(1 << 20).all(|record| record.unwrap().timestamp == 4_000));

            let original = Batch::split_first(&mut whole.clone()).unwrap();
            let stamped = original.with_producer(9, 1, 0).to_bytes();
            let stamped = Batch::split_first(&mut stamped.clone()).unwrap();
            stamped.verify_crc().unwrap();
            assert_eq!(stamped.header().producer_id, 9);
            let moved = Batch::split_first(&mut original.with_offset(40, 2).to_bytes()).unwrap();
            moved.verify_crc().unwrap();
            assert_eq!(moved.records(1 << 20).next().unwrap().unwrap().offset, 40);
        }
    }

    #[test]
    fn rewriting_does_not_hide_a_corrupt_byte() {
        let mut bytes = batch(Compression::None).to_vec();
        bytes[200] ^= 1;
        set_producer(&mut bytes, 1, 0, 0).unwrap();
        let corrupt = Batch::split_first(&mut Bytes::from(bytes)).unwrap();
        assert!(matches!(corrupt.verify_crc(), Err(WireError::BadCrc { .. })));
    }

    fn check_refused(change: impl FnOnce(&mut Vec<u8>), expect: WireError) {
        let mut bytes = batch(Compression::None).to_vec();
        change(&mut bytes);
        assert_eq!(Batch::split_first(&mut Bytes::from(bytes)), Err(expect));
    }

    #[test]
    fn a_header_that_cannot_be_true_is_refused() {
        let size = batch(Compression::None).len();
        check_refused(|b| b.truncate(60), WireError::Truncated { field: "batch header", needed: 61, left: 60 });
        check_refused(|b| b.truncate(size - 1), WireError::Truncated { field: "batch", needed: size, left: size - 1 });
        check_refused(|b| b[16] = 1, WireError::BadMagic { magic: 1 });
        check_refused(
            |b| b[8] = 0xff,
            WireError::BadLength { field: "batch length", length: i64::try_from(size).unwrap() - 12 - (1 << 24) },
        );
        check_refused(|b| b[22] = 7, WireError::BadValue { field: "attributes compression", value: 7 });
        check_refused(
            |b| b[57] = 0x7f,
            WireError::BadCount { field: "record_count", count: 0x7f00_000a, max: (size as u64 - 61) / 7 },
        );
        check_refused(
            |b| b[23] = 0x80,
            WireError::BadValue { field: "last_offset_delta", value: i64::from(i32::MIN) + 9 },
        );
    }

    #[test]
    fn sequences_wrap_to_zero() {
        let mut header = BatchHeader::decode(&batch(Compression::None)).unwrap();
        header.base_sequence = i32::MAX - 3;
        assert_eq!(header.last_sequence(), 5);
        header.base_sequence = -1;
        assert_eq!(header.last_sequence(), -1);
    }
}
