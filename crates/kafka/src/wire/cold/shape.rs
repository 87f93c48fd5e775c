//! How a message is declared to the guard, and how the guard walks it.

use crate::wire::read::uvarint;
use crate::wire::{TAGS_MAX, WireError};

/// A field of a structure.
pub(super) struct Field {
    pub(super) name: &'static str,
    /// The versions that have it, first and last.
    pub(super) versions: (i16, i16),
    /// Its tag, if it is a tagged field.
    pub(super) tag: Option<u32>,
    pub(super) shape: Shape,
}

/// What a field holds.
pub(super) enum Shape {
    /// As many bytes.
    Fixed(usize),
    /// A string, null or not: whether null is allowed is the decoder's question.
    Text,
    /// Bytes, null or not.
    Bytes,
    /// A count and as many elements, null or not.
    Array(&'static Shape),
    /// The fields one after the other, and the tagged ones.
    Struct(&'static [Field]),
    /// A byte that says whether the structure follows.
    Nullable(&'static [Field]),
}

impl Field {
    fn is_in(&self, version: i16) -> bool {
        (self.versions.0..=self.versions.1).contains(&version)
    }
}

/// Declares messages. `name @5: i32` is there from version 5 on, `name @0 to 4: i32` up to 4, `name tag 0: str` is a
/// tagged field; `[x]` is an array, `{ .. }` a structure, `(nullable { .. })` one behind a byte.
macro_rules! shapes {
    ($($message:ident: { $($body:tt)* },)*) => {
        $(pub(super) static $message: &[Field] = $crate::wire::cold::shape::fields!($($body)*);)*
    };
}

macro_rules! fields {
    ($($name:ident $(@ $from:literal $(to $to:literal)?)? $(tag $tag:literal)?: $shape:tt),* $(,)?) => {
        &[$($crate::wire::cold::shape::Field {
            name: stringify!($name),
            versions: (
                $crate::wire::cold::shape::first!($($from,)? 0),
                $crate::wire::cold::shape::first!($($($to,)?)? i16::MAX),
            ),
            tag: $crate::wire::cold::shape::first!($(Some($tag),)? None),
            shape: $crate::wire::cold::shape::shape!($shape),
        }),*]
    };
}

macro_rules! shape {
    (bool) => {
        $crate::wire::cold::shape::Shape::Fixed(1)
    };
    (i8) => {
        $crate::wire::cold::shape::Shape::Fixed(1)
    };
    (i16) => {
        $crate::wire::cold::shape::Shape::Fixed(2)
    };
    (i32) => {
        $crate::wire::cold::shape::Shape::Fixed(4)
    };
    (i64) => {
        $crate::wire::cold::shape::Shape::Fixed(8)
    };
    (uuid) => {
        $crate::wire::cold::shape::Shape::Fixed(16)
    };
    (str) => {
        $crate::wire::cold::shape::Shape::Text
    };
    (bytes) => {
        $crate::wire::cold::shape::Shape::Bytes
    };
    ([$inner:tt]) => {
        $crate::wire::cold::shape::Shape::Array(&$crate::wire::cold::shape::shape!($inner))
    };
    ({ $($body:tt)* }) => {
        $crate::wire::cold::shape::Shape::Struct($crate::wire::cold::shape::fields!($($body)*))
    };
    ((nullable { $($body:tt)* })) => {
        $crate::wire::cold::shape::Shape::Nullable($crate::wire::cold::shape::fields!($($body)*))
    };
}

/// The first of what is given.
macro_rules! first {
    ($first:expr $(, $rest:expr)*) => {
        $first
    };
}

pub(super) use {fields, first, shape, shapes};

/// Walks a message of the shape and allocates nothing; gives how many bytes are left after its end. Every length and
/// count must lie within the bytes left, and it may hold at most `elements_max` elements of variable size.
pub(super) fn walk(
    message: &'static [Field],
    version: i16,
    flexible: bool,
    bytes: &[u8],
    elements_max: usize,
) -> Result<usize, WireError> {
    let mut walk = Walk { rest: bytes, version, flexible, elements_max, elements: 0 };
    walk.structure(message, "message tags")?;
    Ok(walk.rest.len())
}

struct Walk<'a> {
    rest: &'a [u8],
    version: i16,
    flexible: bool,
    elements_max: usize,
    elements: usize,
}

impl Walk<'_> {
    fn structure(&mut self, fields: &'static [Field], name: &'static str) -> Result<(), WireError> {
        let version = self.version;
        for field in fields.iter().filter(|field| field.tag.is_none() && field.is_in(version)) {
            self.value(&field.shape, field.name)?;
        }
        if self.flexible { self.tags(fields, name) } else { Ok(()) }
    }

    fn tags(&mut self, fields: &'static [Field], name: &'static str) -> Result<(), WireError> {
        let count = self.uvarint(name)?;
        if count as usize > TAGS_MAX {
            return Err(WireError::BadCount { field: name, count: i64::from(count), max: TAGS_MAX as u64 });
        }
        let mut previous = None;
        for _ in 0..count {
            let tag = self.uvarint(name)?;
            if previous.is_some_and(|previous| tag <= previous) {
                return Err(WireError::BadTag { field: name, tag });
            }
            previous = Some(tag);
            let size = self.uvarint(name)? as usize;
            let value = self.take(size, name)?;
            let Some(known) = fields.iter().find(|field| field.tag == Some(tag)) else {
                // The decoder keeps it in a map.
                self.elements += possible(1, self.elements_max - self.elements, name)?;
                continue;
            };
            if !known.is_in(self.version) {
                return Err(WireError::BadTag { field: known.name, tag });
            }
            // The decoder reads a known field by its shape, whatever size it was given: both must agree.
            let after = std::mem::replace(&mut self.rest, value);
            self.value(&known.shape, known.name)?;
            if !self.rest.is_empty() {
                return Err(WireError::Trailing { field: known.name, left: self.rest.len() });
            }
            self.rest = after;
        }
        Ok(())
    }

    fn value(&mut self, shape: &'static Shape, name: &'static str) -> Result<(), WireError> {
        match shape {
            Shape::Fixed(size) => self.take(*size, name).map(|_| ()),
            Shape::Text => {
                let length = if self.flexible { self.compact(name)? } else { i64::from(self.i16(name)?) };
                match std::str::from_utf8(self.sized(length, name)?) {
                    Ok(_) => Ok(()),
                    Err(_) => Err(WireError::BadUtf8 { field: name }),
                }
            }
            Shape::Bytes => {
                let length = self.length(name)?;
                self.sized(length, name).map(|_| ())
            }
            Shape::Array(element) => self.array(element, name),
            Shape::Struct(fields) => self.structure(fields, name),
            Shape::Nullable(fields) => match self.take(1, name)? {
                [1] => self.structure(fields, name),
                _ => Ok(()),
            },
        }
    }

    fn array(&mut self, element: &'static Shape, name: &'static str) -> Result<(), WireError> {
        let count = self.length(name)?;
        if count == -1 {
            return Ok(());
        }
        if let Shape::Fixed(size) = element {
            let max = self.rest.len() / size;
            let count = possible(count, max, name)?;
            return self.take(count * size, name).map(|_| ());
        }
        // An element takes a byte at least, so that a count above the bytes left is a lie.
        let max = self.rest.len().min(self.elements_max - self.elements);
        let count = possible(count, max, name)?;
        self.elements += count;
        (0..count).try_for_each(|_| self.value(element, name))
    }

    /// The length of bytes or the count of an array; -1 for null.
    fn length(&mut self, name: &'static str) -> Result<i64, WireError> {
        if self.flexible {
            return self.compact(name);
        }
        let bytes = self.take(4, name)?;
        Ok(i64::from(i32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])))
    }

    fn compact(&mut self, name: &'static str) -> Result<i64, WireError> {
        Ok(i64::from(self.uvarint(name)?) - 1)
    }

    fn i16(&mut self, name: &'static str) -> Result<i16, WireError> {
        let bytes = self.take(2, name)?;
        Ok(i16::from_be_bytes([bytes[0], bytes[1]]))
    }

    fn uvarint(&mut self, name: &'static str) -> Result<u32, WireError> {
        let (value, size) = uvarint(self.rest, name)?;
        self.rest = &self.rest[size..];
        Ok(value)
    }

    fn sized(&mut self, length: i64, field: &'static str) -> Result<&[u8], WireError> {
        match usize::try_from(length) {
            Ok(size) => self.take(size, field),
            Err(_) if length == -1 => Ok(&[]),
            Err(_) => Err(WireError::BadLength { field, length }),
        }
    }
}

impl<'a> Walk<'a> {
    fn take(&mut self, size: usize, field: &'static str) -> Result<&'a [u8], WireError> {
        let left = self.rest.len();
        let Some((taken, rest)) = self.rest.split_at_checked(size) else {
            return Err(WireError::Truncated { field, needed: size, left });
        };
        self.rest = rest;
        Ok(taken)
    }
}

fn possible(count: i64, max: usize, field: &'static str) -> Result<usize, WireError> {
    match usize::try_from(count) {
        Ok(count) if count <= max => Ok(count),
        _ => Err(WireError::BadCount { field, count, max: max as u64 }),
    }
}
