//! What gateways and their coordinator say to one another: JSON behind a tag, one datagram each.
//!
//! The key is that of visits and tickets, which gateways of one service share. A tag is over everything with a word in
//! front that nothing else signs. A question that was caught and sent again is older than the last one, and an answer
//! carries the number of its question: neither counts.

use naru_runtime::keys::{KeyId, MacKeys, Tag};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::DATAGRAM_BYTES_MAX;

/// What is signed begins with this.
const DOMAIN: &[u8] = b"naru edge lease 1\n";
const TAG_BYTES: usize = KeyId::BYTES + 32;

/// A gateway's question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// The number of the gateway, from 1.
    pub number: u32,
    /// The process, so that two with one number are told apart.
    pub run: u64,
    /// Rises with every question of a process.
    pub sequence: u64,
    /// How many gateways there are, as it was told.
    pub gateways: u32,
    /// What part of a site each has without a lease, as it was told.
    pub safe: u32,
    /// Whether it asks for the last time, since another process goes on with its number.
    pub leaves: bool,
    /// By site.
    pub wishes: Vec<Wish>,
}

/// What a gateway has and wants of one site, in parts of the whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wish {
    /// The site.
    pub site: String,
    /// What it may have while it asks.
    pub granted: u32,
    /// What its requests may come to hold until it hears an answer.
    pub held: u32,
    /// What they wanted of late.
    pub demand: u32,
}

/// The coordinator's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// Whose question it was.
    pub run: u64,
    /// Which.
    pub sequence: u64,
    /// What the gateway may have of each site.
    pub grants: Vec<(String, u32)>,
}

/// A message with its tag.
pub fn sealed(keys: &MacKeys, message: &impl Serialize) -> Vec<u8> {
    let text = serde_json::to_vec(message).expect("numbers and names");
    let tag = keys.tag(&[DOMAIN, &text].concat());
    [&tag.key_id.to_bytes()[..], &tag.bytes, &text].concat()
}

/// A message whose tag is right; none of anything else.
pub fn opened<M: DeserializeOwned>(keys: &MacKeys, datagram: &[u8]) -> Option<M> {
    if datagram.len() > DATAGRAM_BYTES_MAX || datagram.len() < TAG_BYTES {
        return None;
    }
    let (tag, text) = datagram.split_at(TAG_BYTES);
    let (key_id, bytes) = tag.split_at(KeyId::BYTES);
    let tag = Tag { key_id: KeyId::from_bytes(key_id.try_into().ok()?), bytes: bytes.try_into().ok()? };
    if !keys.verify(&[DOMAIN, text].concat(), &tag) {
        return None;
    }
    serde_json::from_slice(text).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test panics on failure

    use super::*;

    #[test]
    fn a_message_counts_only_as_it_was_signed() {
        let folder = tempfile::tempdir().unwrap();
        let keys = MacKeys::generate(&folder.path().join("keys"), 0).unwrap();
        let answer = Answer { run: 1, sequence: 2, grants: vec![("idc-1".to_owned(), 500_000)] };
        let datagram = sealed(&keys, &answer);
        assert_eq!(opened::<Answer>(&keys, &datagram), Some(answer));
        assert_eq!(opened::<Question>(&keys, &datagram), None);
        for at in 0..datagram.len() {
            let mut other = datagram.clone();
            other[at] ^= 1;
            assert_eq!(opened::<Answer>(&keys, &other), None, "byte {at}");
            assert_eq!(opened::<Answer>(&keys, &datagram[..at]), None, "{at} bytes");
        }
        let others = MacKeys::generate(&folder.path().join("others"), 0).unwrap();
        assert_eq!(opened::<Answer>(&others, &datagram), None);
    }
}
