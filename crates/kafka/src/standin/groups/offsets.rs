//! Committed offsets of all groups, and when they expire.

use std::collections::BTreeMap;

/// One committed offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// The offset of the next record to read.
    pub offset: i64,
    /// The leader epoch of the last record read, -1 when the client did not say.
    pub leader_epoch: i32,
    /// The client's own words.
    pub metadata: String,
    /// When it was committed, milliseconds since the epoch.
    pub committed_at_ms: i64,
    /// When it goes, if the client asked for a retention of its own (OffsetCommit 2 to 4).
    pub expires_at_ms: Option<i64>,
}

/// A group's offsets by topic and partition.
pub type GroupOffsets = BTreeMap<(String, i32), Committed>;

/// What decides about the age of a group's offsets.
#[derive(Debug, Clone, Copy)]
pub struct Expiry<'a> {
    /// Now, milliseconds since the epoch.
    pub now_ms: i64,
    /// Kafka's `offsets.retention.minutes`, in milliseconds.
    pub retention_ms: i64,
    /// Whether the group has no members.
    pub idle: bool,
    /// When the group lost its last member; none if it never had one (simple commits only).
    pub idle_since_ms: Option<i64>,
    /// The topics the members subscribe to; none when that is not known.
    pub subscribed: Option<&'a [String]>,
}

impl Expiry<'_> {
    /// Whether an offset goes. Kafka's rule: an idle group's offsets age from the later of commit and idleness; a
    /// living group loses only topics it no longer subscribes to; an explicit retention stands above both.
    pub fn is_expired(&self, topic: &str, committed: &Committed) -> bool {
        if let Some(at) = committed.expires_at_ms {
            return self.now_ms >= at;
        }
        let since_ms = if self.idle {
            committed.committed_at_ms.max(self.idle_since_ms.unwrap_or(i64::MIN))
        } else if self.subscribed.is_some_and(|topics| !topics.iter().any(|t| t == topic)) {
            committed.committed_at_ms
        } else {
            return false;
        };
        self.now_ms.saturating_sub(since_ms) >= self.retention_ms
    }
}

/// The topics in a `consumer` member's subscription; none if the bytes are not one.
///
/// The layout is the client's (ConsumerProtocolSubscription): version i16, topics as array of strings, then more.
pub fn subscribed_topics(metadata: &[u8]) -> Option<Vec<String>> {
    let mut rest = metadata;
    let _version = take(&mut rest, 2)?;
    let count = i32::from_be_bytes(take(&mut rest, 4)?.try_into().ok()?);
    // A name costs at least its length's two bytes, so a lying count cannot reserve more than the bytes sent.
    if count < 0 || count as usize > rest.len() / 2 {
        return None;
    }
    let mut topics = Vec::with_capacity(count as usize);
    for _ in 0..count {
        let length = i16::from_be_bytes(take(&mut rest, 2)?.try_into().ok()?);
        let name = take(&mut rest, usize::try_from(length).ok()?)?;
        topics.push(String::from_utf8(name.to_vec()).ok()?);
    }
    Some(topics)
}

fn take<'a>(rest: &mut &'a [u8], n: usize) -> Option<&'a [u8]> {
    let (head, tail) = rest.split_at_checked(n)?;
    *rest = tail;
    Some(head)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test panics on failure
    use super::*;

    fn committed(at_ms: i64, expires_at_ms: Option<i64>) -> Committed {
        Committed { offset: 1, leader_epoch: -1, metadata: String::new(), committed_at_ms: at_ms, expires_at_ms }
    }

    #[test]
    fn offsets_expire_by_the_later_of_commit_and_idleness() {
        let other = ["u".to_owned()];
        let check = |idle, idle_since_ms, subscribed, committed: Committed, expect| {
            let expiry = Expiry { now_ms: 1_000, retention_ms: 100, idle, idle_since_ms, subscribed };
            assert_eq!(expiry.is_expired("t", &committed), expect, "{expiry:?} {committed:?}");
        };
        check(true, None, None, committed(900, None), true);
        check(true, None, None, committed(901, None), false);
        check(true, Some(950), None, committed(0, None), false);
        check(true, Some(0), None, committed(0, Some(1_001)), false);
        check(false, None, None, committed(0, Some(1_000)), true);
        check(false, None, None, committed(0, None), false);
        check(false, None, Some(&other[..]), committed(0, None), true);
    }

    #[test]
    fn a_subscription_yields_its_topics_and_a_lying_count_nothing() {
        let check = |bytes: &[u8], expect: Option<&[&str]>| {
            let expect = expect.map(|names| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>());
            assert_eq!(subscribed_topics(bytes), expect, "{bytes:?}");
        };
        check(b"\0\x01\0\0\0\x02\0\x01a\0\x02bc\xff\xff\xff\xff", Some(&["a", "bc"]));
        check(b"\0\x01\x7f\xff\xff\xff\0\x01a", None);
        check(b"\0\x01\0\0\0\x01\x7f\xff", None);
        check(b"", None);
    }
}
