//! The servers of a pool at one site: which of them is up, and which gets the next request.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use super::Millis;
use super::mutant::mutant;
use super::residency::Peer;
use super::slots::Slots;

/// Health checks in a row that must fail before a server counts as down: one lost packet is no outage.
const FALL: u32 = 3;
/// Health checks in a row that must succeed before it counts as up again.
const RISE: u32 = 2;
/// Requests in a row that must fail before a server is left out for a while.
const FAILURES_MAX: u32 = 5;
/// For how long it is left out the first time; each time in a row it is that much longer.
const EJECTED_MS: Millis = 10_000;
/// The same where no other server of its site is left: a moment is not a lost site, and health checks decide about that
/// within a few seconds.
const EJECTED_LAST_MS: Millis = 1_000;
/// For how many of those at most.
const EJECTIONS_MAX: u32 = 30;

/// One server, with what is known about it. It outlives a change of the configuration that keeps its address.
#[derive(Debug)]
pub struct Upstream<P> {
    peer: P,
    weight: Slots,
    /// Whether `weight` is also the most that it may hold: a rented node has slots of its own, a server of ours shares
    /// those of its site.
    bounded: bool,
    in_flight: AtomicU32,
    up: AtomicBool,
    /// Checks in a row that said otherwise than `up`.
    against: AtomicU32,
    failures: AtomicU32,
    ejections: AtomicU32,
    ejected_until: AtomicU64,
}

impl<P: Peer> Upstream<P> {
    /// A server that counts as up until a check says otherwise.
    pub fn new(peer: P, weight: Slots, bounded: bool) -> Self {
        Self {
            peer,
            weight: weight.max(Slots::from_thousandths(1)),
            bounded,
            in_flight: AtomicU32::new(0),
            up: AtomicBool::new(true),
            against: AtomicU32::new(0),
            failures: AtomicU32::new(0),
            ejections: AtomicU32::new(0),
            ejected_until: AtomicU64::new(0),
        }
    }

    /// The peer, of the kind that its site makes it.
    pub fn peer(&self) -> P {
        self.peer
    }

    /// Where requests go.
    pub fn address(&self) -> SocketAddr {
        self.peer.address()
    }

    /// Its share among the servers of its pool and site.
    pub fn weight(&self) -> Slots {
        self.weight
    }

    pub(super) fn is_bounded(&self) -> bool {
        self.bounded
    }

    /// What it holds.
    pub fn in_flight(&self) -> Slots {
        Slots::from_thousandths(self.in_flight.load(Ordering::Relaxed))
    }

    /// Whether health checks say that it is up.
    pub fn is_up(&self) -> bool {
        self.up.load(Ordering::Relaxed)
    }

    /// Whether it is left out for its failures.
    pub fn is_ejected(&self, now: Millis) -> bool {
        let until = self.ejected_until.load(Ordering::Relaxed);
        // A clock that went back must not leave a server out for longer than any ejection lasts.
        now < until && until - now <= EJECTED_MS * Millis::from(EJECTIONS_MAX)
    }

    /// Whether it gets requests.
    pub fn is_usable(&self, now: Millis) -> bool {
        (self.is_up() || mutant!(IgnoreHealth)) && !self.is_ejected(now)
    }

    /// Takes the outcome of a health check. True when that changed whether the server is up.
    pub fn checked(&self, ok: bool) -> bool {
        if ok == self.is_up() {
            self.against.store(0, Ordering::Relaxed);
            return false;
        }
        let against = self.against.fetch_add(1, Ordering::Relaxed) + 1;
        let turned = against >= if ok { RISE } else { FALL };
        if turned {
            self.against.store(0, Ordering::Relaxed);
            self.failures.store(0, Ordering::Relaxed);
            self.up.store(ok, Ordering::Relaxed);
        }
        turned
    }

