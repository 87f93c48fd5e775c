//! What most tests ask of a broker, in versions that every subject offers.

use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::create_topics_response::CreatableTopicResult;
use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::list_offsets_response::ListOffsetsPartitionResponse;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::produce_response::PartitionProduceResponse;
use kafka_protocol::messages::{
    CreateTopicsRequest, DeleteRecordsRequest, DeleteTopicsRequest, FetchRequest, ListOffsetsRequest, ProduceRequest,
    TopicName,
};
use kafka_protocol::protocol::StrBytes;

use super::batch::Batch;
use super::raw::Raw;
use super::subject;

/// ListOffsets' names for the ends of a log.
pub const LATEST: i64 = -1;
pub const EARLIEST: i64 = -2;

/// How long a test waits for what a broker does in the background.
const HAPPENS_WITHIN: Duration = Duration::from_secs(20);

/// A connection to the subject.
pub struct Broker {
    raw: Raw,
}

/// A topic of one test.
#[derive(Debug, Clone)]
pub struct Topic {
    pub name: TopicName,
    pub created: CreatableTopicResult,
}

/// What a test says about a Fetch; the defaults return at once with what is there.
#[derive(Debug, Clone, Copy)]
pub struct Fetch {
    pub version: i16,
    pub max_wait_ms: i32,
    pub min_bytes: i32,
    pub max_bytes: i32,
    pub partition_max_bytes: i32,
    pub leader_epoch: i32,
}

impl Default for Fetch {
    fn default() -> Self {
        Self {
            version: 12,
            max_wait_ms: 0,
            min_bytes: 0,
            max_bytes: 50 << 20,
            partition_max_bytes: 50 << 20,
            leader_epoch: -1,
        }
    }
}

impl Deref for Broker {
    type Target = Raw;
    fn deref(&self) -> &Raw {
        &self.raw
    }
}

impl DerefMut for Broker {
    fn deref_mut(&mut self) -> &mut Raw {
        &mut self.raw
    }
}

impl Broker {
    /// A connection to the node that all tests share.
    pub fn shared() -> Self {
        Self::at(subject::shared())
    }

    pub fn at(address: SocketAddr) -> Self {
        Self { raw: Raw::connect(address) }
    }

    /// A topic with one partition and a name of its own.
    pub fn topic(&mut self, hint: &str) -> Topic {
        self.topic_with(hint, 1, &[])
    }

    pub fn topic_with(&mut self, hint: &str, partitions: i32, configs: &[(&str, &str)]) -> Topic {
        let name = unique(hint);
        let created = self.create(creatable(&name, partitions, configs), false);
        assert_eq!(created.error_code, 0, "{created:?}");
        let topic = Topic { name: topic_name(&name), created };
        for partition in 0..partitions {
            self.wait_for_leader(&topic, partition);
        }
        topic
    }

    pub fn create(&mut self, topic: CreatableTopic, validate_only: bool) -> CreatableTopicResult {
        let request = CreateTopicsRequest::default()
            .with_topics(vec![topic])
            .with_timeout_ms(10_000)
            .with_validate_only(validate_only);
        self.call(7, &request).topics.remove(0)
    }

    /// A new topic's leader is known a moment after its creation was answered.
    pub fn wait_for_leader(&mut self, topic: &Topic, partition: i32) {
        until("the partition has a leader", || {
            (self.list_offset(topic, partition, LATEST).error_code == 0).then_some(())
        });
    }

    pub fn delete_topic(&mut self, topic: &Topic) {
        let request = DeleteTopicsRequest::default().with_topic_names(vec![topic.name.clone()]).with_timeout_ms(10_000);
        assert_eq!(self.call(5, &request).responses[0].error_code, 0);
        until("the topic is gone", || {
            (self.list_offset(topic, 0, LATEST).error_code == super::code::UNKNOWN_TOPIC_OR_PARTITION).then_some(())
        });
    }

    /// Produce v7, acks=all.
    pub fn produce(&mut self, topic: &Topic, partition: i32, records: impl Into<Bytes>) -> PartitionProduceResponse {
        let request = produce_request(topic, partition, records.into());
        self.call(7, &request).responses.remove(0).partition_responses.remove(0)
    }

    /// Appends one record per value and returns the first one's offset.
    pub fn append(&mut self, topic: &Topic, partition: i32, values: &[&str]) -> i64 {
        self.append_batch(topic, partition, &Batch::of(now_ms(), values))
    }

    pub fn append_batch(&mut self, topic: &Topic, partition: i32, batch: &Batch) -> i64 {
        let answer = self.produce(topic, partition, batch.encode());
        assert_eq!(answer.error_code, 0, "{answer:?}");
        answer.base_offset
    }

    pub fn fetch(&mut self, topic: &Topic, partition: i32, offset: i64) -> PartitionData {
        self.fetch_with(topic, partition, offset, Fetch::default())
    }

