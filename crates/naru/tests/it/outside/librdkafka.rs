//! librdkafka, by way of the crate `rdkafka`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::{Header, Headers, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer};
use rdkafka::{ClientContext, Message, Offset, TopicPartitionList};

use super::member::{Member, poll_until};
use super::{PATIENCE, Subject, client, read_all};

fn admin(bootstrap: &str) -> (AdminClient<DefaultClientContext>, AdminOptions) {
    let options = AdminOptions::new().request_timeout(Some(PATIENCE)).operation_timeout(Some(PATIENCE));
    (client(bootstrap).create().unwrap(), options)
}

async fn create_topic(bootstrap: &str, topic: &str, partitions: i32) {
    let (admin, options) = admin(bootstrap);
    let made = admin.create_topics([&NewTopic::new(topic, partitions, TopicReplication::Fixed(1))], &options).await;
    assert_eq!(made.unwrap(), [Ok(topic.to_owned())]);
}

/// Keeps what the broker answered to each record.
#[derive(Clone, Default)]
pub(crate) struct Answers(Arc<Mutex<Answered>>);

#[derive(Default)]
struct Answered {
    /// Numbers of the records that were acknowledged, with their partition and offset.
    acknowledged: BTreeMap<usize, (i32, i64)>,
    failed: Vec<String>,
}

impl ClientContext for Answers {}

impl ProducerContext for Answers {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, number: usize) {
        let mut answered = self.0.lock().unwrap();
        match result {
            Ok(message) => {
                let twice = answered.acknowledged.insert(number, (message.partition(), message.offset()));
                assert_eq!(twice, None, "record {number} was acknowledged twice");
            }
            Err((error, _)) => answered.failed.push(format!("record {number}: {error}")),
        }
    }
}

impl Answers {
    pub(crate) fn producer(&self, bootstrap: &str, settings: &[(&str, &str)]) -> ThreadedProducer<Answers> {
        let mut config = client(bootstrap);
        config.set("enable.idempotence", "true").set("linger.ms", "5");
        for (name, value) in settings {
            config.set(*name, *value);
        }
        config.create_with_context(self.clone()).unwrap()
    }

    /// How many records were acknowledged so far.
    pub(crate) fn acknowledged(&self) -> usize {
        self.0.lock().unwrap().acknowledged.len()
    }

    pub(crate) fn all_acknowledged(&self, count: usize) {
        let answered = self.0.lock().unwrap();
        assert!(answered.failed.is_empty(), "{:?}", answered.failed);
        assert_eq!(answered.acknowledged.len(), count);
    }
}

