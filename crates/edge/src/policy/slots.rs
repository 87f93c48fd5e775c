//! A site's slots: cost-weighted requests in flight, per class, in one atomic word.
//!
//! Full is measured by Little's law: a request of cost c holds c slots while it is in flight. Both classes stand in one
//! word, so that a request is admitted or not by one exchange: there is no moment at which an open request that will be
//! turned away stands in a core request's place.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use naru_model::Class;

use super::Millis;
use super::mutant::mutant;

/// Slots, in thousandths: one view of a promotion page holds one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Slots(u32);

impl Slots {
    /// None.
    pub const ZERO: Self = Self(0);
    /// What one view of a promotion page holds.
    pub const ONE: Self = Self(1000);
    /// Most slots of a site: two of them together still fit into 32 bits of thousandths.
    pub const MAX: Self = Self(2_000_000_000);

    /// Slots in thousandths, [`Self::MAX`] at most.
    pub const fn from_thousandths(thousandths: u32) -> Self {
        if thousandths > Self::MAX.0 { Self::MAX } else { Self(thousandths) }
    }

    /// Whole slots.
    pub const fn whole(slots: u32) -> Self {
        Self::from_thousandths(slots.saturating_mul(1000))
    }

    /// In thousandths.
    pub const fn thousandths(self) -> u32 {
        self.0
    }

    /// The sum, [`Self::MAX`] at most.
    pub const fn plus(self, other: Self) -> Self {
        Self::from_thousandths(self.0.saturating_add(other.0))
    }

    /// What is left after taking `other`.
    pub const fn minus(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// As a number.
    pub fn as_f64(self) -> f64 {
        f64::from(self.0) / 1000.0
    }
}

impl std::fmt::Display for Slots {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(&naru_model::Units::from_thousandths(u64::from(self.0)), f)
    }
}

/// What is in flight at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct InFlight {
    /// By core requests.
    pub core: Slots,
    /// By open requests.
    pub open: Slots,
}

impl InFlight {
    /// By both.
    pub fn total(self) -> Slots {
        self.core.plus(self.open)
    }

    fn unpack(word: u64) -> Self {
        Self { core: Slots(word as u32), open: Slots((word >> 32) as u32) }
    }

    fn pack(self) -> u64 {
        u64::from(self.open.0) << 32 | u64::from(self.core.0)
    }

    fn of(&mut self, class: Class) -> &mut Slots {
        match class {
            Class::Core => &mut self.core,
            Class::Open => &mut self.open,
        }
    }
}

/// The gate of one site.
#[derive(Debug)]
pub struct Gate {
    in_flight: AtomicU64,
    /// Most in flight at once since the last look.
    peak: AtomicU32,
    limit: AtomicU32,
    reserve: AtomicU32,
    /// Slots refused since the last look.
    refused: AtomicU32,
    /// When the limit ends, and reserve and limit from then on, in one word.
    ends: AtomicU64,
    behind: AtomicU64,
}

impl Gate {
    /// A gate that lets `limit` in, of which `reserve` is for core requests only.
    pub fn new(limit: Slots, reserve: Slots) -> Self {
        Self {
            in_flight: AtomicU64::new(0),
            peak: AtomicU32::new(0),
            limit: AtomicU32::new(limit.0),
            reserve: AtomicU32::new(reserve.0),
            refused: AtomicU32::new(0),
            ends: AtomicU64::new(Millis::MAX),
            behind: AtomicU64::new(0),
        }
    }

    /// What may be in flight now.
    pub fn limit(&self) -> Slots {
        Slots(self.limit.load(Ordering::Relaxed))
    }

    /// What of it open requests cannot have.
    pub fn reserve(&self) -> Slots {
        Slots(self.reserve.load(Ordering::Relaxed))
    }

    /// Moves the limit.
    pub fn set_limit(&self, limit: Slots) {
        self.limit.store(limit.0, Ordering::Relaxed);
    }

    /// Changes the reserve.
    pub fn set_reserve(&self, reserve: Slots) {
        self.reserve.store(reserve.0, Ordering::Relaxed);
    }

