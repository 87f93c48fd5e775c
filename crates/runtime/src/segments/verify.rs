//! The verifier: the predicate of SEGMENT-1.

use std::path::Path;

use super::{ENTRY, FORMAT_VERSION, HEADER, Head, SEAL, SegmentError, file_name, numbers, read_segment, seal_message};
use crate::durable::frame::{self, Frame, Tail};
use crate::keys::{KeyId, Signature, VerifyingKeys};

/// What is wrong in a segment. Entries count from zero within their segment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SegmentFault {
    /// The file holds no whole header.
    #[error("has no whole header")]
    NoHeader,
    /// The format is another one.
    #[error("has format version {version}, this program reads {FORMAT_VERSION}")]
    Version {
        /// The version found.
        version: u16,
    },
    /// The header names another segment than the file's name or place does: renamed, or reordered.
    #[error("calls itself segment {found}, segment {expected} is expected")]
    Number {
        /// The number expected.
        expected: u64,
        /// The number found.
        found: u64,
    },
    /// The header does not continue the segment before: one of them was altered, or one between is missing.
    #[error("does not continue the segment before it")]
    Discontinuous,
    /// A segment is missing between others, or in front.
    #[error("segment {number} is missing")]
    Missing {
        /// Its number.
        number: u64,
    },
    /// The bytes at an entry are not what was written.
    #[error("entry {entry}, at byte {offset}, was altered or cut")]
    Altered {
        /// The entry, or the count of entries when the seal is meant.
        entry: u64,
        /// Where it begins in the file.
        offset: u64,
    },
    /// An entry does not follow the one in front of it: reordered, repeated, or one was taken out.
    #[error("entry {entry}, at byte {offset}, does not follow the entry before it")]
    OutOfOrder {
        /// The entry.
        entry: u64,
        /// Where it begins in the file.
        offset: u64,
    },
    /// The seal counts other entries, or ends in another head, than are there.
    #[error("the seal is for {sealed} entries, {found} are there, or their head differs")]
    SealMismatch {
        /// Entries by the seal.
        sealed: u64,
        /// Entries in the file.
        found: u64,
    },
    /// The seal is by a key that is not known.
    #[error("the seal is by key {key_id}, which is not known")]
    UnknownKey {
        /// The key.
        key_id: KeyId,
    },
    /// The signature is not that key's over this segment.
    #[error("the signature is not one of key {key_id} over this segment")]
    Signature {
        /// The key.
        key_id: KeyId,
    },
    /// There is no seal, where one is expected.
    #[error("is not sealed: {entries} entries without a signature")]
    Unsealed {
        /// Entries in the file.
        entries: u64,
    },
    /// Something stands behind the seal.
    #[error("goes on behind its seal, at byte {offset}")]
    BehindSeal {
        /// Where.
        offset: u64,
    },
    /// The chain ends in another head than the caller knows.
    #[error("the chain ends in head {found}, {expected} is expected")]
    Head {
        /// The head that the caller knows.
        expected: Head,
        /// The head found.
        found: Head,
    },
    /// The file is larger than any segment.
    #[error("has {bytes} bytes, more than any segment")]
    TooLarge {
        /// Its length.
        bytes: u64,
    },
}

/// One entry of a verified segment. Its segment's seal has been checked only when [`verify_chain`] has returned.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'b> {
    /// The segment.
    pub segment: u64,
    /// The entry within it, from zero.
    pub number: u64,
    /// The caller's bytes.
    pub payload: &'b [u8],
}

/// What the caller knows about a chain from elsewhere.
#[derive(Debug, Clone, Copy)]
pub struct Expect {
    /// Whether the last segment may be open, its entries chained but not yet signed.
    pub open_last: bool,
    /// The first segment that is kept, and the head in front of it.
    pub first: (u64, Head),
    /// The head of the whole chain, if it is known.
    pub head: Option<Head>,
}

impl Expect {
    /// A whole chain, every segment of it sealed.
    pub const SEALED: Self = Self { open_last: false, first: (0, Head::START), head: None };

    /// A whole chain that is being written.
    pub const OPEN: Self = Self { open_last: true, ..Self::SEALED };
}

