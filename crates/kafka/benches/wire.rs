//! The Produce and Fetch paths beside `kafka-protocol` 0.18, on one batch of 16 KiB: CPU time and allocations per
//! batch, all in one run, interleaved. `cargo bench -p naru-kafka --bench wire`
//!
//! Jobs, the same for everyone:
//! - produce: from the body of a Produce 11 request, check the batch (format, length, checksum), stamp it with another
//!   producer id, epoch and sequence, and write the request anew.
//! - fetch, answer: write the body of a Fetch 16 answer around a batch that is in memory.
//! - fetch, read: from the body of that answer, find the batch and check it (format, length, checksum).
//!
//! Sides:
//! - naru: own code. Writes pieces for a vectored write: the batch is not copied. The checksum, most of the time on
//!   every side, is taken with `crc-fast`, which folds in wide registers where the processor has them.
//! - naru, flat: the same, and then all pieces are copied into one buffer.
//! - kp records: kafka-protocol as its documentation has it: `RecordBatchDecoder` gives records and checks the
//!   checksum, `RecordBatchEncoder` writes them again. (No encoder is needed to answer a fetch with a stored batch.)
//! - kp opaque: kafka-protocol for the message only, in the way that favours it most: the batch stays `Bytes`, its
//!   checksum is taken with the `crc32c` crate, and it is stamped by naru's code in the buffer that was just written.
//!
//! Not counted for anyone: reading from and writing to a socket. Buffers are used again on every side where the
//! interface allows it.

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages as theirs;
use kafka_protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use kafka_protocol::protocol::{Decodable, Encodable};
use kafka_protocol::records::{RecordBatchDecoder, RecordBatchEncoder, RecordEncodeOptions};
use naru_kafka::wire::fetch::{FetchResponse, FetchedPartition};
use naru_kafka::wire::produce::{ProducePartition, ProduceRequest};
use naru_kafka::wire::{Batch, BatchBuilder, Compression, OutFrame, RecordData, StrBytes, Tags, TopicId, batch};
use nix::time::{ClockId, clock_gettime};

const PRODUCE_VERSION: i16 = 11;
const FETCH_VERSION: i16 = 16;
const BATCH_BYTES: usize = 16 * 1024;

/// The stamp that a batch gets.
const PRODUCER: (i64, i16, i32) = (1 << 61, 3, 40);

/// Rounds over all jobs; the median is shown. Odd, so that there is one.
const ROUNDS: usize = 31;
const REPEATS: u32 = 2_000;

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: every call is passed to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        // SAFETY: the caller keeps to the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        // SAFETY: the caller keeps to the contract of `realloc`.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps to the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// CPU time that this thread has used.
fn cpu_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("Linux has the clock").into()
}

struct Job<'a> {
    path: &'static str,
    side: &'static str,
    run: Box<dyn FnMut() + 'a>,
    nanoseconds: Vec<f64>,
    allocations: f64,
}

impl<'a> Job<'a> {
    fn new(path: &'static str, side: &'static str, run: impl FnMut() + 'a) -> Self {
        Self { path, side, run: Box::new(run), nanoseconds: Vec::new(), allocations: 0.0 }
    }

    fn round(&mut self) {
        let (allocations, start) = (ALLOCATIONS.load(Relaxed), cpu_time());
        for _ in 0..REPEATS {
            (self.run)();
        }
        let spent = cpu_time() - start;
        self.allocations = (ALLOCATIONS.load(Relaxed) - allocations) as f64 / f64::from(REPEATS);
        self.nanoseconds.push(spent.as_nanos() as f64 / f64::from(REPEATS));
    }

    fn median(&self) -> f64 {
        let mut sorted = self.nanoseconds.clone();
        sorted.sort_by(f64::total_cmp);
        sorted[sorted.len() / 2]
    }
}

/// An uncompressed batch of 16 KiB of records of about `record_bytes`.
fn batch_of(record_bytes: usize) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::None).producer(7, 0, 0);
    let value = vec![b'v'; record_bytes - 24];
    while builder.size_bytes() + record_bytes < BATCH_BYTES {
        builder.push(1_700_000_000_000, Some(b"user-12345678"), Some(&value), &[]).expect("a small record");
    }
    builder.build().expect("a small batch")
}

fn topic() -> StrBytes {
    StrBytes::from_static_str("payments")
}

fn produce_body(batch: &Bytes) -> Bytes {
    let mut request = ProduceRequest { acks: -1, timeout_ms: 30_000, ..ProduceRequest::default() };
    request.topics.push_named(topic(), TopicId::NIL);
    request.topics.push(ProducePartition { index: 3, records: batch.clone().into(), tags: Tags::default() });
    let mut out = OutFrame::new();
    request.encode(PRODUCE_VERSION, &mut out).expect("a valid request");
    shared(out.to_bytes())
}

