//! Record data of a Produce request: batches, their checksum, their records in every codec, and rewriting in place.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use naru_kafka::wire::batch::{self, Batch, BatchHeader, HEADER_BYTES};
use naru_kafka::wire::{BatchBuilder, Compression};

mod memory;

/// What the records of one batch may expand to.
const DECOMPRESSED_BYTES_MAX: usize = 256 << 10;

/// The expanded records, what the codec holds while it expands them (LZ4 blocks are up to 8 MiB), and the headers of
/// one record: 72 bytes for 2 on the wire.
const BYTES_MAX: usize = (24 << 20) + 80 * DECOMPRESSED_BYTES_MAX;

fuzz_target!(|data: &[u8]| {
    memory::bounded(BYTES_MAX + 80 * data.len(), || {
        let mut rest = Bytes::copy_from_slice(data);
        while let Ok(one) = Batch::split_first(&mut rest) {
            read(&one);
            rewrite(&one);
        }
    });
});

fn read(one: &Batch) {
    let header = one.header();
    assert_eq!(header.size_bytes(), one.bytes().len());
    assert_eq!(header.encode(), one.bytes()[..HEADER_BYTES]);
    let mut copied = BatchBuilder::new(Compression::None).base_offset(header.base_offset);
    let mut count = 0;
    let mut bytes = 0;
    for record in one.records(DECOMPRESSED_BYTES_MAX) {
        let Ok(record) = record else { return };
        count += 1;
        bytes += record.key.as_ref().map_or(0, Bytes::len) + record.value.as_ref().map_or(0, Bytes::len);
        let headers: Vec<_> = record.headers.iter().map(|(name, value)| (&name[..], value.as_deref())).collect();
        copied
            .push(record.timestamp, record.key.as_deref(), record.value.as_deref(), &headers)
            .expect("a record that was read can be written");
    }
    assert_eq!(count, header.record_count);
    assert!(bytes <= DECOMPRESSED_BYTES_MAX.max(one.bytes().len()));
    let copied = copied.build().expect("a batch of bounded size");
    let copied = Batch::split_first(&mut copied.clone()).expect("a batch that was built");
    assert_eq!(copied.verify_crc(), Ok(()));
    assert_eq!(copied.records(0).filter(Result::is_ok).count(), count as usize);
}

fn rewrite(one: &Batch) {
    let valid = one.verify_crc().is_ok();
    let mut bytes = one.bytes().to_vec();
    batch::set_base_offset(&mut bytes, 77).expect("a whole batch");
    batch::set_partition_leader_epoch(&mut bytes, 3).expect("a whole batch");
    batch::set_producer(&mut bytes, 1 << 62, 5, 6).expect("a whole batch");
    batch::set_log_append_time(&mut bytes, 1).expect("a whole batch");
    let changed = Batch::split_first(&mut Bytes::from(bytes)).expect("a rewritten batch is a batch");
    assert_eq!(changed.verify_crc().is_ok(), valid, "rewriting neither breaks nor mends a batch");
    let expect = BatchHeader {
        base_offset: 77,
        partition_leader_epoch: 3,
        producer_id: 1 << 62,
        producer_epoch: 5,
        base_sequence: 6,
        max_timestamp: 1,
        attributes: one.header().attributes | 8,
        crc: changed.header().crc,
        ..*one.header()
    };
    assert_eq!(*changed.header(), expect);
    assert_eq!(changed.payload(), one.payload());
}
