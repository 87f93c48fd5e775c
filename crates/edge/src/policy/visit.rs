//! What a user's browser carries, signed: the visit he is on, or his ticket for the waiting room.
//!
//! Nothing about a user is kept here. A visit names the site where he was put, so that he stays there, and a ticket his
//! place in the line. Both are bound to the client that they were given to, and carry the id of the key that signed
//! them, so that keys can be rotated while tokens are about. Neither type can be made by hand: a ticket comes from
//! the room that drew it or from a text whose tag was right.

use naru_model::SiteId;
use naru_runtime::keys::{KeyId, MacKeys, Tag};

use super::mutant::mutant;

/// A user or client as a number that says nothing about him: the caller derives it, with a key of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClientKey(pub u64);

impl ClientKey {
    /// The number of a name. It can be computed by anybody who knows the name: where it is kept or sent, the caller puts a
    /// keyed hash of the name in its place.
    pub fn of(name: &str) -> Self {
        Self(fnv(name))
    }
}

/// A site's name as a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SiteKey(u64);

impl SiteKey {
    /// The number of a name.
    pub fn of(id: &SiteId) -> Self {
        Self(fnv(id.as_str()))
    }

    /// Where this site stands in a user's order of preference, among sites of this weight (rendezvous hashing: a site
    /// that comes or goes moves only the users that it gains or loses).
    pub(super) fn score(self, user: ClientKey, weight: f64) -> f64 {
        // The finaliser of SplitMix64 spreads keys that differ in one bit.
        let mut mixed = self.0 ^ user.0.rotate_left(32);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let unit = ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1u64 << 53) as f64;
        -weight / unit.max(f64::MIN_POSITIVE).ln()
    }
}

/// FNV-1a, which is the same on every machine and in every version.
fn fnv(text: &str) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    text.bytes().fold(0xcbf2_9ce4_8422_2325, step)
}

/// A user who is inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Visit {
    pub(super) client: ClientKey,
    pub(super) site: SiteKey,
    /// How many of his last requests went elsewhere, since that site had no room for them.
    pub(super) away: u8,
    /// Whether an open route let him in. Core routes have no line, so whoever knows only them has passed none.
    pub(super) inside: bool,
    /// When he was seen last, milliseconds since 1970.
    pub(super) seen_unix_ms: u64,
}

impl Visit {
    /// Whether he was let in where others wait.
    pub fn is_inside(&self) -> bool {
        self.inside
    }

    /// Where he was put.
    pub fn site(&self) -> SiteKey {
        self.site
    }

    /// Whether this one says more than a browser's: another site, another count, or so many milliseconds later.
    pub fn replaces(&self, browsers: &Self, later_ms: u64) -> bool {
        let changed = (self.site, self.away, self.inside) != (browsers.site, browsers.away, browsers.inside);
        changed || self.seen_unix_ms.saturating_sub(browsers.seen_unix_ms) >= later_ms
    }
}

/// A place in the waiting room's line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    pub(super) client: ClientKey,
    /// The line it is for.
    pub(super) room: u64,
    pub(super) number: u64,
    /// When it was drawn, milliseconds since 1970.
    pub(super) drawn_unix_ms: u64,
}

impl Ticket {
    /// Its number: a lower one was drawn earlier.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Whose it is.
    pub fn client(&self) -> ClientKey {
        self.client
    }
}

/// A visit ends when nothing was asked for this long; then he may be put elsewhere.
pub const VISIT_IDLE_MS_MAX: u64 = 10 * 60_000;
/// He is known again by a visit that ended, for this long: a day is longer than any promotion's line.
pub const CLIENT_MS_MAX: u64 = 86_400_000;
/// A ticket is good for this long: longer than anybody waits before a screen.
pub const TICKET_MS_MAX: u64 = 4 * 3_600_000;

/// Bytes in front of a tag: kind, client, two numbers, time.
const BODY: usize = 1 + 4 * 8;
const TOKEN: usize = BODY + KeyId::BYTES + 32;
const VISIT: u8 = b'v';
const TICKET: u8 = b't';

