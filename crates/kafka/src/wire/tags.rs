//! Tagged fields that the schema does not know, kept so that a message passes through unharmed.

use bytes::Bytes;

use crate::wire::read::uvarint;

/// The unknown tagged fields of one structure. Empty in practice, and then costs a pointer and no allocation.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tags(Option<Box<Raw>>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Raw {
    count: u32,
    /// The fields as they stand on the wire: tag, size, value, one after the other.
    fields: Bytes,
}

impl Tags {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// How many fields there are.
    pub fn len(&self) -> usize {
        self.count() as usize
    }

    /// Tag and value of each field, by rising tag.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &[u8])> {
        let mut rest: &[u8] = self.fields();
        std::iter::from_fn(move || {
            // What was read was checked; a failure here only ends the listing.
            let (tag, size) = uvarint(rest, "tag").ok()?;
            rest = &rest[size..];
            let (length, size) = uvarint(rest, "tag size").ok()?;
            let (value, after) = rest[size..].split_at_checked(length as usize)?;
            rest = after;
            Some((tag, value))
        })
    }

    pub(crate) fn count(&self) -> u32 {
        self.0.as_ref().map_or(0, |raw| raw.count)
    }

    pub(crate) fn fields(&self) -> &[u8] {
        self.0.as_ref().map_or(&[], |raw| &raw.fields)
    }
}

/// Fields that were read and checked: `count` of them, in wire form.
pub(crate) fn raw(count: u32, fields: Bytes) -> Tags {
    Tags(Some(Box::new(Raw { count, fields })))
}
