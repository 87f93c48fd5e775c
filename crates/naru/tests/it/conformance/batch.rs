//! Record batches (message format 2) with every header field free to be wrong.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Attribute bits.
pub const GZIP: i16 = 1;
pub const SNAPPY: i16 = 2;
pub const LZ4: i16 = 3;
pub const ZSTD: i16 = 4;
pub const TRANSACTIONAL: i16 = 1 << 4;
pub const CONTROL: i16 = 1 << 5;

/// The bytes before the records.
pub const HEADER_BYTES: usize = 61;

/// A batch to be sent, or one that was fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    pub base_offset: i64,
    pub leader_epoch: i32,
    pub magic: i8,
    pub attributes: i16,
    pub last_offset_delta: i32,
    pub base_timestamp: i64,
    pub max_timestamp: i64,
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub base_sequence: i32,
    pub count: i32,
    /// The records as they stand in the batch, compressed or not.
    pub payload: Bytes,
}

impl Batch {
    /// One record per value, no key, all created at `timestamp`.
    pub fn of<V: AsRef<[u8]>>(timestamp: i64, values: &[V]) -> Self {
        let record = |value| Record { timestamp, key: None, value };
        Self::from_records(&values.iter().map(|value| record(value.as_ref())).collect::<Vec<_>>())
    }

    /// One record per (timestamp, value).
    pub fn timed(records: &[(i64, &[u8])]) -> Self {
        let records = records.iter().map(|(timestamp, value)| Record { timestamp: *timestamp, key: None, value });
        Self::from_records(&records.collect::<Vec<_>>())
    }

    /// One record.
    pub fn keyed(timestamp: i64, key: &[u8], value: &[u8]) -> Self {
        Self::from_records(&[Record { timestamp, key: Some(key), value }])
    }

    fn from_records(records: &[Record<'_>]) -> Self {
        let base_timestamp = records[0].timestamp;
        let mut payload = BytesMut::new();
        for (offset_delta, record) in (0..).zip(records) {
            put_record(&mut payload, offset_delta, base_timestamp, *record);
        }
        let count = i32::try_from(records.len()).unwrap();
        Self {
            base_offset: 0,
            leader_epoch: -1,
            magic: 2,
            attributes: 0,
            last_offset_delta: count - 1,
            base_timestamp,
            max_timestamp: records.iter().map(|record| record.timestamp).max().unwrap(),
            producer_id: -1,
            producer_epoch: -1,
            base_sequence: -1,
            count,
            payload: payload.freeze(),
        }
    }

    pub fn producer(mut self, id: i64, epoch: i16, sequence: i32) -> Self {
        (self.producer_id, self.producer_epoch, self.base_sequence) = (id, epoch, sequence);
        self
    }

    /// Replaces the records by their compressed form and says so in the attributes.
    pub fn compressed(mut self, codec: i16) -> Self {
        self.payload = super::codec::compress(codec, &self.payload);
        self.attributes |= codec;
        self
    }

    pub fn encode(&self) -> Bytes {
        let mut checked = BytesMut::with_capacity(HEADER_BYTES + self.payload.len());
        checked.put_i16(self.attributes);
        checked.put_i32(self.last_offset_delta);
        checked.put_i64(self.base_timestamp);
        checked.put_i64(self.max_timestamp);
        checked.put_i64(self.producer_id);
        checked.put_i16(self.producer_epoch);
        checked.put_i32(self.base_sequence);
        checked.put_i32(self.count);
        checked.put_slice(&self.payload);
        let mut batch = BytesMut::with_capacity(checked.len() + 21);
        batch.put_i64(self.base_offset);
        batch.put_i32(i32::try_from(checked.len() + 9).unwrap());
        batch.put_i32(self.leader_epoch);
        batch.put_i8(self.magic);
        batch.put_u32(crc32c::crc32c(&checked));
        batch.put_slice(&checked);
        batch.freeze()
    }

    /// The batches of a fetch; a last one that was cut off is left out, as clients do.
    pub fn decode_all(mut records: Bytes) -> Vec<Self> {
        let mut batches = Vec::new();
        while records.len() >= HEADER_BYTES {
            let length = usize::try_from((&records[8..12]).get_i32()).unwrap() + 12;
            if records.len() < length {
                break;
            }
            batches.push(Self::decode(records.split_to(length)));
        }
        batches
    }

    fn decode(mut bytes: Bytes) -> Self {
        let checksum = crc32c::crc32c(&bytes[21..]);
        let base_offset = bytes.get_i64();
        bytes.advance(4);
        let leader_epoch = bytes.get_i32();
        let magic = bytes.get_i8();
        assert_eq!(bytes.get_u32(), checksum, "the checksum of the batch at {base_offset}");
        Self {
            base_offset,
            leader_epoch,
            magic,
            attributes: bytes.get_i16(),
            last_offset_delta: bytes.get_i32(),
            base_timestamp: bytes.get_i64(),
            max_timestamp: bytes.get_i64(),
            producer_id: bytes.get_i64(),
            producer_epoch: bytes.get_i16(),
            base_sequence: bytes.get_i32(),
            count: bytes.get_i32(),
            payload: bytes,
        }
    }

    /// The values of an uncompressed batch.
    pub fn values(&self) -> Vec<String> {
        assert_eq!(self.attributes & 7, 0, "compressed");
        let mut payload = self.payload.clone();
        (0..self.count).map(|_| take_value(&mut payload)).collect()
    }
}

#[derive(Clone, Copy)]
struct Record<'a> {
    timestamp: i64,
    key: Option<&'a [u8]>,
    value: &'a [u8],
}

fn put_record(payload: &mut BytesMut, offset_delta: i64, base_timestamp: i64, record: Record<'_>) {
    let mut body = BytesMut::new();
    body.put_i8(0);
    put_varint(&mut body, record.timestamp - base_timestamp);
    put_varint(&mut body, offset_delta);
    put_varint(&mut body, record.key.map_or(-1, |key| i64::try_from(key.len()).unwrap()));
    body.put_slice(record.key.unwrap_or_default());
    put_varint(&mut body, i64::try_from(record.value.len()).unwrap());
    body.put_slice(record.value);
    put_varint(&mut body, 0);
    put_varint(payload, i64::try_from(body.len()).unwrap());
    payload.put_slice(&body);
}

fn take_value(payload: &mut Bytes) -> String {
    let length = usize::try_from(take_varint(payload)).unwrap();
    let mut record = payload.split_to(length);
    record.advance(1);
    take_varint(&mut record);
    take_varint(&mut record);
    let key_bytes = take_varint(&mut record);
    record.advance(usize::try_from(key_bytes.max(0)).unwrap());
    let value_bytes = usize::try_from(take_varint(&mut record)).unwrap();
    String::from_utf8(record.split_to(value_bytes).to_vec()).unwrap()
}

/// Zigzag: the sign in the lowest bit, seven bits a byte.
fn put_varint(out: &mut BytesMut, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
    while rest >= 0x80 {
        out.put_u8(rest.to_le_bytes()[0] | 0x80);
        rest >>= 7;
    }
    out.put_u8(rest.to_le_bytes()[0]);
}

fn take_varint(bytes: &mut Bytes) -> i64 {
    let (mut value, mut shift) = (0_u64, 0);
    loop {
        let byte = bytes.get_u8();
        value |= u64::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            return (value >> 1).cast_signed() ^ -(value & 1).cast_signed();
        }
    }
}
