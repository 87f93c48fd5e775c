//! Writing of messages: small fields into one buffer, record data by reference between them.

use std::io::IoSlice;

use bytes::{Buf, Bytes};

use crate::wire::batch::HEADER_BYTES;
use crate::wire::{StrBytes, Tags, WireError};

/// Byte fields below this size are copied into the buffer: a copy is cheaper than one more piece in a vectored write.
const COPY_BELOW_BYTES: usize = 256;

/// The record data of one partition: batches one after the other.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum RecordData {
    /// Null, which Kafka sends and takes for "none".
    #[default]
    Null,
    /// Contiguous bytes.
    Whole(Bytes),
    /// One batch whose header was rewritten, the rest of it unmoved.
    Stamped {
        /// The new header.
        header: [u8; HEADER_BYTES],
        /// Everything after the header.
        payload: Bytes,
    },
    /// Several pieces that follow one another, as a log reads them.
    Chunks(Vec<Bytes>),
}

impl RecordData {
    /// The size in bytes.
    pub fn len(&self) -> usize {
        match self {
            Self::Null => 0,
            Self::Whole(bytes) => bytes.len(),
            Self::Stamped { header, payload } => header.len() + payload.len(),
            Self::Chunks(chunks) => chunks.iter().map(Bytes::len).sum(),
        }
    }

    /// Whether there is no byte.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The data as one piece. Copies only when it consists of several.
    pub fn to_bytes(&self) -> Bytes {
        match self {
            Self::Null => Bytes::new(),
            Self::Whole(bytes) => bytes.clone(),
            Self::Stamped { header, payload } => [header.as_slice(), payload].concat().into(),
            Self::Chunks(chunks) if chunks.len() == 1 => chunks[0].clone(),
            Self::Chunks(chunks) => chunks.concat().into(),
        }
    }
}

impl From<Bytes> for RecordData {
    fn from(bytes: Bytes) -> Self {
        Self::Whole(bytes)
    }
}

impl From<Vec<Bytes>> for RecordData {
    fn from(chunks: Vec<Bytes>) -> Self {
        Self::Chunks(chunks)
    }
}

impl From<Option<Bytes>> for RecordData {
    fn from(bytes: Option<Bytes>) -> Self {
        bytes.map_or(Self::Null, Self::Whole)
    }
}

/// A message, or several, on the way out. Used again after `clear`, it needs no allocation.
#[derive(Debug, Default)]
pub struct OutFrame {
    small: Vec<u8>,
    /// Pieces that stand before the byte of `small` at the position, in rising order.
    large: Vec<(usize, Bytes)>,
    large_bytes: usize,
    /// Where the frame that is being written began: in `small`, and in the whole.
    begun: Option<(usize, usize)>,
}

impl OutFrame {
    /// Nothing written yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets what was written and keeps the memory.
    pub fn clear(&mut self) {
        self.small.clear();
        self.large.clear();
        self.large_bytes = 0;
        self.begun = None;
    }