    /// Lets limit and reserve fall to these at a time, without anybody who would have to come and do it: a process that
    /// was stopped for a while finds them fallen at its first request.
    pub(super) fn fall_at(&self, ends: Millis, limit: Slots, reserve: Slots) {
        self.behind.store(u64::from(reserve.0) << 32 | u64::from(limit.0), Ordering::Relaxed);
        self.ends.store(ends, Ordering::Release);
    }

    /// Limit and reserve at a time.
    fn bounds_at(&self, now: Millis) -> (Slots, Slots) {
        let (limit, reserve) = (self.limit(), self.reserve());
        if now < self.ends.load(Ordering::Acquire) {
            return (limit, reserve);
        }
        let behind = self.behind.load(Ordering::Relaxed);
        (limit.min(Slots(behind as u32)), reserve.min(Slots((behind >> 32) as u32)))
    }

    /// The most that requests may hold from here on if the limit does not rise: what is in flight counts also where the limit
    /// fell below it, and core may still take its reserve beside open requests.
    pub fn held(&self) -> Slots {
        let InFlight { core, open } = self.in_flight();
        self.limit().max(open.plus(core.max(self.reserve())))
    }

    /// Slots that were refused since this was asked last.
    pub(super) fn take_refused(&self) -> Slots {
        Slots(self.refused.swap(0, Ordering::Relaxed).min(Slots::MAX.0))
    }

    /// What is in flight.
    pub fn in_flight(&self) -> InFlight {
        InFlight::unpack(self.in_flight.load(Ordering::Relaxed))
    }

    /// The most that was in flight at once since this was asked last.
    pub fn take_peak(&self) -> Slots {
        let now = self.in_flight().total();
        Slots(self.peak.swap(now.0, Ordering::Relaxed)).max(now)
    }

    /// What a request of a class could still take.
    pub fn room(&self, class: Class) -> Slots {
        room(class, self.in_flight(), self.limit(), self.reserve())
    }

    /// The part of what open requests may have that is not free for them.
    pub fn used(&self) -> f64 {
        let most = self.limit().minus(self.reserve());
        if most == Slots::ZERO { 1.0 } else { 1.0 - self.room(Class::Open).as_f64() / most.as_f64() }
    }

    /// Takes slots, or says that there is no room for this request.
    #[must_use]
    pub fn enter(&self, class: Class, cost: Slots, now: Millis) -> bool {
        let (limit, reserve) = self.bounds_at(now);
        let admit = |word| {
            let mut next = InFlight::unpack(word);
            if cost > room(class, next, limit, reserve) {
                return None;
            }
            let held = next.of(class);
            *held = held.plus(cost);
            Some(next.pack())
        };
        let entered = self.in_flight.fetch_update(Ordering::Relaxed, Ordering::Relaxed, admit);
        if let Ok(before) = entered {
            let total = InFlight::unpack(before).total().plus(cost);
            if total.0 > self.peak.load(Ordering::Relaxed) {
                self.peak.fetch_max(total.0, Ordering::Relaxed);
            }
        } else {
            // Wraps after two million slots within one look, which says "many" as well.
            self.refused.fetch_add(cost.0, Ordering::Relaxed);
        }
        entered.is_ok()
    }

    /// Gives back what [`Self::enter`] took.
    pub fn leave(&self, class: Class, cost: Slots) {
        let class = if mutant!(ReleaseAsCore) { Class::Core } else { class };
        let release = |word| {
            let mut next = InFlight::unpack(word);
            let held = next.of(class);
            *held = held.minus(cost);
            Some(next.pack())
        };
        // The closure always gives a word, so this cannot fail.
        self.in_flight.fetch_update(Ordering::Relaxed, Ordering::Relaxed, release).unwrap_or_default();
    }
}

