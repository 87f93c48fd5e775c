//! What can be asked for, and what stands in the book about it.

use serde::{Deserialize, Serialize};

/// Longest lease: longer than any campaign, shorter than anyone remembers why it is there.
pub const LEASE_HOURS_MAX: u32 = 24 * 90;
/// Most machines of one request.
pub const COUNT_MAX: u32 = 1000;
/// Most partitions of a topic: a relay takes more, a person asks first.
pub const PARTITIONS_MAX: u32 = 1000;

/// How machines are paid for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Market {
    /// Rented ahead: cheaper.
    Reserved,
    /// When they are needed.
    #[default]
    OnDemand,
}

/// Machines that run a template.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// Its name, unlike any other that is held.
    pub name: String,
    /// Who pays and decides.
    pub team: String,
    /// What runs.
    pub template: String,
    /// On what.
    pub flavor: String,
    /// How the machines are paid for.
    #[serde(default)]
    pub market: Market,
    /// How many machines.
    pub count: u32,
    /// With fewer it is given back: all of them by default.
    #[serde(default)]
    pub at_least: Option<u32>,
    /// How long it is held.
    pub hours: u32,
}

/// Machines from a time on, for a campaign or a test.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Capacity {
    /// Its name, unlike any other that is held.
    pub name: String,
    /// Who pays and decides.
    pub team: String,
    /// On what.
    pub flavor: String,
    /// How the machines are paid for.
    #[serde(default)]
    pub market: Market,
    /// How many machines.
    pub count: u32,
    /// With fewer it is given back: all of them by default.
    #[serde(default)]
    pub at_least: Option<u32>,
    /// From when they must be ready, milliseconds since 1970; at once without it.
    #[serde(default)]
    pub from_unix_ms: Option<i64>,
    /// How long they are held from then on.
    pub hours: u32,
}

/// A topic on the log, on both sides of a relay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Topic {
    /// Its name on the log, unlike any other that is held.
    pub name: String,
    /// Who owns it.
    pub team: String,
    /// How many partitions.
    pub partitions: u32,
    /// How many replicas of each, on each side; the brokers' default without it.
    #[serde(default)]
    pub replication: Option<u8>,
    /// How long records are kept; the brokers' default without it.
    #[serde(default)]
    pub retention_hours: Option<u32>,
    /// How long it is held.
    pub hours: u32,
}

/// A request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Spec {
    /// Machines that run a template.
    Service(Service),
    /// Machines from a time on.
    Capacity(Capacity),
    /// A topic on the log.
    Topic(Topic),
}

/// The machines of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MachinesWanted<'s> {
    /// On what.
    pub flavor: &'s str,
    /// How they are paid for.
    pub market: Market,
    /// How many.
    pub count: u32,
    /// With fewer it is given back.
    pub at_least: u32,
    /// What runs; nothing of ours on bare capacity.
    pub template: Option<&'s str>,
}

impl Spec {
    /// Its name.
    pub fn name(&self) -> &str {
        match self {
            Self::Service(service) => &service.name,
            Self::Capacity(capacity) => &capacity.name,
            Self::Topic(topic) => &topic.name,
        }
    }

    /// Who pays and decides.
    pub fn team(&self) -> &str {
        match self {
            Self::Service(service) => &service.team,
            Self::Capacity(capacity) => &capacity.team,
            Self::Topic(topic) => &topic.team,
        }
    }

    /// How long it is held.
    pub fn hours(&self) -> u32 {
        match self {
            Self::Service(service) => service.hours,
            Self::Capacity(capacity) => capacity.hours,
            Self::Topic(topic) => topic.hours,
        }
    }

