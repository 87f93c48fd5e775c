//! Reading of the protocol's primitive types from a buffer, without copying.

use bytes::Bytes;

use crate::wire::{StrBytes, TAGS_MAX, Tags, TopicId, WireError, tags};

/// A position in a message. Strings and byte fields are slices that share the message's memory.
pub(crate) struct Reader {
    bytes: Bytes,
    at: usize,
    /// Where reading must stop: the end of the message, or of the tagged field that is being read.
    end: usize,
}

macro_rules! fixed {
    ($($name:ident: $type:ty;)*) => {
        $(
            pub(crate) fn $name(&mut self, field: &'static str) -> Result<$type, WireError> {
                const SIZE: usize = size_of::<$type>();
                let Some(bytes) = self.bytes[self.at..self.end].first_chunk::<SIZE>() else {
                    return Err(WireError::Truncated { field, needed: SIZE, left: self.left() });
                };
                self.at += SIZE;
                Ok(<$type>::from_be_bytes(*bytes))
            }
        )*
    };
}

impl Reader {
    pub(crate) fn new(bytes: Bytes) -> Self {
        let end = bytes.len();
        Self { bytes, at: 0, end }
    }

    /// Bytes not read yet.
    pub(crate) fn left(&self) -> usize {
        self.end - self.at
    }

    /// What is left, as a slice.
    pub(crate) fn into_rest(self) -> Bytes {
        self.bytes.slice(self.at..self.end)
    }

    /// Ends the reading of a message: nothing may be left.
    pub(crate) fn finish(self, field: &'static str) -> Result<(), WireError> {
        match self.left() {
            0 => Ok(()),
            left => Err(WireError::Trailing { field, left }),
        }
    }

    fixed! {
        i8: i8;
        i16: i16;
        i32: i32;
        i64: i64;
    }

    pub(crate) fn uvarint(&mut self, field: &'static str) -> Result<u32, WireError> {
        let (value, size) = uvarint(&self.bytes[self.at..self.end], field)?;
        self.at += size;
        Ok(value)
    }

    pub(crate) fn take(&mut self, size: usize, field: &'static str) -> Result<Bytes, WireError> {
        if size > self.left() {
            return Err(WireError::Truncated { field, needed: size, left: self.left() });
        }
        let start = self.at;
        self.at += size;
        Ok(self.bytes.slice(start..self.at))
    }

    pub(crate) fn topic_id(&mut self, field: &'static str) -> Result<TopicId, WireError> {
        let Some(id) = self.bytes[self.at..self.end].first_chunk::<16>() else {
            return Err(WireError::Truncated { field, needed: 16, left: self.left() });
        };
        self.at += 16;
        Ok(TopicId(*id))
    }

    /// A nullable string: a 16-bit length, or a compact one in flexible versions.
    pub(crate) fn nullable_string(
        &mut self,
        flexible: bool,
        field: &'static str,
    ) -> Result<Option<StrBytes>, WireError> {
        let length = if flexible { i64::from(self.uvarint(field)?) - 1 } else { i64::from(self.i16(field)?) };
        let Some(bytes) = self.sized(length, field)? else { return Ok(None) };
        StrBytes::from_utf8(bytes).map(Some).map_err(|_| WireError::BadUtf8 { field })
    }

    pub(crate) fn string(&mut self, flexible: bool, field: &'static str) -> Result<StrBytes, WireError> {
        self.nullable_string(flexible, field)?.ok_or(WireError::Null { field })
    }

    /// A nullable byte field: a 32-bit length, or a compact one in flexible versions.
    pub(crate) fn nullable_bytes(&mut self, flexible: bool, field: &'static str) -> Result<Option<Bytes>, WireError> {
        let length = if flexible { i64::from(self.uvarint(field)?) - 1 } else { i64::from(self.i32(field)?) };
        self.sized(length, field)
    }

    fn sized(&mut self, length: i64, field: &'static str) -> Result<Option<Bytes>, WireError> {
        match length {
            -1 => Ok(None),
            0.. => {
                let size = usize::try_from(length).map_err(|_| WireError::BadLength { field, length })?;
                self.take(size, field).map(Some)
            }
            _ => Err(WireError::BadLength { field, length }),
        }
    }

    /// The count of an array whose elements take at least `element_bytes_min` bytes each. Refuses a count above
    /// `count_max` and one that the bytes left cannot hold, so that the caller may reserve for it.
    pub(crate) fn nullable_count(
        &mut self,
        flexible: bool,
        element_bytes_min: usize,
        count_max: usize,
        field: &'static str,
    ) -> Result<Option<usize>, WireError> {
        let count = if flexible { i64::from(self.uvarint(field)?) - 1 } else { i64::from(self.i32(field)?) };
        if count == -1 {
            return Ok(None);
        }
        let max = count_max.min(self.left() / element_bytes_min);
        match usize::try_from(count) {
            Ok(count) if count <= max => Ok(Some(count)),
            _ => Err(WireError::BadCount { field, count, max: max as u64 }),
        }
    }

    pub(crate) fn count(
        &mut self,
        flexible: bool,
        element_bytes_min: usize,
        count_max: usize,
        field: &'static str,
    ) -> Result<usize, WireError> {
        self.nullable_count(flexible, element_bytes_min, count_max, field)?.ok_or(WireError::Null { field })
    }

