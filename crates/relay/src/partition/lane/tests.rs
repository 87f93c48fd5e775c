//! A lane against a scripted broker.

#![allow(clippy::unwrap_used)] // a test panics on failure

use std::future::poll_fn;
use std::sync::{Arc, Mutex};

use naru_kafka::client::{ConnectionConfig, Lifetime};
use naru_kafka::serve::messages::api_versions_response::ApiVersion;
use naru_kafka::serve::messages::{ApiVersionsRequest, ApiVersionsResponse};
use naru_kafka::serve::{Limits, Memory, RequestReader, Served, write_answer};
use naru_kafka::wire::frame::ResponseHeader;
use naru_kafka::wire::produce::ProducedPartition;
use naru_kafka::wire::{Batch, BatchBuilder, Compression, RecordData, cold};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

/// What the broker does with the next Produce.
#[derive(Clone, Copy)]
enum Scripted {
    Answer { code: ErrorCode, throttle_ms: i32 },
    Close,
}

const TAKEN: Scripted = Scripted::Answer { code: ErrorCode::NONE, throttle_ms: 0 };

const fn refused(code: ErrorCode) -> Scripted {
    Scripted::Answer { code, throttle_ms: 0 }
}

struct Fixture {
    lane: Lane,
    /// When each Produce came.
    seen: Arc<Mutex<Vec<Instant>>>,
    _broker: JoinSet<()>,
}

async fn start(script: Vec<Scripted>, in_flight_max: usize) -> Fixture {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let mut broker = JoinSet::new();
    let log = Arc::clone(&seen);
    broker.spawn(async move { serve(listener, script, &log).await });
    let config = ConnectionConfig { in_flight_max, ..ConnectionConfig::default() };
    let connection = Connection::open(&config, &address, None, &Lifetime::default()).await.unwrap();
    let mut lane = Lane::new(Side::A, TopicPartition::new("orders", 3), Duration::from_secs(1));
    lane.use_connection(connection);
    lane.lease(Millis::MAX);
    Fixture { lane, seen, _broker: broker }
}

async fn serve(listener: TcpListener, script: Vec<Scripted>, seen: &Mutex<Vec<Instant>>) {
    let (input, mut output) = listener.accept().await.unwrap().0.into_split();
    let limits = Limits { request_bytes_max: 1 << 20, idle: PATIENCE, transfer: PATIENCE };
    let (mut reader, memory) = (RequestReader::new(input, limits), Memory::new(4 << 20, 1 << 20));
    let served = |_, _| Ok(Served { uncounted_bytes: 0, bytes_max: usize::MAX });
    let mut script = script.into_iter();
    let mut next_offset = 0;
    while let Ok(Some(request)) = reader.next(&memory, served).await {
        let version = request.header.api_version;
        let mut out = OutFrame::new();
        out.begin();
        ResponseHeader::new(request.header.correlation_id).encode(request.api, version, &mut out);
        if request.api == ApiKey::ApiVersions {
            let offered = [(ApiKey::Produce, 12), (ApiKey::ApiVersions, 3)].map(|(api, max)| {
                ApiVersion::default().with_api_key(api as i16).with_min_version(3).with_max_version(max)
            });
            let response = ApiVersionsResponse::default().with_api_keys(offered.to_vec());
            cold::encode_response::<ApiVersionsRequest>(version, &response, &mut out).unwrap();
        } else {
            seen.lock().unwrap().push(Instant::now());
            let Some(Scripted::Answer { code, throttle_ms }) = script.next() else { return };
            let mut response = ProduceResponse { throttle_time_ms: throttle_ms, ..ProduceResponse::default() };
            response.topics.push_named(StrBytes::from_static_str("orders"), TopicId::NIL);
            let base_offset = if code.is_ok() { next_offset } else { -1 };
            next_offset += i64::from(code.is_ok());
            response.topics.push(ProducedPartition { index: 3, error: code, base_offset, ..Default::default() });
            response.encode(version, &mut out).unwrap();
        }
        out.finish(1 << 20).unwrap();
        write_answer(&mut output, &out, PATIENCE).await.unwrap();
    }
}

fn batch() -> Outgoing {
    let mut builder = BatchBuilder::new(Compression::None);
    builder.push(1, None, Some(b"x"), &[]).unwrap();
    let batch = Batch::split_first(&mut builder.build().unwrap()).unwrap();
    Outgoing { header: *batch.header(), data: RecordData::from(batch) }
}

