//! What an operator sees of a gateway. Slots are in thousandths everywhere: 1000 hold one view of a promotion page.

use std::net::SocketAddr;

use naru_model::{Class, SiteKind};
use serde::Serialize;

use super::reload::ReloadState;
use crate::adapter::Front;
use crate::gateway::{Gateway, InForce};
use crate::policy::residency::Peer;
use crate::policy::sender::Headroom;
use crate::policy::{InFlight, Members, Site, Tier};

/// Everything.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EdgeState {
    /// The generation of the plan in force; 0 while there is none.
    pub plan: u64,
    /// Client connections that stand.
    pub connections: u64,
    /// By name.
    pub sites: Vec<SiteState>,
    /// As in the configuration.
    pub pools: Vec<PoolState>,
    /// The line.
    pub waiting_room: RoomState,
    /// The decision log since the start.
    pub decisions: DecisionState,
    /// Changes of configuration and certificate since the start.
    pub reloads: ReloadState,
}

/// A site.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SiteState {
    /// Its name.
    pub name: String,
    /// Whose machines it runs on.
    pub kind: SiteKind,
    /// When it is used: `owned`, `pre_rented` or `autoscaled`.
    pub tier: &'static str,
    /// What of it is this gateway's, in millionths; where sites are not shared, all of it.
    pub part: u32,
    /// What may be in flight now.
    pub limit: u32,
    /// Where the limit stops falling.
    pub floor: u32,
    /// Where it stops rising.
    pub ceiling: u32,
    /// What open requests never get.
    pub reserve: u32,
    /// What is in flight.
    pub in_flight: ByClass,
    /// Whether no new request goes there.
    pub draining: bool,
}

/// Slots by class.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ByClass {
    /// Of core requests.
    pub core: u32,
    /// Of open requests.
    pub open: u32,
}

/// A pool.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PoolState {
    /// Its name.
    pub name: String,
    /// Ours first.
    pub servers: Vec<ServerState>,
}

/// A server.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ServerState {
    /// Where it is.
    pub site: String,
    /// Where requests go.
    pub address: SocketAddr,
    /// Whether health checks say that it is up.
    pub up: bool,
    /// Whether it is left out for its failures.
    pub ejected: bool,
    /// What it holds.
    pub in_flight: u32,
}

/// The waiting room.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RoomState {
    /// People who wait.
    pub waiting: u64,
    /// Numbers that were called, since the line began.
    pub called: u64,
}

/// The decision log.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DecisionState {
    /// Records in the chain.
    pub written: u64,
    /// Records of open requests that are missing.
    pub gap_open: u64,
    /// Records of core requests that are missing: an alarm from the first.
    pub gap_core: u64,
    /// Times that the disk refused.
    pub refusals: u64,
}

/// What the sender of a campaign is told.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HeadroomState {
    /// Core, then open.
    pub classes: Vec<Headroom>,
}

impl EdgeState {
    /// As it is now.
    pub fn read(gateway: &Gateway, front: &Front) -> Self {
        let in_force = gateway.in_force();
        let now = gateway.now();
        let room = in_force.policy.room().snapshot();
        let counters = gateway.decisions.counters();
        Self {
            plan: in_force.plan,
            connections: front.connections(),
            sites: in_force.policy.sites().iter().map(|site| SiteState::read(site)).collect(),
            pools: in_force.config.pools.iter().map(|pool| PoolState::read(&in_force, &pool.name, now)).collect(),
            waiting_room: RoomState { waiting: in_force.policy.room().waiting(), called: room.called },
            decisions: DecisionState {
                written: counters.written,
                gap_open: counters.gap_open,
                gap_core: counters.gap_core,
                refusals: counters.refusals,
            },
            reloads: gateway.reloads.state(),
        }
    }
}

impl SiteState {
    pub(super) fn read(site: &Site) -> Self {
        let (gate, bounds) = (site.gate(), site.bounds());
        let InFlight { core, open } = gate.in_flight();
        Self {
            name: site.id().as_str().to_owned(),
            kind: site.tier().kind(),
            tier: tier(site.tier()),
            part: site.part(),
            limit: gate.limit().thousandths(),
            floor: bounds.floor.thousandths(),
            ceiling: bounds.ceiling.thousandths(),
            reserve: gate.reserve().thousandths(),
            in_flight: ByClass { core: core.thousandths(), open: open.thousandths() },
            draining: site.is_draining(),
        }
    }
}

fn tier(tier: Tier) -> &'static str {
    match tier {
        Tier::Owned => "owned",
        Tier::PreRented => "pre_rented",
        Tier::Autoscaled => "autoscaled",
    }
}

impl PoolState {
    fn read(in_force: &InForce, name: &str, now: u64) -> Self {
        let mut servers = Vec::new();
        add(&mut servers, in_force.policy.owned(name), now);
        add(&mut servers, in_force.policy.rented(name), now);
        Self { name: name.to_owned(), servers }
    }
}

fn add<P: Peer>(to: &mut Vec<ServerState>, members: &[Members<P>], now: u64) {
    for members in members {
        to.extend(members.upstreams().iter().map(|upstream| ServerState {
            site: members.site().id().as_str().to_owned(),
            address: upstream.address(),
            up: upstream.is_up(),
            ejected: upstream.is_ejected(now),
            in_flight: upstream.in_flight().thousandths(),
        }));
    }
}

impl HeadroomState {
    /// As it is now.
    pub fn read(gateway: &Gateway) -> Self {
        let (in_force, now) = (gateway.in_force(), gateway.now());
        let classes = [Class::Core, Class::Open].map(|class| in_force.policy.headroom(class, now));
        Self { classes: classes.to_vec() }
    }
}
