//! The three kinds of token, over keys that are handed in. Pure.

use aes::Aes256;
use aes_siv::KeyInit as _;
use aes_siv::siv::Aes256Siv;
use fpe::ff1::{FF1, FlexibleNumeralString};
use naru_runtime::hex::to_hex;
use ring::hmac;

use crate::hex::from_hex;

/// Bytes of the secret that every key of a field's version comes from.
pub const SECRET_BYTES: usize = 32;

/// Fewest values that a format-preserving token may stand for: NIST SP 800-38G Revision 1 wants radix^length of at least
/// a million, since a smaller domain can be tried out.
pub const DOMAIN_MIN: f64 = 1_000_000.0;

/// Most letters of a format-preserving token: far more than a card, an account or a phone number has. The work of FF1 grows
/// with their square.
pub const LETTERS_MAX: usize = 256;

/// What stands between digits and letters and stays where it is.
const SEPARATORS: &[char] = &['-', ' ', '.', '/', '(', ')', '+', ':'];

/// A kind of token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// HMAC-SHA-256: to join on; nothing brings the value back.
    Hmac,
    /// FF1 (NIST SP 800-38G): as long as the value and of the same alphabet.
    Ff1,
    /// AES-SIV (RFC 5297): equal values have equal tokens, and the value can be brought back.
    Siv,
}

/// What a format-preserving token is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Alphabet {
    /// 0 to 9.
    Digits,
    /// 0 to 9, A to Z, a to z.
    Alphanumeric,
}

impl Alphabet {
    fn radix(self) -> u16 {
        match self {
            Self::Digits => 10,
            Self::Alphanumeric => 62,
        }
    }

    fn numeral(self, letter: char) -> Option<u16> {
        let value = match letter {
            '0'..='9' => u32::from(letter) - u32::from('0'),
            'A'..='Z' => u32::from(letter) - u32::from('A') + 10,
            'a'..='z' => u32::from(letter) - u32::from('a') + 36,
            _ => return None,
        };
        u16::try_from(value).ok().filter(|value| *value < self.radix())
    }

    fn letter(numeral: u16) -> char {
        const LETTERS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
        LETTERS.get(usize::from(numeral)).copied().map_or('0', char::from)
    }
}

/// Why there is no token, or no value. Never says the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// A format-preserving token of so few letters could be tried out.
    #[error(
        "has too few letters of its alphabet: a token of it could be found by trying (NIST SP 800-38G wants a million values)"
    )]
    TooSmall,
    /// More letters than anything whose shape matters.
    #[error("has more than {LETTERS_MAX} letters of its alphabet")]
    TooLong,
    /// A letter that is neither of the alphabet nor a separator.
    #[error("has a letter that its field's alphabet does not have")]
    Alphabet,
    /// Not one of these tokens, or altered.
    #[error("is no token of this field and kind")]
    NoToken,
    /// Nothing brings the value of such a token back.
    #[error("is of a kind that nothing brings back")]
    OneWay,
}

/// The keys of one version of a field.
pub struct Keys {
    hmac: hmac::Key,
    ff1: [u8; 32],
    siv: [u8; 64],
}

impl Keys {
    /// Makes the key of each kind from the version's secret, so that what is known of one says nothing of another.
    pub fn derive(secret: &[u8; SECRET_BYTES]) -> Self {
        // HKDF-Expand (RFC 5869) by hand: one block of HMAC-SHA-256 per 32 bytes, of a secret that is random already.
        let root = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let block = |label: &str| {
            let mut bytes = [0; 32];
            bytes.copy_from_slice(hmac::sign(&root, format!("naru vault {label} \u{1}").as_bytes()).as_ref());
            bytes
        };
        let mut siv = [0; 64];
        siv[..32].copy_from_slice(&block("siv mac"));
        siv[32..].copy_from_slice(&block("siv cipher"));
        Self { hmac: hmac::Key::new(hmac::HMAC_SHA256, &block("hmac")), ff1: block("ff1"), siv }
    }
}

