//! A policy from a blueprint: whole, or not at all.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use naru_model::{Class, SiteId, SiteKind};

use super::blueprint::{Blueprint, Flaw, MembersDraft, Part, Refusal, SITES_MAX, SiteDraft};
use super::limit::Timing;
use super::residency::{CorePeer, OwnedNetworks, Peer, RentedPeer};
use super::retry::RetryBudgets;
use super::room::Room;
use super::sender::Sender;
use super::share::{WHOLE, bounds_of, slots_of};
use super::site::{Members, Site, Tier};
use super::slots::{Gate, Slots};
use super::upstream::Upstream;
use super::{OpenPool, OwnedPool, Policy, Route, Service};

impl Policy {
    /// A policy for the first time.
    ///
    /// # Errors
    /// Everything that is wrong with the blueprint.
    pub fn new(blueprint: &Blueprint, room: Room) -> Result<Self, Vec<Refusal>> {
        build(blueprint, None, Arc::new(room))
    }

    /// The policy that follows this one: what is in flight, known about servers, and waiting goes on. When it is
    /// refused, this one stays in force.
    ///
    /// # Errors
    /// Everything that is wrong with the blueprint.
    pub fn next(&self, blueprint: &Blueprint) -> Result<Self, Vec<Refusal>> {
        build(blueprint, Some(self), self.room.clone())
    }
}

fn build(blueprint: &Blueprint, former: Option<&Policy>, room: Arc<Room>) -> Result<Policy, Vec<Refusal>> {
    let mut refusals = flaws(blueprint);
    if !refusals.is_empty() {
        refusals.sort_by_key(|refusal| refusal.part);
        return Err(refusals);
    }
    let sites: BTreeMap<SiteId, Arc<Site>> =
        blueprint.sites.iter().map(|draft| (draft.id.clone(), site(draft, former, blueprint.safe()))).collect();
    let mut owned = BTreeMap::new();
    let mut rented = BTreeMap::new();
    for draft in &blueprint.pools {
        let sites = &sites;
        let of = |kind: SiteKind| {
            let there = move |members| Some((site_of_kind(sites, members, kind)?, members));
            draft.members.iter().filter_map(there)
        };
        let known = former.and_then(|former| former.pools.get(&draft.name));
        let own = of(SiteKind::Owned).map(|(site, members)| {
            let known = known.map_or(&[][..], |pool| &pool.owned.members);
            members_of(site, members, known, &blueprint.networks, CorePeer::new)
        });
        let away = of(SiteKind::Rented).map(|(site, members)| {
            let known = known.map_or(&[][..], |pool| &pool.rented);
            members_of(site, members, known, &blueprint.networks, RentedPeer::new)
        });
        owned.insert(draft.name.clone(), Arc::new(OwnedPool { members: own.collect() }));
        let mut away: Vec<_> = away.collect();
        away.sort_by_key(|members| members.site.tier());
        rented.insert(draft.name.clone(), away);
    }
    let pools: BTreeMap<String, Arc<OpenPool>> = owned
        .iter()
        .map(|(name, owned)| {
            let rented = rented.remove(name).unwrap_or_default();
            (name.clone(), Arc::new(OpenPool { owned: owned.clone(), rented }))
        })
        .collect();
    let route = |draft: &super::blueprint::RouteDraft| {
        let pool = pools.get(&draft.pool).expect("a route without its pool was refused");
        let service = match draft.class {
            Class::Core => Service::Core(pool.owned.clone()),
            Class::Open => Service::Open(pool.clone()),
        };
        let timings = pool.owned.members.iter().map(|_| Timing::default()).collect();
        Route { pattern: draft.pattern.clone(), pool: draft.pool.clone(), service, cost: draft.cost, timings }
    };
    let routes = blueprint.routes.iter().map(route).collect();
    let autoscaled = match former {
        Some(former) => former.autoscaled.clone(),
        None => Arc::new(Gate::new(Slots::ZERO, Slots::ZERO)),
    };
    // Money is divided evenly, without leases: what one gateway does not spend is no loss.
    let budget_part = blueprint.sharing.map_or(WHOLE, |sharing| WHOLE / sharing.gateways.max(1));
    autoscaled.set_limit(slots_of(budget_part, blueprint.autoscaled_slots_max));
    Ok(Policy {
        networks: blueprint.networks.clone(),
        routes,
        pools,
        sites: sites.into_values().collect(),
        autoscaled,
        room,
        visit_units: blueprint.visit_units,
        retries: former.map_or_else(|| Arc::new(RetryBudgets::default()), |former| former.retries.clone()),
        sender: former.map_or_else(|| Arc::new(Sender::default()), |former| former.sender.clone()),
        window_began: former.map_or_else(|| Arc::new(AtomicU64::new(0)), |former| former.window_began.clone()),
    })
}

