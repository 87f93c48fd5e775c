//! What is under way to one side of a group.

use std::collections::BTreeMap;

use naru_kafka::client::TopicPartition;

use super::{Changes, Offsets, Position, WRITE_PLACES_MAX};
use crate::sequence::{Millis, OrderId, Ticket};

/// What a place is to hold, numbered in the active side's order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) position: Option<Position>,
    pub(super) version: u64,
}

pub(super) type Versioned = BTreeMap<TopicPartition, Change>;

/// A write that was sent.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) order: OrderId,
    pub(super) since: Millis,
    pub(super) changes: Versioned,
}

/// A request whose outcome is unknown.
#[derive(Debug)]
pub(super) struct Doubt {
    /// Whether it was a client's, sent to the side that was active then.
    pub(super) is_clients: bool,
    /// The client, as long as it waits.
    pub(super) ticket: Option<Ticket>,
    /// Empty for what a relay before this one may have sent.
    pub(super) changes: Versioned,
    /// When the side first answered afterwards, without a failure since: a request that waits in the socket of a broker
    /// that stands still may arrive as soon as that goes on.
    pub(super) answered: Option<Millis>,
}

/// Members that a side may still know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Members {
    #[default]
    Gone,
    Present,
    Removing(OrderId),
}

/// One side.
#[derive(Debug, Default)]
pub(super) struct Lane {
    /// What is to be written, the newest per place.
    pub(super) pending: Versioned,
    pub(super) flight: Option<Flight>,
    pub(super) doubts: Vec<Doubt>,
    /// The reading that is to resolve the doubts.
    pub(super) reading: Option<OrderId>,
    pub(super) members: Members,
    /// What is known to stand there.
    pub(super) known: Versioned,
    /// Whether a place that is not in `known` is known to hold nothing.
    pub(super) is_known_whole: bool,
    /// Nothing is tried before.
    pub(super) retry_at: Millis,
    /// What a relay before this one may have sent is not looked into before.
    pub(super) look_at: Millis,
    pub(super) failing_since: Option<Millis>,
}

impl Lane {
    /// A side to which a relay before this one may have sent something.
    pub(super) fn after_another(unsettled: bool) -> Self {
        let doubt = Doubt { is_clients: false, ticket: None, changes: Versioned::new(), answered: None };
        Self { doubts: if unsettled { vec![doubt] } else { Vec::new() }, ..Self::default() }
    }

    /// Whether all that is in doubt is what a relay before this one may have sent.
    pub(super) fn awaits_another(&self) -> bool {
        self.doubts.iter().all(|doubt| doubt.changes.is_empty())
    }

    /// Nothing under way, nothing to do, nothing in doubt.
    pub(super) fn is_idle(&self) -> bool {
        self.pending.is_empty() && self.flight.is_none() && self.doubts.is_empty()
    }

    /// The number of the oldest change that is not known to be there.
    pub(super) fn oldest_open(&self) -> Option<u64> {
        let flight = self.flight.iter().flat_map(|flight| flight.changes.values());
        let doubts = self.doubts.iter().flat_map(|doubt| doubt.changes.values());
        self.pending.values().chain(flight).chain(doubts).map(|change| change.version).min()
    }

    pub(super) fn open(&self) -> usize {
        self.pending.len() + self.flight.as_ref().map_or(0, |flight| flight.changes.len())
    }

    /// Whether a change of this place is under way or waits.
    pub(super) fn is_open(&self, place: &TopicPartition) -> bool {
        self.pending.contains_key(place)
            || self.flight.as_ref().is_some_and(|flight| flight.changes.contains_key(place))
    }

    /// Puts a change in line unless a newer one waits there.
    pub(super) fn put(&mut self, place: TopicPartition, change: Change) {
        let newer = self.pending.get(&place).is_some_and(|waiting| waiting.version > change.version);
        if !newer {
            self.pending.insert(place, change);
        }
    }

    /// The next write: deletions first, then commits, never both, since they are different requests.
    pub(super) fn take_write(&mut self) -> Versioned {
        let deletes = self.pending.values().any(|change| change.position.is_none());
        let next = self.pending.iter().filter(|(_, change)| change.position.is_none() == deletes);
        let mut taken: Vec<_> = next.map(|(place, change)| (change.version, place.clone())).collect();
        // Oldest first, so that a busy place cannot keep another one waiting.
        taken.sort_unstable();
        taken.truncate(WRITE_PLACES_MAX);
        taken.into_iter().filter_map(|(_, place)| self.pending.remove_entry(&place)).collect()
    }

    /// Forgets what waits. What was sent stays in doubt until it can no longer arrive.
    pub(super) fn drop_open(&mut self) {
        self.pending.clear();
        if let Some(flight) = self.flight.take() {
            self.doubts.push(Doubt { is_clients: false, ticket: None, changes: flight.changes, answered: None });
        }
    }

    /// Forgets what is known of the side as well.
    pub(super) fn reset(&mut self) {
        self.drop_open();
        self.known.clear();
        self.is_known_whole = false;
    }
}

impl Lane {
    /// Whether this reading shows that a write has arrived. A place that held the same before proves nothing.
    pub(super) fn shows(&self, doubt: &Doubt, found: &Offsets) -> bool {
        !doubt.changes.is_empty()
            && doubt.changes.iter().all(|(place, change)| {
                let held_other = match self.known.get(place) {
                    Some(before) => before.position != change.position,
                    None => self.is_known_whole && change.position.is_some(),
                };
                held_other && found.get(place) == change.position.as_ref()
            })
    }
}

pub(super) fn plain(changes: &Versioned) -> Changes {
    changes.iter().map(|(place, change)| (place.clone(), change.position.clone())).collect()
}
