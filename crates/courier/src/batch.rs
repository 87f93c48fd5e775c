//! One batch from the moment it is durable to its last receipt; pure.
//!
//! `Ready -> (sent) -> Unknown -> Accepted -> settled`, or `InDoubt`. A batch is `Ready` only while every attempt under its
//! key was refused for certain; a batch that is read back from the log after a restart may have been sent, so it is `Unknown`.

use serde::{Deserialize, Serialize};

use crate::hours;

/// One message of a batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// The recipient's line in the campaign's file, from 0; 0 for a usage notification.
    #[serde(rename = "l")]
    pub line: u32,
    /// The vault's token of the address.
    #[serde(rename = "t")]
    pub token: String,
    /// Minutes that the recipient's clock is ahead of UTC.
    #[serde(rename = "z")]
    pub zone: i16,
}

/// Why a batch exists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Lane {
    /// A campaign, by its number in the log.
    Campaign(u16),
    /// A usage notification, with its text.
    Usage(String),
}

/// What is known of a batch's outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// No attempt under its key can have been taken.
    Ready,
    /// An attempt may have been taken.
    Unknown {
        /// The provider was asked after the last attempt, and does not know the key.
        not_found: bool,
    },
    /// The provider has it.
    Accepted,
    /// The key's lifetime is over and the outcome unknown; never sent again.
    InDoubt,
}

/// What the provider said to an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It has the batch.
    Accepted,
    /// It had the key before: the batch was accepted then.
    Duplicate,
    /// It has not taken it, for certain: too many requests, or busy.
    NotTaken,
    /// It will never take it: the request is wrong.
    Refused,
    /// Nobody knows: no answer, or one that does not say.
    Unknown,
}

/// What is to be done with a batch now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Hand it to the provider under its key.
    Submit,
    /// Ask the provider what became of the key.
    Ask,
    /// Nothing can have been taken and the key is old: give it a new one, durably, before the next attempt.
    Renew,
    /// Sending is not allowed now.
    Wait,
    /// The key's lifetime is over: write that down, and never send it again.
    Doubt,
    /// Receipts and the settling of open batches go on from here.
    Leave,
}

/// How long a key protects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyLife {
    /// How long the provider refuses a key that it has seen, in milliseconds.
    pub lifetime_ms: i64,
    /// How long before its end no attempt is begun: an attempt must have arrived before the provider forgets the key.
    pub margin_ms: i64,
}

/// A batch that is not settled.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// Its number.
    pub id: u64,
    /// The idempotency key in force.
    pub key: String,
    /// How many keys it had before.
    pub renewals: u32,
    /// When the key became durable, in milliseconds since 1970: the provider cannot have seen it earlier.
    pub keyed_ms: i64,
    /// Why it exists.
    pub lane: Lane,
    /// Its messages; without tokens as soon as the provider has it.
    pub members: Vec<Member>,
    /// Which messages have a final receipt.
    pub receipted: Vec<bool>,
    /// What is known.
    pub phase: Phase,
    /// When it was accepted, or in doubt, in milliseconds since 1970.
    pub since_ms: i64,
    /// When to ask about it next, and how often that was done without news.
    pub ask_at_ms: i64,
    /// How often it was asked about without news.
    pub asked: u32,
}

impl Batch {
    /// A batch that has just become durable in this process.
    pub fn new(id: u64, key: String, keyed_ms: i64, lane: Lane, members: Vec<Member>) -> Self {
        let receipted = vec![false; members.len()];
        let (renewals, since_ms, ask_at_ms, asked) = (0, keyed_ms, keyed_ms, 0);
        let phase = Phase::Ready;
        Self { id, key, renewals, keyed_ms, lane, members, receipted, phase, since_ms, ask_at_ms, asked }
    }

    /// The same, read back by another process: it may have been sent.
    pub fn recovered(&mut self) {
        if self.phase == Phase::Ready {
            self.phase = Phase::Unknown { not_found: false };
        }
    }

    /// Whether an attempt begun now could meet a provider that has forgotten the key.
    pub fn key_is_old(&self, now_ms: i64, life: KeyLife) -> bool {
        now_ms.saturating_add(life.margin_ms) >= self.keyed_ms.saturating_add(life.lifetime_ms)
    }

    /// Whether all of its recipients may get an advertisement now, and for `margin_ms` more.
    pub fn within_hours(&self, now_ms: i64, margin_ms: i64) -> bool {
        match self.lane {
            Lane::Usage(_) => true,
            Lane::Campaign(_) => self.members.iter().all(|member| hours::allowed(now_ms, member.zone, margin_ms)),
        }
    }

    /// What is to be done now; `open` says that nobody stopped the lane and all recipients' hours allow it.
    pub fn next(&self, now_ms: i64, life: KeyLife, open: bool) -> Next {
        let old = self.key_is_old(now_ms, life);
        match self.phase {
            Phase::Accepted | Phase::InDoubt => Next::Leave,
            Phase::Ready if !open => Next::Wait,
            Phase::Ready if old => Next::Renew,
            Phase::Ready => Next::Submit,
            Phase::Unknown { .. } if old => Next::Doubt,
            Phase::Unknown { not_found: false } => Next::Ask,
            Phase::Unknown { not_found: true } if open => Next::Submit,
            Phase::Unknown { not_found: true } => Next::Wait,
        }
    }

