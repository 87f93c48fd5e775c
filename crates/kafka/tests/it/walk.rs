//! One walk through everything the client can ask, on whatever broker it is pointed at.

#![allow(clippy::unwrap_used)] // a test panics on failure

use std::time::Duration;

use bytes::Bytes;
use naru_kafka::{
    client::{
        Client, ClientConfig, ClientError, Fault, Outcome, TopicPartition,
        admin::{ConfigChange, ConfigOwner, NewTopic},
        fetch::{FetchFrom, FetchOptions},
        groups::GroupOffset,
        offsets::OffsetAt,
        produce::ProduceOptions,
        reader::ReadOptions,
    },
    wire::{BatchBuilder, Compression, ErrorCode, RecordData},
};

/// A single node knows of a change within milliseconds; the machine may be busy.
const SETTLED_WITHIN: Duration = Duration::from_secs(20);

/// A batch of `count` records whose values are their numbers, counted from `first`.
fn batch(first: usize, count: usize, compression: Compression) -> Bytes {
    let mut builder = BatchBuilder::new(compression);
    for number in first..first + count {
        builder
            .push(1_700_000_000_000 + number as i64, Some(b"key"), Some(number.to_string().as_bytes()), &[])
            .unwrap();
    }
    builder.build().unwrap()
}

fn stamped(id: i64, epoch: i16, sequence: i32, count: usize) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::None).producer(id, epoch, sequence);
    for number in 0..count {
        builder.push(1_700_000_000_000, None, Some(number.to_string().as_bytes()), &[]).unwrap();
    }
    builder.build().unwrap()
}

pub async fn walk(config: ClientConfig) {
    let client = Client::new(config).unwrap();
    let options = ProduceOptions::default();

    let cluster = client.describe_cluster().await.unwrap();
    assert!(!cluster.cluster_id.is_empty());
    assert_eq!(cluster.brokers.len(), 1);

    topics(&client).await;
    records(&client, &options).await;
    sequences(&client, &options).await;
    many(&client, &options).await;
    groups(&client).await;
    assert!(client.shutdown(Duration::from_secs(5)).await);
    assert!(matches!(client.describe_cluster().await, Err(ClientError::ShutDown)));
}