fn fetch_answer(batch: &Bytes) -> FetchResponse {
    let mut response = FetchResponse::default();
    response.topics.push_named(StrBytes::new(), TopicId([1; 16]));
    response.topics.push(FetchedPartition {
        partition: 3,
        high_watermark: 1_000,
        last_stable_offset: 1_000,
        log_start_offset: 0,
        records: batch.clone().into(),
        ..FetchedPartition::default()
    });
    response
}

/// Bytes whose later clones share a count that is there already, as those of a socket's buffer do.
fn shared(bytes: Bytes) -> Bytes {
    drop(bytes.clone());
    bytes
}

fn check(batch: &Batch) {
    batch.verify_crc().expect("a batch that we built");
}

fn produce_own<'a>(body: &'a Bytes, flat: bool) -> impl FnMut() + 'a {
    let mut request = ProduceRequest::default();
    let mut out = OutFrame::new();
    let mut buffer = Vec::new();
    move || {
        request.decode_into(PRODUCE_VERSION, body.clone()).expect("a valid request");
        for (_, partitions) in request.topics.iter_mut() {
            for partition in partitions {
                let RecordData::Whole(data) = &mut partition.records else { continue };
                let batch = Batch::split_first(data).expect("a valid batch");
                check(&batch);
                let (id, epoch, sequence) = PRODUCER;
                partition.records = batch.with_producer(id, epoch, sequence);
            }
        }
        out.clear();
        request.encode(PRODUCE_VERSION, &mut out).expect("a valid request");
        if flat {
            buffer.clear();
            out.slices().for_each(|slice| buffer.extend_from_slice(slice));
            black_box(&buffer);
        }
        black_box(&out);
    }
}

fn produce_records<'a>(body: &'a Bytes) -> impl FnMut() + 'a {
    let mut out = BytesMut::new();
    let options = RecordEncodeOptions { version: 2, compression: kafka_protocol::records::Compression::None };
    move || {
        let mut request = theirs::ProduceRequest::decode(&mut body.clone(), PRODUCE_VERSION).expect("a valid request");
        for partition in request.topic_data.iter_mut().flat_map(|topic| &mut topic.partition_data) {
            let mut data = partition.records.take().expect("records");
            let mut set = RecordBatchDecoder::decode(&mut data).expect("a valid batch");
            for (record, sequence) in set.records.iter_mut().zip(PRODUCER.2..) {
                (record.producer_id, record.producer_epoch, record.sequence) = (PRODUCER.0, PRODUCER.1, sequence);
            }
            let mut written = BytesMut::with_capacity(BATCH_BYTES);
            RecordBatchEncoder::encode(&mut written, &set.records, &options).expect("records that were read");
            partition.records = Some(written.freeze());
        }
        out.clear();
        request.encode(&mut out, PRODUCE_VERSION).expect("a valid request");
        black_box(&out);
    }
}

fn produce_opaque<'a>(body: &'a Bytes, batch: &'a Bytes) -> impl FnMut() + 'a {
    let mut out = BytesMut::new();
    // Three empty lists of tags follow the one batch.
    let start = body.len() - 3 - batch.len();
    move || {
        let request = theirs::ProduceRequest::decode(&mut body.clone(), PRODUCE_VERSION).expect("a valid request");
        for partition in request.topic_data.iter().flat_map(|topic| &topic.partition_data) {
            check_by_hand(partition.records.as_ref().expect("records"));
        }
        out.clear();
        request.encode(&mut out, PRODUCE_VERSION).expect("a valid request");
        let (id, epoch, sequence) = PRODUCER;
        batch::set_producer(&mut out[start..], id, epoch, sequence).expect("a valid batch");
        black_box(&out);
    }
}

fn check_by_hand(batch: &[u8]) {
    let stored = u32::from_be_bytes([batch[17], batch[18], batch[19], batch[20]]);
    assert_eq!(batch[16], 2);
    assert_eq!(crc32c::crc32c(&batch[21..]), stored);
}

fn answer_own<'a>(batch: &'a Bytes, flat: bool) -> impl FnMut() + 'a {
    let mut response = fetch_answer(batch);
    let mut out = OutFrame::new();
    let mut buffer = Vec::new();
    move || {
        // The batch comes from the log anew each time.
        for (_, partitions) in response.topics.iter_mut() {
            partitions[0].records = RecordData::Whole(batch.clone());
        }
        out.clear();
        response.encode(FETCH_VERSION, &mut out).expect("a valid answer");
        if flat {
            buffer.clear();
            out.slices().for_each(|slice| buffer.extend_from_slice(slice));
            black_box(&buffer);
        }
        black_box(&out);
    }
}

