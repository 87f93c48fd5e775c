//! Scenario files: what is started, who sends how much when, what breaks, and what must hold.
//!
//! A scenario is TOML. [`Scenario::parse`] reports every mistake of the file at once, each with line, column and fix,
//! and refuses unknown keys: a misspelt fault that is silently not injected would be a rehearsal that proves nothing.

mod campaign;
mod edge;
mod fields;
mod lake;
mod mistake;
mod named;
mod quick;
mod read;
mod relay;

use std::time::Duration;

pub use campaign::{Campaign, Delay};
pub use edge::{Crowd, Edge, GiftClass, OWNED_SITES, SERVICES_AT};
pub use lake::Lake;
pub use mistake::{Mistake, Mistakes};
pub use named::NoFault;
pub use quick::NoPhase;
pub use relay::{Copier, Relay};

/// The only format this build reads.
pub const VERSION: i64 = 1;
/// Clusters of one scenario: every one is a process, on Kafka with half a gigabyte resident.
pub const CLUSTERS_MAX: usize = 4;
/// Services of one scenario: every one is a process with a database of its own.
pub const SERVICES_MAX: usize = 8;
/// Phases of one scenario; more do not fit the report's time axis.
pub const PHASES_MAX: usize = 24;
/// Length of one phase. A rehearsal of a whole day runs on the scaled day clock.
pub const PHASE_SECONDS_MAX: f64 = 3_600.0;
/// Faults of one scenario.
pub const FAULTS_MAX: usize = 64;
/// Requests per second of one service: beyond it one load generator process on two cores measures itself.
pub const RATE_MAX: f64 = 20_000.0;
/// Operations of one run. The history is kept in memory at about 600 bytes for an operation with its record and its
/// observations, so this bounds the run at about 300 MB.
pub const OPERATIONS_MAX: usize = 500_000;
/// How late a request may be sent unless the scenario says otherwise. Rehearsals share two cores with the brokers and
/// services that they load: a thread waits tens of milliseconds for its turn there, and a quarter of a second is no load
/// at the planned time any more.
pub const LATENESS_MAX: Duration = Duration::from_millis(250);
/// Users that the keys are drawn from.
pub const USERS_MAX: i64 = 10_000_000;
/// Members of the consumer group; each is a client with threads of its own.
pub const MEMBERS_MAX: i64 = 8;

/// A scenario that holds together: every name resolves, every number is within its bounds.
#[derive(Debug, Clone, PartialEq)]
pub struct Scenario {
    /// Short name, used in file names and in the report.
    pub name: String,
    /// One sentence for the reader of the report.
    pub title: String,
    /// The seed used unless the command line names one.
    pub seed: u64,
    /// The log's clusters.
    pub clusters: Vec<Cluster>,
    /// The relay between two of them, if there is one.
    pub relay: Option<Relay>,
    /// What copies one cluster to another where no relay does; never in a file, see [`Scenario::as_control`].
    pub copier: Option<Copier>,
    /// The gateway in front of the services, with sites and nodes behind it, if there is one.
    pub edge: Option<Edge>,
    /// Messages that bring visitors to the edge, if there are any.
    pub campaign: Option<Campaign>,
    /// What makes tables of what the services publish, if anything does.
    pub lake: Option<Lake>,
    /// The services that take the load.
    pub services: Vec<Service>,
    /// The consumer group.
    pub consumers: Consumers,
    /// The phases, in their order.
    pub phases: Vec<Phase>,
    /// What breaks.
    pub faults: Vec<Fault>,
    /// How long the rehearsal waits for rest after the last phase.
    pub settle_max: Duration,
    /// What must hold beside the invariants.
    pub expect: Expect,
    /// Whether it is a part of one that is played for itself; never in a file, see [`Scenario::only`].
    pub is_part: bool,
}

/// One cluster of the log.
#[derive(Debug, Clone, PartialEq)]
pub struct Cluster {
    /// Name that services, consumers and faults refer to.
    pub name: String,
    /// When the broker answers `acks=all`.
    pub flush: Flush,
    /// Whether a kill also takes what was written but not flushed, as a power cut would. With [`Flush::Fsync`] this is the
    /// honest test of an acknowledgement; with [`Flush::Write`] it must be found out. The stand-in's; ignored on Kafka.
    pub lose_unflushed_tail: bool,
}

/// When the broker answers `acks=all`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flush {
    /// After the batch is on stable storage.
    Fsync,
    /// After the batch is written to the operating system: lost with the machine.
    Write,
}

impl Flush {
    /// As the broker's command line spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fsync => "fsync",
            Self::Write => "write",
        }
    }
}

/// Which sample service a scenario starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ServiceKind {
    /// `naru sample payment`: a user pays a shop.
    Payment,
    /// `naru sample transfer`: a user sends money to another.
    Transfer,
}

impl ServiceKind {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Payment, Self::Transfer];

    /// The name on the command line and in scenario files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Payment => "payment",
            Self::Transfer => "transfer",
        }
    }

    /// The path requests are posted to.
    pub fn path(self) -> &'static str {
        match self {
            Self::Payment => "/payments",
            Self::Transfer => "/transfers",
        }
    }

    /// The topic that its records go to.
    pub fn topic(self) -> &'static str {
        match self {
            Self::Payment => "payments",
            Self::Transfer => "transfers",
        }
    }
}

