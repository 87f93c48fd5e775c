//! What a plan says, and what it may not say.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use naru_model::{Generation, SiteId, Units};
use serde::{Deserialize, Serialize};

use crate::policy::blueprint::{MembersDraft, PeerDraft, SiteDraft};
use crate::policy::limit::Bounds;
use crate::policy::residency::Peer as _;
use crate::policy::{Blueprint, NotAPeer, RentedPeer, Slots, Tier};

/// Most sites of a plan: more than providers and regions that anybody rents from at once.
pub const SITES_MAX: usize = 64;

/// Most servers of a plan, all sites together: ten times what the event day needs at the forecast's upper end.
pub const SERVERS_MAX: usize = 4_096;

/// A capacity plan as control writes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CapacityPlan {
    /// Its number in the line of plans.
    pub generation: Generation,
    /// The plan it was made from; none for the first.
    pub parent: Option<Generation>,
    /// Slots that autoscaled sites may hold together: the budget in money, as control counted it.
    pub autoscaled_slots_max: Units,
    /// What is rented. A site that is no longer here gets no new request.
    pub sites: BTreeMap<SiteId, RentedSite>,
}

/// A rented site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RentedSite {
    /// When it is used.
    pub tier: RentedTier,
    /// Its slots.
    pub slots: Units,
    /// Its servers, by the pool that they serve.
    pub pools: BTreeMap<String, Vec<RentedServer>>,
}

/// When a rented site is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RentedTier {
    /// As soon as the owned sites are full: it is paid for whether used or not.
    PreRented,
    /// When nothing else has room, within the budget.
    Autoscaled,
}

/// A rented server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RentedServer {
    /// Where it answers.
    pub address: SocketAddr,
    /// The most that it holds.
    pub slots: Units,
}

/// One thing that is wrong with a plan. Control is at fault; a retry with the same plan never helps.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanFlaw {
    /// The first plan has no parent, and any other an older one.
    #[error("plan {generation} cannot have been made from {}", parent.map_or("nothing".to_owned(), |parent| format!("plan {parent}")))]
    Parent {
        /// The generation of the plan.
        generation: Generation,
        /// The parent that it names.
        parent: Option<Generation>,
    },
    /// A plan cannot speak of a site that the edge's configuration has: that one may be owned.
    #[error("site {site} is in the edge's own configuration")]
    SiteTaken {
        /// The site.
        site: SiteId,
    },
    /// More sites than [`SITES_MAX`].
    #[error("has {count} sites, at most {SITES_MAX} are allowed")]
    TooManySites {
        /// How many it has.
        count: usize,
    },
    /// More servers than [`SERVERS_MAX`].
    #[error("has {count} servers, at most {SERVERS_MAX} are allowed")]
    TooManyServers {
        /// How many it has.
        count: usize,
    },
    /// A pool that the edge does not have.
    #[error("site {site} serves the pool {pool:?}, which the edge does not have")]
    NoPool {
        /// The site.
        site: SiteId,
        /// The pool.
        pool: String,
    },
    /// An address that is not a rented server's: EDGE-1 begins here.
    #[error("site {site} names a server that it cannot have")]
    Address {
        /// The site.
        site: SiteId,
        /// What is wrong with the address.
        #[source]
        fault: NotAPeer,
    },
    /// One server at two places would be counted twice.
    #[error("{address} stands at site {site} and at site {other}")]
    TwoSites {
        /// The server.
        address: SocketAddr,
        /// The one site.
        site: SiteId,
        /// The other.
        other: SiteId,
    },
    /// One server named twice in a pool would get twice its share.
    #[error("site {site} names {address} twice in the pool {pool:?}")]
    Repeated {
        /// The site.
        site: SiteId,
        /// The pool.
        pool: String,
        /// The server.
        address: SocketAddr,
    },
    /// Slots of nothing, or more than can be counted.
    #[error("{what} has {slots} slots, which is none or more than any")]
    Slots {
        /// The site or server, or the budget.
        what: String,
        /// Its slots.
        slots: Units,
    },
}

