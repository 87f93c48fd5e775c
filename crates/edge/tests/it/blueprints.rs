//! Configurations and plans, good ones and bad ones. Ours are the addresses that begin with 10; that is all that the
//! oracle knows about residency.

use std::net::{IpAddr, SocketAddr};

use naru_edge::policy::blueprint::{Blueprint, MembersDraft, PeerDraft, PoolDraft, RouteDraft, SiteDraft};
use naru_edge::policy::limit::Bounds;
use naru_edge::policy::{OwnedNetworks, Pattern, Slots, Tier};
use naru_model::{Class, SiteId};
use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;

pub fn is_ours(address: SocketAddr) -> bool {
    matches!(address.ip(), IpAddr::V4(v4) if v4.octets()[0] == 10)
}

pub fn site(name: &str) -> SiteId {
    SiteId::new(name).unwrap()
}

pub fn owned_site(name: &str, floor: u32, ceiling: u32, reserve: u32) -> SiteDraft {
    let bounds = Bounds { floor: Slots::whole(floor), ceiling: Slots::whole(ceiling) };
    SiteDraft { id: site(name), tier: Tier::Owned, bounds, reserve: Slots::whole(reserve) }
}

pub fn rented_site(name: &str, tier: Tier, slots: u32) -> SiteDraft {
    let bounds = Bounds { floor: Slots::whole(slots), ceiling: Slots::whole(slots) };
    SiteDraft { id: site(name), tier, bounds, reserve: Slots::ZERO }
}

/// Servers `PREFIX.1:80`, `PREFIX.2:80`, ...
pub fn members(at: &SiteDraft, prefix: &str, count: u8, slots: Slots) -> MembersDraft {
    let peer = |last: u8| PeerDraft { address: format!("{prefix}.{last}:80").parse().unwrap(), slots };
    MembersDraft { site: at.id.clone(), peers: (1..=count).map(peer).collect() }
}

pub fn route(host: Option<&str>, path: &str, class: Class, pool: &str, cost: Slots) -> RouteDraft {
    RouteDraft { pattern: Pattern::new(host, path).unwrap(), class, pool: pool.to_owned(), cost }
}

pub fn networks() -> OwnedNetworks {
    OwnedNetworks::new(["10.0.0.0/8".parse().unwrap()])
}

/// A sound one.
pub fn sound(rng: &mut ChaCha8Rng) -> Blueprint {
    let mut sites = Vec::new();
    let (mut pay, mut promo) = (Vec::new(), Vec::new());
    for index in 1..=rng.random_range(1..=3u8) {
        let reserve = rng.random_range(0..=8);
        let floor = reserve + rng.random_range(3..=8);
        let at = owned_site(&format!("idc-{index}"), floor, floor + rng.random_range(0..=15), reserve);
        pay.push(members(&at, &format!("10.{index}.1"), rng.random_range(1..=3), Slots::ONE));
        promo.push(members(&at, &format!("10.{index}.2"), rng.random_range(1..=3), Slots::ONE));
        sites.push(at);
    }
    for index in 1..=rng.random_range(0..=3u8) {
        let tier = if rng.random_bool(0.5) { Tier::PreRented } else { Tier::Autoscaled };
        let count = rng.random_range(1..=4);
        let at = rented_site(&format!("cloud-{index}"), tier, u32::from(count) * 2);
        promo.push(members(&at, &format!("198.51.{index}"), count, Slots::whole(2)));
        sites.push(at);
    }
    let pool = |name: &str, members| PoolDraft { name: name.to_owned(), members };
    let three = Slots::whole(3);
    let mut routes = vec![
        route(None, "/promo", Class::Open, "promo", Slots::ONE),
        route(None, "/pay", Class::Core, "pay", three),
        route(None, "/pay/help", Class::Open, "promo", Slots::ONE),
        route(None, "/gift", Class::Core, "pay", three),
        route(None, "/gift/page", Class::Open, "promo", Slots::ONE),
        route(None, "/transfer", Class::Core, "pay", three),
        route(Some("promo.example"), "/", Class::Open, "promo", Slots::ONE),
    ];
    if rng.random_bool(0.5) {
        routes.push(route(None, "/", Class::Open, "promo", Slots::ONE));
    }
    for index in (1..routes.len()).rev() {
        routes.swap(index, rng.random_range(0..=index));
    }
    Blueprint {
        networks: networks(),
        sites,
        pools: vec![pool("pay", pay), pool("promo", promo)],
        routes,
        autoscaled_slots_max: Slots::whole(rng.random_range(0..=8)),
        visit_units: 4.0,
        sharing: None,
    }
}

/// One that must be refused, by a slip or by a plan that lies.
pub fn spoiled(good: &Blueprint, rng: &mut ChaCha8Rng) -> Blueprint {
    let mut bad = good.clone();
    let rented: SocketAddr = format!("198.51.9.{}:80", rng.random_range(1..200)).parse().unwrap();
    let pool = |bad: &Blueprint, name: &str| bad.pools.iter().position(|pool| pool.name == name).unwrap();
    let (pay, promo) = (pool(&bad, "pay"), pool(&bad, "promo"));
    match rng.random_range(0..7) {
        // A rented machine among the servers of a site of ours.
        0 => {
            let at = rng.random_range(0..bad.pools[pay].members.len());
            let peers = &mut bad.pools[pay].members[at].peers;
            peers.insert(0, PeerDraft { address: rented, slots: Slots::ONE });
        }
        // A rented site in the pool of core routes.
        1 => {
            let at = rented_site("cloud-9", Tier::PreRented, 4);
            bad.pools[pay].members.push(members(&at, "198.51.9", 2, Slots::ONE));
            bad.sites.push(at);
        }
        // A core route to the pool that bursts, or to none.
        2 => {
            let at = bad.routes.iter().position(|route| route.class == Class::Core).unwrap();
            let has_rented = bad.sites.iter().any(|site| site.tier != Tier::Owned);
            bad.routes[at].pool = if has_rented { "promo".to_owned() } else { "gone".to_owned() };
        }
        // A server of ours that is said to be rented.
        3 => {
            let at = rented_site("cloud-9", Tier::Autoscaled, 4);
            bad.pools[promo].members.push(members(&at, "10.1.1", 1, Slots::ONE));
            bad.sites.push(at);
        }
        // A limit that could sink below core's reserve.
        4 => bad.sites[0].reserve = bad.sites[0].bounds.floor.plus(Slots::ONE),
        // One machine at two sites.
        5 => {
            let at = owned_site("idc-9", 5, 5, 0);
            bad.pools[pay].members.push(members(&at, "10.1.2", 1, Slots::ONE));
            bad.sites.push(at);
        }
        // A site that is not there.
        _ => bad.pools[promo].members[0].site = site("nowhere"),
    }
    bad
}
