//! A site, and the servers of one pool there.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use naru_model::{Class, SiteId, SiteKind};

use super::Millis;
use super::limit::{self, Bounds};
use super::residency::Peer;
use super::share::{Share, WHOLE, bounds_of, part_of, slots_of};
use super::slots::{Gate, Slots};
use super::upstream::{Choice, Upstream, choose};
use super::visit::SiteKey;

/// Which sites a request tries first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// Our own.
    Owned,
    /// Rented ahead, by forecast: paid for whether used or not.
    PreRented,
    /// Rented when the forecast was too low, within a budget.
    Autoscaled,
}

impl Tier {
    /// Whose machines it means.
    pub fn kind(self) -> SiteKind {
        match self {
            Self::Owned => SiteKind::Owned,
            Self::PreRented | Self::Autoscaled => SiteKind::Rented,
        }
    }
}

/// A place with slots. It outlives a change of the configuration that keeps its name and tier, with what is in flight.
#[derive(Debug)]
pub struct Site {
    id: SiteId,
    key: SiteKey,
    tier: Tier,
    gate: Gate,
    floor: AtomicU32,
    ceiling: AtomicU32,
    is_draining: AtomicBool,
    /// Held while the limit moves.
    own: Mutex<Own>,
}

/// What of a site is this process's.
#[derive(Debug)]
struct Own {
    share: Share,
    /// Of the whole site.
    reserve: Slots,
    /// Between what the limit moves: of this share.
    bounds: Bounds,
    /// What requests wanted of late.
    demand: Slots,
}

/// What of a demand is left a step later, in hundredths: a share does not follow single quiet steps.
const DEMAND_LEFT_PERCENT: u64 = 90;

/// What a process that drains keeps beside what its requests wanted: those who ask once more on connections that stand.
const DRAIN_MARGIN_PERCENT: u64 = 5;
/// What it keeps of what they wanted.
const DRAIN_DEMAND_PERCENT: u64 = 125;

impl Site {
    pub(super) fn new(id: SiteId, tier: Tier, bounds: Bounds, reserve: Slots, safe: u32) -> Self {
        let own = Own { share: Share::of(WHOLE), reserve, bounds, demand: Slots::ZERO };
        let site = Self {
            key: SiteKey::of(&id),
            id,
            tier,
            gate: Gate::new(bounds.ceiling, reserve),
            floor: AtomicU32::new(bounds.floor.thousandths()),
            ceiling: AtomicU32::new(bounds.ceiling.thousandths()),
            is_draining: AtomicBool::new(false),
            own: Mutex::new(own),
        };
        site.share(|share| share.safe = safe);
        site
    }

    fn own(&self) -> MutexGuard<'_, Own> {
        // Changed by assignments of numbers, each of which leaves it sound.
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes other bounds; the limit goes with the ceiling if it stood there, else it stays as far as the bounds let it.
    pub(super) fn change(&self, bounds: Bounds, reserve: Slots, safe: u32) {
        let mut own = self.own();
        self.floor.store(bounds.floor.thousandths(), Ordering::Relaxed);
        self.ceiling.store(bounds.ceiling.thousandths(), Ordering::Relaxed);
        own.reserve = reserve;
        own.share.safe = safe;
        self.fit(&mut own, |limit, _, _| limit);
    }

    /// Changes what of it is this process's. The limit keeps its place between floor and ceiling.
    fn share(&self, change: impl FnOnce(&mut Share)) {
        let mut own = self.own();
        let before = own.share;
        change(&mut own.share);
        if own.share == before {
            return;
        }
        self.fit(&mut own, |limit, before, after| {
            let scaled = u64::from(limit.thousandths()) * u64::from(after.thousandths());
            let scaled = scaled / u64::from(before.thousandths().max(1));
            Slots::from_thousandths(u32::try_from(scaled).unwrap_or(u32::MAX))
        });
    }