/// A segment that was verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentSummary {
    /// Entries in it.
    pub entries: u64,
    /// Its head.
    pub head: Head,
    /// The key of its seal; none while it is open.
    pub sealed_by: Option<KeyId>,
}

/// A chain that was verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChainSummary {
    /// Segments in it.
    pub segments: u64,
    /// Entries in all of them.
    pub entries: u64,
    /// The head of the last segment.
    pub head: Head,
    /// Whether every entry is covered by a signature.
    pub sealed: bool,
}

/// Verifies the segments of a directory and hands every entry to `visit`, in order.
///
/// # Errors
/// [`SegmentError::Refused`] with the file and the entry when anything was altered, cut, reordered or is missing
/// (SEGMENT-1); [`SegmentError::Io`] when a file cannot be read.
pub fn verify_chain(
    directory: &Path,
    keys: &VerifyingKeys,
    expect: Expect,
    mut visit: impl FnMut(Entry<'_>),
) -> Result<ChainSummary, SegmentError> {
    let numbers = numbers(directory)?;
    let (first, mut head) = expect.first;
    let mut summary = ChainSummary { segments: 0, entries: 0, head, sealed: true };
    for (expected, number) in (first..).zip(&numbers) {
        let path = directory.join(file_name(*number));
        let refuse = |fault| SegmentError::Refused { file: path.clone(), fault };
        if *number != expected {
            let file = directory.join(file_name(expected));
            return Err(SegmentError::Refused { file, fault: SegmentFault::Missing { number: expected } });
        }
        let bytes = read_segment(&path)?;
        let open = expect.open_last && Some(number) == numbers.last();
        let segment = verify_segment(&bytes, *number, head, &mut visit).map_err(refuse)?;
        match segment.seal {
            Some(seal) => seal.verify(*number, &segment.summary, keys).map_err(refuse)?,
            None if open => summary.sealed = false,
            None => return Err(refuse(SegmentFault::Unsealed { entries: segment.summary.entries })),
        }
        head = segment.summary.head;
        summary.segments += 1;
        summary.entries += segment.summary.entries;
    }
    summary.head = head;
    match expect.head {
        Some(expected) if expected != head => {
            let last = numbers.last().map_or(directory.to_owned(), |number| directory.join(file_name(*number)));
            Err(SegmentError::Refused { file: last, fault: SegmentFault::Head { expected, found: head } })
        }
        _ if numbers.is_empty() => Err(SegmentError::Refused {
            file: directory.join(file_name(first)),
            fault: SegmentFault::Missing { number: first },
        }),
        _ => Ok(summary),
    }
}

/// The chain of one segment's bytes, its seal not yet checked against keys.
#[derive(Debug)]
pub struct Chained {
    /// What the segment holds.
    pub summary: SegmentSummary,
    /// Its seal, if it has one.
    pub seal: Option<Seal>,
}

/// A seal as it stands in a file.
#[derive(Debug)]
pub struct Seal {
    count: u64,
    head: Head,
    signature: Signature,
}

impl Seal {
    /// Whether a known key has signed exactly these entries.
    ///
    /// # Errors
    /// The fault, when not.
    pub fn verify(&self, number: u64, segment: &SegmentSummary, keys: &VerifyingKeys) -> Result<(), SegmentFault> {
        let key_id = self.signature.key_id;
        if self.count != segment.entries || self.head != segment.head {
            return Err(SegmentFault::SealMismatch { sealed: self.count, found: segment.entries });
        }
        if !keys.knows(key_id) {
            return Err(SegmentFault::UnknownKey { key_id });
        }
        if !keys.verify(&seal_message(number, self.count, self.head, key_id), &self.signature) {
            return Err(SegmentFault::Signature { key_id });
        }
        Ok(())
    }
}

/// Checks the chain of one segment's bytes.
///
/// # Errors
/// The first fault. Also a torn tail is one: only the writer, which holds the chain's lock, may cut.
pub fn verify_segment(
    bytes: &[u8],
    number: u64,
    previous: Head,
    mut visit: impl FnMut(Entry<'_>),
) -> Result<Chained, SegmentFault> {
    let mut chain = Chain::begin(bytes, number, previous)?;
    while let Some(payload) = chain.next()? {
        visit(Entry { segment: number, number: chain.entries - 1, payload });
    }
    match (&chain.seal, chain.offset == bytes.len()) {
        (_, true) => Ok(chain.finish()),
        (Some(_), false) => Err(SegmentFault::BehindSeal { offset: chain.offset as u64 }),
        (None, false) => Err(chain.altered()),
    }
}

/// A walk along the frames of one segment.
pub(super) struct Chain<'b> {
    bytes: &'b [u8],
    pub(super) offset: usize,
    pub(super) entries: u64,
    pub(super) head: Head,
    pub(super) seal: Option<Seal>,
}

impl<'b> Chain<'b> {
    pub(super) fn begin(bytes: &'b [u8], number: u64, previous: Head) -> Result<Self, SegmentFault> {
        let header = frame::first(bytes).filter(|frame| frame.kind == HEADER).ok_or(SegmentFault::NoHeader)?;
        let (version, rest) = header.body.split_first_chunk().ok_or(SegmentFault::NoHeader)?;
        let version = u16::from_le_bytes(*version);
        if version != FORMAT_VERSION {
            return Err(SegmentFault::Version { version });
        }
        let (found, rest) = rest.split_first_chunk().ok_or(SegmentFault::NoHeader)?;
        let found = u64::from_le_bytes(*found);
        if found != number {
            return Err(SegmentFault::Number { expected: number, found });
        }
        if rest != previous.0 {
            return Err(SegmentFault::Discontinuous);
        }
        let head = Head::of(header.bytes);
        Ok(Self { bytes, offset: header.bytes.len(), entries: 0, head, seal: None })
    }

    /// The next entry; none at the seal, at the end, and in front of bytes that are no frame.
    pub(super) fn next(&mut self) -> Result<Option<&'b [u8]>, SegmentFault> {
        if self.seal.is_some() {
            return Ok(None);
        }
        let Some(frame) = frame::first(&self.bytes[self.offset..]) else { return Ok(None) };
        let payload = match frame.kind {
            ENTRY => Some(self.entry(frame)?),
            SEAL => {
                self.seal = Some(parse_seal(frame.body).ok_or_else(|| self.altered())?);
                None
            }
            _ => return Err(self.altered()),
        };
        self.offset += frame.bytes.len();
        Ok(payload)
    }

    fn entry(&mut self, frame: Frame<'b>) -> Result<&'b [u8], SegmentFault> {
        let (before, payload) = frame.body.split_first_chunk().ok_or_else(|| self.altered())?;
        if *before != self.head.0 {
            return Err(SegmentFault::OutOfOrder { entry: self.entries, offset: self.offset as u64 });
        }
        self.head = Head::of(frame.bytes);
        self.entries += 1;
        Ok(payload)
    }

    /// How the bytes from here on look, where [`Self::next`] found no frame.
    pub(super) fn tail(&self) -> Tail {
        frame::scan(&self.bytes[self.offset..]).2
    }

    pub(super) fn altered(&self) -> SegmentFault {
        SegmentFault::Altered { entry: self.entries, offset: self.offset as u64 }
    }

    fn finish(self) -> Chained {
        let sealed_by = self.seal.as_ref().map(|seal| seal.signature.key_id);
        Chained { summary: SegmentSummary { entries: self.entries, head: self.head, sealed_by }, seal: self.seal }
    }
}

fn parse_seal(body: &[u8]) -> Option<Seal> {
    let (count, rest) = body.split_first_chunk()?;
    let (head, rest) = rest.split_first_chunk()?;
    let (key_id, rest) = rest.split_first_chunk()?;
    let signature = Signature { key_id: KeyId::from_bytes(*key_id), bytes: rest.try_into().ok()? };
    Some(Seal { count: u64::from_le_bytes(*count), head: Head(*head), signature })
}

/// The head in the seal at the end of a segment's bytes.
pub(super) fn sealed_head(bytes: &[u8]) -> Option<Head> {
    let (frames, _, tail) = frame::scan(bytes);
    let last = frames.last().filter(|frame| frame.kind == SEAL && tail == Tail::Clean)?;
    parse_seal(last.body).map(|seal| seal.head)
}
