//! What the watch says, for ever: the entries of its ledger.

use serde::{Deserialize, Serialize};

/// What a detector saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A target does not answer.
    Away,
    /// Space runs out.
    Disk,
    /// A reader falls behind.
    Lag,
    /// A database keeps more and more for a reader.
    Wal,
    /// What a provider allows runs out.
    Quota,
    /// Money runs out.
    Budget,
    /// What is given out comes to its end.
    Tickets,
    /// A promise is being broken at a rate that cannot last.
    Burn,
    /// A level is exceeded.
    Level,
    /// A role raises an alarm itself.
    Alarm,
    /// What should be read is not there.
    Absent,
}

/// Which signal: a kind, and the target, limit, level or objective that it is of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SignalId {
    /// What was seen.
    pub kind: Kind,
    /// Of what.
    pub subject: String,
}

/// A signal while it lasts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Signal {
    /// Which.
    #[serde(flatten)]
    pub id: SignalId,
    /// When the first reading was that shows it; it was noticed later.
    pub since_unix_ms: i64,
    /// What is seen, in words.
    pub detail: String,
    /// The targets that it is on.
    pub on: Vec<String>,
    /// What it means if nothing else moved before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub means: Option<String>,
}

/// What changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// A plan came into force.
    Plan,
    /// A configuration was changed.
    Config,
    /// Another program was put in place.
    Deploy,
    /// A process began again.
    Restart,
    /// Anything else.
    Other,
}

/// Something that was changed, as somebody told or as it was seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// What kind of change.
    pub kind: ChangeKind,
    /// In words; no personal data.
    pub what: String,
    /// Who or what changed it: a role, a job or a handle.
    pub by: String,
    /// On which targets; all of them without any.
    #[serde(default)]
    pub on: Vec<String>,
}

/// One thing that the watch saw or did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The watch began to look.
    Started {
        /// How many targets it looks at.
        targets: usize,
    },
    /// The watch itself did not run for a while, and says nothing about that while.
    Blind {
        /// How long.
        ms: i64,
    },
    /// Something was changed.
    Changed {
        /// What.
        change: Change,
    },
    /// An incident opened itself.
    Opened {
        /// Which.
        incident: u64,
    },
    /// A signal of an incident began.
    Began {
        /// Of which incident.
        incident: u64,
        /// The signal.
        signal: Signal,
    },
    /// A signal of an incident is over.
    Ended {
        /// Of which incident.
        incident: u64,
        /// Which.
        signal: SignalId,
    },
    /// The most likely cause by the rule, at the opening and whenever it is another one.
    Cause {
        /// Of which incident.
        incident: u64,
        /// Its name.
        cause: String,
        /// Why the rule says so.
        because: String,
    },
    /// Somebody was woken, or could not be.
    Paged {
        /// For which incident.
        incident: u64,
        /// Who, as the configuration names them.
        contact: String,
        /// What was said: the cause, or that it is over.
        about: String,
        /// Whether it was delivered.
        delivered: bool,
        /// How often it was tried.
        attempts: u32,
    },
    /// Somebody has taken it on.
    Acknowledged {
        /// Which incident.
        incident: u64,
        /// Who: a handle.
        by: String,
    },
    /// Nobody has taken it on: the next one is woken.
    Escalated {
        /// Which incident.
        incident: u64,
        /// Who is woken now.
        contact: String,
    },
    /// Everything has been well for long enough.
    Resolved {
        /// Which incident.
        incident: u64,
        /// Since when it has been well.
        well_since_unix_ms: i64,
    },
    /// A draft of the postmortem was made.
    Drafted {
        /// Of which incident.
        incident: u64,
        /// SHA-256 of the draft, hexadecimal.
        sha256: String,
    },
    /// Something is to be done so that it does not happen again.
    Action {
        /// For which incident.
        incident: u64,
        /// Its number.
        action: u64,
        /// What.
        what: String,
        /// Who does it: a handle.
        owner: String,
        /// The rehearsal that must pass before it is closed.
        rehearsal: String,
    },
    /// It is done: the rehearsal has passed.
    Closed {
        /// For which incident.
        incident: u64,
        /// The action.
        action: u64,
        /// The rehearsal that passed.
        rehearsal: String,
        /// SHA-256 of its report, hexadecimal.
        report_sha256: String,
    },
}

