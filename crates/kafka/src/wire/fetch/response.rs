use bytes::Bytes;

use super::{IDENTIFIED_FROM, flexible};
use crate::wire::produce::LeaderIdAndEpoch;
use crate::wire::read::Reader;
use crate::wire::write::OutFrame;
use crate::wire::{ErrorCode, NodeEndpoint, PARTITIONS_MAX, RecordData, Tags, TopicTable, WireError};

/// Aborted transactions told of in one partition. Each has a producer of its own; a broker keeps fewer.
const ABORTED_MAX: usize = 65_536;

/// Records, as a broker answers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FetchResponse {
    /// How long the client was or should be slowed down, milliseconds.
    pub throttle_time_ms: i32,
    /// An error of the whole request; from version 7.
    pub error: ErrorCode,
    /// The fetch session; 0 for none. From version 7.
    pub session_id: i32,
    /// What was read.
    pub topics: TopicTable<FetchedPartition>,
    /// Where the leaders listen that `current_leader` names; from version 16.
    pub node_endpoints: Vec<NodeEndpoint>,
    /// Tagged fields that the schema does not know.
    pub tags: Tags,
}

/// What was read of one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchedPartition {
    /// The partition.
    pub partition: i32,
    /// What went wrong, if anything.
    pub error: ErrorCode,
    /// The offset below which records are acknowledged.
    pub high_watermark: i64,
    /// The offset below which all transactions are decided.
    pub last_stable_offset: i64,
    /// The first offset in the log; from version 5.
    pub log_start_offset: i64,
    /// Where the follower's log parts from the leader's; from version 12.
    pub diverging_epoch: EpochEndOffset,
    /// Who leads the partition, if not this broker; from version 12.
    pub current_leader: LeaderIdAndEpoch,
    /// The snapshot to fetch in place of records that are gone; from version 12, between controllers.
    pub snapshot_id: SnapshotId,
    /// The aborted transactions in the range; null where the reader does not care.
    pub aborted_transactions: Option<Vec<AbortedTransaction>>,
    /// The broker that the consumer should read from; -1 for this one. From version 11.
    pub preferred_read_replica: i32,
    /// The batches.
    pub records: RecordData,
    /// Tagged fields that the schema does not know.
    pub tags: Tags,
}

impl Default for FetchedPartition {
    fn default() -> Self {
        Self {
            partition: 0,
            error: ErrorCode::NONE,
            high_watermark: -1,
            last_stable_offset: -1,
            log_start_offset: -1,
            diverging_epoch: EpochEndOffset::default(),
            current_leader: LeaderIdAndEpoch::default(),
            snapshot_id: SnapshotId::default(),
            aborted_transactions: None,
            preferred_read_replica: -1,
            records: RecordData::Null,
            tags: Tags::default(),
        }
    }
}

/// An epoch and the offset where it ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EpochEndOffset {
    /// The epoch; -1 for none.
    pub epoch: i32,
    /// The offset after its last record; -1 for none.
    pub end_offset: i64,
    /// Tagged fields that the schema does not know.
    pub tags: Tags,
}

impl Default for EpochEndOffset {
    fn default() -> Self {
        Self { epoch: -1, end_offset: -1, tags: Tags::default() }
    }
}

/// A snapshot's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotId {
    /// The offset that it ends at; -1 for none.
    pub end_offset: i64,
    /// The epoch of its last record; -1 for none.
    pub epoch: i32,
    /// Tagged fields that the schema does not know.
    pub tags: Tags,
}

impl Default for SnapshotId {
    fn default() -> Self {
        Self { end_offset: -1, epoch: -1, tags: Tags::default() }
    }
}

/// A transaction that was aborted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AbortedTransaction {
    /// Its producer.
    pub producer_id: i64,
    /// Its first offset.
    pub first_offset: i64,
    /// Tagged fields that the schema does not know.
    pub tags: Tags,
}

impl FetchResponse {
    /// Reads an answer. Record data shares the body's memory.
    pub fn decode(version: i16, body: Bytes) -> Result<Self, WireError> {
        let mut response = Self::default();
        response.decode_into(version, body)?;
        Ok(response)
    }

    /// Reads an answer in place of this one, using its memory again. After an error the content is undefined.
    pub fn decode_into(&mut self, version: i16, body: Bytes) -> Result<(), WireError> {
        let flexible = flexible(version)?;
        let mut topics = std::mem::take(&mut self.topics);
        *self = Self::default();
        let mut reader = Reader::new(body);
        self.throttle_time_ms = reader.i32("throttle_time_ms")?;
        if version >= 7 {
            self.error = ErrorCode(reader.i16("error_code")?);
            self.session_id = reader.i32("session_id")?;
        }
        topics.read(&mut reader, flexible, version >= IDENTIFIED_FROM, |reader, partitions| {
            let count = reader.count(flexible, 24, PARTITIONS_MAX - partitions.len(), "partitions")?;
            partitions.reserve(count);
            for _ in 0..count {
                partitions.push(FetchedPartition::read(reader, version, flexible)?);
            }
            Ok(())
        })?;
        self.topics = topics;
        if flexible {
            let endpoints = &mut self.node_endpoints;
            self.tags = reader.known_tags("FetchResponse tags", 1, |_, reader| {
                if version < 16 {
                    return Ok(false);
                }
                *endpoints = NodeEndpoint::read_all(reader)?;
                Ok(true)
            })?;
        }
        reader.finish("FetchResponse")
    }

