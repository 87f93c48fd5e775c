//! A site, and the servers of one pool there.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use naru_model::{Class, SiteId, SiteKind};

use super::Millis;
use super::limit::Bounds;
use super::residency::Peer;
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
}

impl Site {
    pub(super) fn new(id: SiteId, tier: Tier, bounds: Bounds, reserve: Slots) -> Self {
        Self {
            key: SiteKey::of(&id),
            id,
            tier,
            gate: Gate::new(bounds.ceiling, reserve),
            floor: AtomicU32::new(bounds.floor.thousandths()),
            ceiling: AtomicU32::new(bounds.ceiling.thousandths()),
            is_draining: AtomicBool::new(false),
        }
    }

    /// Takes other bounds; the limit goes with the ceiling if it stood there, else it stays as far as the bounds let it.
    pub(super) fn change(&self, bounds: Bounds, reserve: Slots) {
        let before = self.bounds();
        self.floor.store(bounds.floor.thousandths(), Ordering::Relaxed);
        self.ceiling.store(bounds.ceiling.thousandths(), Ordering::Relaxed);
        let limit = self.gate.limit();
        let limit = if limit >= before.ceiling { bounds.ceiling } else { limit };
        self.gate.set_limit(limit.min(bounds.ceiling).max(bounds.floor));
        self.gate.set_reserve(reserve);
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

    /// Between what its limit moves.
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
        if self.site.is_draining() || !self.site.gate.enter(asked.class, asked.choice.cost) {
            return None;
        }
        let budget = match budget {
            Some(budget) if !budget.enter(asked.class, asked.choice.cost) => {
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