    /// What it is called to people.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Service(_) => "service",
            Self::Capacity(_) => "capacity",
            Self::Topic(_) => "topic",
        }
    }

    /// From when it must be ready; at once without it.
    pub fn from_unix_ms(&self) -> Option<i64> {
        match self {
            Self::Capacity(capacity) => capacity.from_unix_ms,
            Self::Service(_) | Self::Topic(_) => None,
        }
    }

    /// Its machines, if it has any.
    pub fn machines(&self) -> Option<MachinesWanted<'_>> {
        match self {
            Self::Service(Service { flavor, market, count, at_least, template, .. }) => Some(MachinesWanted {
                flavor,
                market: *market,
                count: *count,
                at_least: at_least.unwrap_or(*count),
                template: Some(template),
            }),
            Self::Capacity(Capacity { flavor, market, count, at_least, .. }) => Some(MachinesWanted {
                flavor,
                market: *market,
                count: *count,
                at_least: at_least.unwrap_or(*count),
                template: None,
            }),
            Self::Topic(_) => None,
        }
    }

    /// What each of its things is made as.
    pub fn made_as(&self) -> String {
        match self.machines() {
            Some(machines) => format!("{} {:?} {}", machines.flavor, machines.market, machines.template.unwrap_or("")),
            None => "topic".to_owned(),
        }
    }

    /// How many things a provider makes for it.
    pub fn count(&self) -> u32 {
        self.machines().map_or(1, |machines| machines.count)
    }

    /// What cannot be meant in it, whatever there is to be had.
    pub fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        let topic = matches!(self, Self::Topic(_));
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || (topic && "._".contains(c));
        let name = self.name();
        let (chars_max, chars) = if topic { (249, "a-z, 0-9, -, . and _") } else { (63, "a-z, 0-9 and -") };
        if name.is_empty() || name.len() > chars_max || !name.chars().all(allowed) || name == "." || name == ".." {
            faults.push(Fault::new("name", format!("give it 1 to {chars_max} characters of {chars}")));
        }
        if !(1..=LEASE_HOURS_MAX).contains(&self.hours()) {
            faults
                .push(Fault::new("hours", format!("hold it for 1 to {LEASE_HOURS_MAX} hours; renew it when it ends")));
        }
        if let Some(machines) = self.machines() {
            if !(1..=COUNT_MAX).contains(&machines.count) {
                faults.push(Fault::new("count", format!("ask for 1 to {COUNT_MAX} machines")));
            }
            if machines.at_least > machines.count {
                faults.push(Fault::new("at_least", "it cannot be more than count"));
            }
        }
        if let Self::Topic(topic) = self {
            if !(1..=PARTITIONS_MAX).contains(&topic.partitions) {
                faults.push(Fault::new("partitions", format!("ask for 1 to {PARTITIONS_MAX}")));
            }
            if topic.replication == Some(0) {
                faults.push(Fault::new("replication", "ask for at least 1, or leave it to the brokers"));
            }
        }
        faults
    }
}

/// A field that cannot be as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// Which.
    pub field: String,
    /// What to do.
    pub fix: String,
}

impl Fault {
    /// This field, and what to do.
    pub fn new(field: &str, fix: impl Into<String>) -> Self {
        Self { field: field.to_owned(), fix: fix.into() }
    }
}

/// Where a resource is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Life {
    /// It is held, and kept as it was asked for.
    Held,
    /// It is being given back.
    Releasing,
    /// Nothing of it is left.
    Gone,
}

/// Something that was asked for, approved and applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resource {
    /// Its number in the book.
    pub id: u64,
    /// As it was asked for.
    pub spec: Spec,
    /// Rises with every change.
    pub version: u64,
    /// Where it is in its life.
    pub life: Life,
    /// When it was applied, or last changed.
    pub applied_unix_ms: i64,
    /// From when it must be ready.
    pub from_unix_ms: i64,
    /// When its lease ends.
    pub until_unix_ms: i64,
    /// When it was let go.
    pub released_unix_ms: Option<i64>,
    /// Who applied it.
    pub applied_by: String,
    /// By which plan.
    pub plan: String,
    /// Whether all of it has been ready since it was applied.
    pub complete: bool,
    /// Why it is as it is.
    pub reason: String,
}

/// Where one thing of a provider is: the steps of a saga, each kept before it is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Nobody was asked yet.
    Wanted,
    /// The provider is being asked, or was, and the answer is not known.
    Asking,
    /// It is there, and not ready.
    Booting,
    /// It serves.
    Ready,
    /// The provider is being told to end it.
    Releasing,
    /// The provider has said that it is not there.
    Gone,
}

/// One thing of a provider: a machine, a process, a topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// Its name to the provider: never used for another.
    pub key: String,
    /// What it is for.
    pub resource: u64,
    /// Its place in the resource, from 0.
    pub ordinal: u32,
    /// Rises when one is replaced.
    pub incarnation: u32,
    /// What it was made as: with another flavor or template it is replaced.
    pub made_as: String,
    /// Where it is.
    pub phase: Phase,
    /// What the provider calls it.
    pub id: Option<String>,
    /// When the provider was asked last.
    pub asked_unix_ms: Option<i64>,
    /// From when it is paid for.
    pub since_unix_ms: Option<i64>,
    /// When it ended.
    pub ended_unix_ms: Option<i64>,
    /// What the provider said last, where that was no success.
    pub note: String,
}

impl Item {
    /// The name of a place's thing.
    pub fn key(resource: u64, ordinal: u32, incarnation: u32) -> String {
        format!("r{resource}-{ordinal}-{incarnation}")
    }

    /// One that nobody was asked for yet.
    pub fn wanted(resource: u64, ordinal: u32, incarnation: u32, made_as: String) -> Self {
        Self {
            key: Self::key(resource, ordinal, incarnation),
            resource,
            ordinal,
            incarnation,
            made_as,
            phase: Phase::Wanted,
            id: None,
            asked_unix_ms: None,
            since_unix_ms: None,
            ended_unix_ms: None,
            note: String::new(),
        }
    }
}
