//! All that the courier knows, as its log says it: the same [`State::apply`] serves a start and the running process; pure.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::hash::{BuildHasher as _, RandomState};

use serde::{Deserialize, Serialize};

use crate::admit::{LineState, STATES};
use crate::batch::{Batch, Lane, Member, Phase};
use crate::hours;
use crate::log::{CampaignSpec, Notification, Place, Receipt, Record};
use crate::reached::{Last, Reached};

/// Transactions that are remembered, so that a record that stands twice on the log is one notification: at 300
/// transactions a second an hour of them, 40 bytes each.
const TRANSACTIONS_MAX: usize = 1 << 20;

/// A campaign.
#[derive(Debug)]
pub struct Campaign {
    /// As it was asked for.
    pub spec: CampaignSpec,
    /// When it was taken on, in milliseconds since 1970.
    pub began_ms: i64,
    /// How far its file is done with.
    pub place: Place,
    /// What became of each line; a byte each, none when all of it is settled.
    pub lines: Vec<u8>,
    /// How many lines there are of each state.
    pub counts: [u64; STATES],
    /// Somebody stopped it.
    pub stopped: bool,
    /// Its file has nobody left to send to.
    pub finished: bool,
    /// Its batches that are not settled.
    pub open_batches: u64,
}

impl Campaign {
    /// Makes room for this many lines.
    fn cover(&mut self, lines: u32) {
        let new = (lines as usize).saturating_sub(self.lines.len());
        self.lines.resize(self.lines.len() + new, LineState::Planned as u8);
        self.counts[LineState::Planned as usize] += new as u64;
    }

    fn set(&mut self, line: u32, state: LineState) {
        self.cover(line + 1);
        let line = line as usize;
        self.counts[usize::from(self.lines[line])] -= 1;
        self.counts[state as usize] += 1;
        self.lines[line] = state as u8;
    }

    /// The state of a line.
    pub fn line(&self, line: u32) -> LineState {
        self.lines.get(line as usize).and_then(|byte| LineState::read(*byte)).unwrap_or(LineState::Planned)
    }

    /// Whether all of it is settled.
    pub fn is_over(&self) -> bool {
        self.finished && self.open_batches == 0
    }
}

/// What became of usage notifications.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageCounts {
    /// Made durable.
    pub persisted: u64,
    /// The provider has them.
    pub accepted: u64,
    /// They arrived.
    pub delivered: u64,
    /// The provider says that they did not.
    pub failed: u64,
    /// Nobody will ever know, or the provider refuses them.
    pub dead: u64,
    /// Records that were no transaction.
    pub unreadable: u64,
    /// Transactions that stood on the log again.
    pub repeated: u64,
}

/// The state.
#[derive(Debug, Default)]
pub struct State {
    /// This log's random name.
    pub origin: String,
    /// Campaigns by number.
    pub campaigns: BTreeMap<u16, Campaign>,
    /// Batches that are not settled.
    pub batches: BTreeMap<u64, Batch>,
    /// Who had a campaign lately.
    pub reached: Reached,
    /// Offsets to read on from, by topic and partition.
    pub offsets: BTreeMap<(String, i32), i64>,
    /// Usage notifications.
    pub usage: UsageCounts,
    /// Batches that were in doubt once.
    pub doubted: u64,
    next_batch: u64,
    seen: Seen,
}

/// The transactions of late.
#[derive(Debug, Default)]
struct Seen {
    hasher: RandomState,
    set: HashSet<u64>,
    order: VecDeque<u64>,
}

impl Seen {
    fn hash(&self, topic: &str, transaction: &str) -> u64 {
        self.hasher.hash_one((topic, transaction))
    }

    fn put(&mut self, hash: u64) {
        if self.set.insert(hash) {
            self.order.push_back(hash);
            if self.order.len() > TRANSACTIONS_MAX {
                self.order.pop_front().map(|oldest| self.set.remove(&oldest));
            }
        }
    }
}

