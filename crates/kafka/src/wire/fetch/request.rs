use bytes::Bytes;

use super::{IDENTIFIED_FROM, flexible};
use crate::wire::read::Reader;
use crate::wire::write::{OutFrame, string_len};
use crate::wire::{PARTITIONS_MAX, StrBytes, TOPICS_MAX, Tags, TopicId, TopicTable, WireError};

/// Asks a broker for records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchRequest {
    /// The cluster that the sender means; from version 12, sent by brokers only.
    pub cluster_id: Option<StrBytes>,
    /// The broker that asks; a consumer is -1. A tagged field from version 15.
    pub replica: ReplicaState,
    /// How long the broker may wait for `min_bytes`, milliseconds.
    pub max_wait_ms: i32,
    /// The fewest bytes worth an answer before that time.
    pub min_bytes: i32,
    /// The most bytes of the whole answer; a first batch that is larger is sent all the same.
    pub max_bytes: i32,
    /// 0 sees records of open transactions, 1 does not.
    pub isolation_level: i8,
    /// The fetch session; 0 for none. From version 7.
    pub session_id: i32,
    /// The request's number in the session; -1 for no session, 0 to begin one. From version 7.
    pub session_epoch: i32,
    /// What to read.
    pub topics: TopicTable<FetchPartition>,
    /// What to take out of the session; from version 7.
    pub forgotten: Vec<ForgottenTopic>,
    /// The consumer's rack; from version 11.
    pub rack_id: StrBytes,
    /// Tagged fields that the schema does not know.
    pub tags: Tags,
}

impl Default for FetchRequest {
    fn default() -> Self {
        Self {
            cluster_id: None,
            replica: ReplicaState::default(),
            max_wait_ms: 0,
            min_bytes: 0,
            max_bytes: i32::MAX,
            isolation_level: 0,
            session_id: 0,
            session_epoch: -1,
            topics: TopicTable::default(),
            forgotten: Vec::new(),
            rack_id: StrBytes::new(),
            tags: Tags::default(),
        }
    }
}

/// The broker that fetches in order to follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaState {
    /// The broker's id; -1 for a consumer.
    pub replica_id: i32,
    /// The broker's epoch; -1 if unknown. From version 15.
    pub replica_epoch: i64,
    /// Tagged fields that the schema does not know.
    pub tags: Tags,
}

impl Default for ReplicaState {
    fn default() -> Self {
        Self { replica_id: -1, replica_epoch: -1, tags: Tags::default() }
    }
}

/// What to read of one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchPartition {
    /// The partition.
    pub partition: i32,
    /// The leader's epoch that the consumer knows; -1 for none. From version 9.
    pub current_leader_epoch: i32,
    /// The offset to begin at.
    pub fetch_offset: i64,
    /// The epoch of the last record that was read; -1 for none. From version 12.
    pub last_fetched_epoch: i32,
    /// A follower's log start; -1 for a consumer. From version 5.
    pub log_start_offset: i64,
    /// The most bytes of this partition; a first batch that is larger is sent all the same.
    pub partition_max_bytes: i32,
    /// A follower's directory; from version 17.
    pub replica_directory_id: TopicId,
    /// The high watermark that a follower knows; `i64::MAX` for none. From version 18.
    pub high_watermark: i64,
    /// Tagged fields that the schema does not know.
    pub tags: Tags,
}

impl Default for FetchPartition {
    fn default() -> Self {
        Self {
            partition: 0,
            current_leader_epoch: -1,
            fetch_offset: 0,
            last_fetched_epoch: -1,
            log_start_offset: -1,
            partition_max_bytes: 0,
            replica_directory_id: TopicId::NIL,
            high_watermark: i64::MAX,
            tags: Tags::default(),
        }
    }
}

/// Partitions to take out of a fetch session.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ForgottenTopic {
    /// The topic's name, up to version 12.
    pub name: StrBytes,
    /// The topic's identity, from version 13.
    pub id: TopicId,
    /// The partitions.
    pub partitions: Vec<i32>,
    /// Tagged fields that the schema does not know.
    pub tags: Tags,
}

