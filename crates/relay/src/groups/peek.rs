//! The two fields of undecoded messages that the relay has to see: which group a request is for, and whether the answer
//! says that the coordinator has moved.

use naru_kafka::wire::ErrorCode;

/// The group that a body begins with: a string, or in flexible versions a compact one.
pub(super) fn group_id(body: &[u8], flexible: bool) -> Option<&str> {
    let (length, rest) = if flexible {
        let (length, rest) = uvarint(body)?;
        // One more than the length; 0 is null, which a group is not.
        (length.checked_sub(1)?, rest)
    } else {
        let (length, rest) = body.split_first_chunk()?;
        (usize::try_from(i16::from_be_bytes(*length)).ok()?, rest)
    };
    std::str::from_utf8(rest.get(..length)?).ok()
}

/// A group's id is at most 32,767 bytes: three groups of seven bits.
fn uvarint(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut value = 0;
    for (index, byte) in bytes.iter().take(3).enumerate() {
        value |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((value, &bytes[index + 1..]));
        }
    }
    None
}

/// The code of an answer that begins with it, or with the throttle time and then the code.
pub(super) fn error_code(body: &[u8], throttled: bool) -> Option<ErrorCode> {
    let at = if throttled { 4 } else { 0 };
    let code = body.get(at..at + 2)?;
    Some(ErrorCode(i16::from_be_bytes(code.try_into().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_group_is_found_in_both_shapes_and_nonsense_has_none() {
        let check =
            |body: &[u8], flexible, expect: Option<&str>| assert_eq!(group_id(body, flexible), expect, "{body:?}");
        check(b"\0\x03payrest", false, Some("pay"));
        check(b"\x04payrest", true, Some("pay"));
        check(b"\0\0", false, Some(""));
        check(b"\x01", true, Some(""));
        check(b"\xff\xff", false, None);
        check(b"\0", true, None);
        check(b"\0\x09pay", false, None);
        check(b"\xff\xff\xff\xff", true, None);
        check(b"", true, None);
        let long = [&[0x81, 0x02][..], "x".repeat(256).as_bytes()].concat();
        check(&long, true, Some("x".repeat(256).as_str()));
        check(&[0, 1, 0xff], false, None);
    }

    #[test]
    fn the_code_is_found_behind_the_throttle_time() {
        assert_eq!(error_code(&[0, 16], false), Some(ErrorCode::NOT_COORDINATOR));
        assert_eq!(error_code(&[0, 0, 0, 9, 0, 27, 1], true), Some(ErrorCode::REBALANCE_IN_PROGRESS));
        assert_eq!(error_code(&[0, 0, 0, 9], true), None);
    }
}