impl State {
    /// The number of a batch that is about to be made durable; each is given once.
    pub fn next_batch(&mut self) -> u64 {
        self.next_batch += 1;
        self.next_batch
    }

    /// Whether a notification of a transaction was made durable lately.
    pub fn has_seen(&self, topic: &str, transaction: &str) -> bool {
        self.seen.set.contains(&self.seen.hash(topic, transaction))
    }

    /// The campaign of that name.
    pub fn find(&self, id: &str) -> Option<(u16, &Campaign)> {
        self.campaigns.iter().find(|(_, campaign)| campaign.spec.id == id).map(|(number, campaign)| (*number, campaign))
    }

    /// Batches whose outcome nobody knows.
    pub fn in_doubt(&self) -> u64 {
        self.batches.values().filter(|batch| batch.phase == Phase::InDoubt).count() as u64
    }

    /// Takes in what has become durable. What is said of a batch that is settled changes nothing: receipts, answers and
    /// polls come in any order, and more than once.
    pub fn apply(&mut self, record: Record) {
        match record {
            Record::Origin(origin) => self.origin = origin,
            Record::Campaign { number, at_ms, spec } => {
                let (place, lines, counts) = (Place::default(), Vec::new(), [0; STATES]);
                let campaign = Campaign {
                    spec,
                    began_ms: at_ms,
                    place,
                    lines,
                    counts,
                    stopped: false,
                    finished: false,
                    open_batches: 0,
                };
                self.campaigns.insert(number, campaign);
            }
            Record::Batch { campaign, batch, key, at_ms, members, skipped, place } => {
                self.persisted(campaign, batch, key, at_ms, members, &skipped, place);
            }
            Record::Usage { topic, partition, next_offset, at_ms, notifications, unreadable } => {
                self.usage.unreadable += unreadable;
                for one in notifications {
                    self.notified(&topic, at_ms, one);
                }
                self.offsets.insert((topic, partition), next_offset);
            }
            Record::Renewed { batch, key, at_ms } => {
                if let Some(batch) = self.batches.get_mut(&batch) {
                    (batch.key, batch.keyed_ms, batch.renewals) = (key, at_ms, batch.renewals + 1);
                }
            }
            Record::Accepted { batch, at_ms } => self.accepted(batch, at_ms),
            Record::InDoubt { batch, at_ms } => {
                let Some(open) = self.batches.get_mut(&batch) else { return };
                // A log that is read back says so of a batch that is Ready there.
                open.recovered();
                open.in_doubt(at_ms);
                if open.phase == Phase::InDoubt {
                    self.doubted += 1;
                    self.mark_open(batch, LineState::InDoubt);
                }
            }
            Record::Unresolved { batch, index } => self.unresolved(batch, index),
            Record::Receipts(receipts) => receipts.into_iter().for_each(|receipt| self.receipt(receipt)),
            Record::Dead { batch, .. } => self.dead(batch),
            Record::Stopped { campaign, stopped } => {
                if let Some(campaign) = self.campaigns.get_mut(&campaign) {
                    campaign.stopped = stopped;
                }
            }
            Record::Finished { campaign } => {
                if let Some(campaign) = self.campaigns.get_mut(&campaign) {
                    campaign.finished = true;
                }
            }
        }
    }

