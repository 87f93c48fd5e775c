//! What is written down of groups and offsets: one log of changes, keyed so that the last of a key stands.
//!
//! The format is the stand-in's own. Every key and every value starts with a version byte.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::member::{Member, Protocol};
use super::offsets::Committed;

/// The version of the format, first byte of every key and value.
const FORMAT: u8 = 1;
const OFFSET: u8 = 1;
const GROUP: u8 = 2;

/// A group as it is written down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupRecord {
    /// The generation that stands.
    pub generation: i32,
    /// Such as `consumer`.
    pub protocol_type: Option<String>,
    /// The chosen assignor.
    pub protocol: Option<String>,
    /// The leader's member id.
    pub leader: Option<String>,
    /// When the group came into its state.
    pub state_since_ms: i64,
    /// Everyone, with assignments; parked requests are not kept.
    pub members: Vec<Member>,
}

/// One change to what the coordinator remembers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// An offset was committed, or (none) has gone.
    Offset {
        /// The group.
        group: String,
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// The offset that stands.
        committed: Option<Committed>,
    },
    /// A group came into a state worth keeping, or (none) has gone.
    Group {
        /// The group.
        group: String,
        /// The group that stands.
        record: Option<GroupRecord>,
    },
}

/// A record that is not one of ours.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum RecordError {
    /// The record ends in the middle of a field.
    #[error("{field}: the record ends before it")]
    Truncated {
        /// The field.
        field: &'static str,
    },
    /// A version or kind that this build does not know.
    #[error("format {format}, kind {kind}: not known to this version")]
    Unknown {
        /// The format byte.
        format: u8,
        /// The kind byte.
        kind: u8,
    },
    /// A string is not UTF-8.
    #[error("{field}: not UTF-8")]
    Text {
        /// The field.
        field: &'static str,
    },
}

impl Change {
    /// Key and value; no value says that the key has gone.
    pub fn encode(&self) -> (Bytes, Option<Bytes>) {
        let mut key = BytesMut::new();
        key.put_u8(FORMAT);
        let value = match self {
            Self::Offset { group, topic, partition, committed } => {
                key.put_u8(OFFSET);
                put_text(&mut key, group);
                put_text(&mut key, topic);
                key.put_i32(*partition);
                committed.as_ref().map(encode_committed)
            }
            Self::Group { group, record } => {
                key.put_u8(GROUP);
                put_text(&mut key, group);
                record.as_ref().map(encode_group)
            }
        };
        (key.freeze(), value)
    }

    /// Reads what [`Self::encode`] wrote.
    pub fn decode(mut key: Bytes, value: Option<Bytes>) -> Result<Self, RecordError> {
        let (format, kind) = (get_u8(&mut key, "key format")?, get_u8(&mut key, "key kind")?);
        match (format, kind) {
            (FORMAT, OFFSET) => {
                let group = get_text(&mut key, "group")?;
                let topic = get_text(&mut key, "topic")?;
                let partition = get_i32(&mut key, "partition")?;
                let committed = value.map(decode_committed).transpose()?;
                Ok(Self::Offset { group, topic, partition, committed })
            }
            (FORMAT, GROUP) => {
                let group = get_text(&mut key, "group")?;
                let record = value.map(decode_group).transpose()?;
                Ok(Self::Group { group, record })
            }
            _ => Err(RecordError::Unknown { format, kind }),
        }
    }
}

fn encode_committed(committed: &Committed) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u8(FORMAT);
    out.put_i64(committed.offset);
    out.put_i32(committed.leader_epoch);
    put_text(&mut out, &committed.metadata);
    out.put_i64(committed.committed_at_ms);
    out.put_i64(committed.expires_at_ms.unwrap_or(-1));
    out.freeze()
}

fn decode_committed(mut value: Bytes) -> Result<Committed, RecordError> {
    check_format(&mut value)?;
    Ok(Committed {
        offset: get_i64(&mut value, "offset")?,
        leader_epoch: get_i32(&mut value, "leader epoch")?,
        metadata: get_text(&mut value, "metadata")?,
        committed_at_ms: get_i64(&mut value, "commit time")?,
        expires_at_ms: Some(get_i64(&mut value, "expiry")?).filter(|at| *at >= 0),
    })
}

fn encode_group(record: &GroupRecord) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u8(FORMAT);
    out.put_i32(record.generation);
    out.put_i64(record.state_since_ms);
    for text in [&record.protocol_type, &record.protocol, &record.leader] {
        put_optional(&mut out, text.as_deref());
    }
    out.put_u32(record.members.len() as u32);
    for member in &record.members {
        put_text(&mut out, &member.id);
        put_optional(&mut out, member.instance.as_deref());
        put_text(&mut out, &member.client_id);
        put_text(&mut out, &member.client_host);
        out.put_i32(member.session_timeout_ms);
        out.put_i32(member.rebalance_timeout_ms);
        put_bytes(&mut out, &member.assignment);
        out.put_u32(member.protocols.len() as u32);
        for protocol in &member.protocols {
            put_text(&mut out, &protocol.name);
            put_bytes(&mut out, &protocol.metadata);
        }
    }
    out.freeze()
}

fn decode_group(mut value: Bytes) -> Result<GroupRecord, RecordError> {
    check_format(&mut value)?;
    let generation = get_i32(&mut value, "generation")?;
    let state_since_ms = get_i64(&mut value, "state time")?;
    let protocol_type = get_optional(&mut value, "protocol type")?;
    let protocol = get_optional(&mut value, "protocol")?;
    let leader = get_optional(&mut value, "leader")?;
    let mut members = Vec::new();
    for _ in 0..get_i32(&mut value, "members")? {
        members.push(decode_member(&mut value)?);
    }
    Ok(GroupRecord { generation, protocol_type, protocol, leader, state_since_ms, members })
}