    /// All bytes written.
    pub fn len(&self) -> usize {
        self.small.len() + self.large_bytes
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Begins a frame: leaves room for its length.
    pub fn begin(&mut self) {
        self.begun = Some((self.small.len(), self.len()));
        self.i32(0);
    }

    /// Ends the frame begun last: writes its length, which must be within `bytes_max`. A frame that is not is taken
    /// back.
    pub fn finish(&mut self, bytes_max: usize) -> Result<(), WireError> {
        let Some((at, start)) = self.begun else {
            return Err(WireError::Unwritable { field: "frame that was not begun", version: 0 });
        };
        let size = self.len() - start - 4;
        match i32::try_from(size) {
            Ok(length) if size <= bytes_max => {
                self.small[at..at + 4].copy_from_slice(&length.to_be_bytes());
                self.begun = None;
                Ok(())
            }
            _ => {
                self.abandon();
                Err(WireError::TooLarge { field: "frame", size: size as u64, max: bytes_max as u64 })
            }
        }
    }

    /// Takes back the frame begun last, for instance when its message could not be written. Frames before it stay.
    pub fn abandon(&mut self) {
        let Some((at, start)) = self.begun.take() else { return };
        self.small.truncate(at);
        // A piece at the position itself belongs to the frame before: this one begins with its length.
        self.large.retain(|(position, _)| *position <= at);
        self.large_bytes = start - at;
    }

    /// The pieces in order.
    pub fn slices(&self) -> impl Iterator<Item = &[u8]> {
        let mut at = 0;
        let between = self.large.iter().flat_map(move |(position, bytes)| {
            let before = &self.small[at..*position];
            at = *position;
            [before, bytes.as_ref()]
        });
        let last = self.large.last().map_or(0, |(position, _)| *position);
        between.chain(std::iter::once(&self.small[last..])).filter(|slice| !slice.is_empty())
    }

    /// A reader over everything written, for vectored writes: `socket.write_all_buf(&mut out.reader())`.
    pub fn reader(&self) -> OutReader<'_> {
        OutReader { frame: self, small_at: 0, large_index: 0, large_at: 0, left: self.len() }
    }

    /// Everything written, copied into one piece.
    pub fn to_bytes(&self) -> Bytes {
        let mut whole = Vec::with_capacity(self.len());
        self.slices().for_each(|slice| whole.extend_from_slice(slice));
        whole.into()
    }

    /// Everything written as a list of pieces; record data is not copied.
    pub fn into_chunks(self) -> Vec<Bytes> {
        let small = Bytes::from(self.small);
        let mut chunks = Vec::with_capacity(2 * self.large.len() + 1);
        let mut at = 0;
        for (position, bytes) in self.large {
            if position > at {
                chunks.push(small.slice(at..position));
            }
            chunks.push(bytes);
            at = position;
        }
        if at < small.len() {
            chunks.push(small.slice(at..));
        }
        chunks
    }

    /// The buffer of small fields: what is appended here follows all that was written before.
    pub(crate) fn tail(&mut self) -> &mut Vec<u8> {
        &mut self.small
    }

    pub(crate) fn slice(&mut self, bytes: &[u8]) {
        self.small.extend_from_slice(bytes);
    }

    /// Appends bytes by reference.
    pub fn push(&mut self, bytes: Bytes) {
        if bytes.len() < COPY_BELOW_BYTES {
            self.slice(&bytes);
        } else {
            self.large_bytes += bytes.len();
            self.large.push((self.small.len(), bytes));
        }
    }

    pub(crate) fn i8(&mut self, value: i8) {
        self.slice(&value.to_be_bytes());
    }

    pub(crate) fn i16(&mut self, value: i16) {
        self.slice(&value.to_be_bytes());
    }

    pub(crate) fn i32(&mut self, value: i32) {
        self.slice(&value.to_be_bytes());
    }

    pub(crate) fn i64(&mut self, value: i64) {
        self.slice(&value.to_be_bytes());
    }

    pub(crate) fn uvarint(&mut self, value: u32) {
        put_uvarlong(&mut self.small, u64::from(value));
    }

    pub(crate) fn nullable_count(
        &mut self,
        flexible: bool,
        count: Option<usize>,
        field: &'static str,
    ) -> Result<(), WireError> {
        self.length(flexible, count, field)
    }

    pub(crate) fn count(&mut self, flexible: bool, count: usize, field: &'static str) -> Result<(), WireError> {
        self.length(flexible, Some(count), field)
    }

    /// A nullable length or count: 32 bits with -1 for null, or compact with 0 for null.
    fn length(&mut self, flexible: bool, length: Option<usize>, field: &'static str) -> Result<(), WireError> {
        let length = match length {
            None => -1,
            Some(length) => i32::try_from(length).map_err(|_| WireError::TooLarge {
                field,
                size: length as u64,
                max: i32::MAX as u64,
            })?,
        };
        if flexible {
            self.uvarint(length.wrapping_add(1).cast_unsigned());
        } else {
            self.i32(length);
        }
        Ok(())
    }