/// Why a token does not count. The client carries something old, or something that is not his; he is treated as one
/// who has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenRefused {
    /// Not a token of this kind.
    #[error("is no token of this kind")]
    Malformed,
    /// No known key made its tag.
    #[error("is not signed by a known key")]
    Unsigned,
    /// It was given to another client.
    #[error("was given to another client")]
    Stranger,
    /// It is too old.
    #[error("is too old")]
    Expired,
}

impl Visit {
    /// The visit as text for a cookie.
    pub fn sign(&self, keys: &MacKeys) -> String {
        write(
            keys,
            VISIT,
            [self.client.0, self.site.0, u64::from(self.away) | u64::from(self.inside) << 8, self.seen_unix_ms],
        )
    }

    /// Reads a cookie: who somebody is, and his visit unless it is over.
    ///
    /// # Errors
    /// What is not a visit, or is so old that nobody is known by it.
    pub fn read(text: &str, keys: &MacKeys, now_unix_ms: u64) -> Result<(ClientKey, Option<Self>), TokenRefused> {
        let [client, site, away, seen_unix_ms] = read(text, keys, VISIT)?;
        let client = ClientKey(client);
        fresh(seen_unix_ms, now_unix_ms, CLIENT_MS_MAX)?;
        let visit = Self { client, site: SiteKey(site), away: away as u8, inside: away >> 8 & 1 == 1, seen_unix_ms };
        Ok((client, fresh(seen_unix_ms, now_unix_ms, VISIT_IDLE_MS_MAX).is_ok().then_some(visit)))
    }
}

impl Ticket {
    /// The ticket as text for a cookie.
    pub fn sign(&self, keys: &MacKeys) -> String {
        write(keys, TICKET, [self.client.0, self.room, self.number, self.drawn_unix_ms])
    }

    /// Reads a cookie. Whoever is known by his visit already has a ticket of his own, or none.
    ///
    /// # Errors
    /// What is not a ticket, not of this client, or too old.
    pub fn read(text: &str, keys: &MacKeys, known: Option<ClientKey>, now_unix_ms: u64) -> Result<Self, TokenRefused> {
        let [owner, room, number, drawn_unix_ms] = read(text, keys, TICKET)?;
        let client = known.unwrap_or(ClientKey(owner));
        if client.0 != owner && !mutant!(TrustTicket) {
            return Err(TokenRefused::Stranger);
        }
        fresh(drawn_unix_ms, now_unix_ms, TICKET_MS_MAX)?;
        Ok(Self { client, room, number, drawn_unix_ms })
    }
}

/// A clock that went back makes a token older than now, which is no fault of whoever carries it.
fn fresh(at: u64, now: u64, age_max: u64) -> Result<(), TokenRefused> {
    if now.saturating_sub(at) > age_max { Err(TokenRefused::Expired) } else { Ok(()) }
}

fn write(keys: &MacKeys, kind: u8, numbers: [u64; 4]) -> String {
    let mut token = Vec::with_capacity(TOKEN);
    token.push(kind);
    numbers.iter().for_each(|number| token.extend(number.to_be_bytes()));
    let tag = keys.tag(&token);
    token.extend(tag.key_id.to_bytes());
    token.extend(tag.bytes);
    let mut text = String::with_capacity(2 * TOKEN);
    push_hex(&mut text, &token);
    text
}

/// Appends bytes as hexadecimal digits: by a table, since every request has some of these.
pub(crate) fn push_hex(text: &mut String, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
}