impl Event {
    /// The incident that it is of.
    pub fn incident(&self) -> Option<u64> {
        match self {
            Self::Started { .. } | Self::Blind { .. } | Self::Changed { .. } => None,
            Self::Opened { incident }
            | Self::Began { incident, .. }
            | Self::Ended { incident, .. }
            | Self::Cause { incident, .. }
            | Self::Paged { incident, .. }
            | Self::Acknowledged { incident, .. }
            | Self::Escalated { incident, .. }
            | Self::Resolved { incident, .. }
            | Self::Drafted { incident, .. }
            | Self::Action { incident, .. }
            | Self::Closed { incident, .. } => Some(*incident),
        }
    }

    /// In one sentence, without its full stop.
    pub fn said(&self) -> String {
        match self {
            Self::Started { targets } => format!("The watch began to look at {targets} targets"),
            Self::Blind { ms } => format!("The watch itself did not run for {}", seconds(*ms)),
            Self::Changed { change } => {
                let on = if change.on.is_empty() { String::new() } else { format!(" on {}", change.on.join(", ")) };
                format!("{} by {}{on}: {}", change.kind.words(), change.by, change.what)
            }
            Self::Opened { incident } => format!("Incident {incident} opened"),
            Self::Began { signal, .. } => format!("{}: {}", signal.id, signal.detail),
            Self::Ended { signal, .. } => format!("{signal} is over"),
            Self::Cause { cause, because, .. } => format!("The most likely cause is {cause}: {because}"),
            Self::Paged { contact, about, delivered: true, .. } => format!("{contact} was told of {about}"),
            Self::Paged { contact, about, attempts, .. } => {
                format!("{contact} could not be told of {about}, in {attempts} attempts")
            }
            Self::Acknowledged { by, .. } => format!("{by} took it on"),
            Self::Escalated { contact, .. } => format!("Nobody had taken it on, and it went to {contact}"),
            Self::Resolved { incident, .. } => format!("Incident {incident} is over"),
            Self::Drafted { sha256, .. } => {
                format!("A postmortem was drafted, with the digest {}", &sha256[..sha256.len().min(12)])
            }
            Self::Action { action, what, owner, rehearsal, .. } => {
                format!("Action {action} is {owner}'s: {what}; it is closed when the rehearsal {rehearsal} passes")
            }
            Self::Closed { action, rehearsal, .. } => {
                format!("Action {action} is closed, since the rehearsal {rehearsal} passed")
            }
        }
    }
}

impl ChangeKind {
    fn words(self) -> &'static str {
        match self {
            Self::Plan => "A plan was put in force",
            Self::Config => "A configuration was changed",
            Self::Deploy => "A program was deployed",
            Self::Restart => "A process was started again",
            Self::Other => "Something was changed",
        }
    }
}

impl std::fmt::Display for SignalId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = match self.kind {
            Kind::Away => "away",
            Kind::Disk => "disk",
            Kind::Lag => "lag",
            Kind::Wal => "wal",
            Kind::Quota => "quota",
            Kind::Budget => "budget",
            Kind::Tickets => "tickets",
            Kind::Burn => "burn",
            Kind::Level => "level",
            Kind::Alarm => "alarm",
            Kind::Absent => "absent",
        };
        write!(f, "{} {kind}", self.subject)
    }
}

/// A length of time, for people.
pub fn seconds(ms: i64) -> String {
    match ms {
        ..=119_999 => format!("{:.1} s", ms as f64 / 1000.0),
        120_000..=7_199_999 => format!("{:.0} min", ms as f64 / 60_000.0),
        _ => format!("{:.1} h", ms as f64 / 3_600_000.0),
    }
}

/// An event with its place in the ledger.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Its place, from 1.
    pub id: u64,
    /// When, in milliseconds since 1970, UTC.
    pub at_unix_ms: i64,
    /// What.
    #[serde(flatten)]
    pub event: Event,
    /// The entries that it rests on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cites: Vec<u64>,
}
