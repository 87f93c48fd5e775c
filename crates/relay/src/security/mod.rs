//! What ends at the relay: encryption, authentication, permissions, quotas. Brokers know only the relay itself.
//!
//! `scram`, `authentication`, `acl` and `quota` are pure: messages, names, bytes and times in, decisions out. Invariant:
//! no password is kept or shown anywhere, what is kept of one (salted, in [`Users`]) shows itself nowhere, and where
//! clients have to say who they are, what no rule allows is denied.

mod acl;
mod authentication;
pub mod config;
mod mechanism;
mod principal;
mod quota;
mod scram;
mod subject;
pub mod tls;
mod users;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use naru_kafka::wire::{ApiKey, ErrorCode};
use ring::rand::{SecureRandom, SystemRandom};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

pub use self::acl::{Acls, Operation, Resource};
pub use self::authentication::{Authentication, AuthenticationError, Offered};
pub use self::mechanism::Mechanism;
pub use self::principal::Principal;
pub use self::quota::{Quotas, THROTTLE_MS_MAX, Traffic};
pub use self::scram::{NONCE_BYTES, ScramError};
pub use self::tls::TlsError;
pub use self::users::{Salted, Users, UsersError};
use crate::sequence::Millis;
use config::{PlainPolicy, SecurityConfig};

/// Bytes of a request before its sender is known: what Kafka allows, far above any exchange.
pub const UNKNOWN_REQUEST_BYTES_MAX: usize = 512 << 10;

/// Why security cannot be had as configured. The operator's side.
#[derive(Debug, thiserror::Error)]
pub enum SecurityError {
    /// Certificates or keys.
    #[error("tls of the listener")]
    Tls(#[from] TlsError),
    /// Users.
    #[error("users")]
    Users(#[from] UsersError),
    /// The system gives no randomness.
    #[error("the system gives no randomness")]
    Random,
}

/// The rules of one relay, shared by its connections.
pub struct Security {
    tls: Option<TlsAcceptor>,
    users: Option<Users>,
    mechanisms: Vec<Mechanism>,
    authenticates: bool,
    acls: Acls,
    quotas: Quotas,
    random: SystemRandom,
    /// Logins that are worked out at once.
    logins: Semaphore,
}

impl std::fmt::Debug for Security {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (tls, mechanisms) = (self.tls.is_some(), &self.mechanisms);
        f.debug_struct("Security").field("tls", &tls).field("mechanisms", mechanisms).finish_non_exhaustive()
    }
}

impl Security {
    /// Reads every file that the configuration names. Blocks: for the start.
    pub fn load(config: &SecurityConfig) -> Result<Arc<Self>, SecurityError> {
        let tls = config.tls.as_ref().map(tls::listener).transpose()?;
        let users = config.users.as_deref().map(Users::load).transpose()?;
        let plain = match config.plain {
            PlainPolicy::Never => false,
            PlainPolicy::OverTls => tls.is_some(),
            PlainPolicy::Always => true,
        };
        let offered = |mechanism: &Mechanism| users.is_some() && (plain || *mechanism != Mechanism::Plain);
        Ok(Arc::new(Self {
            tls: tls.map(TlsAcceptor::from),
            mechanisms: Mechanism::ALL.into_iter().filter(offered).collect(),
            users,
            authenticates: config.authenticates(),
            acls: if config.authenticates() { Acls::new(&config.acls) } else { Acls::open() },
            quotas: Quotas::new(&config.quotas),
            random: SystemRandom::new(),
            // Half of the processors: anybody may ask for a login, and leases and takeovers must not wait for them.
            logins: Semaphore::new(std::thread::available_parallelism().map_or(1, |cores| cores.get().div_ceil(2))),
        }))
    }

    /// What TLS connections are accepted with; none: they come unencrypted.
    pub fn tls(&self) -> Option<&TlsAcceptor> {
        self.tls.as_ref()
    }

    /// The mechanisms that clients may choose from; none: there are no users.
    pub fn mechanisms(&self) -> &[Mechanism] {
        &self.mechanisms
    }

    /// A new connection, with the principal of its client certificate if it showed one.
    pub fn connect(self: &Arc<Self>, certified: Option<Principal>) -> Caller {
        let needed = self.authenticates;
        let state = if needed { Authentication::needed(certified) } else { Authentication::not_needed() };
        Caller { security: Arc::clone(self), state: Mutex::new(state) }
    }
}

/// Who is at the other end of a connection: shared by the half that reads and the half that answers.
#[derive(Debug)]
pub struct Caller {
    security: Arc<Security>,
    state: Mutex<Authentication>,
}

impl Caller {
    /// Whether a request of this API may be answered now. If not, the connection is to be closed.
    pub fn permits(&self, api: ApiKey) -> bool {
        self.state().permits(api)
    }