async fn topics(client: &Client) {
    let topic = NewTopic::new("walk", 2).config("retention.ms", "86400000");
    client.create_topic(&topic, true).await.unwrap();
    assert_eq!(code(client.topic("walk").await), ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, "only validated");
    let id = client.create_topic(&topic, false).await.unwrap();
    assert!(!id.is_nil());
    assert_eq!(code(client.create_topic(&topic, false).await), ErrorCode::TOPIC_ALREADY_EXISTS);
    let metadata = client.await_topic("walk", 2, SETTLED_WITHIN).await.unwrap();
    assert_eq!((metadata.id, metadata.partitions.len()), (id, 2));
    client.create_partitions("walk", 3).await.unwrap();
    client.await_topic("walk", 3, SETTLED_WITHIN).await.unwrap();

    let owner = ConfigOwner::Topic("walk".into());
    let value = async |name: &str| {
        let entries = client.describe_configs(&owner).await.unwrap();
        entries.into_iter().find(|entry| entry.name == name).and_then(|entry| entry.value)
    };
    assert_eq!(value("retention.ms").await.as_deref(), Some("86400000"));
    let changes =
        [ConfigChange::Set("max.message.bytes".into(), "2000".into()), ConfigChange::Unset("retention.ms".into())];
    client.alter_configs(&owner, &changes).await.unwrap();
    assert_eq!(value("max.message.bytes").await.as_deref(), Some("2000"));
    client.alter_configs(&owner, &[ConfigChange::Unset("max.message.bytes".into())]).await.unwrap();

    client.create_topic(&NewTopic::new("walk-gone", 1), false).await.unwrap();
    client.await_topic("walk-gone", 1, SETTLED_WITHIN).await.unwrap();
    client.delete_topic("walk-gone").await.unwrap();
    assert_eq!(code(client.delete_topic("walk-gone").await), ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
}

async fn records(client: &Client, options: &ProduceOptions) {
    let at = TopicPartition::new("walk", 0);
    for (index, compression) in Compression::ALL.into_iter().enumerate() {
        let appended = client.produce(&at, batch(index * 10, 10, compression), options).await.unwrap();
        assert_eq!(appended.base_offset, index as i64 * 10);
        assert_eq!(appended.broker.node_id, Some(1));
    }
    let count = Compression::ALL.len() as i64 * 10;
    let earliest = client.list_offset(&at, OffsetAt::Earliest).await.unwrap();
    let latest = client.list_offset(&at, OffsetAt::Latest).await.unwrap();
    assert_eq!((earliest.offset, latest.offset), (Some(0), Some(count)));
    let timed = client.list_offset(&at, OffsetAt::Time(1_700_000_000_013)).await.unwrap();
    assert_eq!((timed.offset, timed.timestamp_ms), (Some(13), Some(1_700_000_000_013)));
    let none = client.list_offset(&at, OffsetAt::Time(1_800_000_000_000)).await.unwrap();
    assert_eq!(none.offset, None);
    let end = client.offset_for_leader_epoch(&at, latest.leader_epoch.unwrap_or(0)).await.unwrap();
    assert_eq!(end.end_offset, Some(count));

    let fetched = client.fetch_one(&FetchFrom::new(at.clone(), 15), &FetchOptions::default()).await.unwrap();
    assert_eq!(fetched.high_watermark, count);
    assert_eq!(fetched.batches[0].header().base_offset, 10, "the batch that holds the offset comes whole");
    let beyond = client.fetch_one(&FetchFrom::new(at.clone(), count + 5), &FetchOptions::default()).await;
    assert_eq!(code(beyond), ErrorCode::OFFSET_OUT_OF_RANGE);

    let mut values = Vec::new();
    let mut read = ReadOptions::default();
    read.fetch.bytes_max = 200;
    let to = client
        .read_records(&at, 5, count - 5, &read, |record| {
            values.push(String::from_utf8(record.value.unwrap().to_vec())?.parse::<i64>()?);
            Ok(())
        })
        .await
        .unwrap();
    assert_eq!(values, (5..count - 5).collect::<Vec<_>>());
    assert!(to.next_offset >= count - 5);
    let to = client.read_batches(&at, 0, i64::MAX, &read, |_| Ok(())).await.unwrap();
    assert_eq!((to.next_offset, to.batches), (count, 5));

    assert_eq!(client.delete_records(&at, Some(7)).await.unwrap(), 7);
    assert_eq!(client.list_offset(&at, OffsetAt::Earliest).await.unwrap().offset, Some(7));
    client.produce_unacknowledged(&at, batch(50, 1, Compression::None), options).await.unwrap();
    let to = client.read_batches(&at, count, count + 1, &read, |_| Ok(())).await.unwrap();
    assert_eq!(to.next_offset, count + 1);

    let nowhere = TopicPartition::new("walk", 9);
    let error = client.produce(&nowhere, batch(0, 1, Compression::None), options).await.unwrap_err();
    assert!(error.retry_can_help() && error.outcome() == Outcome::NotDone, "{error}");
    assert!(error.to_string().contains("walk-9"), "{error}");
    let mut broken = batch(0, 1, Compression::None).to_vec();
    *broken.last_mut().unwrap() ^= 1;
    assert_eq!(code(client.produce(&at, Bytes::from(broken), options).await), ErrorCode::CORRUPT_MESSAGE);
}

async fn sequences(client: &Client, options: &ProduceOptions) {
    let at = TopicPartition::new("walk", 1);
    let (id, epoch) = client.init_producer_id().await.unwrap();
    assert_ne!(client.init_producer_id().await.unwrap().0, id);
    // Handed over one after the other, awaited together.
    let mut pending = Vec::new();
    for sequence in [0, 2, 4] {
        pending.push(client.begin_produce(&at, stamped(id, epoch, sequence, 2), options).await.unwrap());
    }
    for (append, expect) in pending.into_iter().zip([0, 2, 4]) {
        assert_eq!(append.appended().await.unwrap().base_offset, expect);
    }
    let again = client.produce(&at, stamped(id, epoch, 2, 2), options).await.unwrap();
    assert_eq!(again.base_offset, 2, "a repetition gets the old offset");
    let gap = client.produce(&at, stamped(id, epoch, 9, 1), options).await.unwrap_err();
    assert_eq!(gap.code(), Some(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER));
    assert_eq!(gap.fault(), Fault::Caller);
    let producers = client.describe_producers(&at).await.unwrap();
    assert_eq!(producers.len(), 1);
    assert_eq!((producers[0].producer_id, producers[0].last_sequence), (id, 5));
}

async fn many(client: &Client, options: &ProduceOptions) {
    client.create_topic(&NewTopic::new("walk-other", 1), false).await.unwrap();
    client.await_topic("walk-other", 1, SETTLED_WITHIN).await.unwrap();
    let places = [("walk-other", 0), ("walk", 2), ("walk-missing", 0)].map(|(t, p)| TopicPartition::new(t, p));
    let batches = places.clone().map(|at| (at, RecordData::Whole(batch(0, 3, Compression::Lz4))));
    let appended = client.produce_many(&batches, options).await;
    assert_eq!(appended[0].as_ref().unwrap().base_offset, 0);
    assert_eq!(appended[1].as_ref().unwrap().base_offset, 0);
    assert_eq!(appended[2].as_ref().unwrap_err().code(), Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION));
    let wanted = places.map(|at| FetchFrom::new(at, 0));
    let fetched = client.fetch(&wanted, &FetchOptions::default()).await;
    assert!(fetched[..2].iter().all(|fetched| fetched.as_ref().unwrap().batches.len() == 1));
    assert!(fetched[2].is_err());
}

async fn groups(client: &Client) {
    let offset = |partition, offset| GroupOffset {
        at: TopicPartition::new("walk", partition),
        offset,
        leader_epoch: None,
        metadata: Some("m".into()),
    };
    let offsets = [offset(0, 10), offset(1, 100_000)];
    client.commit_offsets("walkers", &offsets, None).await.unwrap();
    assert_eq!(client.committed_offsets("walkers", None).await.unwrap(), offsets);
    let ten_years = Duration::from_secs(10 * 365 * 86_400);
    client.commit_offsets("walkers", &[offset(0, 11)], Some(ten_years)).await.unwrap();
    let some = [TopicPartition::new("walk", 0), TopicPartition::new("walk", 2)];
    assert_eq!(client.committed_offsets("walkers", Some(&some)).await.unwrap(), [offset(0, 11)]);

    let listed = client.list_groups().await.unwrap();
    assert_eq!(listed.iter().filter(|group| group.group == "walkers").count(), 1);
    let described = client.describe_group("walkers").await.unwrap();
    assert_eq!((described.state.as_str(), described.members.len()), ("Empty", 0));
    client.remove_members("walkers", &described.members).await.unwrap();
    client.delete_group("walkers").await.unwrap();
    assert_eq!(client.committed_offsets("walkers", None).await.unwrap(), []);
}

fn code<T: std::fmt::Debug>(result: Result<T, ClientError>) -> ErrorCode {
    result.unwrap_err().code().unwrap()
}
