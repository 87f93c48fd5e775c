//! A gateway: `GET /state`, `GET /headroom`, and what its metrics count.

use naru_runtime::exposition::{Sample, parse};
use serde::Deserialize;

use crate::ask::{Asker, Unanswered};
use crate::config::EdgeSource;

/// What it says.
#[derive(Debug, Clone, Default)]
pub struct Edge {
    /// How it stands.
    pub state: State,
    /// How much room there is, by class.
    pub headroom: Vec<Headroom>,
    /// Its metrics, where they are read.
    pub samples: Vec<Sample>,
}

/// How it stands.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct State {
    /// The generation of the plan in force; 0 without one.
    pub plan: u64,
    /// Connections of clients.
    pub connections: u64,
    /// Sites.
    pub sites: Vec<Site>,
    /// Pools of servers.
    pub pools: Vec<Pool>,
    /// The waiting room.
    pub waiting_room: Room,
    /// The log of decisions.
    pub decisions: Decisions,
    /// Readings of its configuration.
    pub reloads: Reloads,
}

/// A site. Slots are in thousandths.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Site {
    /// Its name.
    pub name: String,
    /// `owned` or `rented`.
    pub kind: String,
    /// `owned`, `pre_rented`, `autoscaled`.
    pub tier: String,
    /// Slots that it may hold now.
    pub limit: u64,
    /// Slots that open traffic never takes.
    pub reserve: u64,
    /// Slots in flight.
    pub in_flight: ByClass,
    /// Whether no new request goes there.
    pub draining: bool,
}

/// A number for each class.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default)]
pub struct ByClass {
    /// Money and personal data.
    pub core: u64,
    /// What may burst.
    pub open: u64,
}

/// A pool.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Pool {
    /// Its name.
    pub name: String,
    /// Its servers.
    pub servers: Vec<Server>,
}

/// A server.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Server {
    /// Its site.
    pub site: String,
    /// Whether its health checks pass.
    pub up: bool,
    /// Whether it is left out for a while.
    pub ejected: bool,
}

/// The waiting room.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Room {
    /// People who wait.
    pub waiting: u64,
}

/// The log of decisions.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Decisions {
    /// Records in it.
    pub written: u64,
    /// Core requests without one: an alarm.
    pub gap_core: u64,
    /// Times that the disk refused it.
    pub refusals: u64,
}

/// Readings of its configuration.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Reloads {
    /// What is wrong with one that was refused.
    pub problems: Vec<String>,
}

/// Room for a class. Slots are in thousandths.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Headroom {
    /// `core` or `open`.
    pub class: String,
    /// Slots that are free.
    pub free: u64,
    /// Slots in all.
    pub limit: u64,
    /// Whether whoever sends a campaign must stop.
    pub stop: bool,
}

#[derive(Deserialize)]
struct HeadroomState {
    #[serde(default)]
    classes: Vec<Headroom>,
}

/// Asks it.
///
/// # Errors
/// When it does not answer.
pub async fn ask(asker: &Asker, source: &EdgeSource) -> Result<Edge, Unanswered> {
    let metrics = async {
        match &source.metrics {
            Some(metrics) => asker.text(metrics, "/metrics").await,
            None => Ok(String::new()),
        }
    };
    let (state, headroom, metrics) = tokio::try_join!(
        asker.json(&source.admin, "/state", None),
        asker.json::<HeadroomState>(&source.admin, "/headroom", None),
        metrics,
    )?;
    Ok(Edge { state, headroom: headroom.classes, samples: parse(&metrics).samples })
}