    pub fn fetch_with(&mut self, topic: &Topic, partition: i32, offset: i64, how: Fetch) -> PartitionData {
        let request = fetch_request(topic, partition, offset, how);
        let mut answer = self.call(how.version, &request);
        assert_eq!(answer.error_code, 0);
        answer.responses.remove(0).partitions.remove(0)
    }

    /// Every batch from `offset` to the end, by as many fetches as it takes: Kafka answers one from one segment.
    pub fn batches(&mut self, topic: &Topic, partition: i32, mut offset: i64) -> Vec<Batch> {
        let mut batches = Vec::new();
        loop {
            let answer = self.fetch(topic, partition, offset);
            assert_eq!(answer.error_code, 0, "{answer:?}");
            let more = Batch::decode_all(answer.records.unwrap_or_default());
            let Some(last) = more.last() else { return batches };
            offset = last.base_offset + i64::from(last.last_offset_delta) + 1;
            batches.extend(more);
        }
    }

    /// Every value of partition 0 from `offset` on, uncompressed topics only.
    pub fn values(&mut self, topic: &Topic, offset: i64) -> Vec<String> {
        self.batches(topic, 0, offset).iter().flat_map(Batch::values).collect()
    }

    pub fn list_offset(&mut self, topic: &Topic, partition: i32, timestamp: i64) -> ListOffsetsPartitionResponse {
        let asked = ListOffsetsPartition::default().with_partition_index(partition).with_timestamp(timestamp);
        let request = ListOffsetsRequest::default()
            .with_replica_id((-1).into())
            .with_topics(vec![ListOffsetsTopic::default().with_name(topic.name.clone()).with_partitions(vec![asked])]);
        self.call(7, &request).topics.remove(0).partitions.remove(0)
    }

    /// (log start, log end) of a partition.
    pub fn ends(&mut self, topic: &Topic, partition: i32) -> (i64, i64) {
        let end = |answer: ListOffsetsPartitionResponse| {
            assert_eq!(answer.error_code, 0, "{answer:?}");
            answer.offset
        };
        (end(self.list_offset(topic, partition, EARLIEST)), end(self.list_offset(topic, partition, LATEST)))
    }

    /// (error, new log start).
    pub fn delete_records(&mut self, topic: &Topic, partition: i32, before: i64) -> (i16, i64) {
        let asked = DeleteRecordsPartition::default().with_partition_index(partition).with_offset(before);
        let topic = DeleteRecordsTopic::default().with_name(topic.name.clone()).with_partitions(vec![asked]);
        let request = DeleteRecordsRequest::default().with_topics(vec![topic]).with_timeout_ms(10_000);
        let answer = self.call(2, &request).topics.remove(0).partitions.remove(0);
        (answer.error_code, answer.low_watermark)
    }
}

pub fn produce_request(topic: &Topic, partition: i32, records: Bytes) -> ProduceRequest {
    let data = PartitionProduceData::default().with_index(partition).with_records(Some(records));
    let topic = TopicProduceData::default()
        .with_name(topic.name.clone())
        .with_topic_id(topic.created.topic_id)
        .with_partition_data(vec![data]);
    ProduceRequest::default().with_acks(-1).with_timeout_ms(10_000).with_topic_data(vec![topic])
}

pub fn fetch_request(topic: &Topic, partition: i32, offset: i64, how: Fetch) -> FetchRequest {
    let asked = FetchPartition::default()
        .with_partition(partition)
        .with_current_leader_epoch(how.leader_epoch)
        .with_fetch_offset(offset)
        .with_log_start_offset(-1)
        .with_partition_max_bytes(how.partition_max_bytes);
    let topic = FetchTopic::default()
        .with_topic(topic.name.clone())
        .with_topic_id(topic.created.topic_id)
        .with_partitions(vec![asked]);
    FetchRequest::default()
        .with_replica_id((-1).into())
        .with_max_wait_ms(how.max_wait_ms)
        .with_min_bytes(how.min_bytes)
        .with_max_bytes(how.max_bytes)
        .with_session_id(0)
        .with_session_epoch(-1)
        .with_topics(vec![topic])
}

pub fn creatable(name: &str, partitions: i32, configs: &[(&str, &str)]) -> CreatableTopic {
    let configs = configs
        .iter()
        .map(|(name, value)| CreatableTopicConfig::default().with_name(text(name)).with_value(Some(text(value))));
    CreatableTopic::default()
        .with_name(topic_name(name))
        .with_num_partitions(partitions)
        .with_replication_factor(1)
        .with_configs(configs.collect())
}

/// A name that no other test of this run has.
pub fn unique(hint: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    format!("{hint}-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

pub fn topic_name(name: &str) -> TopicName {
    TopicName(text(name))
}

pub fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// Milliseconds since 1970.
#[expect(clippy::disallowed_methods, reason = "a test dates its records itself")]
pub fn now_ms() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

/// Asks again until there is an answer; fails the test past a bound.
pub fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + HAPPENS_WITHIN;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "not within {HAPPENS_WITHIN:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