impl FetchRequest {
    /// Reads a request.
    pub fn decode(version: i16, body: Bytes) -> Result<Self, WireError> {
        let mut request = Self::default();
        request.decode_into(version, body)?;
        Ok(request)
    }

    /// Reads a request in place of this one, using its memory again. After an error the content is undefined.
    pub fn decode_into(&mut self, version: i16, body: Bytes) -> Result<(), WireError> {
        let flexible = flexible(version)?;
        let mut topics = std::mem::take(&mut self.topics);
        *self = Self::default();
        let mut reader = Reader::new(body);
        if version <= 14 {
            self.replica.replica_id = reader.i32("replica_id")?;
        }
        self.max_wait_ms = reader.i32("max_wait_ms")?;
        self.min_bytes = reader.i32("min_bytes")?;
        self.max_bytes = reader.i32("max_bytes")?;
        self.isolation_level = reader.i8("isolation_level")?;
        if version >= 7 {
            self.session_id = reader.i32("session_id")?;
            self.session_epoch = reader.i32("session_epoch")?;
        }
        topics.read(&mut reader, flexible, version >= IDENTIFIED_FROM, |reader, partitions| {
            let count = reader.count(flexible, 16, PARTITIONS_MAX - partitions.len(), "partitions")?;
            partitions.reserve(count);
            for _ in 0..count {
                partitions.push(FetchPartition::read(reader, version, flexible)?);
            }
            Ok(())
        })?;
        self.topics = topics;
        if version >= 7 {
            self.forgotten = ForgottenTopic::read_all(&mut reader, version, flexible)?;
        }
        if version >= 11 {
            self.rack_id = reader.string(flexible, "rack_id")?;
        }
        if flexible {
            let (cluster_id, replica) = (&mut self.cluster_id, &mut self.replica);
            self.tags = reader.known_tags("FetchRequest tags", 2, |tag, reader| {
                match tag {
                    0 => *cluster_id = reader.nullable_string(true, "cluster_id")?,
                    1 if version >= 15 => {
                        *replica = ReplicaState {
                            replica_id: reader.i32("replica_state.replica_id")?,
                            replica_epoch: reader.i64("replica_state.replica_epoch")?,
                            tags: reader.tags(true, "replica_state tags")?,
                        };
                    }
                    _ => return Ok(false),
                }
                Ok(true)
            })?;
        }
        reader.finish("FetchRequest")
    }

    /// Writes the request.
    pub fn encode(&self, version: i16, out: &mut OutFrame) -> Result<(), WireError> {
        let flexible = flexible(version)?;
        if version <= 14 {
            out.i32(self.replica.replica_id);
        }
        out.i32(self.max_wait_ms);
        out.i32(self.min_bytes);
        out.i32(self.max_bytes);
        out.i8(self.isolation_level);
        if version >= 7 {
            out.i32(self.session_id);
            out.i32(self.session_epoch);
        }
        self.topics.write(out, flexible, version >= IDENTIFIED_FROM, |out, partition| {
            partition.write(out, version, flexible);
            Ok(())
        })?;
        if version >= 7 {
            ForgottenTopic::write_all(&self.forgotten, out, version, flexible)?;
        } else if !self.forgotten.is_empty() {
            return Err(WireError::Unwritable { field: "forgotten_topics_data", version });
        }
        if version >= 11 {
            out.string(flexible, Some(&self.rack_id), "rack_id")?;
        }
        if flexible {
            let replica = version >= 15 && self.replica != ReplicaState::default();
            out.tag_count(u32::from(self.cluster_id.is_some()) + u32::from(replica), &self.tags);
            if self.cluster_id.is_some() {
                out.tag_header(0, string_len(self.cluster_id.as_ref()));
                out.string(true, self.cluster_id.as_ref(), "cluster_id")?;
            }
            if replica {
                out.tag_header(1, 12 + OutFrame::tags_len(&self.replica.tags));
                out.i32(self.replica.replica_id);
                out.i64(self.replica.replica_epoch);
                out.tags(true, &self.replica.tags);
            }
            out.unknown_tags(&self.tags);
        }
        Ok(())
    }
}

