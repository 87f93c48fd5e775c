//! Produce over a socket: how a request is read, and in which order its partitions are served.

use super::*;
use crate::wire::batch::Batch;
use crate::wire::produce::ProducePartition;

async fn make_topic(client: &mut Client) {
    let name = km::TopicName(StrBytes::from_static_str("t"));
    let topic = km::metadata_request::MetadataRequestTopic::default().with_name(Some(name));
    client.ask(9, &km::MetadataRequest::default().with_topics(Some(vec![topic]))).await;
}

fn request() -> ProduceRequest {
    let mut request = ProduceRequest { acks: -1, timeout_ms: 1_000, ..ProduceRequest::default() };
    request.topics.push_named(StrBytes::from_static_str("t"), TopicId::NIL);
    request
}

fn partition(index: i32, value: &[u8]) -> ProducePartition {
    let mut batch = BatchBuilder::new(Compression::None);
    batch.push(0, None, Some(value), &[]).unwrap();
    ProducePartition { index, records: batch.build().unwrap().into(), ..Default::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(clippy::disallowed_methods, reason = "joined below")]
async fn every_partition_of_a_produce_is_appended_before_any_is_waited_for() {
    let home = home(|config| config.default_partitions = 2).await;
    let mut client = Client::connect(&home).await;
    make_topic(&mut client).await;
    let stores = [0, 1].map(|partition| home.standin.store("t", partition).unwrap());
    let mut request = request();
    for index in [0, 1] {
        request.topics.push(partition(index, b"v"));
    }
    let held = stores[0].clone();
    let (release, released) = std::sync::mpsc::sync_channel::<()>(0);
    let (holding, is_held) = tokio::sync::oneshot::channel();
    let thread = std::thread::spawn(move || {
        let guard = held.hold_flushes();
        holding.send(()).unwrap();
        released.recv().unwrap();
        drop(guard);
    });
    is_held.await.unwrap();
    client.send(ApiKey::Produce, 8, |out| request.encode(8, out).unwrap()).await;
    let mut second = stores[1].subscribe();
    let arrived = second.wait_for(|progress| progress.high_watermark == 1);
    drop(tokio::time::timeout(PATIENCE, arrived).await.expect("the second does not wait for the first").unwrap());
    assert_eq!(stores[0].high_watermark(), 0);
    release.send(()).unwrap();
    let answer = ProduceResponse::decode(8, client.receive(ApiKey::Produce, 8).await.unwrap()).unwrap();
    assert!(answer.topics.flat().all(|(_, one)| one.error == ErrorCode::NONE && one.base_offset == 0));
    thread.join().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_of_every_size_are_read_whole_one_behind_the_other() {
    let home = home(|_| {}).await;
    let mut client = Client::connect(&home).await;
    make_topic(&mut client).await;
    let sizes = [1, 60 << 10, 64 << 10, 70 << 10, 900 << 10, 1, 300 << 10];
    for (n, size) in sizes.iter().enumerate() {
        let mut request = request();
        request.topics.push(partition(0, &vec![u8::try_from(n).unwrap(); *size]));
        // All before the first answer: a request begins where the one before it ends, in the middle of what was read.
        client.send(ApiKey::Produce, 8, |out| request.encode(8, out).unwrap()).await;
    }
    let mut buffer = BytesMut::new();
    for offset in 0..sizes.len() as i64 {
        let mut frame = loop {
            if let Some(frame) = split(&mut buffer, usize::MAX).unwrap() {
                break frame;
            }
            let read = tokio::time::timeout(PATIENCE, client.0.read_buf(&mut buffer)).await.expect("an answer in time");
            assert!(read.unwrap() > 0);
        };
        ResponseHeader::decode(ApiKey::Produce, 8, &mut frame).unwrap();
        let answer = ProduceResponse::decode(8, frame).unwrap();
        let (_, one) = answer.topics.flat().next().unwrap();
        assert_eq!((one.error, one.base_offset), (ErrorCode::NONE, offset));
    }
    let store = home.standin.store("t", 0).unwrap();
    for (n, size) in sizes.iter().enumerate() {
        let read = store.read(n as i64, 1, true).unwrap();
        let batch = Batch::split_first(&mut read.chunks[0].clone()).unwrap();
        let record = batch.records(1 << 20).next().unwrap().unwrap();
        assert_eq!(record.value.unwrap(), vec![u8::try_from(n).unwrap(); *size]);
    }
}
