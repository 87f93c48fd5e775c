//! An incident as it is known: made of the entries of the ledger, and of nothing else.

use serde::{Deserialize, Serialize};

use crate::event::{Change, Entry, Event, Signal, SignalId};

/// Most entries of a timeline; what comes later is in the ledger still.
const TIMELINE_MAX: usize = 400;

/// Where an incident stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Nobody has taken it on.
    Open,
    /// Somebody has.
    Acknowledged,
    /// It is over.
    Resolved,
}

/// A signal of an incident, from its beginning to its end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SignalState {
    /// The signal.
    #[serde(flatten)]
    pub signal: Signal,
    /// The entry that says so.
    pub entry: u64,
    /// When it was noticed.
    pub noticed_unix_ms: i64,
    /// When it was over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_unix_ms: Option<i64>,
}

/// One line of a timeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// The entry of the ledger that says so.
    pub entry: u64,
    /// When, in milliseconds since 1970, UTC.
    pub at_unix_ms: i64,
    /// In one sentence.
    pub said: String,
}

/// A change before an incident.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeLine {
    /// The entry of the ledger that says so.
    pub entry: u64,
    /// When, in milliseconds since 1970, UTC.
    pub at_unix_ms: i64,
    /// What changed.
    #[serde(flatten)]
    pub change: Change,
}

/// Something to be done so that it does not happen again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActionState {
    /// Its number.
    pub action: u64,
    /// What.
    pub what: String,
    /// Who: a handle.
    pub owner: String,
    /// The rehearsal that must pass.
    pub rehearsal: String,
    /// The entry that says so.
    pub entry: u64,
    /// The entry that closed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed_entry: Option<u64>,
}

/// An incident.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Incident {
    /// Its number, from 1.
    pub id: u64,
    /// Where it stands.
    pub phase: Phase,
    /// The most likely cause by the rule.
    pub cause: String,
    /// Why.
    pub because: String,
    /// The entry that names the cause.
    pub cause_entry: u64,
    /// When the first reading was that shows it.
    pub began_unix_ms: i64,
    /// When it opened.
    pub opened_unix_ms: i64,
    /// Since when it was well again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub well_since_unix_ms: Option<i64>,
    /// When it was over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved_unix_ms: Option<i64>,
    /// Who has taken it on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged_by: Option<String>,
    /// Its signals, in the order in which they were noticed.
    pub signals: Vec<SignalState>,
    /// What had changed just before, the newest first.
    pub changes: Vec<ChangeLine>,
    /// How many were woken.
    pub contacts: usize,
    /// Whether there is a draft of a postmortem.
    pub drafted: bool,
    /// What is to be done.
    pub actions: Vec<ActionState>,
    /// Everything of it, as it stands in the ledger.
    pub timeline: Vec<Line>,
}

impl Incident {
    /// A new one.
    pub fn opened(id: u64, at_unix_ms: i64, changes: Vec<ChangeLine>) -> Self {
        Self {
            id,
            phase: Phase::Open,
            cause: "unknown".to_owned(),
            because: String::new(),
            cause_entry: 0,
            began_unix_ms: at_unix_ms,
            opened_unix_ms: at_unix_ms,
            well_since_unix_ms: None,
            resolved_unix_ms: None,
            acknowledged_by: None,
            signals: Vec::new(),
            changes,
            contacts: 0,
            drafted: false,
            actions: Vec::new(),
            timeline: Vec::new(),
        }
    }

    /// Whether it is not over.
    pub fn is_open(&self) -> bool {
        self.phase != Phase::Resolved
    }

    /// Whether its timeline takes no more.
    pub fn is_full(&self) -> bool {
        self.timeline.len() >= TIMELINE_MAX
    }

    /// A signal of it that has not ended.
    pub fn lasting(&self, id: &SignalId) -> Option<&SignalState> {
        self.signals.iter().find(|one| one.signal.id == *id && one.ended_unix_ms.is_none())
    }

    /// Whether any of its signals lasts.
    pub fn is_lasting(&self) -> bool {
        self.signals.iter().any(|one| one.ended_unix_ms.is_none())
    }

    /// Takes an entry of its own in.
    pub fn apply(&mut self, entry: &Entry) {
        let at = entry.at_unix_ms;
        match &entry.event {
            Event::Began { signal, .. } => {
                self.began_unix_ms = self.began_unix_ms.min(signal.since_unix_ms);
                self.signals.push(SignalState {
                    signal: signal.clone(),
                    entry: entry.id,
                    noticed_unix_ms: at,
                    ended_unix_ms: None,
                });
            }
            Event::Ended { signal, .. } => {
                let lasting = |one: &&mut SignalState| one.signal.id == *signal && one.ended_unix_ms.is_none();
                self.signals.iter_mut().filter(lasting).for_each(|one| one.ended_unix_ms = Some(at));
            }
            Event::Cause { cause, because, .. } => {
                (self.cause, self.because, self.cause_entry) = (cause.clone(), because.clone(), entry.id);
            }
            Event::Acknowledged { by, .. } if self.is_open() => {
                self.phase = Phase::Acknowledged;
                self.acknowledged_by = Some(by.clone());
            }
            Event::Resolved { well_since_unix_ms, .. } => {
                self.phase = Phase::Resolved;
                self.well_since_unix_ms = Some(*well_since_unix_ms);
                self.resolved_unix_ms = Some(at);
            }
            Event::Drafted { .. } => self.drafted = true,
            Event::Action { action, what, owner, rehearsal, .. } => self.actions.push(ActionState {
                action: *action,
                what: what.clone(),
                owner: owner.clone(),
                rehearsal: rehearsal.clone(),
                entry: entry.id,
                closed_entry: None,
            }),
            Event::Closed { action, .. } => {
                let meant = |one: &&mut ActionState| one.action == *action;
                self.actions.iter_mut().filter(meant).for_each(|one| one.closed_entry = Some(entry.id));
            }
            _ => {}
        }
        if !self.is_full() {
            self.timeline.push(Line { entry: entry.id, at_unix_ms: at, said: entry.event.said() });
        }
    }
}
