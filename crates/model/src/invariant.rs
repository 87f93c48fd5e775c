//! The catalogue of invariants, and what happens when one does not hold.
//!
//! An invariant has an identifier that documents, tests, checkers and counters share, one sentence, and a home: the
//! place of the predicate that decides it. [`invariant!`](crate::invariant!) states at a place in the code that the
//! invariant holds there. In tests and in simulation a violation panics, so that it cannot be overlooked. A process
//! that serves calls [`count_violations`] once when it starts: from then on a violation is counted and the process goes
//! on, because a payment service that stops is worse than one that raises an alarm.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// A sentence that must hold, with a counter of the times it did not.
#[derive(Debug)]
pub struct Invariant {
    id: &'static str,
    sentence: &'static str,
    home: &'static str,
    violations: AtomicU64,
    first: OnceLock<String>,
}

impl Invariant {
    const fn new(id: &'static str, sentence: &'static str, home: &'static str) -> Self {
        Self { id, sentence, home, violations: AtomicU64::new(0), first: OnceLock::new() }
    }

    /// The identifier as documents write it, such as `LOG-1`.
    pub fn id(&self) -> &'static str {
        self.id
    }

    /// What must hold.
    pub fn sentence(&self) -> &'static str {
        self.sentence
    }

    /// The path, from the root of the repository, of the predicate that decides it.
    pub fn home(&self) -> &'static str {
        self.home
    }

    /// How often it was violated in this process since [`count_violations`] was called.
    pub fn violations(&self) -> u64 {
        self.violations.load(Ordering::Relaxed)
    }

    /// The detail of the first counted violation. Later ones are only counted, so that a violation in a loop costs no
    /// memory.
    pub fn first_violation(&self) -> Option<&str> {
        self.first.get().map(String::as_str)
    }

    /// Reports a violation; called by [`invariant!`](crate::invariant!), and by a predicate that has found one. The
    /// detail goes to logs and reports: it must carry neither personal data nor secrets.
    ///
    /// # Panics
    /// Unless [`count_violations`] was called before.
    #[cold]
    #[track_caller]
    pub fn violated(&self, detail: String) {
        let Some(report_first) = REPORT_FIRST.get() else {
            panic!("{} violated: {} ({detail})", self.id, self.sentence);
        };
        self.violations.fetch_add(1, Ordering::Relaxed);
        let mut is_first = false;
        let first = self.first.get_or_init(|| {
            is_first = true;
            detail
        });
        if is_first {
            report_first(self, first);
        }
    }
}

/// Set when violations are counted; told the first violation of each invariant, with its detail.
static REPORT_FIRST: OnceLock<fn(&Invariant, &str)> = OnceLock::new();

/// Makes violations count instead of panic, for the rest of the life of this process. Called once, by a process that
/// serves, before it serves; a second call changes nothing. `report_first` is told the first violation of each
/// invariant with its detail, for the log: later ones are only counted, so that a violation in a loop does not fill it.
pub fn count_violations(report_first: fn(&Invariant, &str)) {
    REPORT_FIRST.get_or_init(|| report_first);
}

/// The invariant with this identifier, such as `LOG-1`.
pub fn find(id: &str) -> Option<&'static Invariant> {
    CATALOGUE.iter().find(|invariant| invariant.id == id).copied()
}

/// States that an invariant of the catalogue holds here.
///
/// The detail is formatted only when it does not hold.
/// ```
/// let (base_offset, log_end) = (7, 7);
/// naru_model::invariant!(BROKER_4, base_offset == log_end, "batch at {base_offset}, log end {log_end}");
/// ```
#[macro_export]
macro_rules! invariant {
    ($id:ident, $holds:expr, $($detail:tt)+) => {
        if !$holds {
            $crate::invariant::$id.violated(::std::format!($($detail)+));
        }
    };
}

macro_rules! catalogue {
    ($($name:ident $id:literal $sentence:literal $home:literal;)+) => {
        $(
            #[doc = concat!($id, ": ", $sentence, ".")]
            pub static $name: Invariant = Invariant::new($id, $sentence, $home);
        )+

        /// Every invariant, in the order of the documents.
        pub static CATALOGUE: &[&Invariant] = &[$(&$name),+];
    };
}