fn site_of_kind(sites: &BTreeMap<SiteId, Arc<Site>>, members: &MembersDraft, kind: SiteKind) -> Option<Arc<Site>> {
    sites.get(&members.site).filter(|site| site.tier().kind() == kind).cloned()
}

/// The site of the policy before, if it is the same place: what is in flight there stays counted.
fn site(draft: &SiteDraft, former: Option<&Policy>, safe: u32) -> Arc<Site> {
    let known = former.and_then(|former| {
        former.sites.iter().find(|site| *site.id() == draft.id && site.tier().kind() == draft.tier.kind())
    });
    match known {
        Some(site) if site.tier() == draft.tier => {
            site.change(draft.bounds, draft.reserve, safe);
            site.clone()
        }
        _ => Arc::new(Site::new(draft.id.clone(), draft.tier, draft.bounds, draft.reserve, safe)),
    }
}

fn members_of<P: Peer>(
    site: Arc<Site>,
    draft: &MembersDraft,
    known: &[Members<P>],
    networks: &OwnedNetworks,
    peer: impl Fn(SocketAddr, &OwnedNetworks) -> Result<P, super::NotAPeer>,
) -> Members<P> {
    let bounded = site.tier() != Tier::Owned;
    let known: Vec<&Arc<Upstream<P>>> = known
        .iter()
        .filter(|members| members.site.id() == site.id())
        .flat_map(|members| members.upstreams.iter())
        .collect();
    let upstreams = draft.peers.iter().filter_map(|draft| {
        // Refused addresses do not come so far; the constructor is still the only door.
        let peer = peer(draft.address, networks).ok()?;
        let same = known.iter().find(|upstream| {
            upstream.address() == peer.address() && upstream.weight() == draft.slots && upstream.is_bounded() == bounded
        });
        Some(same.map_or_else(|| Arc::new(Upstream::new(peer, draft.slots, bounded)), |same| Arc::clone(same)))
    });
    let upstreams = upstreams.collect();
    Members { site, upstreams }
}