    /// Puts bounds, limit and reserve where the share has them.
    fn fit(&self, own: &mut Own, moved: impl FnOnce(Slots, Slots, Slots) -> Slots) {
        let (whole, before, limit) = (self.bounds(), own.bounds, self.gate.limit());
        let (leased, unleased) = (own.share.leased(), own.share.unleased());
        own.bounds = bounds_of(leased, whole);
        let ceiling = own.bounds.ceiling;
        let limit = if limit >= before.ceiling { ceiling } else { moved(limit, before.ceiling, ceiling) };
        let (limit, reserve) = (limit.min(ceiling).max(own.bounds.floor), slots_of(leased, own.reserve));
        let fall = || {
            let behind = (slots_of(unleased, whole.ceiling), slots_of(unleased, own.reserve));
            self.gate.fall_at(own.share.ends(), behind.0, behind.1);
        };
        // A limit that falls does so before its end is moved, and one that rises behind it: a request that comes in between
        // finds the lower one.
        let falls = limit < self.gate.limit();
        if !falls {
            fall();
        }
        self.gate.set_limit(limit);
        self.gate.set_reserve(reserve);
        if falls {
            fall();
        }
    }

    /// Moves the limit, and ends a lease whose time is over. Due every [`limit::STEP_MS`].
    pub(super) fn step(&self, now: Millis, queueing: Option<Duration>) {
        let peak = self.gate.take_peak();
        let wanted = peak.plus(self.gate.take_refused());
        let left = |demand: Slots| (u64::from(demand.thousandths()) * DEMAND_LEFT_PERCENT / 100) as u32;
        {
            let mut own = self.own();
            own.demand = wanted.max(Slots::from_thousandths(left(own.demand)));
            if self.tier.kind() == SiteKind::Owned {
                self.gate.set_limit(limit::step(self.gate.limit(), own.bounds, queueing, peak));
            }
        }
        self.share(|share| share.lease = share.lease.filter(|(_, ends)| now < *ends));
    }

    /// Takes a lease of a part of it until then.
    pub fn lease(&self, part: u32, ends: Millis) {
        self.share(|share| share.lease = Some((part.min(WHOLE), ends)));
    }

    /// Says what part of it the process before this one holds; none when that one has ended.
    pub fn hold_elsewhere(&self, part: u32) {
        self.share(|share| share.elsewhere = part.min(WHOLE));
    }

    /// Keeps all of the share again, since no other process takes over.
    pub fn keep_all(&self) {
        self.share(|share| share.kept = None);
    }

    /// Keeps what requests need here while another process takes over: what they wanted of late and a margin, no more
    /// than half where they do not hold more, and never more than before. Answers with what they may still come to hold.
    pub fn let_go(&self) -> u32 {
        let (demand, in_flight) = (u64::from(self.demand()), self.in_flight());
        let margin = u64::from(WHOLE) * DRAIN_MARGIN_PERCENT / 100;
        let wanted = demand * DRAIN_DEMAND_PERCENT / 100 + margin;
        let wanted = u32::try_from(wanted).unwrap_or(WHOLE).min(in_flight.max(WHOLE / 2));
        self.share(|share| share.kept = Some(share.kept.map_or(wanted, |kept| kept.min(wanted))));
        part_of(self.gate.held(), self.bounds().ceiling)
    }

    /// What of it this process may have, also while its lease runs.
    pub fn part(&self) -> u32 {
        self.own().share.leased()
    }

    /// What this gateway may have of it now, together with a process before it that still drains.
    pub fn granted(&self, now: Millis) -> u32 {
        self.own().share.granted(now)
    }

    /// When its lease ends, if it has one.
    pub fn leased_until(&self) -> Option<Millis> {
        self.own().share.lease.map(|(_, ends)| ends)
    }

    /// The most that requests of this gateway may hold of it from here on if its share does not grow.
    pub fn held(&self) -> u32 {
        let own = self.own();
        part_of(self.gate.held(), self.bounds().ceiling).saturating_add(own.share.elsewhere).min(WHOLE)
    }

    /// What part of it requests wanted of late.
    pub fn demand(&self) -> u32 {
        part_of(self.own().demand, self.bounds().ceiling)
    }

    /// What part of it is in flight.
    fn in_flight(&self) -> u32 {
        part_of(self.gate.in_flight().total(), self.bounds().ceiling)
    }

