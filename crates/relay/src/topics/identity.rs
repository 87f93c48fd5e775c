//! Identities of topics: made here for clients (RELAY-8), and as they are kept.

use naru_kafka::wire::TopicId;
use rand::{TryRng, rngs::SysRng};
use serde::{Deserialize, Deserializer, Serializer, de::Error};

use crate::side::SideMap;

/// A new identity: random, in the shape of a version 4 UUID like Kafka's own, so that it is never used twice.
pub fn fresh_topic_id() -> TopicId {
    let mut bytes = [0; 16];
    SysRng.try_fill_bytes(&mut bytes).expect("the system gives random bytes once it has booted");
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    TopicId(bytes)
}

fn to_hex(id: TopicId) -> String {
    format!("{:032x}", u128::from_be_bytes(id.0))
}

fn from_hex(text: &str) -> Option<TopicId> {
    let bits = u128::from_str_radix(text, 16).ok().filter(|_| text.len() == 32)?;
    Some(TopicId(bits.to_be_bytes()))
}

const NOT_HEX: &str = "an identity is 32 hexadecimal digits";

pub(super) fn serialize<S: Serializer>(id: &TopicId, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&to_hex(*id))
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<TopicId, D::Error> {
    from_hex(&String::deserialize(from)?).ok_or_else(|| D::Error::custom(NOT_HEX))
}

/// The same of both sides, where they have the topic.
pub(super) mod sides {
    use serde::Serialize;

    use super::*;

    pub fn serialize<S: Serializer>(ids: &SideMap<Option<TopicId>>, to: S) -> Result<S::Ok, S::Error> {
        SideMap::from_fn(|side| ids[side].map(to_hex)).serialize(to)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<SideMap<Option<TopicId>>, D::Error> {
        let text = SideMap::<Option<String>>::deserialize(from)?;
        let id = |text: Option<String>| match text {
            None => Ok(None),
            Some(text) => from_hex(&text).map(Some).ok_or_else(|| D::Error::custom(NOT_HEX)),
        };
        Ok(SideMap { a: id(text.a)?, b: id(text.b)? })
    }
}
