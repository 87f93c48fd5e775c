//! Which segments may go. Decides only; the storage shell deletes.

use super::LogConfig;

/// What retention needs to know of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentSummary {
    /// Offset of its first record.
    pub base_offset: i64,
    /// Offset after its last record.
    pub end_offset: i64,
    /// Its size, bytes.
    pub size_bytes: u64,
    /// The newest time among its records, milliseconds since 1970; -1 if it has none.
    pub max_timestamp: i64,
    /// When it was last appended to, milliseconds since 1970; counts only if no record has a time. `None`: not known, and
    /// the segment is not old.
    pub written_ms: Option<i64>,
}

impl SegmentSummary {
    /// The time from which `retention.ms` counts.
    fn newest_ms(&self) -> Option<i64> {
        if self.max_timestamp >= 0 { Some(self.max_timestamp) } else { self.written_ms }
    }
}

/// How many of the oldest segments go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Expired {
    /// The count, from the oldest on. It may include the newest, which is closed first.
    pub count: usize,
}

/// The oldest segments that the log start has passed, that are older than `retention.ms`, or that `retention.bytes` has
/// no room for. As in Kafka: only whole segments, from the oldest on, and none above the high watermark.
pub fn expired(
    segments: &[SegmentSummary],
    log_start: i64,
    high_watermark: i64,
    config: &LogConfig,
    now_ms: i64,
) -> Expired {
    let mut count = 0;
    let mut left: u64 = segments.iter().map(|segment| segment.size_bytes).sum();
    for segment in segments {
        let empty = segment.end_offset == segment.base_offset;
        if empty || segment.end_offset > high_watermark {
            break;
        }
        let passed = segment.end_offset <= log_start;
        let old = config.cleanup_delete
            && config.retention_ms >= 0
            && segment.newest_ms().is_some_and(|newest| now_ms.saturating_sub(newest) > config.retention_ms);
        let crowded = config.cleanup_delete
            && u64::try_from(config.retention_bytes).is_ok_and(|bytes| left - segment.size_bytes >= bytes);
        if !(passed || old || crowded) {
            break;
        }
        left -= segment.size_bytes;
        count += 1;
    }
    Expired { count }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segments() -> Vec<SegmentSummary> {
        (0..4)
            .map(|n| SegmentSummary {
                base_offset: n * 10,
                end_offset: n * 10 + 10,
                size_bytes: 100,
                max_timestamp: n * 1_000,
                written_ms: None,
            })
            .collect()
    }

    #[test]
    fn whole_segments_go_from_the_oldest_on() {
        let check = |ms, bytes, log_start, high_watermark, now_ms, expect| {
            let config = LogConfig { retention_ms: ms, retention_bytes: bytes, ..LogConfig::default() };
            let found = expired(&segments(), log_start, high_watermark, &config, now_ms).count;
            assert_eq!(found, expect, "retention {ms} ms {bytes} bytes, start {log_start}, hw {high_watermark}");
        };
        check(-1, -1, 0, 40, i64::MAX, 0);
        check(500, -1, 0, 40, 1_500, 1);
        check(500, -1, 0, 40, 1_501, 2);
        check(500, -1, 0, 40, 9_999, 4);
        check(500, -1, 0, 25, 9_999, 2);
        check(-1, 400, 0, 40, 0, 0);
        check(-1, 301, 0, 40, 0, 0);
        check(-1, 300, 0, 40, 0, 1);
        check(-1, 0, 0, 40, 0, 4);
        check(-1, -1, 19, 40, 0, 1);
        check(-1, -1, 20, 40, 0, 2);
    }

    #[test]
    fn a_compacted_log_keeps_what_is_old() {
        let config =
            LogConfig { retention_ms: 1, cleanup_delete: false, cleanup_compact: true, ..LogConfig::default() };
        assert_eq!(expired(&segments(), 0, 40, &config, 9_999).count, 0);
        assert_eq!(expired(&segments(), 10, 40, &config, 9_999).count, 1);
    }

    #[test]
    fn a_segment_without_times_is_as_old_as_its_last_append() {
        let check = |max_timestamp, written_ms, now_ms, expect| {
            let segment = SegmentSummary { base_offset: 0, end_offset: 10, size_bytes: 100, max_timestamp, written_ms };
            let config = LogConfig { retention_ms: 500, ..LogConfig::default() };
            let found = expired(&[segment], 0, 10, &config, now_ms).count;
            assert_eq!(found, expect, "newest {max_timestamp}, written {written_ms:?}, now {now_ms}");
        };
        check(-1, None, i64::MAX, 0);
        check(-1, Some(1_000), 1_500, 0);
        check(-1, Some(1_000), 1_501, 1);
        check(1_000, Some(9_000), 1_501, 1);
        check(9_000, Some(1_000), 1_501, 0);
    }

    #[test]
    fn an_empty_newest_segment_stays() {
        let newest =
            SegmentSummary { base_offset: 0, end_offset: 0, size_bytes: 0, max_timestamp: -1, written_ms: None };
        assert_eq!(expired(&[newest], 0, 0, &LogConfig::default(), i64::MAX).count, 0);
    }
}