fn read(text: &str, keys: &MacKeys, kind: u8) -> Result<[u64; 4], TokenRefused> {
    let mut token = [0; TOKEN];
    if text.len() != 2 * TOKEN {
        return Err(TokenRefused::Malformed);
    }
    for (byte, digits) in token.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let digit = |digit: u8| (digit as char).to_digit(16).ok_or(TokenRefused::Malformed);
        *byte = (digit(digits[0])? * 16 + digit(digits[1])?) as u8;
    }
    let (body, signature) = token.split_at(BODY);
    let (key_id, bytes) = signature.split_at(KeyId::BYTES);
    let (Ok(key_id), Ok(bytes)) = (key_id.try_into(), bytes.try_into()) else { return Err(TokenRefused::Malformed) };
    if body[0] != kind {
        return Err(TokenRefused::Malformed);
    }
    if !keys.verify(body, &Tag { key_id: KeyId::from_bytes(key_id), bytes }) && !mutant!(TrustTicket) {
        return Err(TokenRefused::Unsigned);
    }
    let mut numbers = [0; 4];
    for (number, bytes) in numbers.iter_mut().zip(body[1..].chunks_exact(8)) {
        *number = bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
    }
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test panics on failure

    use super::*;

    const NOW: u64 = 1_700_000_000_000;

    fn ticket() -> Ticket {
        Ticket { client: ClientKey(7), room: 3, number: 41, drawn_unix_ms: NOW }
    }

    #[test]
    fn a_token_counts_only_as_it_was_signed_and_for_whom() {
        let folder = tempfile::tempdir().unwrap();
        let mut keys = MacKeys::generate(&folder.path().join("keys"), 0).unwrap();
        let text = ticket().sign(&keys);
        let check = |text: &str, keys: &MacKeys, client: u64, now: u64, expect: Result<Ticket, TokenRefused>| {
            assert_eq!(Ticket::read(text, keys, Some(ClientKey(client)), now), expect);
        };
        check(&text, &keys, 7, NOW, Ok(ticket()));
        check(&text, &keys, 7, NOW - 3_600_000, Ok(ticket()));
        check(&text, &keys, 8, NOW, Err(TokenRefused::Stranger));
        check(&text, &keys, 7, NOW + TICKET_MS_MAX + 1, Err(TokenRefused::Expired));
        check(&text[1..], &keys, 7, NOW, Err(TokenRefused::Malformed));
        check("", &keys, 7, NOW, Err(TokenRefused::Malformed));
        check(&text.replace(|_: char| true, "é"), &keys, 7, NOW, Err(TokenRefused::Malformed));
        for at in 0..text.len() {
            let mut forged = text.clone().into_bytes();
            forged[at] = if forged[at] == b'0' { b'1' } else { b'0' };
            let forged = String::from_utf8(forged).unwrap();
            assert!(Ticket::read(&forged, &keys, None, NOW).is_err(), "digit {at}");
        }
        assert_eq!(Ticket::read(&text, &keys, None, NOW), Ok(ticket()), "a ticket alone says whose it is");
        assert_eq!(Visit::read(&text, &keys, NOW), Err(TokenRefused::Malformed));
        let visit = Visit { client: ClientKey(7), site: SiteKey(9), away: 2, inside: true, seen_unix_ms: NOW };
        let carried = visit.sign(&keys);
        let check_visit = |later: u64, expect: Result<(ClientKey, Option<Visit>), TokenRefused>| {
            assert_eq!(Visit::read(&carried, &keys, NOW + later), expect);
        };
        check_visit(VISIT_IDLE_MS_MAX, Ok((ClientKey(7), Some(visit))));
        check_visit(VISIT_IDLE_MS_MAX + 1, Ok((ClientKey(7), None)));
        check_visit(CLIENT_MS_MAX + 1, Err(TokenRefused::Expired));
        keys.rotate(1).unwrap();
        check(&text, &keys, 7, NOW, Ok(ticket()));
        let others = MacKeys::generate(&folder.path().join("others"), 0).unwrap();
        check(&text, &others, 7, NOW, Err(TokenRefused::Unsigned));
    }

    #[test]
    fn users_spread_over_sites_by_weight_and_stay_when_another_comes() {
        let site = |name: &str, weight: f64| (SiteKey::of(&SiteId::new(name).unwrap()), weight);
        let sites = [site("idc-1", 1.0), site("idc-2", 3.0), site("idc-3", 1.0)];
        let first = |count: usize, user: u64| {
            let scores = sites[..count].iter().map(|(key, weight)| key.score(ClientKey(user), *weight));
            scores.enumerate().max_by(|a, b| a.1.total_cmp(&b.1)).unwrap().0
        };
        let share = (0..8000).filter(|user| first(2, *user) == 1).count();
        assert!((5850..6150).contains(&share), "{share} of 8000, 6000 by weight");
        assert!((0..8000).all(|user| first(3, user) == 2 || first(3, user) == first(2, user)));
    }
}
