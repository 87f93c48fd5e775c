//! Judges each decision by what it knows by itself: which addresses are ours, what a path means, what is in flight, and
//! which servers it took down.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use naru_edge::policy::{
    Asked, CoreDecision, Decision, Members, OpenDecision, Part, Pattern, Policy, Refusal, Site, Slots, Tier, Turn,
};
use naru_model::Class;

use crate::blueprints::is_ours;
use crate::paths::{Made, class_of};

/// Slots in flight at a site, thousandths: core, open.
type Held = (u32, u32);

#[derive(Debug, Default)]
pub struct Oracle {
    pub routes: Vec<(Pattern, Class)>,
    /// By the site's place in memory: a site that was removed still ends its requests.
    held: BTreeMap<usize, Held>,
    pub down: BTreeSet<SocketAddr>,
    /// Numbers by which somebody entered.
    entered: BTreeSet<u64>,
    pub tally: Tally,
}

/// What happened, to see that a run was worth something.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    pub decisions: u64,
    pub core: u64,
    pub core_refused: u64,
    pub owned: u64,
    pub rented: u64,
    pub waits: u64,
    pub unrouted: u64,
    pub reloads: u64,
    pub refused_reloads: u64,
}

impl Tally {
    pub fn add(&mut self, other: &Self) {
        self.decisions += other.decisions;
        self.core += other.core;
        self.core_refused += other.core_refused;
        self.owned += other.owned;
        self.rented += other.rented;
        self.waits += other.waits;
        self.unrouted += other.unrouted;
        self.reloads += other.reloads;
        self.refused_reloads += other.refused_reloads;
    }
}

macro_rules! must {
    ($holds:expr, $($what:tt)+) => {
        if !$holds {
            return Err(format!($($what)+));
        }
    };
}

/// What the policy showed right before it decided.
pub struct Before {
    limits: Vec<(usize, Slots, Slots)>,
    somebody_waits: bool,
    /// Whether the site where the user is could have taken him.
    could_stay: bool,
    could_go_somewhere: bool,
}

fn at(site: &Site) -> usize {
    std::ptr::from_ref(site) as usize
}

/// Whether a server of these would take a request of this cost now.
fn could_take<P: naru_edge::policy::residency::Peer>(
    members: &Members<P>,
    class: Class,
    cost: Slots,
    asked: &Asked<'_>,
    budget: Slots,
) -> bool {
    let site = members.site();
    let fits = |upstream: &naru_edge::policy::upstream::Upstream<P>| {
        let bounded = site.tier() != Tier::Owned;
        let has_room = upstream.in_flight() == Slots::ZERO || upstream.in_flight().plus(cost) <= upstream.weight();
        upstream.is_usable(asked.now) && asked.attempt.1 != Some(upstream.address()) && (!bounded || has_room)
    };
    !site.is_draining()
        && site.gate().room(class) >= cost
        && (site.tier() != Tier::Autoscaled || budget >= cost)
        && members.upstreams().iter().any(|upstream| fits(upstream))
}

impl Oracle {
    /// Looks at what an open request could have, before it is decided.
    pub fn before(&self, policy: &Policy, asked: &Asked<'_>, waits: bool, pool: &str, cost: Slots) -> Before {
        let limits = policy.sites().iter().map(|site| (at(site), site.gate().limit(), site.gate().reserve())).collect();
        let budget = policy.budget_left();
        let open = |members: &Members<_>| could_take(members, Class::Open, cost, asked, budget);
        let rented = |members: &Members<_>| could_take(members, Class::Open, cost, asked, budget);
        let was = asked.visit.map(|visit| visit.site());
        let is_his = |site: &Site| Some(naru_edge::policy::SiteKey::of(site.id())) == was;
        let could_stay = policy.owned(pool).iter().any(|members| is_his(members.site()) && open(members))
            || policy.rented(pool).iter().any(|members| is_his(members.site()) && rented(members));
        let could_go_somewhere = policy.owned(pool).iter().any(open) || policy.rented(pool).iter().any(rented);
        Before { limits, somebody_waits: waits, could_stay, could_go_somewhere }
    }