/// Everything that is wrong.
fn flaws(blueprint: &Blueprint) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    let mut refuse = |part: Part, flaw: Flaw| refusals.push(Refusal { part, flaw });
    for (index, site) in blueprint.sites.iter().enumerate() {
        let part = Part::Site(index);
        if blueprint.sites[..index].iter().any(|other| other.id == site.id) {
            refuse(part, Flaw::Twice { name: site.id.as_str().to_owned() });
        }
        let (floor, ceiling) = (site.bounds.floor, site.bounds.ceiling);
        if ceiling == Slots::ZERO || floor > ceiling {
            refuse(part, Flaw::Bounds { floor, ceiling });
        }
        match site.tier.kind() {
            SiteKind::Owned if site.reserve > floor => {
                refuse(part, Flaw::ReserveAboveFloor { reserve: site.reserve, floor });
            }
            SiteKind::Rented if site.reserve > Slots::ZERO => refuse(part, Flaw::ReserveOnRented),
            SiteKind::Owned | SiteKind::Rented => {}
        }
    }
    let site_of = |id: &SiteId| blueprint.sites.iter().find(|site| site.id == *id);
    let mut addresses: BTreeMap<SocketAddr, SiteId> = BTreeMap::new();
    for (pool, draft) in blueprint.pools.iter().enumerate() {
        if blueprint.pools[..pool].iter().any(|other| other.name == draft.name) {
            refuse(Part::Pool(pool), Flaw::Twice { name: draft.name.clone() });
        }
        for kind in [SiteKind::Owned, SiteKind::Rented] {
            let at = |members: &&MembersDraft| site_of(&members.site).is_some_and(|site| site.tier.kind() == kind);
            if draft.members.iter().filter(at).count() > SITES_MAX {
                refuse(Part::Pool(pool), Flaw::TooManySites);
            }
        }
        for (index, members) in draft.members.iter().enumerate() {
            let part = Part::Members(pool, index);
            if draft.members[..index].iter().any(|other| other.site == members.site) {
                refuse(part, Flaw::Twice { name: members.site.as_str().to_owned() });
            }
            let Some(site) = site_of(&members.site) else {
                refuse(part, Flaw::NoSite { site: members.site.clone() });
                continue;
            };
            for (nth, peer) in members.peers.iter().enumerate() {
                let part = Part::Peer(pool, index, nth);
                let fits = match site.tier.kind() {
                    SiteKind::Owned => CorePeer::new(peer.address, &blueprint.networks).map(|_| ()),
                    SiteKind::Rented => RentedPeer::new(peer.address, &blueprint.networks).map(|_| ()),
                };
                if let Err(why) = fits {
                    refuse(part, Flaw::Address(why));
                }
                if addresses.insert(peer.address, site.id.clone()).is_some_and(|other| other != site.id) {
                    refuse(part, Flaw::TwoSites { address: peer.address });
                }
                if members.peers[..nth].iter().any(|other| other.address == peer.address) {
                    refuse(part, Flaw::Twice { name: peer.address.to_string() });
                }
            }
        }
    }
    for (index, route) in blueprint.routes.iter().enumerate() {
        let part = Part::Route(index);
        if blueprint.routes[..index].iter().any(|other| same_requests(&other.pattern, &route.pattern)) {
            refuse(part, Flaw::SameRoute);
        }
        let pool = || route.pool.clone();
        let Some(draft) = blueprint.pools.iter().find(|draft| draft.name == route.pool) else {
            refuse(part, Flaw::NoPool { pool: pool() });
            continue;
        };
        let sites = || draft.members.iter().filter_map(|members| Some((site_of(&members.site)?, members)));
        let owned = || sites().filter(|(site, _)| site.tier.kind() == SiteKind::Owned);
        if route.class == Class::Core {
            if let Some((site, _)) = sites().find(|(site, _)| !route.class.may_run_on(site.tier.kind())) {
                refuse(part, Flaw::CoreOnRented { pool: pool(), site: site.id.clone() });
            }
            if !owned().any(|(_, members)| !members.peers.is_empty()) {
                refuse(part, Flaw::CoreNowhere { pool: pool() });
            }
        }
        // By the part that is there without a lease: else a route would be gone as long as no lease can be had.
        let fits = |site: &SiteDraft| {
            let floor = bounds_of(blueprint.safe(), site.bounds).floor;
            match route.class {
                Class::Core => route.cost <= floor,
                Class::Open => route.cost <= floor.minus(slots_of(blueprint.safe(), site.reserve)),
            }
        };
        if route.cost == Slots::ZERO || (owned().next().is_some() && !owned().any(|(site, _)| fits(site))) {
            refuse(part, Flaw::Cost { cost: route.cost });
        }
    }
    refusals
}

/// Whether two patterns match the same requests; core ones do so in any case, so case makes no difference here.
fn same_requests(one: &super::Pattern, other: &super::Pattern) -> bool {
    one.host() == other.host() && one.path().eq_ignore_ascii_case(other.path())
}