/// The token of a value. Tokens of HMAC and AES-SIV say their version; one of FF1 cannot, since its shape is the value's.
///
/// # Errors
/// When the value has none.
pub fn tokenise(
    kind: Kind,
    keys: &Keys,
    field: &str,
    version: u32,
    alphabet: Alphabet,
    value: &str,
) -> Result<String, TokenError> {
    match kind {
        Kind::Hmac => Ok(format!("h{version}_{}", to_hex(hmac::sign(&keys.hmac, value.as_bytes()).as_ref()))),
        Kind::Siv => {
            let sealed = Aes256Siv::new(&keys.siv.into()).encrypt([field.as_bytes()], value.as_bytes());
            sealed.map(|sealed| format!("s{version}_{}", to_hex(&sealed))).map_err(|_| TokenError::NoToken)
        }
        Kind::Ff1 => shaped(value, alphabet, |numerals| ff1(&keys.ff1, field.as_bytes(), alphabet, numerals, true)),
    }
}

/// The value of a token.
///
/// # Errors
/// When it is none, or of a kind that cannot be brought back.
pub fn resolve(kind: Kind, keys: &Keys, field: &str, alphabet: Alphabet, token: &str) -> Result<String, TokenError> {
    match kind {
        Kind::Hmac => Err(TokenError::OneWay),
        Kind::Siv => {
            let (_, sealed) = token.split_once('_').ok_or(TokenError::NoToken)?;
            let sealed = from_hex(sealed).ok_or(TokenError::NoToken)?;
            let opened = Aes256Siv::new(&keys.siv.into()).decrypt([field.as_bytes()], &sealed);
            opened.ok().and_then(|opened| String::from_utf8(opened).ok()).ok_or(TokenError::NoToken)
        }
        Kind::Ff1 => shaped(token, alphabet, |numerals| ff1(&keys.ff1, field.as_bytes(), alphabet, numerals, false)),
    }
}

/// The version that a token says it was made by.
pub fn version_of(kind: Kind, token: &str) -> Option<u32> {
    let mark = match kind {
        Kind::Hmac => 'h',
        Kind::Siv => 's',
        Kind::Ff1 => return None,
    };
    token.strip_prefix(mark)?.split_once('_')?.0.parse().ok()
}

/// Changes the letters of a text and leaves its separators where they are.
fn shaped(
    text: &str,
    alphabet: Alphabet,
    change: impl FnOnce(Vec<u16>) -> Result<Vec<u16>, TokenError>,
) -> Result<String, TokenError> {
    let mut numerals = Vec::with_capacity(text.len().min(LETTERS_MAX));
    for letter in text.chars().filter(|letter| !SEPARATORS.contains(letter)) {
        if numerals.len() == LETTERS_MAX {
            return Err(TokenError::TooLong);
        }
        numerals.push(alphabet.numeral(letter).ok_or(TokenError::Alphabet)?);
    }
    let letters = i32::try_from(numerals.len()).unwrap_or(i32::MAX);
    if f64::from(alphabet.radix()).powi(letters) < DOMAIN_MIN {
        return Err(TokenError::TooSmall);
    }
    let mut changed = change(numerals)?.into_iter();
    let place = |letter: char| match SEPARATORS.contains(&letter) {
        true => letter,
        false => changed.next().map_or(letter, Alphabet::letter),
    };
    Ok(text.chars().map(place).collect())
}

