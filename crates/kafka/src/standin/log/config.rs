//! What a topic's configuration says about the log of each of its partitions.

/// Which time a record carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TimestampType {
    /// The time that the producer gave.
    #[default]
    CreateTime,
    /// The time at which the broker appended the batch.
    LogAppendTime,
}

/// The topic configuration that decides about a log. The defaults are Kafka's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// `max.message.bytes`: the largest batch accepted, header included.
    pub batch_bytes_max: usize,
    /// The most bytes that a compressed batch may decompress to. Kafka has no such bound; ours keeps a hostile batch
    /// from costing more memory than this.
    pub decompressed_bytes_max: usize,
    /// `message.timestamp.type`.
    pub timestamp_type: TimestampType,
    /// `message.timestamp.before.max.ms`: how far a record's time may lie before the broker's.
    pub timestamp_before_max_ms: i64,
    /// `message.timestamp.after.max.ms`: how far a record's time may lie after the broker's. One hour, as in 4.x.
    pub timestamp_after_max_ms: i64,
    /// `producer.id.expiration.ms`: a producer is forgotten when the time in its last batch is older than this.
    pub producer_expiry_ms: i64,
    /// `segment.bytes`: a segment is closed before it grows over this.
    pub segment_bytes: u64,
    /// `segment.ms`: a segment is closed when a record's time is this much after the segment's first.
    pub segment_ms: i64,
    /// `retention.ms`: a segment goes when its newest record is older than this; negative: never.
    pub retention_ms: i64,
    /// `retention.bytes`: the oldest segments go while the rest still holds this much; negative: never.
    pub retention_bytes: i64,
    /// `cleanup.policy` contains `delete`.
    pub cleanup_delete: bool,
    /// `cleanup.policy` contains `compact`: every record needs a key, and only the newest per key is kept.
    pub cleanup_compact: bool,
    /// `delete.retention.ms`: how long the record that deletes a key is kept by compaction.
    pub delete_retention_ms: i64,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            batch_bytes_max: 1_048_588,
            decompressed_bytes_max: 64 << 20,
            timestamp_type: TimestampType::CreateTime,
            timestamp_before_max_ms: i64::MAX,
            timestamp_after_max_ms: 3_600_000,
            producer_expiry_ms: 86_400_000,
            segment_bytes: 1 << 30,
            segment_ms: 604_800_000,
            retention_ms: 604_800_000,
            retention_bytes: -1,
            cleanup_delete: true,
            cleanup_compact: false,
            delete_retention_ms: 86_400_000,
        }
    }
}
