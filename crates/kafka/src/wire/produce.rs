//! Produce, versions 3 to 13.

use bytes::Bytes;

use crate::wire::read::Reader;
use crate::wire::write::OutFrame;
use crate::wire::{ApiKey, ErrorCode, NodeEndpoint, PARTITIONS_MAX, RecordData, StrBytes, Tags, TopicTable, WireError};

/// The first version that names topics by identity.
const IDENTIFIED_FROM: i16 = 13;

/// Batches of one record refused within one partition: as many as a batch of the largest request can hold is never
/// answered; Kafka's own answers name a handful.
const RECORD_ERRORS_MAX: usize = 4_096;

fn flexible(version: i16) -> Result<bool, WireError> {
    if !ApiKey::Produce.supports(version) {
        return Err(WireError::Unsupported { api: ApiKey::Produce as i16, version });
    }
    Ok(ApiKey::Produce.is_flexible(version))
}

/// Asks a broker to append batches.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProduceRequest {
    /// The transactional producer's id.
    pub transactional_id: Option<StrBytes>,
    /// Who must have the batches before the answer: 0 nobody (and no answer comes), 1 the leader, -1 all in sync.
    pub acks: i16,
    /// How long the broker may wait for that, milliseconds.
    pub timeout_ms: i32,
    /// The batches.
    pub topics: TopicTable<ProducePartition>,
    /// Tagged fields that the schema does not know.
    pub tags: Tags,
}

/// What to append to one partition.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProducePartition {
    /// The partition.
    pub index: i32,
    /// The batches; brokers take exactly one.
    pub records: RecordData,
    /// Tagged fields that the schema does not know.
    pub tags: Tags,
}

impl ProduceRequest {
    /// Reads a request. Record data shares the body's memory.
    pub fn decode(version: i16, body: Bytes) -> Result<Self, WireError> {
        let mut request = Self::default();
        request.decode_into(version, body)?;
        Ok(request)
    }

    /// Reads a request in place of this one, using its memory again. After an error the content is undefined.
    pub fn decode_into(&mut self, version: i16, body: Bytes) -> Result<(), WireError> {
        let flexible = flexible(version)?;
        let mut reader = Reader::new(body);
        self.transactional_id = reader.nullable_string(flexible, "transactional_id")?;
        self.acks = reader.i16("acks")?;
        self.timeout_ms = reader.i32("timeout_ms")?;
        self.topics.read(&mut reader, flexible, version >= IDENTIFIED_FROM, |reader, partitions| {
            let count = reader.count(flexible, 5, PARTITIONS_MAX - partitions.len(), "partition_data")?;
            partitions.reserve(count);
            for _ in 0..count {
                partitions.push(ProducePartition {
                    index: reader.i32("index")?,
                    records: reader.nullable_bytes(flexible, "records")?.into(),
                    tags: reader.tags(flexible, "partition_data tags")?,
                });
            }
            Ok(())
        })?;
        self.tags = reader.tags(flexible, "ProduceRequest tags")?;
        reader.finish("ProduceRequest")
    }

    /// Writes the request.
    pub fn encode(&self, version: i16, out: &mut OutFrame) -> Result<(), WireError> {
        let flexible = flexible(version)?;
        out.string(flexible, self.transactional_id.as_ref(), "transactional_id")?;
        out.i16(self.acks);
        out.i32(self.timeout_ms);
        self.topics.write(out, flexible, version >= IDENTIFIED_FROM, |out, partition| {
            out.i32(partition.index);
            out.records(flexible, &partition.records, "records")?;
            out.tags(flexible, &partition.tags);
            Ok(())
        })?;
        out.tags(flexible, &self.tags);
        Ok(())
    }
}

/// Says what became of the batches.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProduceResponse {
    /// The outcome of each partition.
    pub topics: TopicTable<ProducedPartition>,
    /// How long the client was or should be slowed down, milliseconds.
    pub throttle_time_ms: i32,
    /// Where the leaders listen that `current_leader` names; from version 10.
    pub node_endpoints: Vec<NodeEndpoint>,
    /// Tagged fields that the schema does not know.
    pub tags: Tags,
}

/// The outcome for one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProducedPartition {
    /// The partition.
    pub index: i32,
    /// What went wrong, if anything.
    pub error: ErrorCode,
    /// The offset of the first record; -1 on an error.
    pub base_offset: i64,
    /// The broker's time of the append where the topic uses it, milliseconds; otherwise -1.
    pub log_append_time_ms: i64,
    /// The first offset in the log; from version 5.
    pub log_start_offset: i64,
    /// The records that were the reason of a refusal; from version 8.
    pub record_errors: Vec<RecordError>,
    /// The reason of a refusal; from version 8.
    pub error_message: Option<StrBytes>,
    /// Who leads the partition, if not this broker; from version 10.
    pub current_leader: LeaderIdAndEpoch,
    /// Tagged fields that the schema does not know.
    pub tags: Tags,
}

impl Default for ProducedPartition {
    fn default() -> Self {
        Self {
            index: 0,
            error: ErrorCode::NONE,
            base_offset: -1,
            log_append_time_ms: -1,
            log_start_offset: -1,
            record_errors: Vec::new(),
            error_message: None,
            current_leader: LeaderIdAndEpoch::default(),
            tags: Tags::default(),
        }
    }
}

/// A record that was the reason of a refusal.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RecordError {
    /// The record's place in the batch.
    pub batch_index: i32,
    /// What is wrong with it.
    pub message: Option<StrBytes>,
    /// Tagged fields that the schema does not know.
    pub tags: Tags,
}