    /// Tagged fields of a structure that has no known ones.
    pub(crate) fn tags(&mut self, flexible: bool, field: &'static str) -> Result<Tags, WireError> {
        if !flexible {
            return Ok(Tags::default());
        }
        self.known_tags(field, 0, |_, _| Ok(false))
    }

    /// Tagged fields of a structure whose schema knows the tags below `known`. `read` takes a known field and says
    /// whether this version has it. Unknown fields are kept as they are.
    pub(crate) fn known_tags(
        &mut self,
        field: &'static str,
        known: u32,
        mut read: impl FnMut(u32, &mut Self) -> Result<bool, WireError>,
    ) -> Result<Tags, WireError> {
        let count = self.uvarint(field)?;
        if count == 0 {
            return Ok(Tags::default());
        }
        if count as usize > TAGS_MAX {
            return Err(WireError::BadCount { field, count: i64::from(count), max: TAGS_MAX as u64 });
        }
        let mut previous = None;
        // Tags rise and the known ones are the lowest, so that the unknown ones are one piece at the end.
        let mut unknown = None;
        let mut unknown_count = 0;
        for _ in 0..count {
            let start = self.at;
            let tag = self.uvarint(field)?;
            if previous.is_some_and(|previous| tag <= previous) {
                return Err(WireError::BadTag { field, tag });
            }
            previous = Some(tag);
            let size = self.uvarint(field)? as usize;
            if size > self.left() {
                return Err(WireError::Truncated { field, needed: size, left: self.left() });
            }
            let stop = self.at + size;
            if tag < known {
                let end = std::mem::replace(&mut self.end, stop);
                let taken = read(tag, self)?;
                if !taken {
                    return Err(WireError::BadTag { field, tag });
                }
                if self.at != stop {
                    return Err(WireError::Trailing { field, left: stop - self.at });
                }
                self.end = end;
            } else {
                unknown.get_or_insert(start);
                unknown_count += 1;
                self.at = stop;
            }
        }
        Ok(match unknown {
            Some(start) => tags::raw(unknown_count, self.bytes.slice(start..self.at)),
            None => Tags::default(),
        })
    }
}

/// An unsigned variable-length integer of 32 bits, and the number of its bytes.
pub(crate) fn uvarint(bytes: &[u8], field: &'static str) -> Result<(u32, usize), WireError> {
    let mut value = 0_u32;
    for (index, &byte) in bytes.iter().take(5).enumerate() {
        if index == 4 && byte > 0x0f {
            return Err(WireError::BadVarint { field });
        }
        value |= u32::from(byte & 0x7f) << (7 * index);
        if byte < 0x80 {
            return Ok((value, index + 1));
        }
    }
    Err(WireError::Truncated { field, needed: 1, left: 0 })
}

/// An unsigned variable-length integer of 64 bits, and the number of its bytes.
pub(crate) fn uvarlong(bytes: &[u8], field: &'static str) -> Result<(u64, usize), WireError> {
    let mut value = 0_u64;
    for (index, &byte) in bytes.iter().take(10).enumerate() {
        if index == 9 && byte > 0x01 {
            return Err(WireError::BadVarint { field });
        }
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte < 0x80 {
            return Ok((value, index + 1));
        }
    }
    Err(WireError::Truncated { field, needed: 1, left: 0 })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test panics on failure

    use super::*;

    fn check_uvarint(bytes: &[u8], expect: Result<(u32, usize), WireError>) {
        assert_eq!(uvarint(bytes, "x"), expect, "{bytes:?}");
    }

    #[test]
    fn variable_length_integers_are_bounded_by_their_type() {
        check_uvarint(&[0x00], Ok((0, 1)));
        check_uvarint(&[0xff, 0x01], Ok((255, 2)));
        check_uvarint(&[0xff, 0xff, 0xff, 0xff, 0x0f], Ok((u32::MAX, 5)));
        check_uvarint(&[0xff, 0xff, 0xff, 0xff, 0x1f], Err(WireError::BadVarint { field: "x" }));
        check_uvarint(&[0xff; 9], Err(WireError::BadVarint { field: "x" }));
        check_uvarint(&[0x80], Err(WireError::Truncated { field: "x", needed: 1, left: 0 }));
        assert_eq!(uvarlong(&[0xff; 10], "x"), Err(WireError::BadVarint { field: "x" }));
    }

    #[test]
    fn a_count_that_the_bytes_cannot_hold_is_refused() {
        let mut reader = Reader::new(Bytes::from_static(&[0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0]));
        assert_eq!(
            reader.count(false, 4, 1_000_000, "topics"),
            Err(WireError::BadCount { field: "topics", count: i64::from(i32::MAX), max: 1 })
        );
    }

    #[test]
    fn unknown_tags_are_kept_and_must_rise() {
        // Two fields: tag 3 with one byte, tag 9 with none.
        let mut reader = Reader::new(Bytes::from_static(&[2, 3, 1, 0xaa, 9, 0]));
        let tags = reader.tags(true, "x").unwrap();
        assert_eq!(
            tags.iter().map(|(tag, value)| (tag, value.to_vec())).collect::<Vec<_>>(),
            vec![(3, vec![0xaa]), (9, vec![])]
        );
        let mut falling = Reader::new(Bytes::from_static(&[2, 9, 0, 3, 0]));
        assert_eq!(falling.tags(true, "x"), Err(WireError::BadTag { field: "x", tag: 3 }));
    }
}