    pub(crate) fn string(
        &mut self,
        flexible: bool,
        value: Option<&StrBytes>,
        field: &'static str,
    ) -> Result<(), WireError> {
        let text = value.map_or("", |value| value.as_str());
        // Compact strings could be longer, but no field of the protocol means more.
        let length = i16::try_from(text.len()).map_err(|_| WireError::TooLarge {
            field,
            size: text.len() as u64,
            max: i16::MAX as u64,
        })?;
        let length = if value.is_none() { -1 } else { length };
        if flexible {
            self.uvarint(i32::from(length + 1).cast_unsigned());
        } else {
            self.i16(length);
        }
        self.slice(text.as_bytes());
        Ok(())
    }

    pub(crate) fn records(&mut self, flexible: bool, data: &RecordData, field: &'static str) -> Result<(), WireError> {
        let length = if matches!(data, RecordData::Null) { None } else { Some(data.len()) };
        self.length(flexible, length, field)?;
        match data {
            RecordData::Null => {}
            RecordData::Whole(bytes) => self.push(bytes.clone()),
            RecordData::Stamped { header, payload } => {
                self.slice(header);
                self.push(payload.clone());
            }
            RecordData::Chunks(chunks) => chunks.iter().for_each(|chunk| self.push(chunk.clone())),
        }
        Ok(())
    }

    /// The end of a structure without known tagged fields.
    pub(crate) fn tags(&mut self, flexible: bool, tags: &Tags) {
        if flexible {
            self.tag_count(0, tags);
            self.unknown_tags(tags);
        }
    }

    /// Begins the tagged fields: `known` of them are about to be written, then the unknown ones.
    pub(crate) fn tag_count(&mut self, known: u32, tags: &Tags) {
        self.uvarint(known + tags.count());
    }

    pub(crate) fn tag_header(&mut self, tag: u32, size: usize) {
        self.uvarint(tag);
        put_uvarlong(&mut self.small, size as u64);
    }

    pub(crate) fn unknown_tags(&mut self, tags: &Tags) {
        self.slice(tags.fields());
    }

    /// The size of a structure's tagged fields if it has no known ones.
    pub(crate) fn tags_len(tags: &Tags) -> usize {
        uvarint_len(tags.len()) + tags.fields().len()
    }
}

/// The size of a compact length or tag.
pub(crate) fn uvarint_len(value: usize) -> usize {
    let bits = usize::BITS - value.leading_zeros();
    (bits.max(1) as usize).div_ceil(7)
}

/// The size of a compact nullable string.
pub(crate) fn string_len(value: Option<&StrBytes>) -> usize {
    value.map_or(1, |value| uvarint_len(value.len() + 1) + value.len())
}

pub(crate) fn put_uvarlong(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        // The low seven bits; the rest follows.
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

/// Reads an `OutFrame` from start to end without copying.
#[derive(Debug)]
pub struct OutReader<'a> {
    frame: &'a OutFrame,
    small_at: usize,
    large_index: usize,
    large_at: usize,
    left: usize,
}

impl OutReader<'_> {
    /// The piece at the position, not empty unless all is read.
    fn piece(&self, small_at: usize, large_index: usize, large_at: usize) -> &[u8] {
        match self.frame.large.get(large_index) {
            Some((position, bytes)) if *position == small_at => &bytes[large_at..],
            Some((position, _)) => &self.frame.small[small_at..*position],
            None => &self.frame.small[small_at..],
        }
    }
}