/// A partition's leader, as an answer names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaderIdAndEpoch {
    /// The broker's id; -1 if unknown.
    pub leader_id: i32,
    /// The leader's epoch; -1 if unknown.
    pub leader_epoch: i32,
    /// Tagged fields that the schema does not know.
    pub tags: Tags,
}

impl Default for LeaderIdAndEpoch {
    fn default() -> Self {
        Self { leader_id: -1, leader_epoch: -1, tags: Tags::default() }
    }
}

impl LeaderIdAndEpoch {
    pub(crate) fn read(reader: &mut Reader) -> Result<Self, WireError> {
        Ok(Self {
            leader_id: reader.i32("current_leader.leader_id")?,
            leader_epoch: reader.i32("current_leader.leader_epoch")?,
            tags: reader.tags(true, "current_leader tags")?,
        })
    }

    pub(crate) fn is_known(&self) -> bool {
        *self != Self::default()
    }

    /// Writes a tagged field that holds the leader.
    pub(crate) fn write(&self, tag: u32, out: &mut OutFrame) {
        out.tag_header(tag, 8 + OutFrame::tags_len(&self.tags));
        out.i32(self.leader_id);
        out.i32(self.leader_epoch);
        out.tags(true, &self.tags);
    }
}

impl ProduceResponse {
    /// Reads an answer.
    pub fn decode(version: i16, body: Bytes) -> Result<Self, WireError> {
        let mut response = Self::default();
        response.decode_into(version, body)?;
        Ok(response)
    }

    /// Reads an answer in place of this one, using its memory again. After an error the content is undefined.
    pub fn decode_into(&mut self, version: i16, body: Bytes) -> Result<(), WireError> {
        let flexible = flexible(version)?;
        let mut reader = Reader::new(body);
        self.topics.read(&mut reader, flexible, version >= IDENTIFIED_FROM, |reader, partitions| {
            let count = reader.count(flexible, 22, PARTITIONS_MAX - partitions.len(), "partition_responses")?;
            partitions.reserve(count);
            for _ in 0..count {
                partitions.push(ProducedPartition::read(reader, version, flexible)?);
            }
            Ok(())
        })?;
        self.throttle_time_ms = reader.i32("throttle_time_ms")?;
        self.node_endpoints.clear();
        self.tags = Tags::default();
        if flexible {
            let endpoints = &mut self.node_endpoints;
            self.tags = reader.known_tags("ProduceResponse tags", 1, |_, reader| {
                if version < 10 {
                    return Ok(false);
                }
                *endpoints = NodeEndpoint::read_all(reader)?;
                Ok(true)
            })?;
        }
        reader.finish("ProduceResponse")
    }

    /// Writes the answer.
    pub fn encode(&self, version: i16, out: &mut OutFrame) -> Result<(), WireError> {
        let flexible = flexible(version)?;
        self.topics.write(out, flexible, version >= IDENTIFIED_FROM, |out, partition| {
            partition.write(out, version, flexible)
        })?;
        out.i32(self.throttle_time_ms);
        if flexible {
            let endpoints = version >= 10 && !self.node_endpoints.is_empty();
            out.tag_count(u32::from(endpoints), &self.tags);
            if endpoints {
                NodeEndpoint::write_all(0, &self.node_endpoints, out)?;
            }
            out.unknown_tags(&self.tags);
        }
        Ok(())
    }
}

impl ProducedPartition {
    fn read(reader: &mut Reader, version: i16, flexible: bool) -> Result<Self, WireError> {
        let mut one = Self {
            index: reader.i32("index")?,
            error: ErrorCode(reader.i16("error_code")?),
            base_offset: reader.i64("base_offset")?,
            log_append_time_ms: reader.i64("log_append_time_ms")?,
            ..Self::default()
        };
        if version >= 5 {
            one.log_start_offset = reader.i64("log_start_offset")?;
        }
        if version >= 8 {
            let count = reader.count(flexible, 5, RECORD_ERRORS_MAX, "record_errors")?;
            one.record_errors.reserve(count);
            for _ in 0..count {
                one.record_errors.push(RecordError {
                    batch_index: reader.i32("batch_index")?,
                    message: reader.nullable_string(flexible, "batch_index_error_message")?,
                    tags: reader.tags(flexible, "record_errors tags")?,
                });
            }
            one.error_message = reader.nullable_string(flexible, "error_message")?;
        }
        if flexible {
            let leader = &mut one.current_leader;
            one.tags = reader.known_tags("partition_responses tags", 1, |_, reader| {
                if version < 10 {
                    return Ok(false);
                }
                *leader = LeaderIdAndEpoch::read(reader)?;
                Ok(true)
            })?;
        }
        Ok(one)
    }

    fn write(&self, out: &mut OutFrame, version: i16, flexible: bool) -> Result<(), WireError> {
        out.i32(self.index);
        out.i16(self.error.0);
        out.i64(self.base_offset);
        out.i64(self.log_append_time_ms);
        if version >= 5 {
            out.i64(self.log_start_offset);
        }
        if version >= 8 {
            out.count(flexible, self.record_errors.len(), "record_errors")?;
            for error in &self.record_errors {
                out.i32(error.batch_index);
                out.string(flexible, error.message.as_ref(), "batch_index_error_message")?;
                out.tags(flexible, &error.tags);
            }
            out.string(flexible, self.error_message.as_ref(), "error_message")?;
        }
        if flexible {
            let leader = version >= 10 && self.current_leader.is_known();
            out.tag_count(u32::from(leader), &self.tags);
            if leader {
                self.current_leader.write(0, out);
            }
            out.unknown_tags(&self.tags);
        }
        Ok(())
    }
}
