//! What is asked of the cloud over HTTP, and what it answers: docs/api/cloud-sim.json.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The document of the API.
pub const OPENAPI: &str = include_str!("../../../docs/api/cloud-sim.json");

/// Longest client token, as EC2's.
pub const TOKEN_BYTES_MAX: usize = 64;
/// Most tags of a machine, as EC2's.
pub const TAGS_MAX: usize = 50;
/// Most machines of one call: what a person still looks through.
pub const COUNT_MAX: u32 = 100;

/// The caller's place in the order of those who rent in one name: calls with a lower number than one that was seen are
/// refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fence {
    /// In whose name.
    pub owner: String,
    /// Rises with every start of a renter.
    pub number: u64,
}

/// How a machine is paid for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Market {
    /// Rented ahead: cheaper.
    Reserved,
    /// When it is needed.
    OnDemand,
}

/// `POST /run`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// The same token gives the same machines, for ever; with other words it is refused.
    pub client_token: String,
    /// What kind of machine.
    pub flavor: String,
    /// How it is paid for.
    pub market: Market,
    /// How many; all or none.
    pub count: u32,
    /// Kept with the machines.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// Refuses those who were replaced.
    #[serde(default)]
    pub fence: Option<Fence>,
}

/// `POST /describe`: machines that fit everything that is named.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Describe {
    /// Of these calls.
    #[serde(default)]
    pub client_tokens: Vec<String>,
    /// With these tags.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
}

/// `POST /terminate`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Terminate {
    /// Which; one that has ended already is no mistake.
    pub ids: Vec<String>,
    /// Refuses those who were replaced.
    #[serde(default)]
    pub fence: Option<Fence>,
}

/// `POST /reclaim`: an operator of the cloud takes a machine back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reclaim {
    /// Which.
    pub id: String,
}

/// Where a machine is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It boots.
    Pending,
    /// It serves.
    Running,
    /// Its renter has ended it.
    Terminated,
    /// The cloud has taken it back.
    Reclaimed,
}

impl State {
    /// Whether it is there, and paid for.
    pub fn is_alive(self) -> bool {
        matches!(self, Self::Pending | Self::Running)
    }
}

/// A machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Its name in the cloud.
    pub id: String,
    /// Of the call that rented it.
    pub client_token: String,
    /// What kind.
    pub flavor: String,
    /// How it is paid for.
    pub market: Market,
    /// Where it is in its life.
    pub state: State,
    /// Since when it is paid for, milliseconds since 1970.
    pub launched_unix_ms: i64,
    /// When its boot ends or ended.
    pub running_unix_ms: i64,
    /// When it ended.
    pub ended_unix_ms: Option<i64>,
    /// As given.
    pub tags: BTreeMap<String, String>,
}

/// Machines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machines {
    /// In the order of renting.
    pub machines: Vec<Machine>,
}

/// A kind of machine, and what it costs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlavorView {
    /// Its name.
    pub name: String,
    /// Processors.
    pub cpus: u32,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Storage in GiB.
    pub storage_gib: u64,
    /// For each hour begun, rented ahead.
    pub reserved_krw_per_hour: u64,
    /// For each hour begun, on demand.
    pub on_demand_krw_per_hour: u64,
}

/// `GET /flavors`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flavors {
    /// By name.
    pub flavors: Vec<FlavorView>,
}

/// `GET /meter`: everything that was ever rented, at once and whole; what the bill is made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meter {
    /// In the order of renting.
    pub rows: Vec<MeterRow>,
    /// Their sum.
    pub total_krw: u64,
}

/// A machine on the meter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeterRow {
    /// The machine.
    pub machine: Machine,
    /// Hours begun.
    pub hours: u64,
    /// What they cost.
    pub krw: u64,
}

/// Why the cloud says no.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Code {
    /// Too many requests; later.
    RequestLimitExceeded,
    /// There are no more machines of that flavor now; later, or another flavor.
    InsufficientInstanceCapacity,
    /// The token was used with other words.
    IdempotentParameterMismatch,
    /// The request cannot be meant.
    InvalidParameterValue,
    /// No such flavor.
    UnknownFlavor,
    /// No such machine, or not to be seen yet.
    UnknownMachine,
    /// A renter with a higher number has asked in that name.
    StaleFence,
    /// The cloud failed; what was asked may have been done.
    Unavailable,
}

/// A refusal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{code:?}: {message}")]
pub struct Refused {
    /// For programs.
    pub code: Code,
    /// For people.
    pub message: String,
}
