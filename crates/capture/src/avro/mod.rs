//! Avro as far as change records need it: primitives, the fingerprint of a schema, and a schema's canonical form.

mod fingerprint;
mod value;

pub(crate) use fingerprint::crc64;
pub use value::{Kind, Unfit};

/// Appends an `int` or `long`: zigzag, seven bits a byte, the lowest first.
pub(crate) fn put_long(out: &mut Vec<u8>, value: i64) {
    let mut left = ((value << 1) ^ (value >> 63)).cast_unsigned();
    while left >= 0x80 {
        out.push(left.to_le_bytes()[0] | 0x80);
        left >>= 7;
    }
    out.push(left.to_le_bytes()[0]);
}

/// Reads an `int` or `long`; the bytes behind it.
pub(crate) fn take_long(bytes: &[u8]) -> Option<(i64, &[u8])> {
    let mut value = 0u64;
    for (index, byte) in bytes.iter().enumerate().take(10) {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            let value = (value >> 1).cast_signed() ^ -(value & 1).cast_signed();
            return Some((value, &bytes[index + 1..]));
        }
    }
    None
}

/// Appends a `string` or `bytes`.
pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_long(out, i64::try_from(bytes.len()).expect("a piece of memory is shorter than 2^63"));
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test panics on failure

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_put_is_taken(value: i64, rest: Vec<u8>) {
            let mut bytes = Vec::new();
            put_long(&mut bytes, value);
            bytes.extend_from_slice(&rest);
            prop_assert_eq!(take_long(&bytes), Some((value, rest.as_slice())));
        }

        #[test]
        fn anything_may_be_read(bytes: Vec<u8>) {
            let read = take_long(&bytes);
            prop_assert!(read.is_none_or(|(_, rest)| rest.len() < bytes.len()));
        }
    }
}