    /// Says of every open batch that it may have been sent: after a start.
    pub fn recovered(&mut self) {
        self.batches.values_mut().for_each(Batch::recovered);
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of one record")]
    fn persisted(
        &mut self,
        number: u16,
        batch: u64,
        key: String,
        at_ms: i64,
        members: Vec<Member>,
        skipped: &[(u32, u8)],
        place: Place,
    ) {
        self.next_batch = self.next_batch.max(batch);
        let Some(campaign) = self.campaigns.get_mut(&number) else { return };
        campaign.place = place;
        campaign.cover(place.line);
        for (line, state) in skipped {
            if let Some(state) = LineState::read(*state) {
                campaign.set(*line, state);
            }
        }
        for member in &members {
            naru_model::invariant!(
                COURIER_4,
                campaign.line(member.line) == LineState::Planned,
                "line {} of campaign {number} is {}",
                member.line,
                campaign.line(member.line).name()
            );
            campaign.set(member.line, LineState::Persisted);
            let day = u16::try_from(hours::day(at_ms, member.zone)).unwrap_or(u16::MAX);
            self.reached.put(self.reached.hash(&member.token), Last { campaign: number, day });
        }
        if !members.is_empty() {
            campaign.open_batches += 1;
            self.batches.insert(batch, Batch::new(batch, key, at_ms, Lane::Campaign(number), members));
        }
    }

    fn notified(&mut self, topic: &str, at_ms: i64, one: Notification) {
        self.next_batch = self.next_batch.max(one.batch);
        self.seen.put(self.seen.hash(topic, &one.transaction));
        self.usage.persisted += 1;
        let member = Member { line: 0, token: one.token, zone: 0 };
        let batch = Batch::new(one.batch, one.key, at_ms, Lane::Usage(one.text), vec![member]);
        self.batches.insert(one.batch, batch);
    }

    fn accepted(&mut self, number: u64, at_ms: i64) {
        let Some(batch) = self.batches.get_mut(&number) else { return };
        if batch.phase == Phase::Accepted {
            return;
        }
        batch.accepted(at_ms);
        if matches!(batch.lane, Lane::Usage(_)) {
            self.usage.accepted += 1;
        }
        self.mark_open(number, LineState::Accepted);
    }

    fn receipt(&mut self, receipt: Receipt) {
        let Some(batch) = self.batches.get_mut(&receipt.batch) else { return };
        let index = receipt.index as usize;
        if batch.receipted.get(index) != Some(&false) {
            return;
        }
        // Whatever the answer was or will be: what arrived was accepted.
        let since_ms = batch.since_ms;
        self.accepted(receipt.batch, since_ms);
        let Some(batch) = self.batches.get_mut(&receipt.batch) else { return };
        batch.receipted[index] = true;
        batch.asked = 0;
        let state = if receipt.delivered { LineState::Delivered } else { LineState::Failed };
        match &batch.lane {
            Lane::Usage(_) if receipt.delivered => self.usage.delivered += 1,
            Lane::Usage(_) => self.usage.failed += 1,
            Lane::Campaign(campaign) => {
                let line = batch.members[index].line;
                if let Some(campaign) = self.campaigns.get_mut(campaign) {
                    campaign.set(line, state);
                }
            }
        }
        self.close_if_settled(receipt.batch);
    }

    fn unresolved(&mut self, number: u64, index: u32) {
        let Some(batch) = self.batches.get_mut(&number) else { return };
        let Some(receipted) = batch.receipted.get_mut(index as usize) else { return };
        if std::mem::replace(receipted, true) {
            return;
        }
        match &batch.lane {
            Lane::Usage(_) => self.usage.dead += 1,
            Lane::Campaign(campaign) => {
                let line = batch.members[index as usize].line;
                if let Some(campaign) = self.campaigns.get_mut(campaign) {
                    campaign.set(line, LineState::Dead);
                }
            }
        }
        self.close_if_settled(number);
    }

    fn dead(&mut self, number: u64) {
        self.mark_open(number, LineState::Dead);
        let Some(batch) = self.batches.get_mut(&number) else { return };
        if matches!(batch.lane, Lane::Usage(_)) {
            self.usage.dead += 1;
        }
        batch.receipted.iter_mut().for_each(|receipted| *receipted = true);
        self.close_if_settled(number);
    }

    /// Marks the lines of a batch that have no receipt.
    fn mark_open(&mut self, number: u64, state: LineState) {
        let Some(batch) = self.batches.get(&number) else { return };
        let Lane::Campaign(campaign) = &batch.lane else { return };
        let Some(campaign) = self.campaigns.get_mut(campaign) else { return };
        for (member, _) in batch.members.iter().zip(&batch.receipted).filter(|(_, receipted)| !**receipted) {
            campaign.set(member.line, state);
        }
    }

    fn close_if_settled(&mut self, number: u64) {
        if !self.batches.get(&number).is_some_and(Batch::is_settled) {
            return;
        }
        if let Some(Batch { lane: Lane::Campaign(campaign), .. }) = self.batches.remove(&number)
            && let Some(campaign) = self.campaigns.get_mut(&campaign)
        {
            campaign.open_batches -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test panics on failure

    use super::*;

    fn campaign() -> Record {
        let spec = CampaignSpec {
            id: "1111".to_owned(),
            recipients: "r.csv".to_owned(),
            text: "x".to_owned(),
            opt_out: "080".to_owned(),
            curve: Vec::new(),
            forecast: None,
        };
        Record::Campaign { number: 1, at_ms: 0, spec }
    }

    fn batch(batch: u64, lines: std::ops::Range<u32>) -> Record {
        let member = |line| Member { line, token: format!("t{line}"), zone: 540 };
        let place = Place { pass: 0, line: lines.end, byte: 0 };
        let skipped = vec![(lines.end, LineState::NoConsent as u8)];
        let members = lines.map(member).collect();
        Record::Batch { campaign: 1, batch, key: format!("k{batch}"), at_ms: 0, members, skipped, place }
    }

    fn receipt(batch: u64, index: u32, delivered: bool) -> Record {
        Record::Receipts(vec![Receipt { batch, index, delivered }])
    }

    fn state(records: impl IntoIterator<Item = Record>) -> State {
        let mut state = State::default();
        records.into_iter().for_each(|record| state.apply(record));
        state
    }

    #[test]
    fn receipts_answers_and_polls_may_come_in_any_order_and_twice() {
        let accepted = Record::Accepted { batch: 1, at_ms: 5 };
        let doubt = Record::InDoubt { batch: 1, at_ms: 5 };
        let (first, second) = (receipt(1, 0, true), receipt(1, 1, false));
        let check = |steps: Vec<Record>| {
            let state = state([campaign(), batch(1, 0..2)].into_iter().chain(steps));
            let campaign = &state.campaigns[&1];
            assert_eq!(campaign.open_batches, 0);
            assert!(state.batches.is_empty());
            let names: Vec<_> = (0..3).map(|line| campaign.line(line).name()).collect();
            assert_eq!(names, ["delivered", "failed", "no_consent"]);
            assert_eq!(campaign.counts.iter().sum::<u64>(), 3);
        };
        check(vec![accepted.clone(), first.clone(), second.clone()]);
        check(vec![first.clone(), first.clone(), accepted.clone(), second.clone(), accepted.clone()]);
        check(vec![second.clone(), doubt.clone(), first.clone(), second.clone()]);
        check(vec![doubt, second, accepted, first]);
    }

    #[test]
    fn what_died_stays_dead_and_what_was_receipted_before_stays_so() {
        let dead = Record::Dead { batch: 1, reason: "unknown".to_owned() };
        let state = state([campaign(), batch(1, 0..2), receipt(1, 1, true), dead, receipt(1, 0, true)]);
        let campaign = &state.campaigns[&1];
        assert_eq!([campaign.line(0), campaign.line(1)], [LineState::Dead, LineState::Delivered]);
        assert_eq!(campaign.open_batches, 0);
    }

    #[test]
    fn a_transaction_is_known_by_its_topic_and_id() {
        let one = Notification {
            batch: 3,
            key: "k".to_owned(),
            transaction: "p1".to_owned(),
            token: "t".to_owned(),
            text: "x".to_owned(),
        };
        let (topic, notifications) = ("payments".to_owned(), vec![one]);
        let usage = Record::Usage { topic, partition: 0, next_offset: 8, at_ms: 0, notifications, unreadable: 0 };
        let mut state = state([usage]);
        assert!(state.has_seen("payments", "p1") && !state.has_seen("transfers", "p1"));
        assert_eq!(state.offsets[&("payments".to_owned(), 0)], 8);
        assert_eq!(state.next_batch(), 4);
        state.recovered();
        assert_eq!(state.batches[&3].phase, Phase::Unknown { not_found: false });
    }
}
