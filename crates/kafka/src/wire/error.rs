//! What can be wrong with bytes of the protocol, or with a message that we try to write.

use crate::wire::compression::Compression;

/// Whose mistake an error is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The bytes that the other side sent do not keep to the protocol.
    Peer,
    /// What we were asked to write does not fit the protocol.
    Us,
}

/// An error of the codec. Every variant that concerns a field names it as the protocol's schema does.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The bytes end within a field.
    #[error("{field}: {needed} bytes wanted, {left} left")]
    Truncated {
        /// The field that was being read.
        field: &'static str,
        /// Bytes that the field needs.
        needed: usize,
        /// Bytes that are left.
        left: usize,
    },
    /// A length is over its bound.
    #[error("{field}: {size} bytes, at most {max} are allowed")]
    TooLarge {
        /// The field that carries the length.
        field: &'static str,
        /// The length found, bytes.
        size: u64,
        /// The bound, bytes.
        max: u64,
    },
    /// A count is negative where that has no meaning, over its bound, or more than the bytes left could hold.
    #[error("{field}: a count of {count}, at most {max} are possible here")]
    BadCount {
        /// The field that carries the count.
        field: &'static str,
        /// The count found.
        count: i64,
        /// The bound that it broke.
        max: u64,
    },
    /// A length is negative where that has no meaning.
    #[error("{field}: a length of {length}")]
    BadLength {
        /// The field that carries the length.
        field: &'static str,
        /// The length found.
        length: i64,
    },
    /// A field holds a value that the protocol does not know.
    #[error("{field}: the value {value} has no meaning here")]
    BadValue {
        /// The field.
        field: &'static str,
        /// The value found.
        value: i64,
    },
    /// A variable-length integer is longer than its type.
    #[error("{field}: a variable-length integer is longer than its type")]
    BadVarint {
        /// The field.
        field: &'static str,
    },
    /// A string is not UTF-8.
    #[error("{field}: not UTF-8")]
    BadUtf8 {
        /// The field.
        field: &'static str,
    },
    /// A field that must not be null is null.
    #[error("{field}: must not be null")]
    Null {
        /// The field.
        field: &'static str,
    },
    /// A tagged field is out of order, doubled, or not known in this version.
    #[error("{field}: tag {tag} is out of order or not valid in this version")]
    BadTag {
        /// The structure whose tagged fields were being read.
        field: &'static str,
        /// The tag found.
        tag: u32,
    },
    /// Bytes are left after the end of a message or structure.
    #[error("{field}: {left} bytes left after the end")]
    Trailing {
        /// The structure that has ended.
        field: &'static str,
        /// The bytes left over.
        left: usize,
    },
    /// A record batch's checksum does not match its bytes.
    #[error("batch checksum: stored {stored:08x}, computed {computed:08x}")]
    BadCrc {
        /// The checksum in the batch.
        stored: u32,
        /// The checksum of the bytes.
        computed: u32,
    },
    /// Records are in a format other than 2.
    #[error("batch magic: format {magic}, only 2 is supported")]
    BadMagic {
        /// The format found.
        magic: i8,
    },
    /// Compressed records cannot be decompressed.
    #[error("records: not valid {codec} data")]
    BadCompression {
        /// The codec that the batch names.
        codec: Compression,
    },
    /// The API or its version is not one that this codec knows.
    #[error("api {api} version {version} is not supported")]
    Unsupported {
        /// The API key.
        api: i16,
        /// The version.
        version: i16,
    },
    /// A message holds a value that cannot be written in the version asked for.
    #[error("{field}: cannot be written in version {version}")]
    Unwritable {
        /// The field or message.
        field: &'static str,
        /// The version asked for.
        version: i16,
    },
    /// The shape guard passed a message that the decoder then refused: a value inside it has no meaning.
    #[error("api {api} version {version}: a field has no valid value")]
    Malformed {
        /// The API key.
        api: i16,
        /// The version.
        version: i16,
    },
}

impl WireError {
    /// Whose mistake this is.
    pub fn side(&self) -> Side {
        match self {
            Self::Unwritable { .. } => Side::Us,
            _ => Side::Peer,
        }
    }

    /// Whether sending the same again can help: only for a checksum, which a fault on the way can break.
    pub fn is_retriable(&self) -> bool {
        matches!(self, Self::BadCrc { .. })
    }
}
