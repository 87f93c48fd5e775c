//! Bytes as hexadecimal digits, as keys, signatures and heads are written.

/// Lower-case digits of bytes.
pub fn to_hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}

/// Exactly `N` bytes from digits of either case.
pub fn from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let digit = |digit: u8| (digit as char).to_digit(16);
        *byte = (digit(digits[0])? << 4 | digit(digits[1])?) as u8;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_and_bytes_are_each_other() {
        let check = |text: &str, expect: Option<[u8; 3]>| assert_eq!(from_hex(text), expect, "{text}");
        check("00ff10", Some([0, 255, 16]));
        check("00FF10", Some([0, 255, 16]));
        check("00ff1", None);
        check("00ff1000", None);
        check("00ff1g", None);
        check("0\u{e9}ff1", None);
        assert_eq!(to_hex(&[0, 255, 16]), "00ff10");
    }
}