/// The way from a client to the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    /// To a cluster itself: index into [`Scenario::clusters`].
    Cluster(usize),
    /// Through the relay, which keeps both of its clusters alike.
    Relay,
}

/// One service under load.
#[derive(Debug, Clone, PartialEq)]
pub struct Service {
    /// Which one.
    pub kind: ServiceKind,
    /// Where it publishes.
    pub via: Via,
    /// How many users its keys are drawn from.
    pub users: u32,
    /// Requests that may wait for an answer at once. One that is due beyond it is dropped and counted as failed:
    /// the load never waits.
    pub outstanding_max: usize,
    /// How long a request may take, with all its repetitions, before its outcome counts as unknown.
    pub timeout: Duration,
}

/// The consumer group that reads what the services publish.
#[derive(Debug, Clone, PartialEq)]
pub struct Consumers {
    /// The group's id.
    pub group: String,
    /// Where they read.
    pub via: Via,
    /// Members that share the partitions.
    pub members: usize,
}

/// A stretch of the clock with its own rates.
#[derive(Debug, Clone, PartialEq)]
pub struct Phase {
    /// Name shown in the progress display and the report.
    pub name: String,
    /// How long it lasts.
    pub lasts: Duration,
    /// How long it lasts on Apache Kafka, if that differs: a JVM is not back as soon as the stand-in is, and the phase
    /// should show the load after its return too.
    pub lasts_on_kafka: Option<Duration>,
    /// Requests per second, by index into [`Scenario::services`].
    pub rates: Vec<f64>,
    /// What comes through the edge beside them; nobody without one.
    pub crowd: Crowd,
    /// The part at the beginning in which the rates move linearly from the previous phase's.
    pub ramp: Duration,
}

/// One fault.
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    /// What happens.
    pub kind: FaultKind,
    /// Index into [`Scenario::phases`].
    pub phase: usize,
    /// When, counted from the phase's start.
    pub at: Duration,
    /// The plan adds a seeded delay of up to this.
    pub jitter: Duration,
    /// How long it lasts.
    pub lasts: Duration,
}

/// The process that a fault strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Victim {
    /// The broker of a cluster: index into [`Scenario::clusters`].
    Cluster(usize),
    /// A service: index into [`Scenario::services`].
    Service(usize),
    /// The relay.
    Relay,
    /// The lake.
    Lake,
    /// The pages of an owned site: index into [`OWNED_SITES`].
    Site(usize),
}

/// What a fault does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// SIGKILL, and a start on the same port; on the same data too, unless the disk goes with the process.
    Kill {
        /// Whom.
        victim: Victim,
        /// Whether it comes back with an empty disk. A broker's only.
        lose_disk: bool,
    },
    /// SIGSTOP, and SIGCONT.
    Pause {
        /// Whom.
        victim: Victim,
    },
    /// A member leaves the consumer group, and joins again: two rebalances.
    Leave {
        /// Number of the member, from 0.
        member: usize,
    },
    /// The relay is asked to make another side the active one: a planned switch.
    Switch {
        /// Index into [`Scenario::clusters`] of the side that becomes active.
        to: usize,
    },
}

impl FaultKind {
    /// The process that it strikes, if it strikes one.
    pub fn victim(self) -> Option<Victim> {
        match self {
            Self::Kill { victim, .. } | Self::Pause { victim } => Some(victim),
            Self::Leave { .. } | Self::Switch { .. } => None,
        }
    }

    /// The name in scenario files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kill { .. } => "kill",
            Self::Pause { .. } => "pause",
            Self::Leave { .. } => "leave",
            Self::Switch { .. } => "switch",
        }
    }
}

/// What must hold beside the invariants.
#[derive(Debug, Clone, PartialEq)]
pub struct Expect {
    /// Requests that may fail for certain (refused, or not sent at all).
    pub failed_max: u64,
    /// Requests whose outcome may stay unknown (no answer in time).
    pub unknown_max: u64,
    /// How late a request may be sent after its planned time; by default [`LATENESS_MAX`].
    pub lateness_max: Duration,
    /// Bound on the services' p99 over the whole run, from the planned time.
    pub service_p99_max: Option<Duration>,
    /// Bound on the p99 from the planned time until the consumer group has seen the record.
    pub consumer_p99_max: Option<Duration>,
    /// Bound on how long producers may be away when a side is lost.
    pub takeover_max: Option<Duration>,
    /// The same for a planned switch.
    pub switch_stall_max: Option<Duration>,
    /// Bound on how long consumers may be away at either: they join their group again.
    pub rejoin_max: Option<Duration>,
}

impl Scenario {
    /// Reads a scenario. `file` is only used in messages.
    ///
    /// # Errors
    /// Every mistake of the file at once.
    pub fn parse(file: &str, text: &str) -> Result<Self, Mistakes> {
        read::scenario(file, text)
    }

    /// The scenario as it is played on Apache Kafka.
    #[must_use]
    pub fn on_kafka(mut self) -> Self {
        for phase in &mut self.phases {
            phase.lasts = phase.lasts_on_kafka.unwrap_or(phase.lasts);
        }
        self
    }

    /// Length of all phases together.
    pub fn lasts(&self) -> Duration {
        self.phases.iter().map(|phase| phase.lasts).sum()
    }
}

#[cfg(test)]
pub(crate) mod tests;
