//! Who is logged in: a token of control, kept in memory under a name that only a cookie has.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use naru_runtime::config::Secret;
use naru_runtime::hex::to_hex;
use ring::digest;
use ring::rand::{SecureRandom as _, SystemRandom};

/// Sessions at once; the one that ends first makes room. People of one company, several browsers each.
const SESSIONS_MAX: usize = 1_000;

/// The system gave no random bytes.
#[derive(Debug, thiserror::Error)]
#[error("the system gives no random bytes")]
pub struct NoRandom;

/// Somebody who is logged in.
#[derive(Debug, Clone)]
pub struct Session {
    /// His token at control.
    pub token: Secret,
    /// What his forms carry, so that no other page can send them.
    pub csrf: String,
    until: Instant,
}

/// All of them, by the hash of what their cookies hold.
#[derive(Debug, Default)]
pub struct Sessions(Mutex<HashMap<[u8; 32], Session>>);

impl Sessions {
    fn all(&self) -> MutexGuard<'_, HashMap<[u8; 32], Session>> {
        // Nothing panics while holding it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins one, and gives what the cookie is to hold.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub fn begin(&self, token: Secret, lasts: Duration, now: Instant) -> Result<String, NoRandom> {
        let id = random()?;
        let session = Session { token, csrf: random()?, until: now + lasts };
        let mut all = self.all();
        all.retain(|_, session| session.until > now);
        if all.len() >= SESSIONS_MAX {
            let first = all.iter().min_by_key(|(_, session)| session.until).map(|(id, _)| *id);
            first.and_then(|id| all.remove(&id));
        }
        all.insert(hash(&id), session);
        Ok(id)
    }

    /// The one of a cookie.
    pub fn find(&self, id: &str, now: Instant) -> Option<Session> {
        self.all().get(&hash(id)).filter(|session| session.until > now).cloned()
    }

    /// Ends it.
    pub fn end(&self, id: &str) {
        self.all().remove(&hash(id));
    }
}

impl Session {
    /// Whether a form is one of his pages'.
    pub fn sent(&self, csrf: &str) -> bool {
        // By their hashes: how long the comparison takes says nothing about either.
        hash(&self.csrf) == hash(csrf)
    }
}

/// A name that nobody guesses.
///
/// # Errors
/// When the system gives no random bytes.
pub fn random() -> Result<String, NoRandom> {
    let mut bytes = [0; 32];
    SystemRandom::new().fill(&mut bytes).map_err(|_| NoRandom)?;
    Ok(to_hex(&bytes))
}

fn hash(id: &str) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest::digest(&digest::SHA256, id.as_bytes()).as_ref());
    bytes
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test panics on failure

    use super::*;

    #[test]
    fn a_session_lasts_until_its_end_and_no_longer() {
        let sessions = Sessions::default();
        let now = Instant::now();
        let id = sessions.begin(Secret::new("t"), Duration::from_secs(10), now).unwrap();
        let found = sessions.find(&id, now).unwrap();
        assert!(found.sent(&found.csrf) && !found.sent("") && !found.sent(&id));
        assert!(sessions.find("0", now).is_none());
        assert!(sessions.find(&id, now + Duration::from_secs(10)).is_none());
        sessions.end(&id);
        assert!(sessions.find(&id, now).is_none());
    }

    #[test]
    fn sessions_are_bounded_and_the_next_to_end_makes_room() {
        let sessions = Sessions::default();
        let now = Instant::now();
        let begin = |seconds| sessions.begin(Secret::new("t"), Duration::from_secs(seconds), now).unwrap();
        let first = begin(1_000);
        let short = begin(10);
        let rest: Vec<_> = (0..SESSIONS_MAX as u64 - 1).map(|more| begin(2_000 + more)).collect();
        assert!(sessions.find(&short, now).is_none());
        assert!(sessions.find(&first, now).is_some() && sessions.find(&rest[0], now).is_some());
        assert_eq!(sessions.all().len(), SESSIONS_MAX);
    }
}