fn decode_member(value: &mut Bytes) -> Result<Member, RecordError> {
    let mut member = Member {
        id: get_text(value, "member id")?,
        instance: get_optional(value, "instance")?,
        client_id: get_text(value, "client id")?,
        client_host: get_text(value, "client host")?,
        session_timeout_ms: get_i32(value, "session timeout")?,
        rebalance_timeout_ms: get_i32(value, "rebalance timeout")?,
        assignment: get_bytes(value, "assignment")?,
        protocols: Vec::new(),
        joining: None,
        syncing: None,
        unsynced: false,
        expires_at_ms: 0,
        is_new: false,
    };
    for _ in 0..get_i32(value, "protocols")? {
        let name = get_text(value, "protocol name")?;
        let metadata = get_bytes(value, "protocol metadata")?;
        member.protocols.push(Protocol { name, metadata });
    }
    Ok(member)
}

fn check_format(value: &mut Bytes) -> Result<(), RecordError> {
    match get_u8(value, "value format")? {
        FORMAT => Ok(()),
        format => Err(RecordError::Unknown { format, kind: 0 }),
    }
}

fn put_bytes(out: &mut BytesMut, bytes: &[u8]) {
    out.put_u32(bytes.len() as u32);
    out.put_slice(bytes);
}

fn put_text(out: &mut BytesMut, text: &str) {
    put_bytes(out, text.as_bytes());
}

fn put_optional(out: &mut BytesMut, text: Option<&str>) {
    out.put_u8(u8::from(text.is_some()));
    put_text(out, text.unwrap_or(""));
}

fn need(from: &Bytes, n: usize, field: &'static str) -> Result<(), RecordError> {
    if from.remaining() < n { Err(RecordError::Truncated { field }) } else { Ok(()) }
}

fn get_u8(from: &mut Bytes, field: &'static str) -> Result<u8, RecordError> {
    need(from, 1, field)?;
    Ok(from.get_u8())
}

fn get_i32(from: &mut Bytes, field: &'static str) -> Result<i32, RecordError> {
    need(from, 4, field)?;
    Ok(from.get_i32())
}

fn get_i64(from: &mut Bytes, field: &'static str) -> Result<i64, RecordError> {
    need(from, 8, field)?;
    Ok(from.get_i64())
}

fn get_bytes(from: &mut Bytes, field: &'static str) -> Result<Bytes, RecordError> {
    let length = get_i32(from, field)? as u32 as usize;
    need(from, length, field)?;
    // A copy: a slice would keep the whole batch it was read from in memory for as long as the offset lives.
    Ok(Bytes::copy_from_slice(&from.split_to(length)))
}

fn get_text(from: &mut Bytes, field: &'static str) -> Result<String, RecordError> {
    let length = get_i32(from, field)? as u32 as usize;
    need(from, length, field)?;
    String::from_utf8(from.split_to(length).to_vec()).map_err(|_| RecordError::Text { field })
}

fn get_optional(from: &mut Bytes, field: &'static str) -> Result<Option<String>, RecordError> {
    let present = get_u8(from, field)? == 1;
    let text = get_text(from, field)?;
    Ok(present.then_some(text))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test panics on failure
    use super::*;

    fn offset(committed: Option<Committed>) -> Change {
        Change::Offset { group: "g".into(), topic: "t".into(), partition: 3, committed }
    }

    fn examples() -> Vec<Change> {
        let committed = Committed {
            offset: 42,
            leader_epoch: -1,
            metadata: "m".into(),
            committed_at_ms: 7,
            expires_at_ms: Some(9),
        };
        let member = Member {
            id: "c-1".into(),
            instance: Some("i".into()),
            client_id: "c".into(),
            client_host: "/127.0.0.1".into(),
            session_timeout_ms: 6_000,
            rebalance_timeout_ms: 10_000,
            protocols: vec![Protocol { name: "range".into(), metadata: Bytes::from_static(b"\0\x01") }],
            assignment: Bytes::from_static(b"\x05"),
            joining: None,
            syncing: None,
            unsynced: false,
            expires_at_ms: 0,
            is_new: false,
        };
        let record = GroupRecord {
            generation: 4,
            protocol_type: Some("consumer".into()),
            protocol: Some("range".into()),
            leader: Some("c-1".into()),
            state_since_ms: 11,
            members: vec![member],
        };
        vec![
            offset(Some(committed)),
            offset(None),
            Change::Group { group: "g".into(), record: Some(record) },
            Change::Group { group: "g".into(), record: None },
        ]
    }

    #[test]
    fn a_change_survives_being_written_down() {
        for change in examples() {
            let (key, value) = change.encode();
            assert_eq!(Change::decode(key, value), Ok(change));
        }
    }

    #[test]
    fn a_cut_or_foreign_record_is_refused_wherever_it_is_cut() {
        for change in examples() {
            let (key, value) = change.encode();
            for cut in 0..key.len() {
                assert!(Change::decode(key.slice(..cut), value.clone()).is_err());
            }
            for cut in 0..value.as_ref().map_or(0, Bytes::len) {
                assert!(Change::decode(key.clone(), value.as_ref().map(|v| v.slice(..cut))).is_err());
            }
        }
        let foreign = Change::decode(Bytes::from_static(b"\x09\x01"), None);
        assert_eq!(foreign, Err(RecordError::Unknown { format: 9, kind: 1 }));
    }
}
