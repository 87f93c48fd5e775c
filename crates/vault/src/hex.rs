//! Lower-case hexadecimal digits as bytes: a token has one text, so that no other is taken for it.

/// Bytes of digits.
pub(crate) fn from_hex(text: &str) -> Option<Vec<u8>> {
    let (pairs, odd) = text.as_bytes().as_chunks::<2>();
    let digit = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let byte = |[high, low]: &[u8; 2]| Some((digit(*high)? << 4) | digit(*low)?);
    if odd.is_empty() { pairs.iter().map(byte).collect() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_lower_case_bytes_are_read() {
        let check = |text: &str, expect: Option<&[u8]>| assert_eq!(from_hex(text).as_deref(), expect, "{text}");
        check("00ff10", Some(&[0, 255, 16]));
        check("", Some(&[]));
        check("0", None);
        check("0G", None);
        check("FF", None);
    }
}
