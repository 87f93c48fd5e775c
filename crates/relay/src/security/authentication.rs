//! A connection's way from nobody to a principal, as a pure machine that the connection drives: SaslHandshake names a
//! mechanism, SaslAuthenticate carries its messages. Until that ends, nothing else is answered.

use naru_kafka::wire::{ApiKey, ErrorCode};

use super::Principal;
use super::mechanism::Mechanism;
use super::scram::{Challenged, NONCE_BYTES, ScramError};
use super::users::Users;

/// Bytes of a PLAIN message: a name, a password and what separates them.
const PLAIN_BYTES_MAX: usize = 4 << 10;

/// What a client whose authentication failed is told, whatever failed: the reason would help whoever guesses.
const FAILED: &str = "Authentication failed: invalid credentials";

/// What clients may authenticate by.
#[derive(Debug, Clone, Copy)]
pub struct Offered<'a> {
    /// Who may.
    pub users: &'a Users,
    /// By what.
    pub mechanisms: &'a [Mechanism],
}

/// Why an authentication failed, for the log. Never what was sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthenticationError {
    /// The messages came in an order that the protocol does not know.
    #[error("{0} out of turn")]
    OutOfTurn(&'static str),
    /// Nothing can be chosen by that name here.
    #[error("the mechanism is not offered")]
    Mechanism,
    /// The PLAIN message is none.
    #[error("malformed PLAIN message: {0}")]
    Plain(&'static str),
    /// There is no such user, or the password is another.
    #[error("no such user, or not its password")]
    Password,
    /// The SCRAM exchange failed.
    #[error("scram exchange")]
    Scram(#[from] ScramError),
}

impl AuthenticationError {
    /// Kafka's code for it.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::OutOfTurn(_) => ErrorCode::ILLEGAL_SASL_STATE,
            Self::Mechanism => ErrorCode::UNSUPPORTED_SASL_MECHANISM,
            Self::Plain(_) | Self::Password | Self::Scram(_) => ErrorCode::SASL_AUTHENTICATION_FAILED,
        }
    }

    /// What the client is told.
    pub fn told(&self) -> &'static str {
        match self {
            Self::OutOfTurn(_) => "Authentication failed: unexpected request",
            Self::Mechanism => "Authentication failed: mechanism not offered",
            Self::Plain(_) | Self::Password | Self::Scram(_) => FAILED,
        }
    }
}

#[derive(Debug)]
enum State {
    /// Nobody known yet.
    Open,
    /// Named by a client certificate; may go on to be a user.
    Certified(Principal),
    Chosen(Mechanism),
    Challenged(Box<Challenged>),
    Known(Principal),
    /// Once failed, the connection is good for nothing more.
    Failed,
}

/// The state of one connection.
#[derive(Debug)]
pub struct Authentication(State);

impl Authentication {
    /// Nobody has to say who they are.
    pub fn not_needed() -> Self {
        Self(State::Known(Principal::anonymous()))
    }

    /// A connection that has to authenticate, unless a client certificate named its principal.
    pub fn needed(certified: Option<Principal>) -> Self {
        Self(certified.map_or(State::Open, State::Certified))
    }

    /// A connection that is good for nothing.
    pub fn failed() -> Self {
        Self(State::Failed)
    }

    /// Who asks, if that is known.
    pub fn principal(&self) -> Option<&Principal> {
        match &self.0 {
            State::Certified(principal) | State::Known(principal) => Some(principal),
            _ => None,
        }
    }

    /// Whether a request of this API may be answered now.
    pub fn permits(&self, api: ApiKey) -> bool {
        let introduces = matches!(api, ApiKey::ApiVersions | ApiKey::SaslHandshake | ApiKey::SaslAuthenticate);
        self.principal().is_some() || introduces && !matches!(self.0, State::Failed)
    }

    /// SaslHandshake. After an error the client may name another mechanism.
    pub fn handshake(&mut self, mechanism: &str, offered: Offered<'_>) -> Result<(), AuthenticationError> {
        if !matches!(self.0, State::Open | State::Certified(_) | State::Chosen(_)) {
            self.0 = State::Failed;
            return Err(AuthenticationError::OutOfTurn("SaslHandshake"));
        }
        let found = Mechanism::named(mechanism).filter(|mechanism| offered.mechanisms.contains(mechanism));
        self.0 = State::Chosen(found.ok_or(AuthenticationError::Mechanism)?);
        Ok(())
    }