/// The codecs that this librdkafka is built with, and none.
fn codecs() -> Vec<String> {
    let features = client("").create_native_config().unwrap().get("builtin.features").unwrap();
    let built = ["gzip", "snappy", "lz4", "zstd"].into_iter().filter(|codec| features.split(',').any(|f| f == *codec));
    ["none"].into_iter().chain(built).map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn idempotent_producing_reads_back_alike_in_every_codec() {
    let subject = Subject::start().await;
    let bootstrap = subject.bootstrap();
    let codecs = codecs();
    assert!(codecs.len() >= 4, "{codecs:?}");
    for codec in &codecs {
        let topic = format!("codec-{codec}");
        create_topic(&bootstrap, &topic, 1).await;
        let answers = Answers::default();
        let producer = answers.producer(&bootstrap, &[("compression.codec", codec)]);
        let value = |number: usize| format!("{number}:").repeat(1 + number * 7 % 300);
        for number in 0..500 {
            let headers = OwnedHeaders::new()
                .insert(Header { key: "number", value: Some(&number.to_string()) })
                .insert(Header::<&str> { key: "empty", value: None });
            let (key, value) = (number.to_string(), value(number));
            let record = BaseRecord::with_opaque_to(&topic, number).key(&key).payload(&value).headers(headers);
            producer.send(record.timestamp(1_700_000_000_000 + number as i64)).map_err(|(error, _)| error).unwrap();
        }
        producer.flush(PATIENCE).unwrap();
        answers.all_acknowledged(500);

        let consumer: BaseConsumer = client(&bootstrap).set("group.id", "reader").create().unwrap();
        let mut from_start = TopicPartitionList::new();
        from_start.add_partition_offset(&topic, 0, Offset::Beginning).unwrap();
        consumer.assign(&from_start).unwrap();
        for number in 0..500 {
            let message = consumer.poll(PATIENCE).unwrap().unwrap();
            assert_eq!(message.offset(), number as i64);
            assert_eq!(message.key(), Some(number.to_string().as_bytes()));
            assert_eq!(message.payload(), Some(value(number).as_bytes()));
            assert_eq!(message.timestamp().to_millis(), Some(1_700_000_000_000 + number as i64));
            let headers = message.headers().unwrap();
            assert_eq!(headers.get(0), Header { key: "number", value: Some(number.to_string().as_bytes()) });
            assert_eq!(headers.get(1), Header { key: "empty", value: None });
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idempotent_producer_goes_through_kills_without_loss_or_double() {
    let mut subject = Subject::start().await;
    let bootstrap = subject.bootstrap();
    create_topic(&bootstrap, "kills", 3).await;
    let answers = Answers::default();
    let producer = answers.producer(&bootstrap, &[("message.timeout.ms", "0")]);
    let mut number = 0;
    for round in 0..4 {
        for _ in 0..2000 {
            let (key, value) = ((number % 7).to_string(), number.to_string());
            let record = BaseRecord::with_opaque_to("kills", number).key(&key).payload(&value);
            producer.send(record).map_err(|(error, _)| error).unwrap();
            number += 1;
        }
        if round < 3 {
            subject.kill();
            subject.restart().await;
        }
    }
    producer.flush(PATIENCE).unwrap();
    answers.all_acknowledged(number);

    let seen = read_all(&bootstrap, "kills");
    let numbers: BTreeSet<usize> = seen.iter().map(|seen| seen.value.as_ref().unwrap().parse().unwrap()).collect();
    assert_eq!((numbers.len(), seen.len()), (number, number));
    let mut last = BTreeMap::new();
    for seen in seen {
        let number: usize = seen.value.unwrap().parse().unwrap();
        let earlier = last.insert(seen.key, number);
        assert!(earlier < Some(number), "{earlier:?} stands before {number}");
        assert_eq!(answers.0.lock().unwrap().acknowledged[&number], (seen.partition, seen.offset));
    }
}

fn produce(bootstrap: &str, topic: &str, partitions: i32, values: impl Iterator<Item = usize>) {
    let answers = Answers::default();
    let producer = answers.producer(bootstrap, &[]);
    let mut count = 0;
    for number in values {
        let value = number.to_string();
        let partition = i32::try_from(number).unwrap() % partitions;
        let record = BaseRecord::<(), _, _>::with_opaque_to(topic, number).partition(partition).payload(&value);
        producer.send(record).map_err(|(error, _)| error).unwrap();
        count += 1;
    }
    producer.flush(PATIENCE).unwrap();
    answers.all_acknowledged(count);
}

/// Two members share four partitions, one leaves, and who comes later goes on where they stopped.
async fn a_group_shares_and_hands_over(strategy: &str) {
    let subject = Subject::start().await;
    let bootstrap = subject.bootstrap();
    create_topic(&bootstrap, "shared", 4).await;
    let settings = [("partition.assignment.strategy", strategy)];
    let join = || Member::join(&bootstrap, "sharers", "shared", &settings);
    let expected = |range: std::ops::Range<usize>| range.map(|n| n.to_string()).collect::<BTreeSet<_>>();

    let mut first = join();
    poll_until(PATIENCE, "first alone", &mut [&mut first], |members| members[0].partitions().len() == 4);
    produce(&bootstrap, "shared", 4, 0..400);
    poll_until(PATIENCE, "the first 400", &mut [&mut first], |members| members[0].seen.len() == 400);
    first.consumer.commit_consumer_state(CommitMode::Sync).unwrap();

    let mut second = join();
    poll_until(PATIENCE, "two and two", &mut [&mut first, &mut second], |members| {
        members.iter().all(|member| member.partitions().len() == 2)
            && members[0].partitions().is_disjoint(&members[1].partitions())
    });
    produce(&bootstrap, "shared", 4, 400..800);
    poll_until(PATIENCE, "the next 400", &mut [&mut first, &mut second], |members| {
        members[0].seen.len() + members[1].seen.len() >= 800
    });
    assert_eq!(second.seen.len(), 200, "the second was given what the first had committed");
    first.consumer.commit_consumer_state(CommitMode::Sync).unwrap();
    second.consumer.commit_consumer_state(CommitMode::Sync).unwrap();
    let seen: BTreeSet<String> = first.seen.drain(..).chain(second.seen.drain(..)).collect();
    assert_eq!(seen, expected(0..800));

    // Leaves; what it had goes to the one that stays.
    drop(first);
    poll_until(PATIENCE, "second alone", &mut [&mut second], |members| members[0].partitions().len() == 4);
    drop(second);
    produce(&bootstrap, "shared", 4, 800..1000);
    let mut third = join();
    poll_until(PATIENCE, "the last 200", &mut [&mut third], |members| members[0].seen.len() >= 200);
    assert_eq!(third.seen.into_iter().collect::<BTreeSet<_>>(), expected(800..1000));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_rebalances_by_stopping_all() {
    a_group_shares_and_hands_over("range,roundrobin").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_rebalances_by_handing_over_what_moves() {
    a_group_shares_and_hands_over("cooperative-sticky").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_static_member_comes_back_to_its_partitions() {
    let subject = Subject::start().await;
    let bootstrap = subject.bootstrap();
    create_topic(&bootstrap, "static", 4).await;
    let join = |name| Member::join(&bootstrap, "statics", "static", &[("group.instance.id", name)]);
    let (mut first, mut second) = (join("one"), join("two"));
    poll_until(PATIENCE, "two and two", &mut [&mut first, &mut second], |members| {
        members.iter().all(|member| member.partitions().len() == 2)
    });
    let (before, kept) = (first.partitions(), second.partitions());
    drop(first);
    let mut again = join("one");
    poll_until(PATIENCE, "back again", &mut [&mut again, &mut second], |members| members[0].partitions().len() == 2);
    assert_eq!((again.partitions(), second.partitions()), (before, kept));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_starts_where_it_is_told() {
    let subject = Subject::start().await;
    let bootstrap = subject.bootstrap();
    create_topic(&bootstrap, "starts", 1).await;
    let answers = Answers::default();
    let producer = answers.producer(&bootstrap, &[]);
    for number in 0..10_usize {
        let value = number.to_string();
        let record = BaseRecord::<(), _, _>::with_opaque_to("starts", number).payload(&value);
        producer.send(record.timestamp(1_700_000_000_000 + number as i64 * 1000)).map_err(|(error, _)| error).unwrap();
        // One batch each, so that times are looked up across batches.
        producer.flush(PATIENCE).unwrap();
    }
    let consumer: BaseConsumer = client(&bootstrap).set("group.id", "starter").create().unwrap();
    assert_eq!(consumer.fetch_watermarks("starts", 0, PATIENCE).unwrap(), (0, 10));
    let check_time = |time: i64, expect: Offset| {
        let mut wanted = TopicPartitionList::new();
        wanted.add_partition_offset("starts", 0, Offset::Offset(time)).unwrap();
        let found = consumer.offsets_for_times(wanted, PATIENCE).unwrap();
        assert_eq!(found.elements()[0].offset(), expect, "{time}");
    };
    check_time(0, Offset::Offset(0));
    check_time(1_700_000_004_000, Offset::Offset(4));
    check_time(1_700_000_004_001, Offset::Offset(5));
    check_time(1_700_000_009_001, Offset::End);
    let check_start = |start: Offset, expect: &str| {
        let mut assignment = TopicPartitionList::new();
        assignment.add_partition_offset("starts", 0, start).unwrap();
        let consumer: BaseConsumer = client(&bootstrap).set("group.id", "starter").create().unwrap();
        consumer.assign(&assignment).unwrap();
        let message = consumer.poll(PATIENCE).unwrap_or_else(|| panic!("nothing from {start:?}")).unwrap();
        assert_eq!(message.payload(), Some(expect.as_bytes()), "{start:?}");
    };
    check_start(Offset::Beginning, "0");
    check_start(Offset::Offset(7), "7");
    check_start(Offset::OffsetTail(2), "8");
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_and_groups_are_administered() {
    let subject = Subject::start().await;
    let bootstrap = subject.bootstrap();
    let (admin, options) = admin(&bootstrap);
    let topic = NewTopic::new("managed", 2, TopicReplication::Fixed(1)).set("retention.ms", "86400000");
    assert_eq!(admin.create_topics([&topic], &options).await.unwrap(), [Ok("managed".to_owned())]);
    let again = admin.create_topics([&topic], &options).await.unwrap();
    assert_eq!(again, [Err(("managed".to_owned(), RDKafkaErrorCode::TopicAlreadyExists))]);
    let bad = NewTopic::new("no/slash", 1, TopicReplication::Fixed(1));
    let refused = admin.create_topics([&bad], &options).await.unwrap();
    assert_eq!(refused, [Err(("no/slash".to_owned(), RDKafkaErrorCode::InvalidTopic))]);

    let retention = async || {
        let found = admin.describe_configs([&ResourceSpecifier::Topic("managed")], &options).await.unwrap();
        found[0].as_ref().unwrap().get("retention.ms").unwrap().value.clone().unwrap()
    };
    assert_eq!(retention().await, "86400000");
    let change = AlterConfig::new(ResourceSpecifier::Topic("managed")).set("retention.ms", "60000");
    assert!(admin.alter_configs([&change], &options).await.unwrap()[0].is_ok());
    assert_eq!(retention().await, "60000");

    let more = admin.create_partitions([&NewPartitions::new("managed", 5)], &options).await.unwrap();
    assert_eq!(more, [Ok("managed".to_owned())]);
    let fewer = admin.create_partitions([&NewPartitions::new("managed", 3)], &options).await.unwrap();
    assert_eq!(fewer, [Err(("managed".to_owned(), RDKafkaErrorCode::InvalidPartitions))]);
    let partitions = || {
        let metadata = admin.inner().fetch_metadata(Some("managed"), PATIENCE).unwrap();
        metadata.topics()[0].partitions().len()
    };
    assert_eq!(partitions(), 5);

    produce(&bootstrap, "managed", 5, 0..50);
    let mut before = TopicPartitionList::new();
    before.add_partition_offset("managed", 0, Offset::Offset(4)).unwrap();
    before.add_partition_offset("managed", 1, Offset::End).unwrap();
    let deleted = admin.delete_records(&before, &options).await.unwrap();
    let low: Vec<_> = deleted.elements().iter().map(|element| element.offset()).collect();
    assert_eq!(low, [Offset::Offset(4), Offset::Offset(10)]);
    let left: Vec<_> = read_all(&bootstrap, "managed").into_iter().map(|seen| (seen.partition, seen.offset)).collect();
    assert_eq!(left.len(), 50 - 14);
    assert_eq!(left[0], (0, 4));

    let mut member = Member::join(&bootstrap, "managed-group", "managed", &[]);
    poll_until(PATIENCE, "all that is left", &mut [&mut member], |members| members[0].seen.len() == 36);
    member.consumer.commit_consumer_state(CommitMode::Sync).unwrap();
    let busy = admin.delete_groups(&["managed-group"], &options).await.unwrap();
    assert_eq!(busy, [Err(("managed-group".to_owned(), RDKafkaErrorCode::NonEmptyGroup))]);
    let listed = member.consumer.fetch_group_list(Some("managed-group"), PATIENCE).unwrap();
    assert_eq!((listed.groups()[0].state(), listed.groups()[0].members().len()), ("Stable", 1));
    drop(member);
    assert_eq!(admin.delete_groups(&["managed-group"], &options).await.unwrap(), [Ok("managed-group".to_owned())]);

    assert_eq!(admin.delete_topics(&["managed"], &options).await.unwrap(), [Ok("managed".to_owned())]);
    let gone = admin.delete_topics(&["managed"], &options).await.unwrap();
    assert_eq!(gone, [Err(("managed".to_owned(), RDKafkaErrorCode::UnknownTopicOrPartition))]);
}