    /// A request was answered, by whatever the service said.
    pub fn answered(&self) {
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
            self.ejections.store(0, Ordering::Relaxed);
        }
    }

    /// A request failed: no connection, a reset, a time-out, an answer that is none. True when that is one too many.
    fn failed(&self) -> bool {
        self.failures.fetch_add(1, Ordering::Relaxed) + 1 >= FAILURES_MAX
    }

    fn eject(&self, now: Millis, first_ms: Millis) {
        let times = self.ejections.fetch_add(1, Ordering::Relaxed).saturating_add(1).min(EJECTIONS_MAX);
        // Until it has answered again, one more failure is enough.
        self.failures.store(FAILURES_MAX - 1, Ordering::Relaxed);
        self.ejected_until.store(now + first_ms * Millis::from(times), Ordering::Relaxed);
    }

    fn enter(&self, cost: Slots) -> bool {
        if !self.bounded {
            self.in_flight.fetch_add(cost.thousandths(), Ordering::Relaxed);
            return true;
        }
        let most = self.weight.thousandths();
        let admit = |held: u32| {
            // A request that is larger than the whole server may have it alone.
            (held == 0 || held.saturating_add(cost.thousandths()) <= most).then(|| held + cost.thousandths())
        };
        self.in_flight.fetch_update(Ordering::Relaxed, Ordering::Relaxed, admit).is_ok()
    }

    pub(super) fn leave(&self, cost: Slots) {
        let left = |held: u32| Some(held.saturating_sub(cost.thousandths()));
        // The closure always gives a value, so this cannot fail.
        self.in_flight.fetch_update(Ordering::Relaxed, Ordering::Relaxed, left).unwrap_or_default();
    }

    /// Whether this one would be fuller than the other with one more request.
    fn is_fuller_than(&self, other: &Self, cost: Slots) -> bool {
        let held = |upstream: &Self| u64::from(upstream.in_flight().plus(cost).thousandths());
        held(self) * u64::from(other.weight.thousandths()) > held(other) * u64::from(self.weight.thousandths())
    }
}

/// A failed request of one of the servers: one failure too many leaves it out for a while. All of a site may be left out:
/// where nothing else is left in the pool, they are asked all the same ([`Choice::ejected_too`]), since a fault that all
/// show is not theirs.
pub(super) fn failed<P: Peer>(all: &[Arc<Upstream<P>>], which: &Upstream<P>, now: Millis) {
    // What was in flight when it was left out says nothing new.
    if which.is_ejected(now) || !which.failed() {
        return;
    }
    let others = all.iter().any(|upstream| !std::ptr::eq(&raw const **upstream, which) && upstream.is_usable(now));
    which.eject(now, if others { EJECTED_MS } else { EJECTED_LAST_MS });
}

/// What a server has to be for a request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Choice {
    pub cost: Slots,
    /// The one that failed just now.
    pub avoid: Option<SocketAddr>,
    pub now: Millis,
    pub random: u64,
    /// Servers that are left out for their failures will do: there is no other in the pool.
    pub ejected_too: bool,
}