    /// Writes the answer.
    pub fn encode(&self, version: i16, out: &mut OutFrame) -> Result<(), WireError> {
        let flexible = flexible(version)?;
        out.i32(self.throttle_time_ms);
        if version >= 7 {
            out.i16(self.error.0);
            out.i32(self.session_id);
        }
        self.topics.write(out, flexible, version >= IDENTIFIED_FROM, |out, partition| {
            partition.write(out, version, flexible)
        })?;
        if flexible {
            let endpoints = version >= 16 && !self.node_endpoints.is_empty();
            out.tag_count(u32::from(endpoints), &self.tags);
            if endpoints {
                NodeEndpoint::write_all(0, &self.node_endpoints, out)?;
            }
            out.unknown_tags(&self.tags);
        }
        Ok(())
    }
}

impl FetchedPartition {
    fn read(reader: &mut Reader, version: i16, flexible: bool) -> Result<Self, WireError> {
        let mut one = Self {
            partition: reader.i32("partition_index")?,
            error: ErrorCode(reader.i16("error_code")?),
            high_watermark: reader.i64("high_watermark")?,
            last_stable_offset: reader.i64("last_stable_offset")?,
            ..Self::default()
        };
        if version >= 5 {
            one.log_start_offset = reader.i64("log_start_offset")?;
        }
        if let Some(count) = reader.nullable_count(flexible, 16, ABORTED_MAX, "aborted_transactions")? {
            let mut aborted = Vec::with_capacity(count);
            for _ in 0..count {
                aborted.push(AbortedTransaction {
                    producer_id: reader.i64("producer_id")?,
                    first_offset: reader.i64("first_offset")?,
                    tags: reader.tags(flexible, "aborted_transactions tags")?,
                });
            }
            one.aborted_transactions = Some(aborted);
        }
        if version >= 11 {
            one.preferred_read_replica = reader.i32("preferred_read_replica")?;
        }
        one.records = reader.nullable_bytes(flexible, "records")?.into();
        if flexible {
            one.tags = {
                let (epoch, leader, snapshot) =
                    (&mut one.diverging_epoch, &mut one.current_leader, &mut one.snapshot_id);
                reader.known_tags("partitions tags", 3, |tag, reader| {
                    match tag {
                        0 => {
                            *epoch = EpochEndOffset {
                                epoch: reader.i32("diverging_epoch.epoch")?,
                                end_offset: reader.i64("diverging_epoch.end_offset")?,
                                tags: reader.tags(true, "diverging_epoch tags")?,
                            };
                        }
                        1 => *leader = LeaderIdAndEpoch::read(reader)?,
                        _ => {
                            *snapshot = SnapshotId {
                                end_offset: reader.i64("snapshot_id.end_offset")?,
                                epoch: reader.i32("snapshot_id.epoch")?,
                                tags: reader.tags(true, "snapshot_id tags")?,
                            };
                        }
                    }
                    Ok(true)
                })?
            };
        }
        Ok(one)
    }

    fn write(&self, out: &mut OutFrame, version: i16, flexible: bool) -> Result<(), WireError> {
        out.i32(self.partition);
        out.i16(self.error.0);
        out.i64(self.high_watermark);
        out.i64(self.last_stable_offset);
        if version >= 5 {
            out.i64(self.log_start_offset);
        }
        out.nullable_count(flexible, self.aborted_transactions.as_ref().map(Vec::len), "aborted_transactions")?;
        for one in self.aborted_transactions.iter().flatten() {
            out.i64(one.producer_id);
            out.i64(one.first_offset);
            out.tags(flexible, &one.tags);
        }
        if version >= 11 {
            out.i32(self.preferred_read_replica);
        } else if self.preferred_read_replica != -1 {
            return Err(WireError::Unwritable { field: "preferred_read_replica", version });
        }
        out.records(flexible, &self.records, "records")?;
        if flexible {
            let (epoch, leader, snapshot) = (&self.diverging_epoch, &self.current_leader, &self.snapshot_id);
            let has_epoch = *epoch != EpochEndOffset::default();
            let has_snapshot = *snapshot != SnapshotId::default();
            let known = u32::from(has_epoch) + u32::from(leader.is_known()) + u32::from(has_snapshot);
            out.tag_count(known, &self.tags);
            if has_epoch {
                out.tag_header(0, 12 + OutFrame::tags_len(&epoch.tags));
                out.i32(epoch.epoch);
                out.i64(epoch.end_offset);
                out.tags(true, &epoch.tags);
            }
            if leader.is_known() {
                leader.write(1, out);
            }
            if has_snapshot {
                out.tag_header(2, 12 + OutFrame::tags_len(&snapshot.tags));
                out.i64(snapshot.end_offset);
                out.i32(snapshot.epoch);
                out.tags(true, &snapshot.tags);
            }
            out.unknown_tags(&self.tags);
        }
        Ok(())
    }
}
