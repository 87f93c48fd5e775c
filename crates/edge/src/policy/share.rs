//! What of a site is this process's, where others send to it as well.
//!
//! Shares are parts of the whole site, in millionths, and not slots: so nobody who deals them out has to know how large a
//! site is, and a configuration may change its slots while leases stand. Whatever happens, a gateway has its safe part;
//! a lease adds to that until it ends. A process that takes over has what the one before does not hold any more.

use super::limit::Bounds;
use super::{Millis, Slots};

/// A whole site, in parts.
pub const WHOLE: u32 = 1_000_000;

/// What of one site this process may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// What it may have without a lease.
    pub safe: u32,
    /// What it may have until then.
    pub lease: Option<(u32, Millis)>,
    /// What of that the process before it holds, while that one drains.
    pub elsewhere: u32,
    /// What it keeps for requests that it still gets, while another process takes over.
    pub kept: Option<u32>,
}

impl Share {
    /// The share of a gateway that has this part without a lease.
    pub fn of(safe: u32) -> Self {
        Self { safe, lease: None, elsewhere: 0, kept: None }
    }

    /// What it may have while its lease runs.
    pub fn leased(self) -> u32 {
        self.left(self.lease.map_or(self.safe, |(part, _)| part.max(self.safe)))
    }

    /// What it may have once the lease has ended.
    pub fn unleased(self) -> u32 {
        self.left(self.safe)
    }

    /// What it and the process before it may have together now.
    pub fn granted(self, now: Millis) -> u32 {
        self.lease.filter(|(_, ends)| now < *ends).map_or(self.safe, |(part, _)| part.max(self.safe))
    }

    /// When the lease ends; never where none is needed.
    pub fn ends(self) -> Millis {
        self.lease.map_or(Millis::MAX, |(_, ends)| ends)
    }

    fn left(self, part: u32) -> u32 {
        part.saturating_sub(self.elsewhere).min(self.kept.unwrap_or(WHOLE))
    }
}

/// So many slots of these: rounded down, so that all parts together are never more than the whole.
pub fn slots_of(part: u32, whole: Slots) -> Slots {
    let slots = u64::from(whole.thousandths()) * u64::from(part.min(WHOLE)) / u64::from(WHOLE);
    Slots::from_thousandths(u32::try_from(slots).unwrap_or(u32::MAX))
}

/// The part that so many slots are: rounded up.
pub fn part_of(slots: Slots, whole: Slots) -> u32 {
    if slots == Slots::ZERO {
        return 0;
    }
    let part = (u64::from(slots.thousandths()) * u64::from(WHOLE)).div_ceil(u64::from(whole.thousandths().max(1)));
    u32::try_from(part).unwrap_or(u32::MAX).min(WHOLE)
}

/// The bounds of a part of a site.
pub fn bounds_of(part: u32, whole: Bounds) -> Bounds {
    Bounds { floor: slots_of(part, whole.floor), ceiling: slots_of(part, whole.ceiling) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_the_safe_part_and_a_lease_while_it_runs_less_what_is_held_elsewhere() {
        let check = |share: Share, now: Millis, expect: (u32, u32, u32)| {
            assert_eq!((share.leased(), share.unleased(), share.granted(now)), expect, "{share:?}");
        };
        let safe = Share::of(250_000);
        check(safe, 5, (250_000, 250_000, 250_000));
        let leased = Share { lease: Some((600_000, 10)), ..safe };
        check(leased, 9, (600_000, 250_000, 600_000));
        check(leased, 10, (600_000, 250_000, 250_000));
        check(Share { elsewhere: 400_000, ..leased }, 9, (200_000, 0, 600_000));
        check(Share { kept: Some(100_000), ..leased }, 9, (100_000, 100_000, 600_000));
    }

    #[test]
    fn parts_of_slots_never_sum_up_to_more_than_the_whole() {
        for whole in [Slots::ONE, Slots::whole(7), Slots::MAX] {
            for parts in [[333_333, 333_333, 333_334], [1, 999_998, 1], [500_000, 250_001, 249_999]] {
                let sum: u64 = parts.iter().map(|part| u64::from(slots_of(*part, whole).thousandths())).sum();
                assert!(sum <= u64::from(whole.thousandths()), "{parts:?} of {whole}");
                parts.iter().for_each(|part| assert!(part_of(slots_of(*part, whole), whole) <= *part));
            }
        }
        assert_eq!(part_of(Slots::from_thousandths(1), Slots::MAX), 1, "something is never nothing");
    }
}