    /// Its name.
    pub fn id(&self) -> &SiteId {
        &self.id
    }

    pub(super) fn key(&self) -> SiteKey {
        self.key
    }

    /// Which sites it is tried with.
    pub fn tier(&self) -> Tier {
        self.tier
    }

    /// Its slots.
    pub fn gate(&self) -> &Gate {
        &self.gate
    }

    /// Between what its limit moves, were all of it this process's.
    pub fn bounds(&self) -> Bounds {
        let slots = |of: &AtomicU32| Slots::from_thousandths(of.load(Ordering::Relaxed));
        Bounds { floor: slots(&self.floor), ceiling: slots(&self.ceiling) }
    }

    /// Whether no new request goes there, while those in flight end.
    pub fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::Relaxed)
    }

    /// Begins or ends a drain.
    pub fn set_draining(&self, is_draining: bool) {
        self.is_draining.store(is_draining, Ordering::Relaxed);
    }
}

/// The servers of a pool at one site.
#[derive(Debug, Clone)]
pub struct Members<P> {
    pub(super) site: Arc<Site>,
    pub(super) upstreams: Arc<[Arc<Upstream<P>>]>,
}

impl<P: Peer> Members<P> {
    /// The site.
    pub fn site(&self) -> &Site {
        &self.site
    }

    /// The servers.
    pub fn upstreams(&self) -> &[Arc<Upstream<P>>] {
        &self.upstreams
    }

    /// Whether a request could go there, were there room.
    pub fn is_usable(&self, now: Millis) -> bool {
        !self.site.is_draining() && self.upstreams.iter().any(|upstream| upstream.is_usable(now))
    }

    /// The same where servers that are left out for their failures will do.
    pub(super) fn is_up(&self) -> bool {
        !self.site.is_draining() && self.upstreams.iter().any(|upstream| upstream.is_up())
    }

    /// Takes slots of the site, of the budget that pays for it if there is one, and of one server.
    pub(super) fn enter(&self, asked: &Entry, budget: Option<&Arc<Gate>>) -> Option<Place<P>> {
        if self.site.is_draining() || !self.site.gate.enter(asked.class, asked.choice.cost, asked.choice.now) {
            return None;
        }
        let budget = match budget {
            Some(budget) if !budget.enter(asked.class, asked.choice.cost, asked.choice.now) => {
                self.site.gate.leave(asked.class, asked.choice.cost);
                return None;
            }
            budget => budget.cloned(),
        };
        let Some(upstream) = choose(&self.upstreams, asked.choice) else {
            self.site.gate.leave(asked.class, asked.choice.cost);
            budget.iter().for_each(|budget| budget.leave(asked.class, asked.choice.cost));
            return None;
        };
        Some(Place {
            members: self.clone(),
            upstream: upstream.clone(),
            budget,
            class: asked.class,
            cost: asked.choice.cost,
        })
    }
}

/// A request that looks for a place.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub class: Class,
    pub choice: Choice,
}

/// Slots that a request holds at a site and one of its servers, until this is dropped.
#[derive(Debug)]
#[must_use = "the slots are given back at once"]
pub struct Place<P: Peer> {
    members: Members<P>,
    upstream: Arc<Upstream<P>>,
    budget: Option<Arc<Gate>>,
    class: Class,
    cost: Slots,
}

impl<P: Peer> Place<P> {
    /// The site.
    pub fn site(&self) -> &Site {
        &self.members.site
    }

    /// The server.
    pub fn upstream(&self) -> &Upstream<P> {
        &self.upstream
    }

    /// What the request holds.
    pub fn cost(&self) -> Slots {
        self.cost
    }

    /// The request failed before an answer came: no connection, a reset, a time-out, an answer that is none.
    pub fn failed(&self, now: Millis) {
        super::upstream::failed(&self.members.upstreams, &self.upstream, now);
    }
}

impl<P: Peer> Drop for Place<P> {
    fn drop(&mut self) {
        self.upstream.leave(self.cost);
        self.members.site.gate.leave(self.class, self.cost);
        if let Some(budget) = &self.budget {
            budget.leave(self.class, self.cost);
        }
    }
}