    /// Whether it is known who it is.
    pub fn is_known(&self) -> bool {
        self.state().principal().is_some()
    }

    /// Whether there are rules about what callers may do.
    pub fn is_bound(&self) -> bool {
        self.security.acls.bind()
    }

    /// Who it is, if that is known.
    pub fn principal(&self) -> Option<Principal> {
        self.state().principal().cloned()
    }

    /// Whether the caller may.
    pub fn may(&self, operation: Operation, resource: Resource<'_>) -> bool {
        self.state().principal().is_some_and(|principal| self.security.acls.allow(principal, operation, resource))
    }

    /// Kafka's code, unless the caller may.
    pub fn refuse_unless(&self, operation: Operation, resource: Resource<'_>) -> Result<(), ErrorCode> {
        if self.may(operation, resource) { Ok(()) } else { Err(resource.refused()) }
    }

    /// Whether the caller may do it with any topic at all.
    pub fn may_with_some_topic(&self, operation: Operation) -> bool {
        self.state().principal().is_some_and(|known| self.security.acls.allow_with_some_topic(known, operation))
    }

    /// Counts traffic; how long the connection is to be throttled, milliseconds.
    pub fn charge(&self, traffic: Traffic, bytes: u64, now: Millis) -> u64 {
        match self.principal() {
            Some(principal) => self.security.quotas.charge(&principal, traffic, bytes, now),
            None => 0,
        }
    }

    /// SaslHandshake; the names of what is offered go into the answer either way.
    pub fn handshake(&self, mechanism: &str) -> (Result<(), AuthenticationError>, Vec<&'static str>) {
        let result = match self.offered() {
            Some(offered) => self.state().handshake(mechanism, offered),
            None => Err(AuthenticationError::OutOfTurn("SaslHandshake where there are no users")),
        };
        (result, self.security.mechanisms.iter().map(|mechanism| mechanism.name()).collect())
    }

    /// SaslAuthenticate: the message to send back. After an error the connection is to be closed. Worked out beside the
    /// runtime's own threads, since a password costs milliseconds.
    pub async fn authenticate(self: &Arc<Self>, message: Bytes) -> Result<Vec<u8>, AuthenticationError> {
        let stopping = AuthenticationError::OutOfTurn("SaslAuthenticate while the relay stops");
        let Ok(_turn) = self.security.logins.acquire().await else { return Err(stopping) };
        let caller = Arc::clone(self);
        match tokio::task::spawn_blocking(move || caller.work_out(&message)).await {
            Ok(result) => result,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => Err(stopping),
        }
    }

    fn work_out(&self, message: &[u8]) -> Result<Vec<u8>, AuthenticationError> {
        let out_of_turn = AuthenticationError::OutOfTurn("SaslAuthenticate where there are no users");
        let offered = self.offered().ok_or(out_of_turn)?;
        let mut nonce = [0; NONCE_BYTES];
        // Without randomness an old exchange could be played again: better none.
        self.security.random.fill(&mut nonce).map_err(|_| ScramError::Malformed("no randomness"))?;
        // Nobody, until it is worked out: the half that reads must not wait for it.
        let mut state = std::mem::replace(&mut *self.state(), Authentication::failed());
        let result = state.authenticate(message, offered, &nonce);
        *self.state() = state;
        result
    }

    fn offered(&self) -> Option<Offered<'_>> {
        let users = self.security.users.as_ref()?;
        Some(Offered { users, mechanisms: &self.security.mechanisms })
    }

    fn state(&self) -> MutexGuard<'_, Authentication> {
        // Nothing that holds it can leave half a change behind.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test panics on failure

    use naru_kafka::client::sasl::plain;

    use super::*;

    #[tokio::test]
    async fn a_login_that_takes_long_holds_nobody_up() {
        let users = Users::parse(&Users::lines("alice", "pencil").unwrap().join("\n"), b"x").unwrap();
        let security = Arc::new(Security {
            tls: None,
            users: Some(users),
            mechanisms: vec![Mechanism::Plain],
            authenticates: true,
            acls: Acls::open(),
            quotas: Quotas::new(&[]),
            random: SystemRandom::new(),
            logins: Semaphore::new(1),
        });
        let caller = Arc::new(security.connect(None));
        caller.handshake("PLAIN").0.unwrap();
        let mut turns = 0;
        let others = async {
            loop {
                turns += 1;
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            biased;
            result = caller.authenticate(plain::message("alice", "pencil").unwrap().into()) => drop(result.unwrap()),
            () = others => {}
        }
        assert!(turns > 0, "this runtime has one thread, and the login had it");
        assert_eq!(caller.principal().unwrap().as_str(), "alice");
    }
}