/// EDGE-2 in one place: what a request of a class may take beside what is in flight. Open requests stop where the
/// reserve begins, whether core uses it or not; core requests have the whole limit, and their reserve even when a limit
/// that fell leaves no room.
fn room(class: Class, in_flight: InFlight, limit: Slots, reserve: Slots) -> Slots {
    let left = limit.minus(in_flight.total());
    match class {
        Class::Core if mutant!(NoReserveForCore) => left,
        Class::Core => left.max(reserve.minus(in_flight.core)),
        Class::Open if mutant!(TakeReserve) => left,
        Class::Open => left.min(limit.minus(reserve).minus(in_flight.open)),
    }
}

#[cfg(test)]
mod tests {
    use Class::{Core, Open};

    use super::*;

    fn check(limit: u32, reserve: u32, before: &[(Class, u32)], class: Class, expect: u32) {
        let gate = Gate::new(Slots::whole(limit.max(100)), Slots::ZERO);
        for (class, cost) in before {
            assert!(gate.enter(*class, Slots::whole(*cost), 0));
        }
        gate.set_limit(Slots::whole(limit));
        gate.set_reserve(Slots::whole(reserve));
        assert_eq!(gate.room(class), Slots::whole(expect), "{limit} {reserve} {before:?} {class:?}");
        assert!(!gate.enter(class, Slots::whole(expect).plus(Slots::from_thousandths(1)), 0));
        assert!(gate.enter(class, Slots::whole(expect), 0));
    }

    #[test]
    fn open_requests_stop_where_the_reserve_begins() {
        check(20, 6, &[], Open, 14);
        check(20, 6, &[(Open, 14)], Open, 0);
        check(20, 6, &[(Core, 6)], Open, 14);
        check(20, 6, &[(Core, 9)], Open, 11);
        check(20, 0, &[(Open, 19)], Open, 1);
        check(5, 6, &[], Open, 0);
    }

    #[test]
    fn core_requests_have_the_rest_and_always_their_reserve() {
        check(20, 6, &[], Core, 20);
        check(20, 6, &[(Open, 14)], Core, 6);
        check(20, 6, &[(Open, 14), (Core, 4)], Core, 2);
        // The limit fell below what is in flight already.
        check(10, 6, &[(Open, 14)], Core, 6);
        check(10, 6, &[(Open, 14), (Core, 6)], Core, 0);
    }

    #[test]
    fn a_limit_that_ends_falls_without_anybody_who_lets_it() {
        let gate = Gate::new(Slots::whole(10), Slots::whole(4));
        gate.fall_at(100, Slots::whole(5), Slots::whole(2));
        assert!(gate.enter(Open, Slots::whole(4), 99));
        assert!(!gate.enter(Open, Slots::ONE, 100) && gate.enter(Core, Slots::ONE, 100));
        assert!(gate.enter(Core, Slots::ONE, 99), "the lease runs");
        assert_eq!(gate.held(), Slots::whole(10));
        gate.set_limit(Slots::whole(5));
        assert_eq!(gate.held(), Slots::whole(8), "four of open requests, and core's reserve beside them");
        assert_eq!((gate.take_refused(), gate.take_refused()), (Slots::ONE, Slots::ZERO));
    }

    #[test]
    fn what_is_given_back_can_be_taken_again() {
        let gate = Gate::new(Slots::whole(2), Slots::ZERO);
        assert!(gate.enter(Open, Slots::whole(2), 0) && !gate.enter(Core, Slots::ONE, 0));
        gate.leave(Open, Slots::whole(2));
        assert!(gate.enter(Core, Slots::ONE, 0));
        assert_eq!(gate.in_flight(), InFlight { core: Slots::ONE, open: Slots::ZERO });
        assert_eq!((gate.take_peak(), gate.take_peak()), (Slots::whole(2), Slots::ONE));
    }

    #[test]
    fn threads_never_take_more_than_there_is() {
        let gate = Gate::new(Slots::whole(7), Slots::whole(2));
        let taken = std::sync::atomic::AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..20_000 {
                        if gate.enter(Open, Slots::ONE, 0) {
                            assert!(taken.fetch_add(1, Ordering::SeqCst) < 5);
                            taken.fetch_sub(1, Ordering::SeqCst);
                            gate.leave(Open, Slots::ONE);
                        }
                    }
                });
            }
        });
        assert_eq!(gate.in_flight(), InFlight::default());
    }
}