impl Buf for OutReader<'_> {
    fn remaining(&self) -> usize {
        self.left
    }

    fn chunk(&self) -> &[u8] {
        self.piece(self.small_at, self.large_index, self.large_at)
    }

    fn advance(&mut self, mut count: usize) {
        assert!(count <= self.left, "advanced beyond the end of a frame");
        self.left -= count;
        while count > 0 {
            let step = count.min(self.chunk().len());
            count -= step;
            match self.frame.large.get(self.large_index) {
                Some((position, bytes)) if *position == self.small_at => {
                    self.large_at += step;
                    if self.large_at == bytes.len() {
                        self.large_index += 1;
                        self.large_at = 0;
                    }
                }
                _ => self.small_at += step,
            }
        }
    }

    fn chunks_vectored<'a>(&'a self, out: &mut [IoSlice<'a>]) -> usize {
        let (mut small_at, mut large_index, mut large_at) = (self.small_at, self.large_index, self.large_at);
        let mut filled = 0;
        while filled < out.len() {
            let piece = self.piece(small_at, large_index, large_at);
            if piece.is_empty() {
                break;
            }
            out[filled] = IoSlice::new(piece);
            filled += 1;
            match self.frame.large.get(large_index) {
                Some((position, _)) if *position == small_at => {
                    large_index += 1;
                    large_at = 0;
                }
                _ => small_at += piece.len(),
            }
        }
        filled
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test panics on failure

    use super::*;

    fn sample() -> (OutFrame, Vec<u8>) {
        let mut out = OutFrame::new();
        let mut expect = Vec::new();
        for (small, large) in [(3_usize, 300_usize), (0, 400), (5, 0), (1, 256), (0, 0)] {
            out.slice(&vec![1; small]);
            expect.extend(vec![1; small]);
            out.push(Bytes::from(vec![2; large]));
            expect.extend(vec![2; large]);
        }
        (out, expect)
    }

    #[test]
    fn every_way_of_reading_gives_the_same_bytes() {
        let (out, expect) = sample();
        assert_eq!(out.to_bytes(), expect);
        assert_eq!(out.slices().collect::<Vec<_>>().concat(), expect);
        for step in [1, 7, 299, 1_000] {
            let mut reader = out.reader();
            let mut seen = Vec::new();
            while reader.has_remaining() {
                let mut slices = [IoSlice::new(&[]); 3];
                let filled = reader.chunks_vectored(&mut slices);
                let vectored: Vec<u8> = slices[..filled].iter().flat_map(|slice| slice.to_vec()).collect();
                let taken = step.min(vectored.len());
                seen.extend_from_slice(&vectored[..taken]);
                reader.advance(taken);
            }
            assert_eq!(seen, expect, "steps of {step}");
        }
        assert_eq!(out.into_chunks().concat(), expect);
    }

    #[test]
    fn a_frame_carries_its_length_and_a_too_large_one_is_refused() {
        let mut out = OutFrame::new();
        for size in [0, 10, 1_000] {
            out.begin();
            out.push(Bytes::from(vec![0; size]));
            out.finish(1_000).unwrap();
        }
        let bytes = out.to_bytes();
        assert_eq!(&bytes[..8], [0, 0, 0, 0, 0, 0, 0, 10]);
        assert_eq!(bytes.len(), 12 + 1_010);
        out.begin();
        out.push(Bytes::from(vec![0; 1_001]));
        assert_eq!(out.finish(1_000), Err(WireError::TooLarge { field: "frame", size: 1_001, max: 1_000 }));
        assert_eq!(out.to_bytes(), bytes, "the frames before it stay");
        assert!(out.finish(1_000).is_err(), "nothing is begun");
    }

    #[test]
    fn the_size_of_a_variable_length_integer_is_known_beforehand() {
        for value in [0, 1, 127, 128, 16_383, 16_384, u32::MAX as usize] {
            let mut out = Vec::new();
            put_uvarlong(&mut out, value as u64);
            assert_eq!(out.len(), uvarint_len(value), "{value}");
        }
    }
}
