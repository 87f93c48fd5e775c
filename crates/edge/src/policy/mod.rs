//! Where a request goes, as pure functions over values and atomics.
//!
//! Nothing here reads a clock, draws a random number or waits: times and random numbers come with the events. A
//! [`Policy`] is made whole from a [`Blueprint`] and never changes; what a change of the configuration must not forget
//! (requests in flight, what is known about servers, the line of the waiting room) is shared with the one before.
//!
//! The files follow a request: `route` (which class), `residency` (who may serve that class at all), `decide` (which site),
//! `slots` and `site` (whether there is room), `upstream` (which server), `room` (the waiting room) with `visit` (what the
//! browser carries), `retry`; `share` says what of a site is this process's. Every 100 ms `step` moves limits, calls those who wait, and looks at what the sender is
//! told. `explain` says in words what `decide` does.

pub mod blueprint;
mod build;
mod decide;
pub mod explain;
pub mod limit;
mod mutant;
pub mod residency;
pub mod retry;
pub mod room;
pub mod route;
pub mod sender;
pub mod share;
pub mod site;
pub mod slots;
mod step;
pub mod upstream;
pub mod visit;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use naru_model::Class;

pub use blueprint::{Blueprint, Flaw, Part, Refusal};
pub use decide::{Asked, CoreDecision, Decision, OpenDecision, OpenPlace, Outcome, Reason, Wait};
#[cfg(feature = "mutation")]
pub use mutant::Mutant;
pub use residency::{CorePeer, Network, NotAPeer, OwnedNetworks, RentedPeer};
pub use room::{Room, RoomSnapshot, Turn};
pub use route::{Pattern, Unrouted};
pub use site::{Members, Place, Site, Tier};
pub use slots::{Gate, InFlight, Slots};
pub use visit::{ClientKey, SiteKey, Ticket, Visit};

use retry::RetryBudgets;
use sender::Sender;

/// Milliseconds on a clock that never goes back.
pub type Millis = u64;

/// Everything that decides, in one generation.
#[derive(Debug)]
pub struct Policy {
    networks: OwnedNetworks,
    routes: Vec<Route>,
    pools: BTreeMap<String, Arc<OpenPool>>,
    sites: Vec<Arc<Site>>,
    autoscaled: Arc<Gate>,
    room: Arc<Room>,
    visit_units: f64,
    retries: Arc<RetryBudgets>,
    sender: Arc<Sender>,
    window_began: Arc<AtomicU64>,
}

/// The servers of a pool at our own sites: all that a core route ever sees.
#[derive(Debug)]
pub struct OwnedPool {
    members: Vec<Members<CorePeer>>,
}

/// The servers of a pool, our own and rented ones.
#[derive(Debug)]
pub struct OpenPool {
    owned: Arc<OwnedPool>,
    /// Pre-rented ones first.
    rented: Vec<Members<RentedPeer>>,
}

/// Who serves a route. A core route has no place for a rented server.
#[derive(Debug)]
enum Service {
    Core(Arc<OwnedPool>),
    Open(Arc<OpenPool>),
}

/// A route.
#[derive(Debug)]
pub struct Route {
    pattern: Pattern,
    pool: String,
    service: Service,
    cost: Slots,
    /// How long its requests take, by owned site of its pool.
    timings: Vec<limit::Timing>,
}

impl Route {
    /// What it matches.
    pub fn pattern(&self) -> &Pattern {
        &self.pattern
    }

    /// What it carries.
    pub fn class(&self) -> Class {
        match self.service {
            Service::Core(_) => Class::Core,
            Service::Open(_) => Class::Open,
        }
    }

    /// Slots that one request holds.
    pub fn cost(&self) -> Slots {
        self.cost
    }

    fn owned(&self) -> &OwnedPool {
        match &self.service {
            Service::Core(pool) => pool,
            Service::Open(pool) => &pool.owned,
        }
    }
}

impl Policy {
    /// Every site.
    pub fn sites(&self) -> &[Arc<Site>] {
        &self.sites
    }

    /// The networks that are ours.
    pub fn networks(&self) -> &OwnedNetworks {
        &self.networks
    }

    /// What is left of the budget for autoscaled sites.
    pub fn budget_left(&self) -> Slots {
        self.autoscaled.room(Class::Open)
    }

    /// The waiting room.
    pub fn room(&self) -> &Room {
        &self.room
    }

    /// The route at a position, as [`Decision`] names it.
    pub fn route(&self, index: usize) -> Option<&Route> {
        self.routes.get(index)
    }

    /// The servers of a pool at our own sites.
    pub fn owned(&self, pool: &str) -> &[Members<CorePeer>] {
        self.pools.get(pool).map_or(&[], |pool| &pool.owned.members)
    }

    /// The rented servers of a pool.
    pub fn rented(&self, pool: &str) -> &[Members<RentedPeer>] {
        self.pools.get(pool).map_or(&[], |pool| &pool.rented)
    }
}
