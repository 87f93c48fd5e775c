//! SCRAM (RFC 5802, RFC 7677) without channel binding, the server's side: messages in, messages out.

use naru_kafka::client::ScramMechanism;
use naru_kafka::client::sasl::scram::{base64_decode, base64_encode};
use ring::{digest, hmac};

use super::mechanism::{algorithms, same};
use super::users::{Salted, Users};

/// Bytes of randomness in our part of the nonce, before base64.
pub const NONCE_BYTES: usize = 24;

/// Bytes of a client's message: a name and a nonce, or a nonce and a proof.
const MESSAGE_BYTES_MAX: usize = 4 << 10;

/// Characters of a client's nonce; 32 in practice.
const NONCE_CHARS_MAX: usize = 256;

/// Why an exchange failed. For the log; the client is told only that it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ScramError {
    /// A message is not what the mechanism allows here.
    #[error("malformed message: {0}")]
    Malformed(&'static str),
    /// The client wants something that is not offered.
    #[error("the client asks for {0}, which is not offered")]
    NotOffered(&'static str),
    /// The proof fits no password, or there is no such user.
    #[error("no such user, or not its password")]
    Proof,
}

/// The exchange between the server's first message and the client's final one.
#[derive(Debug)]
pub struct Challenged {
    user: String,
    salted: Salted,
    /// Whether there is such a user at all.
    known: bool,
    /// What the client's final message must say of channel binding.
    binding: String,
    nonce: String,
    /// The client's part of it.
    client_nonce: String,
    /// Both first messages, as they are signed.
    firsts: String,
}

/// An exchange that succeeded.
#[derive(Debug, PartialEq, Eq)]
pub struct Proven {
    /// Who.
    pub user: String,
    /// The server's final message: the proof that we know the password, too.
    pub message: Vec<u8>,
}

impl Challenged {
    /// Takes the client's first message; gives the server's first one with it.
    pub fn begin(
        hash: ScramMechanism,
        client_first: &[u8],
        users: &Users,
        nonce: &[u8; NONCE_BYTES],
    ) -> Result<(Self, Vec<u8>), ScramError> {
        Self::with_nonce(hash, client_first, users, &base64_encode(nonce))
    }

    fn with_nonce(
        hash: ScramMechanism,
        client_first: &[u8],
        users: &Users,
        own_nonce: &str,
    ) -> Result<(Self, Vec<u8>), ScramError> {
        let first = text(client_first)?;
        let mut parts = first.splitn(3, ',');
        let (Some(binding), Some(acting_as), Some(bare)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(ScramError::Malformed("no header"));
        };
        match binding {
            // `y`: the client could, and thinks that we could not; it is right.
            "n" | "y" => {}
            _ if binding.starts_with("p=") => return Err(ScramError::NotOffered("channel binding")),
            _ => return Err(ScramError::Malformed("channel binding flag")),
        }
        let mut fields = bare.split(',');
        let name = fields.next().and_then(|field| field.strip_prefix("n=")).ok_or(ScramError::Malformed("no name"))?;
        let user = unescaped(name)?;
        let acting_as = match acting_as.strip_prefix("a=") {
            Some(other) => unescaped(other)?,
            None if acting_as.is_empty() => user.clone(),
            None => return Err(ScramError::Malformed("authorisation identity")),
        };
        if acting_as != user {
            return Err(ScramError::NotOffered("to act as another user"));
        }
        let nonce =
            fields.next().and_then(|field| field.strip_prefix("r=")).ok_or(ScramError::Malformed("no nonce"))?;
        let printable = |c: char| c.is_ascii_graphic();
        if nonce.is_empty() || nonce.len() > NONCE_CHARS_MAX || !nonce.chars().all(printable) {
            return Err(ScramError::Malformed("nonce"));
        }
        // An extension such as Kafka's delegation tokens would be another kind of password.
        if fields.next().is_some_and(|extension| !extension.is_empty()) {
            return Err(ScramError::NotOffered("an extension"));
        }
        let found = users.salted(&user, hash).cloned();
        let known = found.is_some();
        let salted = found.unwrap_or_else(|| users.pretended(&user, hash));
        let client_nonce = nonce.to_owned();
        let nonce = format!("{nonce}{own_nonce}");
        let message = format!("r={nonce},s={},i={}", base64_encode(&salted.salt), salted.iterations);
        let binding = base64_encode(&client_first[..client_first.len() - bare.len()]);
        let firsts = format!("{bare},{message}");
        Ok((Self { user, salted, known, binding, nonce, client_nonce, firsts }, message.into_bytes()))
    }

    /// Takes the client's final message.
    pub fn finish(self, client_final: &[u8]) -> Result<Proven, ScramError> {
        let last = text(client_final)?;
        let (without_proof, proof) = last.rsplit_once(",p=").ok_or(ScramError::Malformed("no proof"))?;
        let mut fields = without_proof.split(',');
        let field = |field: Option<&str>, name| field.and_then(|field| field.strip_prefix(name)).map(str::to_owned);
        if field(fields.next(), "c=") != Some(self.binding) {
            return Err(ScramError::Malformed("another channel binding than at first"));
        }
        // librdkafka before 2.6.1 writes its own part twice, and Kafka before 4.0 takes it. It is as fresh, and signed.
        let doubled = || format!("{}{}", self.client_nonce, self.nonce);
        if !field(fields.next(), "r=").is_some_and(|said| said == self.nonce || said == doubled()) {
            return Err(ScramError::Malformed("another nonce than ours"));
        }
        let algorithms = algorithms(self.salted.hash);
        let length = algorithms.digest.output_len();
        let proof = base64_decode(proof, length).map_err(|_| ScramError::Malformed("the proof is not base64"))?;
        if proof.len() != length {
            return Err(ScramError::Malformed("the proof has not the hash's length"));
        }
        let signed = format!("{},{without_proof}", self.firsts);
        let signature = hmac::sign(&hmac::Key::new(algorithms.hmac, &self.salted.stored_key), signed.as_bytes());
        let client_key: Vec<u8> = proof.iter().zip(signature.as_ref()).map(|(a, b)| a ^ b).collect();
        let stored_key = digest::digest(algorithms.digest, &client_key);
        if !(same(stored_key.as_ref(), &self.salted.stored_key) & self.known) {
            return Err(ScramError::Proof);
        }
        let own = hmac::sign(&hmac::Key::new(algorithms.hmac, &self.salted.server_key), signed.as_bytes());
        Ok(Proven { user: self.user, message: format!("v={}", base64_encode(own.as_ref())).into_bytes() })
    }
}

fn text(message: &[u8]) -> Result<&str, ScramError> {
    if message.len() > MESSAGE_BYTES_MAX {
        return Err(ScramError::Malformed("too long"));
    }
    std::str::from_utf8(message).map_err(|_| ScramError::Malformed("not UTF-8"))
}

/// A name without its escapes. Names are compared byte by byte, as Kafka does: no SASLprep.
fn unescaped(name: &str) -> Result<String, ScramError> {
    let plain = name.replace("=2C", ",").replace("=3D", "\0");
    if name.is_empty() || name.contains('\0') || plain.contains('=') {
        return Err(ScramError::Malformed("name"));
    }
    Ok(plain.replace('\0', "="))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test panics on failure

    use naru_kafka::client::sasl::scram::ClientFirst;

    use super::*;

    /// The exchange of RFC 7677, section 3.
    const CLIENT_FIRST: &str = "n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
    const OWN_NONCE: &str = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
    const SERVER_FIRST: &str = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
    const CLIENT_FINAL: &str =
        "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
    const SERVER_FINAL: &str = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";
    /// "pencil", salted as in the example.
    const USER: &str = "user SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:\
                        wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";

    fn users() -> Users {
        let others = Users::lines("a=b,c", "s3cret").unwrap().join("\n");
        Users::parse(&format!("{USER}\n{others}"), b"pretence").unwrap()
    }

    fn begun(first: &str) -> Result<(Challenged, Vec<u8>), ScramError> {
        Challenged::with_nonce(ScramMechanism::Sha256, first.as_bytes(), &users(), OWN_NONCE)
    }

    #[test]
    fn the_exchange_of_rfc_7677_is_reproduced() {
        let (challenged, server_first) = begun(CLIENT_FIRST).unwrap();
        assert_eq!(String::from_utf8(server_first).unwrap(), SERVER_FIRST);
        let proven = challenged.finish(CLIENT_FINAL.as_bytes()).unwrap();
        assert_eq!((proven.user.as_str(), proven.message), ("user", SERVER_FINAL.as_bytes().to_vec()));
    }

    #[test]
    fn our_own_client_is_understood_in_both_hashes() {
        for hash in [ScramMechanism::Sha256, ScramMechanism::Sha512] {
            let run = |password: &str| {
                let first = ClientFirst::with_nonce(hash, "a=b,c", "abc".to_owned()).unwrap();
                let begun = Challenged::begin(hash, &first.message(), &users(), &[7; NONCE_BYTES]);
                let (challenged, server_first) = begun.unwrap();
                let (client_final, last) = first.answer(password, &server_first).unwrap();
                challenged.finish(&client_final).map(|proven| (last, proven))
            };
            let (last, proven) = run("s3cret").unwrap();
            assert_eq!(proven.user, "a=b,c");
            last.verify(&proven.message).unwrap();
            assert_eq!(run("S3cret").err(), Some(ScramError::Proof));
        }
    }

    /// By hand, as no client of ours does it.
    #[test]
    fn a_client_that_writes_its_nonce_twice_is_understood() {
        let (challenged, server_first) = begun("n,,n=user,r=abc").unwrap();
        let server_first = String::from_utf8(server_first).unwrap();
        let without_proof = format!("c=biws,r=abcabc{OWN_NONCE}");
        let signed = format!("n=user,r=abc,{server_first},{without_proof}");
        let algorithms = algorithms(ScramMechanism::Sha256);
        let sign = |key: &[u8], text: &str| hmac::sign(&hmac::Key::new(algorithms.hmac, key), text.as_bytes());
        let mut salted = [0; 32];
        let rounds = std::num::NonZeroU32::new(4096).unwrap();
        let salt = base64_decode("W22ZaJ0SNY7soEsUEjb6gQ==", 16).unwrap();
        ring::pbkdf2::derive(algorithms.pbkdf2, rounds, &salt, b"pencil", &mut salted);
        let client_key = sign(&salted, "Client Key");
        let stored_key = digest::digest(algorithms.digest, client_key.as_ref());
        let signature = sign(stored_key.as_ref(), &signed);
        let proof: Vec<u8> = client_key.as_ref().iter().zip(signature.as_ref()).map(|(a, b)| a ^ b).collect();
        let final_message = format!("{without_proof},p={}", base64_encode(&proof));
        assert_eq!(challenged.finish(final_message.as_bytes()).unwrap().user, "user");
    }

    #[test]
    fn a_user_that_is_not_there_is_challenged_like_any_other() {
        let (challenged, first) = begun("n,,n=nobody,r=abc").unwrap();
        let (_, again) = begun("n,,n=nobody,r=abc").unwrap();
        assert_eq!(first, again, "a salt that changes tells that there is no such user");
        let final_message = format!("c=biws,r=abc{OWN_NONCE},p={}", base64_encode(&[0; 32]));
        assert_eq!(challenged.finish(final_message.as_bytes()), Err(ScramError::Proof));
    }

    #[test]
    fn messages_that_are_none_are_refused() {
        let first = |message: &str, expect: ScramError| assert_eq!(begun(message).unwrap_err(), expect, "{message}");
        first("", ScramError::Malformed("no header"));
        first("n,,", ScramError::Malformed("no name"));
        first("p=tls-unique,,n=user,r=x", ScramError::NotOffered("channel binding"));
        first("x,,n=user,r=x", ScramError::Malformed("channel binding flag"));
        first("n,a=other,n=user,r=x", ScramError::NotOffered("to act as another user"));
        first("n,,n=user", ScramError::Malformed("no nonce"));
        first("n,,n=us=er,r=x", ScramError::Malformed("name"));
        first("n,,n=,r=x", ScramError::Malformed("name"));
        first("n,,n=user,r=", ScramError::Malformed("nonce"));
        first("n,,n=user,r=x,tokenauth=true", ScramError::NotOffered("an extension"));
        first(&format!("n,,n=user,r={}", "x".repeat(9_000)), ScramError::Malformed("too long"));
        assert!(begun("n,a=user,n=user,r=x").is_ok());
        let last = |message: &str, expect: ScramError| {
            let (challenged, _) = begun(CLIENT_FIRST).unwrap();
            assert_eq!(challenged.finish(message.as_bytes()).unwrap_err(), expect, "{message}");
        };
        last("", ScramError::Malformed("no proof"));
        last(&CLIENT_FINAL.replace("biws", "eSws"), ScramError::Malformed("another channel binding than at first"));
        last(&CLIENT_FINAL.replace("%hv", "%hw"), ScramError::Malformed("another nonce than ours"));
        last(&CLIENT_FINAL.replace("p=dHzb", "p=dHzc"), ScramError::Proof);
        last(&CLIENT_FINAL.replace("p=dHzb", "p="), ScramError::Malformed("the proof has not the hash's length"));
        last(&CLIENT_FINAL.replace("p=dHzb", "p=****"), ScramError::Malformed("the proof is not base64"));
    }
}