    /// SaslAuthenticate: the message to send back. After an error the connection is to be closed. `nonce` is fresh
    /// randomness, used at most once.
    pub fn authenticate(
        &mut self,
        message: &[u8],
        offered: Offered<'_>,
        nonce: &[u8; NONCE_BYTES],
    ) -> Result<Vec<u8>, AuthenticationError> {
        match std::mem::replace(&mut self.0, State::Failed) {
            State::Chosen(Mechanism::Plain) => {
                let user = plain(message, offered.users)?;
                self.0 = State::Known(user);
                Ok(Vec::new())
            }
            State::Chosen(Mechanism::Scram(hash)) => {
                let (challenged, answer) = Challenged::begin(hash, message, offered.users, nonce)?;
                self.0 = State::Challenged(Box::new(challenged));
                Ok(answer)
            }
            State::Challenged(challenged) => {
                let proven = challenged.finish(message)?;
                self.0 = State::Known(Principal::new(proven.user));
                Ok(proven.message)
            }
            State::Open | State::Certified(_) | State::Known(_) | State::Failed => {
                Err(AuthenticationError::OutOfTurn("SaslAuthenticate"))
            }
        }
    }
}

/// RFC 4616: `authorisation-id NUL user NUL password`.
fn plain(message: &[u8], users: &Users) -> Result<Principal, AuthenticationError> {
    if message.len() > PLAIN_BYTES_MAX {
        return Err(AuthenticationError::Plain("too long"));
    }
    let text = std::str::from_utf8(message).map_err(|_| AuthenticationError::Plain("not UTF-8"))?;
    let mut parts = text.split('\0');
    let (Some(acting_as), Some(user), Some(password), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(AuthenticationError::Plain("not three parts"));
    };
    if user.is_empty() || password.is_empty() {
        return Err(AuthenticationError::Plain("an empty part"));
    }
    if !acting_as.is_empty() && acting_as != user {
        return Err(AuthenticationError::Plain("to act as another user is not offered"));
    }
    if !users.knows(user, password) {
        return Err(AuthenticationError::Password);
    }
    Ok(Principal::new(user))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test panics on failure

    use naru_kafka::client::ScramMechanism;
    use naru_kafka::client::sasl::{plain, scram::ClientFirst};

    use super::*;

    fn users() -> Users {
        Users::parse(&Users::lines("alice", "pencil").unwrap().join("\n"), b"x").unwrap()
    }

    const BEFORE: [ApiKey; 3] = [ApiKey::ApiVersions, ApiKey::SaslHandshake, ApiKey::SaslAuthenticate];
    const NONCE: [u8; NONCE_BYTES] = [1; NONCE_BYTES];

    fn permitted(authentication: &Authentication) -> Vec<ApiKey> {
        let asked = BEFORE.into_iter().chain([ApiKey::Metadata, ApiKey::Produce, ApiKey::Fetch]);
        asked.filter(|api| authentication.permits(*api)).collect()
    }

    #[test]
    fn only_the_exchange_itself_is_answered_before_it_has_ended() {
        let users = users();
        let offered = Offered { users: &users, mechanisms: &Mechanism::ALL };
        for hash in [ScramMechanism::Sha256, ScramMechanism::Sha512] {
            let mut authentication = Authentication::needed(None);
            assert_eq!(permitted(&authentication), BEFORE);
            authentication.handshake(Mechanism::Scram(hash).name(), offered).unwrap();
            let first = ClientFirst::with_nonce(hash, "alice", "abc".into()).unwrap();
            let challenge = authentication.authenticate(&first.message(), offered, &NONCE).unwrap();
            assert_eq!((permitted(&authentication).as_slice(), authentication.principal()), (&BEFORE[..], None));
            let (message, last) = first.answer("pencil", &challenge).unwrap();
            last.verify(&authentication.authenticate(&message, offered, &NONCE).unwrap()).unwrap();
            assert_eq!(permitted(&authentication).len(), 6);
            assert_eq!(authentication.principal().unwrap().as_str(), "alice");
        }
    }

    #[test]
    fn plain_takes_a_name_and_its_password() {
        let users = users();
        let offered = Offered { users: &users, mechanisms: &Mechanism::ALL };
        let check = |message: &[u8], expect: Result<&str, AuthenticationError>| {
            let mut authentication = Authentication::needed(None);
            authentication.handshake("PLAIN", offered).unwrap();
            let result = authentication.authenticate(message, offered, &NONCE);
            let principal = authentication.principal().map(ToString::to_string);
            assert_eq!(result.map(|_| principal.clone().unwrap()), expect.clone().map(str::to_owned));
            let after = if expect.is_ok() { 6 } else { 0 };
            assert_eq!(permitted(&authentication).len(), after, "a failed connection is good for nothing");
        };
        check(&plain::message("alice", "pencil").unwrap(), Ok("alice"));
        check(b"alice\0alice\0pencil", Ok("alice"));
        check(&plain::message("alice", "Pencil").unwrap(), Err(AuthenticationError::Password));
        check(&plain::message("bob", "pencil").unwrap(), Err(AuthenticationError::Password));
        let wrong = |what| Err(AuthenticationError::Plain(what));
        check(b"bob\0alice\0pencil", wrong("to act as another user is not offered"));
        check(b"alice\0pencil", wrong("not three parts"));
        check(b"\0alice\0pencil\0", wrong("not three parts"));
        check(b"\0alice\0", wrong("an empty part"));
        check(b"\0\xff\0x", wrong("not UTF-8"));
        check(&[b'x'; PLAIN_BYTES_MAX + 1], wrong("too long"));
    }

    #[test]
    fn steps_out_of_turn_fail_for_good() {
        let users = users();
        let offered = Offered { users: &users, mechanisms: &[Mechanism::Scram(ScramMechanism::Sha256)] };
        let mut authentication = Authentication::needed(None);
        // A mechanism that is not offered may be followed by one that is.
        assert_eq!(
            authentication.handshake("PLAIN", offered).unwrap_err().code(),
            ErrorCode::UNSUPPORTED_SASL_MECHANISM
        );
        assert_eq!(authentication.handshake("GSSAPI", offered).unwrap_err(), AuthenticationError::Mechanism);
        authentication.handshake("SCRAM-SHA-256", offered).unwrap();
        authentication.authenticate(b"n,,n=alice,r=x", offered, &NONCE).unwrap();
        assert_eq!(
            authentication.handshake("SCRAM-SHA-256", offered).unwrap_err().code(),
            ErrorCode::ILLEGAL_SASL_STATE
        );
        assert_eq!(permitted(&authentication), []);
        let mut authentication = Authentication::needed(None);
        let failed = authentication.authenticate(b"\0alice\0pencil", offered, &NONCE).unwrap_err();
        assert_eq!((failed.code(), permitted(&authentication).len()), (ErrorCode::ILLEGAL_SASL_STATE, 0));
    }

    #[test]
    fn a_certificate_is_enough_and_a_user_may_follow_it() {
        let users = users();
        let offered = Offered { users: &users, mechanisms: &Mechanism::ALL };
        let mut authentication = Authentication::needed(Some(Principal::new("service")));
        assert_eq!((permitted(&authentication).len(), authentication.principal().unwrap().as_str()), (6, "service"));
        authentication.handshake("PLAIN", offered).unwrap();
        assert_eq!(permitted(&authentication), BEFORE, "who begins to be somebody else is nobody until that ends");
        authentication.authenticate(b"\0alice\0pencil", offered, &NONCE).unwrap();
        assert_eq!(authentication.principal().unwrap().as_str(), "alice");
        assert_eq!(permitted(&Authentication::not_needed()).len(), 6);
    }

    #[test]
    fn a_client_is_not_told_what_was_wrong_with_its_password() {
        let check = |error: AuthenticationError| assert_eq!((error.told(), error.code().0), (FAILED, 58));
        check(AuthenticationError::Password);
        check(AuthenticationError::Plain("x"));
        check(ScramError::Proof.into());
        check(ScramError::Malformed("x").into());
    }
}