    /// Judges a decision.
    pub fn judge(
        &mut self,
        policy: &Policy,
        asked: &Asked<'_>,
        made: &Made,
        before: &Before,
        decision: &Decision,
    ) -> Result<(), String> {
        let outcome = decision.outcome();
        let is_shouted = made.target.bytes().any(|byte| byte.is_ascii_uppercase()) && !made.target.contains('?');
        let class = class_of(&self.routes, made, is_shouted && !made.is_ambiguous);
        let said = || format!("{}{} -> {outcome:?}", made.host, made.target);
        self.tally.decisions += 1;
        if let Some(address) = outcome.address {
            must!(!made.is_ambiguous, "EDGE-1: a path that can be read in two ways was forwarded: {}", said());
            must!(class != Some(Class::Core) || is_ours(address), "EDGE-1: core went to a rented server: {}", said());
            must!(class == outcome.class, "EDGE-1: the class is {class:?}: {}", said());
            must!(!self.down.contains(&address), "EDGE-3: sent to a server that is down: {}", said());
        }
        match decision {
            Decision::Core(CoreDecision::Forward { place, .. }) => {
                self.tally.core += 1;
                self.held.entry(at(place.site())).or_default().0 += place.cost().thousandths();
            }
            Decision::Core(CoreDecision::Unavailable { route, .. }) => {
                self.tally.core_refused += 1;
                self.judge_refused_core(policy, asked, *route)?;
            }
            Decision::Open(OpenDecision::Forward { place, reason, .. }) => {
                let (site, cost) = match place {
                    naru_edge::policy::OpenPlace::Owned(place) => (place.site(), place.cost()),
                    naru_edge::policy::OpenPlace::Rented(place) => (place.site(), place.cost()),
                };
                *(if site.tier() == Tier::Owned { &mut self.tally.owned } else { &mut self.tally.rented }) += 1;
                let held = self.held.entry(at(site)).or_default();
                held.1 += cost.thousandths();
                let (_, limit, reserve) = before.limits.iter().find(|(key, _, _)| *key == at(site)).unwrap();
                let most = limit.minus(*reserve).thousandths();
                must!(held.1 <= most, "EDGE-2: open requests hold {} of {most} at {}", held.1, site.id().as_str());
                let total = held.0 + held.1;
                must!(total <= limit.thousandths(), "EDGE-2: {total} in flight of {limit} at {}", site.id().as_str());
                let is_inside = asked.visit.is_some_and(|visit| visit.is_inside());
                let newcomer = !is_inside && asked.ticket.is_none();
                must!(!(newcomer && before.somebody_waits), "EDGE-3: a newcomer passed those who wait: {}", said());
                if let (false, Some(ticket), 1) = (is_inside, asked.ticket, asked.attempt.0) {
                    let spent = !self.entered.insert(ticket.number());
                    must!(!(spent && before.somebody_waits), "EDGE-3: a second one entered by a ticket: {}", said());
                }
                let his = asked.visit.map(|visit| visit.site());
                let stayed = his == Some(naru_edge::policy::SiteKey::of(site.id()));
                must!(!before.could_stay || stayed, "EDGE-3: a user was moved for nothing, {reason:?}: {}", said());
            }
            Decision::Open(OpenDecision::Wait(wait)) => {
                self.tally.waits += 1;
                must!(!wait.refresh.is_zero(), "EDGE-3: a page that never asks again");
                must!(
                    wait.ticket.is_some() || asked.visit.is_some_and(|visit| visit.is_inside()),
                    "EDGE-3: a page without a place in the line: {}",
                    said()
                );
                let entitled = asked.visit.is_some_and(|visit| visit.is_inside()) && asked.attempt.0 == 1;
                must!(!(entitled && before.could_go_somewhere), "EDGE-3: sent away although there is room: {}", said());
            }
            Decision::Unrouted(_) => {
                self.tally.unrouted += 1;
                must!(made.is_ambiguous || class.is_none(), "EDGE-3: a request of {class:?} was refused: {}", said());
            }
        }
        Ok(())
    }

    /// A core request is turned away only where every usable site is full, its reserve included.
    fn judge_refused_core(&self, policy: &Policy, asked: &Asked<'_>, route: usize) -> Result<(), String> {
        if asked.attempt.0 > 1 {
            return Ok(());
        }
        let cost = policy.route(route).unwrap().cost();
        for members in policy.owned("pay").iter().filter(|members| members.is_usable(asked.now)) {
            let core = self.held.get(&at(members.site())).map_or(0, |held| held.0);
            let reserve = members.site().gate().reserve().thousandths();
            let name = members.site().id().as_str();
            must!(core + cost.thousandths() > reserve, "EDGE-2: core was refused with {core} of {reserve} at {name}");
        }
        Ok(())
    }

    /// A request ended.
    pub fn ended(&mut self, site: usize, class: Class, cost: Slots) {
        let held = self.held.get_mut(&site).unwrap();
        match class {
            Class::Core => held.0 -= cost.thousandths(),
            Class::Open => held.1 -= cost.thousandths(),
        }
        if *held == (0, 0) {
            self.held.remove(&site);
        }
    }

    /// What the policy counts is what is in flight, and limits stay within their bounds.
    pub fn compare(&self, policy: &Policy) -> Result<(), String> {
        for site in policy.sites() {
            let (core, open) = self.held.get(&at(site)).copied().unwrap_or_default();
            let counted = site.gate().in_flight();
            let counted = (counted.core.thousandths(), counted.open.thousandths());
            must!(
                counted == (core, open),
                "EDGE-2: {counted:?} counted, {core} {open} in flight at {}",
                site.id().as_str()
            );
            let (limit, bounds) = (site.gate().limit(), site.bounds());
            must!(limit >= bounds.floor && limit <= bounds.ceiling, "EDGE-2: a limit of {limit} outside of {bounds:?}");
        }
        Ok(())
    }

    /// A bad configuration or plan was refused, or not. One that was taken is not yet a leak: the decisions show.
    pub fn judge_refusal(&mut self, refusals: &[Refusal]) -> Result<(), String> {
        self.tally.refused_reloads += 1;
        must!(!refusals.is_empty(), "refused for nothing");
        let places: BTreeSet<Part> = refusals.iter().map(|refusal| refusal.part).collect();
        must!(!places.is_empty() && refusals.iter().all(|one| !one.flaw.fix().is_empty()), "a refusal without a fix");
        Ok(())
    }
}

/// Where a site is in memory.
pub fn site_key(site: &Site) -> usize {
    at(site)
}

/// Whether the newest of these tickets still waits.
pub fn waits(policy: &Policy, newest: Option<&naru_edge::policy::Ticket>) -> bool {
    newest.and_then(|ticket| policy.room().turn(ticket)).is_some_and(|turn| matches!(turn, Turn::Waits { .. }))
}
