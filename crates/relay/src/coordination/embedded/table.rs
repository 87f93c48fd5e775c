//! What stands in the coordinator's file.
//!
//! A file is frames: one head, then entries, each the newest of its key. Numbers are little-endian.

use std::collections::BTreeMap;
use std::io;

use bytes::{Buf, BufMut, Bytes};
use naru_runtime::durable::frame::{self, BODY_BYTES_MAX, HEAD_BYTES, Tail};

use crate::coordination::{Held, Mark};

const HEAD: u8 = 1;
const SET: u8 = 2;
const TERM: u8 = 3;

/// A change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Entry {
    Set { key: String, held: Held },
    Term { name: String, term: u64, holder: String },
}

impl Entry {
    /// As a frame. Refused if it is too long for one.
    pub fn encode(&self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        let kind = match self {
            Self::Set { key, held } => {
                body.put_u64_le(held.version);
                put_text(&mut body, key)?;
                body.put_slice(&held.value);
                SET
            }
            Self::Term { name, term, holder } => {
                body.put_u64_le(*term);
                put_text(&mut body, name)?;
                body.put_slice(holder.as_bytes());
                TERM
            }
        };
        if body.len() > BODY_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{} bytes are too many", body.len())));
        }
        let mut out = Vec::with_capacity(HEAD_BYTES + body.len());
        frame::put(&mut out, kind, &[&body]);
        Ok(out)
    }

    fn decode(kind: u8, mut body: &[u8]) -> Option<Self> {
        let number = body.try_get_u64_le().ok()?;
        let name = take_text(&mut body)?;
        match kind {
            SET => Some(Self::Set { key: name, held: Held { version: number, value: Bytes::copy_from_slice(body) } }),
            TERM => Some(Self::Term { name, term: number, holder: String::from_utf8(body.to_vec()).ok()? }),
            _ => None,
        }
    }
}

fn put_text(out: &mut Vec<u8>, text: &str) -> io::Result<()> {
    let length = u16::try_from(text.len());
    out.put_u16_le(length.map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "a key is too long"))?);
    out.put_slice(text.as_bytes());
    Ok(())
}

fn take_text(body: &mut &[u8]) -> Option<String> {
    let length = usize::from(body.try_get_u16_le().ok()?);
    let (text, rest) = body.split_at_checked(length)?;
    *body = rest;
    String::from_utf8(text.to_vec()).ok()
}

/// Everything that stands there.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Table {
    mark: Mark,
    entries: BTreeMap<String, Held>,
    terms: BTreeMap<String, (u64, String)>,
    bytes: u64,
}

impl Table {
    pub fn new(incarnation: u64) -> Self {
        let mark = Mark { incarnation, revision: 0 };
        Self { mark, entries: BTreeMap::new(), terms: BTreeMap::new(), bytes: 0 }
    }

    pub fn mark(&self) -> Mark {
        self.mark
    }

    pub fn revision(&self) -> u64 {
        self.mark.revision
    }

    /// About what it takes to write it down.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    pub fn get(&self, key: &str) -> Option<&Held> {
        self.entries.get(key)
    }

    pub fn list(&self, prefix: &str) -> Vec<(String, Held)> {
        let from = self.entries.range(prefix.to_owned()..);
        from.take_while(|(key, _)| key.starts_with(prefix)).map(|(key, held)| (key.clone(), held.clone())).collect()
    }

    pub fn term(&self, name: &str) -> (u64, &str) {
        self.terms.get(name).map_or((0, ""), |(term, holder)| (*term, holder))
    }

    pub fn apply(&mut self, entry: Entry) {
        let size = |texts: &[usize]| (HEAD_BYTES + 10 + texts.iter().sum::<usize>()) as u64;
        match entry {
            Entry::Set { key, held } => {
                self.mark.revision = self.mark.revision.max(held.version);
                let length = key.len();
                self.bytes += size(&[length, held.value.len()]);
                if let Some(old) = self.entries.insert(key, held) {
                    self.bytes -= size(&[length, old.value.len()]);
                }
            }
            Entry::Term { name, term, holder } => {
                let length = name.len();
                self.bytes += size(&[length, holder.len()]);
                if let Some((_, old)) = self.terms.insert(name, (term, holder)) {
                    self.bytes -= size(&[length, old.len()]);
                }
            }
        }
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut head = Vec::new();
        head.put_u64_le(self.mark.incarnation);
        head.put_u64_le(self.mark.revision);
        let mut out = Vec::new();
        frame::put(&mut out, HEAD, &[&head]);
        let sets = self.entries.iter().map(|(key, held)| Entry::Set { key: key.clone(), held: held.clone() });
        let terms = self.terms.iter().map(|(name, (term, holder))| Entry::Term {
            name: name.clone(),
            term: *term,
            holder: holder.clone(),
        });
        for entry in sets.chain(terms) {
            out.extend(entry.encode().expect("an entry was short enough when it was made"));
        }
        out
    }

    /// What a file holds; None if it holds nothing. An append that was not finished is not there.
    ///
    /// # Errors
    /// The place where it is not what was written.
    pub fn decode(bytes: &[u8]) -> Result<Option<Self>, usize> {
        let (frames, end, tail) = frame::scan(bytes);
        if let Tail::Damaged { .. } = tail {
            return Err(end);
        }
        let Some((head, entries)) = frames.split_first() else {
            return if end == bytes.len() { Ok(None) } else { Err(0) };
        };
        let mut body = head.body;
        let (Ok(incarnation), Ok(revision), HEAD) = (body.try_get_u64_le(), body.try_get_u64_le(), head.kind) else {
            return Err(0);
        };
        let mut table = Self { mark: Mark { incarnation, revision }, ..Self::new(incarnation) };
        let mut at = head.bytes.len();
        for frame in entries {
            table.apply(Entry::decode(frame.kind, frame.body).ok_or(at)?);
            at += frame.bytes.len();
        }
        Ok(Some(table))
    }
}
