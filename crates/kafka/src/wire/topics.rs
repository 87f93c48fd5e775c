//! Topics and partitions as Produce and Fetch carry them: a table of two flat lists.

use std::fmt;

use crate::wire::read::Reader;
use crate::wire::write::{OutFrame, string_len, uvarint_len};
use crate::wire::{StrBytes, TOPICS_MAX, Tags, WireError};

/// A topic's identity, given at its creation. Shown as Kafka's tools show it: base 64 for URLs, without padding.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct TopicId(pub [u8; 16]);

impl TopicId {
    /// No identity: what a message holds that names its topics.
    pub const NIL: Self = Self([0; 16]);

    /// Whether this is no identity.
    pub fn is_nil(self) -> bool {
        self == Self::NIL
    }
}

impl From<uuid::Uuid> for TopicId {
    fn from(id: uuid::Uuid) -> Self {
        Self(id.into_bytes())
    }
}

impl From<TopicId> for uuid::Uuid {
    fn from(id: TopicId) -> Self {
        Self::from_bytes(id.0)
    }
}

impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        // 22 characters carry 132 bits: the identity's 128, then four zeros.
        let bits = u128::from_be_bytes(self.0);
        for index in 0..22_u32 {
            let sextet = if index == 21 { bits << 4 } else { bits >> (122 - 6 * index) } & 0x3f;
            write!(f, "{}", char::from(ALPHABET[sextet as usize]))?;
        }
        Ok(())
    }
}

impl fmt::Debug for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A topic within a message. Older versions carry the name, newer ones the identity; the other one is empty.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Topic {
    /// The name; empty where the version carries the identity.
    pub name: StrBytes,
    /// The identity; nil where the version carries the name.
    pub id: TopicId,
    /// Tagged fields that the schema does not know.
    pub tags: Tags,
}

/// Topics with their partitions, in order. Two flat lists and not a list of lists, so that a message which is read
/// again and again into the same table needs no allocation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicTable<P> {
    /// Each topic, and where its partitions end.
    topics: Vec<(Topic, usize)>,
    partitions: Vec<P>,
}

impl<P> Default for TopicTable<P> {
    fn default() -> Self {
        Self { topics: Vec::new(), partitions: Vec::new() }
    }
}

impl<P> TopicTable<P> {
    /// An empty table.
    pub fn new() -> Self {
        Self::default()
    }

    /// Empties the table and keeps its memory.
    pub fn clear(&mut self) {
        self.topics.clear();
        self.partitions.clear();
    }

    /// Begins a topic; partitions pushed from now on are its.
    pub fn push_topic(&mut self, topic: Topic) {
        self.topics.push((topic, self.partitions.len()));
    }

    /// Begins a topic with its name and, for the versions that carry it, its identity.
    pub fn push_named(&mut self, name: StrBytes, id: TopicId) {
        self.push_topic(Topic { name, id, tags: Tags::default() });
    }

    /// Adds a partition to the topic begun last; without a topic it is dropped.
    pub fn push(&mut self, partition: P) {
        if let Some((_, end)) = self.topics.last_mut() {
            self.partitions.push(partition);
            *end = self.partitions.len();
        }
    }

    /// Whether there is no topic.
    pub fn is_empty(&self) -> bool {
        self.topics.is_empty()
    }

    /// The number of topics.
    pub fn topic_count(&self) -> usize {
        self.topics.len()
    }

    /// The number of partitions, over all topics.
    pub fn partition_count(&self) -> usize {
        self.partitions.len()
    }

    /// Each topic with its partitions.
    pub fn iter(&self) -> impl Iterator<Item = (&Topic, &[P])> {
        let mut start = 0;
        self.topics.iter().map(move |(topic, end)| {
            let partitions = &self.partitions[start..*end];
            start = *end;
            (topic, partitions)
        })
    }

