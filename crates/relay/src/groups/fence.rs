//! Which members that a takeover made unknown may still have what they did committed for them.

use crate::sequence::Millis;

/// How long members may take to find out that a takeover ended their membership: the Java client's default session
/// time-out.
pub(super) const ORPHANED_MS_MAX: Millis = 45_000;

/// What is known of a consumer group's generations. The side that is active now counts its own, and would take anybody's
/// commit while nobody has joined there; the side before would have refused a member that it had thrown out.
#[derive(Debug, Default)]
pub(super) struct Fence {
    /// The highest generation from which the active side took a commit.
    taken: Option<i32>,
    /// The same of the side before: members of older generations were thrown out by it.
    least: Option<i32>,
    /// Members of the side before may be about until then.
    until: Millis,
    /// Nobody's commit is taken any more: of whose side a member is cannot be told, or somebody has joined here.
    closed: bool,
}

impl Fence {
    /// The active side changed.
    pub(super) fn moved(&mut self, now: Millis) {
        // Members of two sides may be about, with generations of their own each.
        self.closed = now < self.until;
        self.least = self.taken.take();
        self.until = now + ORPHANED_MS_MAX;
    }

    /// The active side took a commit of a member that it knows.
    pub(super) fn took(&mut self, generation: i32) {
        self.taken = self.taken.max(Some(generation));
        self.closed = true;
    }

    /// Whether a member of this generation that the active side does not know may have lost its membership by a
    /// takeover, and not by its own fault.
    pub(super) fn admits(&self, generation: i32, now: Millis) -> bool {
        generation >= 0 && now < self.until && !self.closed && self.least.is_none_or(|least| generation >= least)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `took 3`, `moved 1000`; then whether a generation is admitted at a time.
    fn check(script: &str, generation: i32, now: Millis, expect: bool) {
        let mut fence = Fence::default();
        for step in script.split("; ").filter(|step| !step.is_empty()) {
            match step.split_once(' ') {
                Some(("took", generation)) => fence.took(generation.parse().unwrap_or_default()),
                Some(("moved", at)) => fence.moved(at.parse().unwrap_or_default()),
                _ => panic!("{step}"),
            }
        }
        assert_eq!(fence.admits(generation, now), expect, "{script}: {generation} at {now}");
    }

    #[test]
    fn only_members_that_the_side_before_had_not_thrown_out_are_admitted_and_only_for_a_while() {
        check("", 5, 0, false);
        check("took 5", 5, 0, false);
        check("took 5; moved 1000", 5, 2_000, true);
        check("took 5; moved 1000", 6, 2_000, true);
        check("took 5; moved 1000", 4, 2_000, false);
        check("took 5; took 3; moved 1000", 4, 2_000, false);
        check("moved 1000", 1, 2_000, true);
        check("moved 1000", -1, 2_000, false);
        check("took 5; moved 1000", 5, 46_000, false);
        // Somebody has joined the new side, and may have left it again.
        check("took 5; moved 1000; took 1", 5, 2_000, false);
        // The side before counted from 1 again; of those before it some may still be about.
        check("took 5; moved 1000; took 1; moved 2000", 5, 3_000, false);
        check("took 5; moved 1000; moved 2000", 5, 3_000, false);
        check("took 5; moved 1000; took 1; moved 50000", 1, 51_000, true);
    }
}