/// Takes slots at the less loaded of two that chance picks, or at any that has room if neither has.
pub(super) fn choose<P: Peer>(all: &[Arc<Upstream<P>>], choice: Choice) -> Option<&Arc<Upstream<P>>> {
    let Choice { cost, avoid, now, random, ejected_too } = choice;
    let fits = |upstream: &&Arc<Upstream<P>>| {
        (upstream.is_usable(now) || ejected_too && upstream.is_up()) && avoid != Some(upstream.address())
    };
    let count = all.len();
    if count == 0 {
        return None;
    }
    let first = random as u32 as usize % count;
    if count > 1 {
        let second = (first + 1 + (random >> 32) as usize % (count - 1)) % count;
        let two = [&all[first], &all[second]].map(|upstream| Some(upstream).filter(fits));
        let less = match two {
            [Some(one), Some(other)] if one.is_fuller_than(other, cost) => Some(other),
            [one, other] => one.or(other),
        };
        if let Some(less) = less.filter(|less| less.enter(cost)) {
            return Some(less);
        }
    }
    (0..count).map(|step| &all[(first + step) % count]).filter(fits).find(|upstream| upstream.enter(cost))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test panics on failure

    use super::super::residency::{CorePeer, OwnedNetworks};
    use super::*;

    fn upstreams(weights: &[u32], bounded: bool) -> Vec<Arc<Upstream<CorePeer>>> {
        let owned = OwnedNetworks::new(["10.0.0.0/8".parse().unwrap()]);
        let peer = |index: usize| CorePeer::new(format!("10.0.0.{}:80", index + 1).parse().unwrap(), &owned).unwrap();
        let upstream = |(index, weight): (usize, &u32)| Upstream::new(peer(index), Slots::whole(*weight), bounded);
        weights.iter().enumerate().map(upstream).map(Arc::new).collect()
    }

    /// Numbers without a pattern, from one seed.
    fn randoms() -> impl Iterator<Item = u64> {
        std::iter::successors(Some(7), |last: &u64| Some(last.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1)))
            .map(|raw| raw ^ (raw >> 29))
    }

    fn take(
        all: &[Arc<Upstream<CorePeer>>],
        avoid: Option<SocketAddr>,
        now: Millis,
        random: u64,
    ) -> Option<&Arc<Upstream<CorePeer>>> {
        choose(all, Choice { cost: Slots::ONE, avoid, now, random, ejected_too: false })
    }

    #[test]
    fn load_follows_the_weights() {
        let all = upstreams(&[1, 1, 2], false);
        for random in randoms().take(400) {
            assert!(take(&all, None, 0, random).is_some());
        }
        let held: Vec<u32> = all.iter().map(|upstream| upstream.in_flight().thousandths() / 1000).collect();
        assert!((95..=105).contains(&held[0]) && (190..=210).contains(&held[2]), "{held:?}");
    }

    #[test]
    fn a_bounded_server_is_never_over_filled_and_a_free_one_is_always_found() {
        let all = upstreams(&[1; 20], true);
        for random in randoms().take(20) {
            assert!(take(&all, None, 0, random).is_some());
        }
        assert!(take(&all, None, 0, 9).is_none());
        all[13].leave(Slots::ONE);
        assert_eq!(take(&all, None, 0, 1).unwrap().address(), all[13].address());
    }

    #[test]
    fn a_server_goes_down_by_three_checks_and_up_by_two() {
        let all = upstreams(&[1], false);
        let check = |ok: bool, turned: bool, up: bool| {
            assert_eq!((all[0].checked(ok), all[0].is_up()), (turned, up));
        };
        check(false, false, true);
        check(false, false, true);
        check(true, false, true);
        check(false, false, true);
        check(false, false, true);
        check(false, true, false);
        check(true, false, false);
        check(true, true, true);
    }

    #[test]
    fn a_server_that_fails_is_left_out_for_longer_each_time_until_it_answers() {
        let all = upstreams(&[1, 1, 1], false);
        let fail = |index: usize, times: u32, now| (0..times).for_each(|_| failed(&all, &all[index], now));
        fail(0, FAILURES_MAX - 1, 0);
        assert!(!all[0].is_ejected(0));
        fail(0, 3, 0);
        assert!(all[0].is_ejected(EJECTED_MS - 1) && !all[0].is_ejected(EJECTED_MS), "what comes later adds nothing");
        fail(0, 1, EJECTED_MS);
        assert!(all[0].is_ejected(3 * EJECTED_MS - 1) && !all[0].is_ejected(3 * EJECTED_MS));
        assert!(randoms().take(100).all(|random| {
            let chosen = take(&all, None, EJECTED_MS, random).unwrap();
            chosen.address() != all[0].address()
        }));
        all[0].answered();
        fail(0, FAILURES_MAX - 1, 3 * EJECTED_MS);
        assert!(!all[0].is_ejected(3 * EJECTED_MS), "it had answered");
    }

    #[test]
    fn the_last_server_of_a_site_is_left_out_for_a_moment_and_is_had_where_there_is_no_other() {
        for count in [1, 2] {
            let all = upstreams(&[1, 1][..count], false);
            all.iter().for_each(|upstream| (0..FAILURES_MAX).for_each(|_| failed(&all, upstream, 0)));
            let last = &all[count - 1];
            assert!(last.is_ejected(EJECTED_LAST_MS - 1) && !last.is_ejected(EJECTED_LAST_MS), "{count}");
            assert!(take(&all, None, 0, 3).is_none());
            let choice = Choice { cost: Slots::ONE, avoid: None, now: 0, random: 3, ejected_too: true };
            assert!(choose(&all, choice).is_some());
            (0..FALL).for_each(|_| {
                all.iter().for_each(|upstream| {
                    upstream.checked(false);
                });
            });
            assert!(choose(&all, choice).is_none(), "one that is down is not had");
        }
    }

    #[test]
    fn a_second_attempt_goes_elsewhere() {
        let all = upstreams(&[1, 1], false);
        let avoid = Some(all[0].address());
        for random in randoms().take(50) {
            assert_eq!(take(&all, avoid, 0, random).unwrap().address(), all[1].address());
        }
        assert!(take(&all[..1], avoid, 0, 3).is_none());
    }
}