catalogue! {
    LOG_1 "LOG-1" "no acknowledged record is lost" "crates/rehearsal/src/check/lost.rs";
    LOG_2 "LOG-2" "no record is doubled" "crates/rehearsal/src/check/doubled.rs";
    LOG_3 "LOG-3" "records of a key keep their order" "crates/rehearsal/src/check/order.rs";
    LOG_4 "LOG-4" "consumers agree on what stands at an offset" "crates/rehearsal/src/check/observed.rs";
    LOG_5 "LOG-5" "nothing is read that was never sent" "crates/rehearsal/src/check/unsent.rs";
    BROKER_1 "BROKER-1" "an answer to acks=all under flush=fsync survives SIGKILL" "crates/naru/tests/it/kill.rs";
    BROKER_2 "BROKER-2" "a batch whose checksum fails is never served" "crates/kafka/src/standin/storage/read.rs";
    BROKER_3 "BROKER-3" "a producer's sequence is appended once" "crates/kafka/src/standin/log/producers.rs";
    BROKER_4 "BROKER-4" "offsets rise without reuse" "crates/kafka/src/standin/log/state.rs";
    WIRE_1 "WIRE-1" "a hostile frame costs bounded memory" "crates/kafka/src/wire";
    SEGMENT_1 "SEGMENT-1" "a signed segment that was altered, cut or reordered is refused" "crates/runtime/src/segments/verify.rs";
    RELAY_1 "RELAY-1" "an acknowledged record of a duplex topic is readable from either side alone, at the same offset" "crates/relay/src/sequence";
    RELAY_2 "RELAY-2" "consumers never see beyond the gate, and never a smaller number while it is unknown" "crates/relay/src/sequence";
    RELAY_3 "RELAY-3" "below the gate both sides are equal, above it one is a prefix of the other" "crates/relay/src/sequence";
    RELAY_4 "RELAY-4" "a committed consumer offset is on both sides before it is acknowledged" "crates/relay/src/offsets";
    RELAY_5 "RELAY-5" "one side acknowledges alone only by a durable grant, and a damaged side is never in sync" "crates/relay/src/sides";
    RELAY_6 "RELAY-6" "a producer id is never reused across sides or relays" "crates/relay/src/sequence";
    RELAY_7 "RELAY-7" "a batch without a producer id is stamped before it is written" "crates/relay/src/sequence";
    RELAY_8 "RELAY-8" "leader epochs and topic ids shown to clients are the relay's own and never go back" "crates/relay/src/lib.rs";
    RELAY_9 "RELAY-9" "nothing is written or acknowledged after the end of the lease" "crates/relay/src/sequence";
    RELAY_10 "RELAY-10" "a successor fences its predecessor before it reads log ends" "crates/relay/src/coordination";
    RELAY_11 "RELAY-11" "the producers' last five batches are the relay's own, durable, and never above the gate" "crates/relay/src/sequence";
    RELAY_12 "RELAY-12" "a topic with another id than the recorded one is absence, never equalised" "crates/relay/src/sequence";
    RELAY_13 "RELAY-13" "no automatic solo after a restart whose ends, epochs or coordinator are in doubt" "crates/relay/src/sides";
    RELAY_14 "RELAY-14" "after a retriable refusal only that sequence is admitted next" "crates/relay/src/sequence";
    COURIER_1 "COURIER-1" "a batch and its key are durable before a byte of it leaves" "crates/courier/src/drive.rs";
    COURIER_2 "COURIER-2" "a batch whose outcome may be unknown is never sent with another key, nor with one that the provider may have forgotten" "crates/courier/src/batch.rs";
    COURIER_3 "COURIER-3" "no advertisement leaves outside of 08:00 to 21:00 by the recipient's clock" "crates/courier/src/hours.rs";
    COURIER_4 "COURIER-4" "a recipient is in one batch of a campaign at most" "crates/courier/src/state.rs";
    EDGE_1 "EDGE-1" "a core request never reaches a rented site" "crates/edge/src/policy/decide.rs";
    EDGE_2 "EDGE-2" "open traffic never takes the reserve of core traffic" "crates/edge/src/policy/slots.rs";
    EDGE_3 "EDGE-3" "a user of an open route sees a page or the waiting room, never an error of ours" "crates/edge/src/policy/decide.rs";
    AUDIT_1 "AUDIT-1" "a certificate says equal only of readers whose sketches are the same" "crates/audit/src/certificate/mod.rs";
    AUDIT_2 "AUDIT-2" "every difference is named with its exact multiplicity, or the window stays open" "crates/audit/src/verdict/mod.rs";
    AUDIT_3 "AUDIT-3" "a certificate that was altered, cut or reordered is refused" "crates/audit/src/certificate/verify.rs";
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn identifiers_are_unique_and_well_formed() {
        let ids: BTreeSet<_> = CATALOGUE.iter().map(|invariant| invariant.id()).collect();
        assert_eq!(ids.len(), CATALOGUE.len());
        for invariant in CATALOGUE {
            let (area, number) = invariant.id().split_once('-').expect("AREA-NUMBER");
            assert!(area.bytes().all(|byte| byte.is_ascii_uppercase()), "{}", invariant.id());
            assert!(number.parse::<u16>().is_ok(), "{}", invariant.id());
        }
    }

    #[test]
    fn every_home_exists() {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
        for invariant in CATALOGUE {
            let home = std::path::Path::new(root).join(invariant.home());
            assert!(home.exists(), "{}: {} does not exist", invariant.id(), invariant.home());
        }
    }

    #[test]
    fn an_identifier_finds_its_invariant() {
        assert_eq!(find("LOG-3").map(Invariant::sentence), Some("records of a key keep their order"));
        assert!(find("LOG-99").is_none());
    }

    #[test]
    fn one_that_holds_costs_nothing() {
        crate::invariant!(LOG_1, 1 + 1 == 2, "never formatted {}", unreachable());
    }

    #[test]
    #[should_panic(expected = "LOG-1 violated: no acknowledged record is lost (offset 7)")]
    fn one_that_does_not_hold_panics_with_its_sentence_and_detail() {
        let offset = 7;
        crate::invariant!(LOG_1, offset == 8, "offset {offset}");
    }

    fn unreachable() -> &'static str {
        unreachable!("the detail of an invariant that holds")
    }
}
