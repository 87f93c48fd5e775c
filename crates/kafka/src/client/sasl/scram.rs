//! SCRAM (RFC 5802, RFC 7677) without channel binding, the client's side.

use std::num::NonZeroU32;

use ring::{digest, hmac, pbkdf2, rand::SecureRandom};

use super::SaslError;
use crate::client::config::ScramMechanism;

/// RFC 7677 asks for at least 4096: fewer make a stolen exchange cheap to break.
pub const ITERATIONS_MIN: u64 = 4_096;
/// About a second of one core. A hostile broker must not be able to keep us busy for longer.
pub const ITERATIONS_MAX: u64 = 1_000_000;
/// A salt is 16 to 32 bytes in practice.
const SALT_BYTES_MAX: usize = 1_024;
/// Bytes of randomness in our nonce, before base64. RFC 5802 leaves it open; 24 bytes are 192 bits.
const NONCE_BYTES: usize = 24;

/// The exchange before the first answer.
#[derive(Debug)]
pub struct ClientFirst {
    mechanism: ScramMechanism,
    nonce: String,
    bare: String,
}

/// The exchange before the second answer. Holds the signature that the broker has to show.
pub struct ClientFinal {
    mechanism: ScramMechanism,
    server_key: hmac::Key,
    auth_message: Vec<u8>,
}

impl ClientFirst {
    /// Starts an exchange with a fresh nonce.
    pub fn new(mechanism: ScramMechanism, username: &str, random: &dyn SecureRandom) -> Result<Self, SaslError> {
        let mut bytes = [0; NONCE_BYTES];
        random.fill(&mut bytes).map_err(|_| SaslError::Malformed("no randomness for a nonce"))?;
        Self::with_nonce(mechanism, username, base64_encode(&bytes))
    }

    /// Starts an exchange with the given nonce.
    pub fn with_nonce(mechanism: ScramMechanism, username: &str, nonce: String) -> Result<Self, SaslError> {
        // SASLprep would normalise other scripts; brokers compare bytes, so only what breaks the message is refused.
        if username.chars().any(char::is_control) {
            return Err(SaslError::Forbidden("SCRAM"));
        }
        let escaped = username.replace('=', "=3D").replace(',', "=2C");
        let bare = format!("n={escaped},r={nonce}");
        Ok(Self { mechanism, nonce, bare })
    }

    /// The first message.
    pub fn message(&self) -> Vec<u8> {
        format!("n,,{}", self.bare).into_bytes()
    }

    /// Takes the broker's first message; returns our final message and what to verify its answer with.
    pub fn answer(self, password: &str, server_first: &[u8]) -> Result<(Vec<u8>, ClientFinal), SaslError> {
        let server_first =
            std::str::from_utf8(server_first).map_err(|_| SaslError::Malformed("the first message is not UTF-8"))?;
        if let Some(reason) = server_first.strip_prefix("e=") {
            return Err(SaslError::Refused(printable(reason)));
        }
        let mut fields = server_first.split(',');
        let nonce = field(fields.next(), "r=")?;
        let salt = base64_decode(field(fields.next(), "s=")?, SALT_BYTES_MAX)?;
        let iterations: u64 =
            field(fields.next(), "i=")?.parse().map_err(|_| SaslError::Malformed("iterations are not a number"))?;
        if !nonce.starts_with(&self.nonce) || nonce.len() == self.nonce.len() {
            return Err(SaslError::Nonce);
        }
        if salt.is_empty() {
            return Err(SaslError::Malformed("the salt is empty"));
        }
        let rounds = u32::try_from(iterations)
            .ok()
            .filter(|_| (ITERATIONS_MIN..=ITERATIONS_MAX).contains(&iterations))
            .and_then(NonZeroU32::new)
            .ok_or(SaslError::Iterations { found: iterations })?;

        let (hmac_algorithm, digest_algorithm, pbkdf2_algorithm) = algorithms(self.mechanism);
        let mut salted = vec![0; digest_algorithm.output_len()];
        pbkdf2::derive(pbkdf2_algorithm, rounds, &salt, password.as_bytes(), &mut salted);
        let salted = hmac::Key::new(hmac_algorithm, &salted);
        let client_key = hmac::sign(&salted, b"Client Key");
        let stored_key = digest::digest(digest_algorithm, client_key.as_ref());

        // "biws" is "n,," in base64: no channel binding.
        let without_proof = format!("c=biws,r={nonce}");
        let auth_message = format!("{},{server_first},{without_proof}", self.bare).into_bytes();
        let signature = hmac::sign(&hmac::Key::new(hmac_algorithm, stored_key.as_ref()), &auth_message);
        let proof: Vec<u8> = client_key.as_ref().iter().zip(signature.as_ref()).map(|(a, b)| a ^ b).collect();
        let message = format!("{without_proof},p={}", base64_encode(&proof)).into_bytes();

        let server_key = hmac::Key::new(hmac_algorithm, hmac::sign(&salted, b"Server Key").as_ref());
        Ok((message, ClientFinal { mechanism: self.mechanism, server_key, auth_message }))
    }
}