fn answer_theirs<'a>(batch: &'a Bytes) -> impl FnMut() + 'a {
    let partition = PartitionData::default()
        .with_partition_index(3)
        .with_high_watermark(1_000)
        .with_last_stable_offset(1_000)
        .with_log_start_offset(0)
        .with_aborted_transactions(None)
        .with_preferred_read_replica(theirs::BrokerId(-1));
    let topic =
        FetchableTopicResponse::default().with_topic_id(TopicId([1; 16]).into()).with_partitions(vec![partition]);
    let mut response = theirs::FetchResponse::default().with_responses(vec![topic]);
    let mut out = BytesMut::new();
    move || {
        response.responses[0].partitions[0].records = Some(batch.clone());
        out.clear();
        response.encode(&mut out, FETCH_VERSION).expect("a valid answer");
        black_box(&out);
    }
}

fn read_own<'a>(body: &'a Bytes) -> impl FnMut() + 'a {
    let mut response = FetchResponse::default();
    move || {
        response.decode_into(FETCH_VERSION, body.clone()).expect("a valid answer");
        for (_, partitions) in response.topics.iter_mut() {
            for partition in partitions {
                let RecordData::Whole(data) = &mut partition.records else { continue };
                check(&Batch::split_first(data).expect("a valid batch"));
            }
        }
        black_box(&response);
    }
}

fn read_theirs<'a>(body: &'a Bytes, records: bool) -> impl FnMut() + 'a {
    move || {
        let response = theirs::FetchResponse::decode(&mut body.clone(), FETCH_VERSION).expect("a valid answer");
        for partition in response.responses.iter().flat_map(|topic| &topic.partitions) {
            let mut data = partition.records.clone().expect("records");
            if records {
                black_box(RecordBatchDecoder::decode(&mut data).expect("a valid batch"));
            } else {
                check_by_hand(&data);
            }
        }
        black_box(&response);
    }
}

fn table(record_bytes: usize) -> bool {
    let batch = shared(batch_of(record_bytes));
    let produce = produce_body(&batch);
    let mut out = OutFrame::new();
    fetch_answer(&batch).encode(FETCH_VERSION, &mut out).expect("a valid answer");
    let fetch = shared(out.to_bytes());
    let mut jobs = [
        Job::new("produce", "naru", produce_own(&produce, false)),
        Job::new("produce", "naru, flat", produce_own(&produce, true)),
        Job::new("produce", "kp records", produce_records(&produce)),
        Job::new("produce", "kp opaque", produce_opaque(&produce, &batch)),
        Job::new("fetch, answer", "naru", answer_own(&batch, false)),
        Job::new("fetch, answer", "naru, flat", answer_own(&batch, true)),
        Job::new("fetch, answer", "kp opaque", answer_theirs(&batch)),
        Job::new("fetch, read", "naru", read_own(&fetch)),
        Job::new("fetch, read", "kp records", read_theirs(&fetch, true)),
        Job::new("fetch, read", "kp opaque", read_theirs(&fetch, false)),
    ];
    for _ in 0..ROUNDS {
        jobs.iter_mut().for_each(Job::round);
    }
    let count = Batch::split_first(&mut batch.clone()).expect("a valid batch").header().record_count;
    println!("\nbatch of {} bytes, {count} records of {record_bytes} bytes, not compressed", batch.len());
    println!("{:<14} {:<11} {:>12} {:>13} {:>10}", "path", "side", "ns / batch", "allocs / batch", "x naru");
    let mut held = true;
    for job in &jobs {
        let own = jobs.iter().find(|own| own.path == job.path && own.side == "naru").map_or(0.0, Job::median);
        let ratio = job.median() / own;
        println!("{:<14} {:<11} {:>12.0} {:>13.2} {:>10.2}", job.path, job.side, job.median(), job.allocations, ratio);
        held &= match job.side {
            "naru" => job.allocations == 0.0,
            "kp records" => ratio >= 3.0,
            _ => true,
        };
    }
    held
}

fn main() -> ExitCode {
    println!("CPU time per batch on one thread, median of {ROUNDS} rounds of {REPEATS}, sides interleaved");
    let held = [1_024, 128].map(table).into_iter().all(|held| held);
    println!(
        "\ntarget (naru: no allocation, and a third of the time of kp records or less): {}",
        if held { "held" } else { "MISSED" }
    );
    if held { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