    /// Each topic with its partitions, to be changed in place.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&mut Topic, &mut [P])> {
        let mut start = 0;
        let mut rest = self.partitions.as_mut_slice();
        self.topics.iter_mut().map(move |(topic, end)| {
            let (partitions, after) = std::mem::take(&mut rest).split_at_mut(*end - start);
            rest = after;
            start = *end;
            (topic, partitions)
        })
    }

    /// Each partition beside its topic.
    pub fn flat(&self) -> impl Iterator<Item = (&Topic, &P)> {
        self.iter().flat_map(|(topic, partitions)| partitions.iter().map(move |partition| (topic, partition)))
    }

    /// Reads the table of a message. `identified` says whether this version carries identities in place of names.
    pub(crate) fn read(
        &mut self,
        reader: &mut Reader,
        flexible: bool,
        identified: bool,
        mut partitions: impl FnMut(&mut Reader, &mut Vec<P>) -> Result<(), WireError>,
    ) -> Result<(), WireError> {
        self.clear();
        // A name of no bytes or an identity, and a count.
        let topic_bytes_min = if identified { 17 } else { 2 };
        let count = reader.count(flexible, topic_bytes_min, TOPICS_MAX, "topics")?;
        self.topics.reserve(count);
        for _ in 0..count {
            let mut topic = Topic::default();
            if identified {
                topic.id = reader.topic_id("topic_id")?;
            } else {
                topic.name = reader.string(flexible, "topic")?;
            }
            partitions(reader, &mut self.partitions)?;
            topic.tags = reader.tags(flexible, "topic tags")?;
            self.topics.push((topic, self.partitions.len()));
        }
        Ok(())
    }

    pub(crate) fn write(
        &self,
        out: &mut OutFrame,
        flexible: bool,
        identified: bool,
        mut partition: impl FnMut(&mut OutFrame, &P) -> Result<(), WireError>,
    ) -> Result<(), WireError> {
        out.count(flexible, self.topics.len(), "topics")?;
        for (topic, partitions) in self.iter() {
            if identified {
                out.slice(&topic.id.0);
            } else {
                out.string(flexible, Some(&topic.name), "topic")?;
            }
            out.count(flexible, partitions.len(), "partitions")?;
            for one in partitions {
                partition(out, one)?;
            }
            out.tags(flexible, &topic.tags);
        }
        Ok(())
    }
}

/// Where a broker listens: newer answers carry it for the leaders they name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NodeEndpoint {
    /// The broker's id.
    pub node_id: i32,
    /// Its host.
    pub host: StrBytes,
    /// Its port.
    pub port: i32,
    /// Its rack, if it has one.
    pub rack: Option<StrBytes>,
    /// Tagged fields that the schema does not know.
    pub tags: Tags,
}

/// Endpoints in one answer: a cluster with more brokers than this does not exist.
const ENDPOINTS_MAX: usize = 4_096;

impl NodeEndpoint {
    pub(crate) fn read_all(reader: &mut Reader) -> Result<Vec<Self>, WireError> {
        let count = reader.count(true, 11, ENDPOINTS_MAX, "node_endpoints")?;
        let mut endpoints = Vec::with_capacity(count);
        for _ in 0..count {
            endpoints.push(Self {
                node_id: reader.i32("node_endpoints.node_id")?,
                host: reader.string(true, "node_endpoints.host")?,
                port: reader.i32("node_endpoints.port")?,
                rack: reader.nullable_string(true, "node_endpoints.rack")?,
                tags: reader.tags(true, "node_endpoints tags")?,
            });
        }
        Ok(endpoints)
    }

    /// Writes a tagged field that holds the endpoints.
    pub(crate) fn write_all(tag: u32, endpoints: &[Self], out: &mut OutFrame) -> Result<(), WireError> {
        let size = uvarint_len(endpoints.len() + 1)
            + endpoints
                .iter()
                .map(|one| {
                    8 + string_len(Some(&one.host)) + string_len(one.rack.as_ref()) + OutFrame::tags_len(&one.tags)
                })
                .sum::<usize>();
        out.tag_header(tag, size);
        out.count(true, endpoints.len(), "node_endpoints")?;
        for one in endpoints {
            out.i32(one.node_id);
            out.string(true, Some(&one.host), "node_endpoints.host")?;
            out.i32(one.port);
            out.string(true, one.rack.as_ref(), "node_endpoints.rack")?;
            out.tags(true, &one.tags);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_shown_as_kafka_shows_it() {
        assert_eq!(TopicId::NIL.to_string(), "AAAAAAAAAAAAAAAAAAAAAA");
        assert_eq!(TopicId([0xff; 16]).to_string(), "_____________________w");
        assert_eq!(
            TopicId([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]).to_string(),
            "AQIDBAUGBwgJCgsMDQ4PEA"
        );
    }

    #[test]
    fn partitions_belong_to_the_topic_begun_last() {
        let mut table = TopicTable::new();
        table.push(0);
        table.push_named(StrBytes::from_static_str("a"), TopicId::NIL);
        table.push(1);
        table.push(2);
        table.push_named(StrBytes::from_static_str("b"), TopicId::NIL);
        table.push_named(StrBytes::from_static_str("c"), TopicId::NIL);
        table.push(3);
        for (_, partitions) in table.iter_mut() {
            for partition in partitions {
                *partition *= 10;
            }
        }
        let seen: Vec<_> = table.iter().map(|(topic, partitions)| (topic.name.as_str(), partitions)).collect();
        assert_eq!(seen, vec![("a", &[10, 20][..]), ("b", &[][..]), ("c", &[30][..])]);
        assert_eq!((table.topic_count(), table.partition_count(), table.flat().count()), (3, 3, 3));
    }
}