impl CapacityPlan {
    /// The edge's own configuration with what this plan rents.
    ///
    /// # Errors
    /// Everything that is wrong with the plan; nothing of it is then taken.
    pub fn added_to(&self, configured: &Blueprint) -> Result<Blueprint, Vec<PlanFlaw>> {
        let mut flaws = Vec::new();
        self.check_whole(&mut flaws);
        let mut blueprint = configured.clone();
        let mut stands: BTreeMap<SocketAddr, &SiteId> = BTreeMap::new();
        if let Some(slots) = slots("the budget".to_owned(), self.autoscaled_slots_max, true, &mut flaws) {
            blueprint.autoscaled_slots_max = slots;
        }
        for (id, site) in &self.sites {
            if configured.sites.iter().any(|draft| draft.id == *id) {
                flaws.push(PlanFlaw::SiteTaken { site: id.clone() });
            }
            if let Some(ceiling) = slots(format!("site {id}"), site.slots, false, &mut flaws) {
                let tier = match site.tier {
                    RentedTier::PreRented => Tier::PreRented,
                    RentedTier::Autoscaled => Tier::Autoscaled,
                };
                let bounds = Bounds { floor: ceiling, ceiling };
                blueprint.sites.push(SiteDraft { id: id.clone(), tier, bounds, reserve: Slots::ZERO });
            }
            for (pool, servers) in &site.pools {
                let members = members(id, pool, servers, configured, &mut stands, &mut flaws);
                match blueprint.pools.iter_mut().find(|draft| draft.name == *pool) {
                    Some(draft) => draft.members.push(members),
                    None => flaws.push(PlanFlaw::NoPool { site: id.clone(), pool: pool.clone() }),
                }
            }
        }
        if flaws.is_empty() { Ok(blueprint) } else { Err(flaws) }
    }

    fn check_whole(&self, flaws: &mut Vec<PlanFlaw>) {
        let (generation, parent) = (self.generation, self.parent);
        let fits = match parent {
            None => generation == Generation::FIRST,
            Some(parent) => Generation::FIRST <= parent && parent < generation,
        };
        if !fits {
            flaws.push(PlanFlaw::Parent { generation, parent });
        }
        if self.sites.len() > SITES_MAX {
            flaws.push(PlanFlaw::TooManySites { count: self.sites.len() });
        }
        let count = self.sites.values().flat_map(|site| site.pools.values()).map(Vec::len).sum();
        if count > SERVERS_MAX {
            flaws.push(PlanFlaw::TooManyServers { count });
        }
    }
}

fn members<'p>(
    site: &'p SiteId,
    pool: &str,
    servers: &[RentedServer],
    configured: &Blueprint,
    stands: &mut BTreeMap<SocketAddr, &'p SiteId>,
    flaws: &mut Vec<PlanFlaw>,
) -> MembersDraft {
    let mut peers = Vec::with_capacity(servers.len());
    let mut named = BTreeSet::new();
    for server in servers {
        let peer = match RentedPeer::new(server.address, &configured.networks) {
            Ok(peer) => peer,
            Err(fault) => {
                flaws.push(PlanFlaw::Address { site: site.clone(), fault });
                continue;
            }
        };
        let address = peer.address();
        if !named.insert(address) {
            flaws.push(PlanFlaw::Repeated { site: site.clone(), pool: pool.to_owned(), address });
        }
        let other = *stands.entry(address).or_insert(site);
        if other != site {
            flaws.push(PlanFlaw::TwoSites { address, site: site.clone(), other: other.clone() });
        }
        if let Some(slots) = slots(format!("server {address}"), server.slots, false, flaws) {
            peers.push(PeerDraft { address, slots });
        }
    }
    MembersDraft { site: site.clone(), peers }
}

fn slots(what: String, units: Units, may_be_none: bool, flaws: &mut Vec<PlanFlaw>) -> Option<Slots> {
    let thousandths = u32::try_from(units.thousandths())
        .ok()
        .filter(|thousandths| *thousandths <= Slots::MAX.thousandths() && (may_be_none || *thousandths > 0));
    if thousandths.is_none() {
        flaws.push(PlanFlaw::Slots { what, slots: units });
    }
    thousandths.map(Slots::from_thousandths)
}