impl ClientFinal {
    /// Holds only if the broker knows the password, too.
    pub fn verify(self, server_final: &[u8]) -> Result<(), SaslError> {
        let text =
            std::str::from_utf8(server_final).map_err(|_| SaslError::Malformed("the final message is not UTF-8"))?;
        if let Some(reason) = text.strip_prefix("e=") {
            return Err(SaslError::Refused(printable(reason)));
        }
        let length = algorithms(self.mechanism).1.output_len();
        let signature = base64_decode(field(text.split(',').next(), "v=")?, length)?;
        // Compares in constant time.
        hmac::verify(&self.server_key, &self.auth_message, &signature).map_err(|_| SaslError::ServerSignature)
    }
}

impl std::fmt::Debug for ClientFinal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientFinal").field("mechanism", &self.mechanism).finish_non_exhaustive()
    }
}

fn algorithms(mechanism: ScramMechanism) -> (hmac::Algorithm, &'static digest::Algorithm, pbkdf2::Algorithm) {
    match mechanism {
        ScramMechanism::Sha256 => (hmac::HMAC_SHA256, &digest::SHA256, pbkdf2::PBKDF2_HMAC_SHA256),
        ScramMechanism::Sha512 => (hmac::HMAC_SHA512, &digest::SHA512, pbkdf2::PBKDF2_HMAC_SHA512),
    }
}

fn field<'a>(part: Option<&'a str>, name: &'static str) -> Result<&'a str, SaslError> {
    part.and_then(|part| part.strip_prefix(name)).ok_or(match name {
        "r=" => SaslError::Malformed("no nonce"),
        "s=" => SaslError::Malformed("no salt"),
        "i=" => SaslError::Malformed("no iterations"),
        _ => SaslError::Malformed("no signature"),
    })
}

/// A broker's words, fit for a log line: no control characters, no more than a line's worth.
fn printable(text: &str) -> String {
    const CHARACTERS_MAX: usize = 200;
    text.chars().filter(|c| !c.is_control()).take(CHARACTERS_MAX).collect()
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

// Base64 of a few dozen bytes at connection time: a dependency would be larger than these two functions.

/// Base64 with padding, as SCRAM writes it.
pub fn base64_encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let word = group.iter().fold(0u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        for index in 0..4 {
            let symbol = ALPHABET[(word >> (18 - 6 * index)) as usize & 63];
            text.push(if index <= group.len() { symbol as char } else { '=' });
        }
    }
    text
}