/// The outcomes of so many batches written at once, in the order told.
async fn outcomes(fixture: &mut Fixture, batches: u64) -> Vec<(u64, Result<i64, WriteRefused>)> {
    for order in 1..=batches {
        fixture.lane.write(OrderId(order), batch());
    }
    let mut told = Vec::new();
    for _ in 0..batches {
        let next = poll_fn(|context| fixture.lane.poll_outcome(context));
        let (event, _) = tokio::time::timeout(PATIENCE, next).await.unwrap();
        let Event::Written { order, side: Side::A, outcome } = event else { panic!("{event:?}") };
        told.push((order.0, outcome));
    }
    told
}

async fn check(script: &[Scripted], in_flight_max: usize, expect: &[Result<i64, WriteRefused>], sent: usize) {
    let mut fixture = start(script.to_vec(), in_flight_max).await;
    let told = outcomes(&mut fixture, expect.len() as u64).await;
    assert_eq!(told, (1..).zip(expect.iter().copied()).collect::<Vec<_>>());
    assert_eq!(fixture.seen.lock().unwrap().len(), sent);
}

#[tokio::test]
async fn every_batch_gets_one_outcome_in_order_and_a_failure_holds_back_what_was_not_sent() {
    use WriteRefused::{NotSent, Refused, Unknown};
    check(&[TAKEN, TAKEN, TAKEN], 8, &[Ok(0), Ok(1), Ok(2)], 3).await;
    let leader = ErrorCode::NOT_LEADER_OR_FOLLOWER;
    check(&[refused(leader)], 1, &[Err(Refused(leader)), Err(NotSent), Err(NotSent)], 1).await;
    for code in [ErrorCode::REQUEST_TIMED_OUT, ErrorCode::NOT_ENOUGH_REPLICAS_AFTER_APPEND] {
        check(&[TAKEN, refused(code)], 1, &[Ok(0), Err(Unknown), Err(NotSent)], 2).await;
    }
    check(&[Scripted::Close], 1, &[Err(Unknown), Err(NotSent)], 1).await;
}

#[tokio::test]
async fn without_a_connection_nothing_is_sent_and_a_lost_one_is_noticed_once() {
    let mut fixture = start(vec![Scripted::Close], 8).await;
    assert!(!fixture.lane.lost_connection());
    assert_eq!(outcomes(&mut fixture, 1).await, [(1, Err(WriteRefused::Unknown))]);
    assert_eq!(outcomes(&mut fixture, 2).await, [(1, Err(WriteRefused::NotSent)), (2, Err(WriteRefused::NotSent))]);
    assert!(fixture.lane.lost_connection());
    assert!(!fixture.lane.lost_connection());
}

#[tokio::test]
async fn a_broker_that_throttles_is_left_alone_for_as_long_as_it_says() {
    let throttled = Scripted::Answer { code: ErrorCode::NONE, throttle_ms: 300 };
    let mut fixture = start(vec![throttled, TAKEN], 8).await;
    assert_eq!(outcomes(&mut fixture, 1).await, [(1, Ok(0))]);
    assert_eq!(outcomes(&mut fixture, 1).await, [(1, Ok(1))]);
    let seen = fixture.seen.lock().unwrap();
    assert!(seen[1] - seen[0] >= Duration::from_millis(300), "{:?}", seen[1] - seen[0]);
}

#[tokio::test]
async fn what_a_broker_held_up_beyond_the_lease_is_not_sent() {
    let throttled = Scripted::Answer { code: ErrorCode::NONE, throttle_ms: 300 };
    let mut fixture = start(vec![throttled, TAKEN], 8).await;
    assert_eq!(outcomes(&mut fixture, 1).await, [(1, Ok(0))]);
    fixture.lane.lease(clock::now() + 100);
    assert_eq!(outcomes(&mut fixture, 2).await, [(1, Err(WriteRefused::NotSent)), (2, Err(WriteRefused::NotSent))]);
    assert_eq!(fixture.seen.lock().unwrap().len(), 1);
    fixture.lane.lease(Millis::MAX);
    assert_eq!(outcomes(&mut fixture, 1).await, [(1, Ok(1))]);
}
