//! The way of one thing from being wanted to being gone, as a pure decision: what is the next step, given what is kept,
//! what is wanted and what the provider shows?
//!
//! Each step is kept before it is made, so that after a crash it is made again; steps are idempotent by the thing's key.
//! A list may be late: absence proves something only when it has lasted as long as the provider's lists may be wrong.

use crate::provider::{Seen, SeenState};
use crate::resource::{Item, Phase};

/// What to do next for one thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Wait.
    Nothing,
    /// Keep the phase `Asking`, then ask the provider to make it.
    Ask,
    /// Keep the phase `Releasing`, then tell the provider to end what it shows.
    Release,
    /// Keep this: the provider shows it.
    Keep(Phase),
    /// Keep that it is gone.
    Gone(&'static str),
}

/// The next step. `settle_ms` is how long the provider's list may be wrong about what was done.
pub fn next(item: &Item, wanted: bool, seen: Option<&Seen>, now_unix_ms: i64, settle_ms: i64) -> Step {
    let asked_long_ago = item.asked_unix_ms.is_none_or(|asked| now_unix_ms >= asked.saturating_add(settle_ms));
    match (item.phase, wanted, seen.map(|seen| seen.state)) {
        (Phase::Gone, _, _) => Step::Nothing,
        (Phase::Wanted, false, _) => Step::Gone("it was never asked for"),
        (Phase::Wanted | Phase::Asking, true, _) => Step::Ask,
        (Phase::Booting | Phase::Ready, true, Some(SeenState::Gone)) => Step::Gone("the provider took it back"),
        (Phase::Booting | Phase::Ready, true, None) if asked_long_ago => Step::Gone("the provider lost it"),
        (Phase::Booting, true, Some(SeenState::Ready)) => Step::Keep(Phase::Ready),
        (Phase::Ready, true, Some(SeenState::Booting)) => Step::Keep(Phase::Booting),
        (Phase::Booting | Phase::Ready, true, _) => Step::Nothing,
        (Phase::Asking | Phase::Booting | Phase::Ready, false, _) => Step::Release,
        // An answer that was lost may still become a thing: absence counts once the list has settled.
        (Phase::Releasing, _, Some(SeenState::Gone)) => Step::Gone("given back"),
        (Phase::Releasing, _, None) if asked_long_ago => Step::Gone("given back"),
        (Phase::Releasing, _, _) => Step::Release,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_phase_has_its_next_step() {
        let check = |phase: Phase, wanted: bool, seen: Option<SeenState>, age_ms: i64, expect: Step| {
            let item = Item { phase, asked_unix_ms: Some(1000), ..Item::wanted(1, 0, 0, String::new()) };
            let seen = seen.map(|state| Seen { key: item.key.clone(), id: "m".to_owned(), state });
            let got = next(&item, wanted, seen.as_ref(), 1000 + age_ms, 500);
            assert_eq!(got, expect, "{phase:?} {wanted} {seen:?} {age_ms}");
        };
        use SeenState::{Booting, Ready};
        check(Phase::Wanted, true, None, 0, Step::Ask);
        check(Phase::Wanted, false, None, 0, Step::Gone("it was never asked for"));
        check(Phase::Asking, true, None, 0, Step::Ask);
        check(Phase::Asking, true, Some(Ready), 9, Step::Ask);
        check(Phase::Asking, false, None, 0, Step::Release);
        check(Phase::Booting, true, None, 499, Step::Nothing);
        check(Phase::Booting, true, None, 500, Step::Gone("the provider lost it"));
        check(Phase::Booting, true, Some(Booting), 900, Step::Nothing);
        check(Phase::Booting, true, Some(Ready), 0, Step::Keep(Phase::Ready));
        check(Phase::Ready, true, Some(SeenState::Gone), 0, Step::Gone("the provider took it back"));
        check(Phase::Ready, false, Some(Ready), 0, Step::Release);
        check(Phase::Releasing, false, None, 499, Step::Release);
        check(Phase::Releasing, false, None, 500, Step::Gone("given back"));
        check(Phase::Releasing, false, Some(Ready), 900, Step::Release);
        check(Phase::Releasing, true, Some(SeenState::Gone), 0, Step::Gone("given back"));
        check(Phase::Gone, true, Some(Ready), 900, Step::Nothing);
    }
}