fn ff1(
    key: &[u8; 32],
    tweak: &[u8],
    alphabet: Alphabet,
    numerals: Vec<u16>,
    forward: bool,
) -> Result<Vec<u16>, TokenError> {
    let cipher = FF1::<Aes256>::new(key, u32::from(alphabet.radix())).map_err(|_| TokenError::Alphabet)?;
    let text = FlexibleNumeralString::from(numerals);
    let changed = if forward { cipher.encrypt(tweak, &text) } else { cipher.decrypt(tweak, &text) };
    changed.map(Into::into).map_err(|_| TokenError::TooSmall)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test panics on failure

    use aes_siv::siv::Aes128Siv;
    use proptest::prelude::*;

    use super::*;

    fn keys(of: u8) -> Keys {
        Keys::derive(&[of; SECRET_BYTES])
    }

    #[test]
    fn ff1_is_that_of_nist() {
        // NIST's samples of FF1 with AES-256: 7, 8 and 9.
        let key: [u8; 32] =
            from_hex("2b7e151628aed2a6abf7158809cf4f3cef4359d8d580aa4f7f036d6f04fc6a94").unwrap().try_into().unwrap();
        let digits =
            |text: &str| text.chars().map(|letter| Alphabet::Digits.numeral(letter).unwrap()).collect::<Vec<_>>();
        let check = |tweak: &str, plain: &str, expect: &str| {
            let tweak = from_hex(tweak).unwrap();
            assert_eq!(ff1(&key, &tweak, Alphabet::Digits, digits(plain), true).unwrap(), digits(expect));
            assert_eq!(ff1(&key, &tweak, Alphabet::Digits, digits(expect), false).unwrap(), digits(plain));
        };
        check("", "0123456789", "6657667009");
        check("39383736353433323130", "0123456789", "1001623463");
    }

    #[test]
    fn aes_siv_is_that_of_rfc_5297() {
        // Appendix A.1.
        let key = from_hex("fffefdfcfbfaf9f8f7f6f5f4f3f2f1f0f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff").unwrap();
        let header = from_hex("101112131415161718191a1b1c1d1e1f2021222324252627").unwrap();
        let sealed = Aes128Siv::new_from_slice(&key)
            .unwrap()
            .encrypt([header], &from_hex("112233445566778899aabbccddee").unwrap());
        assert_eq!(to_hex(&sealed.unwrap()), "85632d07c6e8f37f950acd320a2ecc9340c02b9690c4dc04daef7f6afe5c");
    }

    #[test]
    fn hmac_is_that_of_rfc_4231() {
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"Jefe");
        let keys = Keys { hmac: key, ..keys(0) };
        let token = tokenise(Kind::Hmac, &keys, "f", 3, Alphabet::Digits, "what do ya want for nothing?").unwrap();
        assert_eq!(token, "h3_5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
        assert_eq!(version_of(Kind::Hmac, &token), Some(3));
        assert_eq!(resolve(Kind::Hmac, &keys, "f", Alphabet::Digits, &token), Err(TokenError::OneWay));
    }

    #[test]
    fn a_shaped_token_keeps_its_shape_and_small_ones_are_refused() {
        let token = |alphabet, value| tokenise(Kind::Ff1, &keys(1), "phone", 1, alphabet, value);
        let made = token(Alphabet::Digits, "010-1234-5678").unwrap();
        assert!(made != "010-1234-5678" && made.len() == 13 && made.chars().filter(char::is_ascii_digit).count() == 11);
        assert_eq!((&made[3..4], &made[8..9]), ("-", "-"));
        let check = |alphabet, value, expect| assert_eq!(token(alphabet, value), Err(expect), "{value}");
        check(Alphabet::Digits, "12345", TokenError::TooSmall);
        check(Alphabet::Alphanumeric, "abc", TokenError::TooSmall);
        check(Alphabet::Digits, "", TokenError::TooSmall);
        let (long, longer) = ("1".repeat(LETTERS_MAX), "1".repeat(LETTERS_MAX + 1));
        assert!(token(Alphabet::Digits, &long).is_ok());
        check(Alphabet::Digits, &longer, TokenError::TooLong);
        check(Alphabet::Digits, "12345a", TokenError::Alphabet);
        check(Alphabet::Alphanumeric, "홍길동1234567", TokenError::Alphabet);
    }

    #[test]
    fn a_token_of_another_field_or_an_altered_one_does_not_resolve() {
        let made = tokenise(Kind::Siv, &keys(1), "name", 1, Alphabet::Digits, "홍길동").unwrap();
        let open = |keys: &Keys, field: &str, token: &str| resolve(Kind::Siv, keys, field, Alphabet::Digits, token);
        assert_eq!(open(&keys(1), "name", &made).as_deref(), Ok("홍길동"));
        assert_eq!(open(&keys(1), "phone", &made), Err(TokenError::NoToken));
        assert_eq!(open(&keys(2), "name", &made), Err(TokenError::NoToken));
        assert_eq!(open(&keys(1), "name", &made[..made.len() - 2]), Err(TokenError::NoToken));
        assert_eq!(open(&keys(1), "name", "plain"), Err(TokenError::NoToken));
    }

    proptest! {
        #[test]
        fn what_is_tokenised_resolves(value: String, digits in "[0-9 -]{6,40}[0-9]{6}", letters in "[0-9A-Za-z]{4,40}") {
            for (kind, alphabet, value) in [
                (Kind::Siv, Alphabet::Digits, &value),
                (Kind::Ff1, Alphabet::Digits, &digits),
                (Kind::Ff1, Alphabet::Alphanumeric, &letters),
            ] {
                let token = tokenise(kind, &keys(7), "f", 2, alphabet, value).unwrap();
                prop_assert_eq!(&tokenise(kind, &keys(7), "f", 2, alphabet, value).unwrap(), &token);
                prop_assert_eq!(&resolve(kind, &keys(7), "f", alphabet, &token).unwrap(), value);
            }
        }
    }
}