/// The inverse of [`base64_encode`], up to about so many bytes.
pub fn base64_decode(text: &str, bytes_max: usize) -> Result<Vec<u8>, SaslError> {
    let wrong = SaslError::Malformed("not base64");
    if !text.len().is_multiple_of(4) || text.len() / 4 * 3 > bytes_max.next_multiple_of(3) {
        return Err(wrong);
    }
    let padding = text.bytes().rev().take_while(|byte| *byte == b'=').count();
    if padding > 2 {
        return Err(wrong);
    }
    let symbols = &text.as_bytes()[..text.len() - padding];
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    for group in symbols.chunks(4) {
        let mut word = 0u32;
        for symbol in group {
            let Some(value) = ALPHABET.iter().position(|known| known == symbol) else { return Err(wrong) };
            word = word << 6 | value as u32;
        }
        word <<= 6 * (4 - group.len());
        bytes.extend_from_slice(&word.to_be_bytes()[1..group.len()]);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The exchange of RFC 7677, section 3.
    const NONCE: &str = "rOprNGfwEbeRWgbNEkqO";
    const SERVER_FIRST: &str = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
    const CLIENT_FINAL: &str =
        "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
    const SERVER_FINAL: &str = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";

    fn rfc_first() -> ClientFirst {
        ClientFirst::with_nonce(ScramMechanism::Sha256, "user", NONCE.to_owned()).expect("plain name")
    }

    #[test]
    fn the_exchange_of_rfc_7677_is_reproduced() {
        let first = rfc_first();
        assert_eq!(first.message(), format!("n,,n=user,r={NONCE}").into_bytes());
        let (message, last) = first.answer("pencil", SERVER_FIRST.as_bytes()).expect("the RFC's answer");
        assert_eq!(String::from_utf8(message).expect("text"), CLIENT_FINAL);
        last.verify(SERVER_FINAL.as_bytes()).expect("the RFC's signature");
    }

    #[test]
    fn an_answer_that_is_not_the_password_holders_is_refused() {
        let check = |server_final: &str, expect: SaslError| {
            let (_, last) = rfc_first().answer("pencil", SERVER_FIRST.as_bytes()).expect("the RFC's answer");
            assert_eq!(last.verify(server_final.as_bytes()), Err(expect), "{server_final}");
        };
        check("v=7rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=", SaslError::ServerSignature);
        check("v=", SaslError::ServerSignature);
        check("e=invalid-proof", SaslError::Refused("invalid-proof".into()));
        check("", SaslError::Malformed("no signature"));
        check("v=%%%%", SaslError::Malformed("not base64"));
    }

    #[test]
    fn a_first_message_out_of_bounds_is_refused_before_any_work() {
        let check = |server_first: &str, expect: SaslError| {
            assert_eq!(rfc_first().answer("pencil", server_first.as_bytes()).err(), Some(expect), "{server_first}");
        };
        check("r=rOprNGfwEbeRWgbNEkqO1,s=W22Z,i=4095", SaslError::Iterations { found: 4095 });
        check("r=rOprNGfwEbeRWgbNEkqO1,s=W22Z,i=4294967296", SaslError::Iterations { found: 1 << 32 });
        check("r=rOprNGfwEbeRWgbNEkqO1,s=W22Z,i=x", SaslError::Malformed("iterations are not a number"));
        check("r=rOprNGfwEbeRWgbNEkqO,s=W22Z,i=4096", SaslError::Nonce);
        check("r=other,s=W22Z,i=4096", SaslError::Nonce);
        check("r=rOprNGfwEbeRWgbNEkqO1,s=,i=4096", SaslError::Malformed("the salt is empty"));
        check("m=ext,r=rOprNGfwEbeRWgbNEkqO1,s=W22Z,i=4096", SaslError::Malformed("no nonce"));
        check("e=unknown-user", SaslError::Refused("unknown-user".into()));
    }

    #[test]
    fn separators_in_a_name_are_escaped() {
        let first = ClientFirst::with_nonce(ScramMechanism::Sha512, "a=b,c", "x".into()).expect("escaped");
        assert_eq!(first.message(), b"n,,n=a=3Db=2Cc,r=x");
        assert!(ClientFirst::with_nonce(ScramMechanism::Sha512, "a\nb", "x".into()).is_err());
    }

    #[test]
    fn base64_goes_both_ways() {
        let check = |bytes: &[u8], text: &str| {
            assert_eq!(base64_encode(bytes), text);
            assert_eq!(base64_decode(text, 64).as_deref(), Ok(bytes));
        };
        check(b"", "");
        check(b"f", "Zg==");
        check(b"fo", "Zm8=");
        check(b"foo", "Zm9v");
        check(b"foobar", "Zm9vYmFy");
        check(&[0xfb, 0xff, 0xfe], "+//+");
        for wrong in ["Zg", "Z===", "====", "Zg=a", "Zm9\n"] {
            assert!(base64_decode(wrong, 64).is_err(), "{wrong}");
        }
        assert!(base64_decode(&"A".repeat(1_000), 32).is_err(), "longer than allowed");
    }
}