impl FetchPartition {
    fn read(reader: &mut Reader, version: i16, flexible: bool) -> Result<Self, WireError> {
        let mut one = Self { partition: reader.i32("partition")?, ..Self::default() };
        if version >= 9 {
            one.current_leader_epoch = reader.i32("current_leader_epoch")?;
        }
        one.fetch_offset = reader.i64("fetch_offset")?;
        if version >= 12 {
            one.last_fetched_epoch = reader.i32("last_fetched_epoch")?;
        }
        if version >= 5 {
            one.log_start_offset = reader.i64("log_start_offset")?;
        }
        one.partition_max_bytes = reader.i32("partition_max_bytes")?;
        if flexible {
            let (directory, watermark) = (&mut one.replica_directory_id, &mut one.high_watermark);
            one.tags = reader.known_tags("partitions tags", 2, |tag, reader| {
                match tag {
                    0 if version >= 17 => *directory = reader.topic_id("replica_directory_id")?,
                    1 if version >= 18 => *watermark = reader.i64("high_watermark")?,
                    _ => return Ok(false),
                }
                Ok(true)
            })?;
        }
        Ok(one)
    }

    fn write(&self, out: &mut OutFrame, version: i16, flexible: bool) {
        out.i32(self.partition);
        if version >= 9 {
            out.i32(self.current_leader_epoch);
        }
        out.i64(self.fetch_offset);
        if version >= 12 {
            out.i32(self.last_fetched_epoch);
        }
        if version >= 5 {
            out.i64(self.log_start_offset);
        }
        out.i32(self.partition_max_bytes);
        if flexible {
            let directory = version >= 17 && !self.replica_directory_id.is_nil();
            let watermark = version >= 18 && self.high_watermark != i64::MAX;
            out.tag_count(u32::from(directory) + u32::from(watermark), &self.tags);
            if directory {
                out.tag_header(0, 16);
                out.slice(&self.replica_directory_id.0);
            }
            if watermark {
                out.tag_header(1, 8);
                out.i64(self.high_watermark);
            }
            out.unknown_tags(&self.tags);
        }
    }
}

impl ForgottenTopic {
    fn read_all(reader: &mut Reader, version: i16, flexible: bool) -> Result<Vec<Self>, WireError> {
        let count = reader.count(flexible, 2, TOPICS_MAX, "forgotten_topics_data")?;
        let mut all = Vec::with_capacity(count);
        // The bound is on all partitions together, as for the ones asked for.
        let mut room = PARTITIONS_MAX;
        for _ in 0..count {
            let mut one = Self::default();
            if version >= IDENTIFIED_FROM {
                one.id = reader.topic_id("forgotten topic_id")?;
            } else {
                one.name = reader.string(flexible, "forgotten topic")?;
            }
            let partitions = reader.count(flexible, 4, room, "forgotten partitions")?;
            room -= partitions;
            one.partitions.reserve_exact(partitions);
            for _ in 0..partitions {
                one.partitions.push(reader.i32("forgotten partition")?);
            }
            one.tags = reader.tags(flexible, "forgotten_topics_data tags")?;
            all.push(one);
        }
        Ok(all)
    }

    fn write_all(all: &[Self], out: &mut OutFrame, version: i16, flexible: bool) -> Result<(), WireError> {
        out.count(flexible, all.len(), "forgotten_topics_data")?;
        for one in all {
            if version >= IDENTIFIED_FROM {
                out.slice(&one.id.0);
            } else {
                out.string(flexible, Some(&one.name), "forgotten topic")?;
            }
            out.count(flexible, one.partitions.len(), "forgotten partitions")?;
            one.partitions.iter().for_each(|partition| out.i32(*partition));
            out.tags(flexible, &one.tags);
        }
        Ok(())
    }
}