    /// An attempt leaves: from here on it may have been taken.
    pub fn attempt(&mut self) -> Phase {
        let before = self.phase;
        self.phase = Phase::Unknown { not_found: false };
        before
    }

    /// What an attempt came to; `before` is what [`Self::attempt`] gave. True when the provider has it now.
    pub fn answered(&mut self, before: Phase, outcome: Outcome) -> bool {
        // Receipts may have come first.
        if !matches!(self.phase, Phase::Unknown { .. }) {
            return false;
        }
        match outcome {
            Outcome::Accepted | Outcome::Duplicate => return true,
            Outcome::NotTaken | Outcome::Refused => self.phase = before,
            Outcome::Unknown => {}
        }
        false
    }

    /// The provider does not know the key.
    pub fn not_found(&mut self) {
        if let Phase::Unknown { not_found } = &mut self.phase {
            *not_found = true;
        }
    }

    /// The provider has it: its tokens are not needed any more.
    pub fn accepted(&mut self, at_ms: i64) {
        if self.phase != Phase::Accepted {
            self.phase = Phase::Accepted;
            self.settle_from(at_ms);
        }
    }

    /// Nobody knows, and nobody may try again.
    pub fn in_doubt(&mut self, at_ms: i64) {
        if matches!(self.phase, Phase::Unknown { .. }) {
            self.phase = Phase::InDoubt;
            self.settle_from(at_ms);
        }
    }

    fn settle_from(&mut self, at_ms: i64) {
        self.members.iter_mut().for_each(|member| member.token = String::new());
        (self.since_ms, self.ask_at_ms, self.asked) = (at_ms, at_ms, 0);
    }

    /// Whether every message has its receipt.
    pub fn is_settled(&self) -> bool {
        self.receipted.iter().all(|receipted| *receipted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFE: KeyLife = KeyLife { lifetime_ms: 1000, margin_ms: 100 };

    fn batch(phase: Phase) -> Batch {
        let member = Member { line: 0, token: "t".to_owned(), zone: 540 };
        let mut batch = Batch::new(1, "k".to_owned(), 0, Lane::Campaign(1), vec![member]);
        batch.phase = phase;
        batch
    }

    #[test]
    fn an_unknown_outcome_is_asked_about_and_never_sent_with_an_old_key() {
        let unknown = |not_found| Phase::Unknown { not_found };
        let check =
            |phase, now, open, expect| assert_eq!(batch(phase).next(now, LIFE, open), expect, "{phase:?} {now}");
        check(Phase::Ready, 0, true, Next::Submit);
        check(Phase::Ready, 0, false, Next::Wait);
        check(Phase::Ready, 899, true, Next::Submit);
        check(Phase::Ready, 900, true, Next::Renew);
        check(unknown(false), 0, true, Next::Ask);
        check(unknown(false), 0, false, Next::Ask);
        check(unknown(true), 899, true, Next::Submit);
        check(unknown(true), 0, false, Next::Wait);
        check(unknown(false), 900, true, Next::Doubt);
        check(unknown(true), 900, false, Next::Doubt);
        check(Phase::Accepted, 0, true, Next::Leave);
        check(Phase::InDoubt, 5000, true, Next::Leave);
    }

    #[test]
    fn a_refusal_takes_back_only_its_own_attempt() {
        let check = |from, outcome, accepted, expect| {
            let mut batch = batch(from);
            let before = batch.attempt();
            assert_eq!(batch.answered(before, outcome), accepted);
            assert_eq!(batch.phase, expect, "{from:?} {outcome:?}");
        };
        let unknown = |not_found| Phase::Unknown { not_found };
        check(Phase::Ready, Outcome::NotTaken, false, Phase::Ready);
        check(Phase::Ready, Outcome::Unknown, false, unknown(false));
        check(unknown(true), Outcome::NotTaken, false, unknown(true));
        check(Phase::Ready, Outcome::Accepted, true, unknown(false));
        check(unknown(true), Outcome::Duplicate, true, unknown(false));
    }

    #[test]
    fn what_another_process_left_may_have_been_sent() {
        let mut batch = batch(Phase::Ready);
        batch.recovered();
        assert_eq!(batch.next(0, LIFE, true), Next::Ask);
    }

    #[test]
    fn a_receipt_that_comes_before_the_answer_stands() {
        let mut batch = batch(Phase::Ready);
        let before = batch.attempt();
        batch.accepted(5);
        assert!(!batch.answered(before, Outcome::NotTaken));
        assert_eq!(batch.phase, Phase::Accepted);
        batch.in_doubt(6);
        assert_eq!(batch.phase, Phase::Accepted);
    }
}
