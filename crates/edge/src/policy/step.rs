//! What happens every 100 ms, and when a request ended.

use std::sync::atomic::Ordering;
use std::time::Duration;

use naru_model::{Class, SiteKind};

use super::limit::{self, BASE_WINDOW_MS};
use super::room::Seen;
use super::sender::Headroom;
use super::site::Place;
use super::slots::Slots;
use super::{CorePeer, Millis, OpenPlace, Policy, RentedPeer};

impl Policy {
    /// Moves limits, calls those who wait, and looks at what the sender is told. Due every [`limit::STEP_MS`].
    pub fn step(&self, now: Millis) {
        self.move_limits(now);
        let (free, limit, in_flight) = self.open_slots(now);
        self.room.step(now, Seen { in_flight, free, visit_units: self.visit_units });
        self.sender.step(free, limit, self.room.waiting());
    }

    fn move_limits(&self, now: Millis) {
        let mut queueing = vec![(0u64, 0u64); self.sites.len()];
        for route in &self.routes {
            for (members, timing) in route.owned().members.iter().zip(&route.timings) {
                let Some((count, queued)) = timing.step() else { continue };
                let Some(index) = self.sites.iter().position(|site| site.id() == members.site().id()) else { continue };
                queueing[index].0 += count;
                queueing[index].1 += count * u64::try_from(queued.as_micros()).unwrap_or(u64::MAX / count);
            }
        }
        for (site, (count, sum_us)) in self.sites.iter().zip(queueing) {
            site.step(now, (count > 0).then(|| Duration::from_micros(sum_us / count)));
        }
        let began = self.window_began.load(Ordering::Relaxed);
        if now.abs_diff(began) >= BASE_WINDOW_MS {
            self.window_began.store(now, Ordering::Relaxed);
            self.routes.iter().flat_map(|route| &route.timings).for_each(limit::Timing::turn_window);
        }
    }

    /// Free slots, all slots, and slots in flight of open requests, over every site that one of them could go to.
    fn open_slots(&self, now: Millis) -> (Slots, Slots, Slots) {
        let mut sums = (Slots::ZERO, Slots::ZERO, Slots::ZERO);
        let budget = self.autoscaled.room(Class::Open);
        let mut autoscaled = Slots::ZERO;
        for site in &self.sites {
            let serves = |pool: &super::OpenPool| {
                let owned =
                    pool.owned.members.iter().any(|members| members.site.id() == site.id() && members.is_usable(now));
                owned || pool.rented.iter().any(|members| members.site.id() == site.id() && members.is_usable(now))
            };
            let open = self.routes.iter().any(|route| match &route.service {
                super::Service::Open(pool) => serves(pool),
                super::Service::Core(_) => false,
            });
            if !open {
                continue;
            }
            let gate = site.gate();
            let mut free = gate.room(Class::Open);
            if site.tier() == super::Tier::Autoscaled {
                free = free.min(budget.minus(autoscaled));
                autoscaled = autoscaled.plus(free);
            }
            let in_flight = gate.in_flight().open;
            sums = (sums.0.plus(free), sums.1.plus(free).plus(in_flight), sums.2.plus(in_flight));
        }
        sums
    }

    /// What whoever sends a campaign is told about a class.
    pub fn headroom(&self, class: Class, now: Millis) -> Headroom {
        let (free, limit) = match class {
            Class::Open => {
                let (free, limit, _) = self.open_slots(now);
                (free, limit)
            }
            Class::Core => {
                let owned = || self.sites.iter().filter(|site| site.tier().kind() == SiteKind::Owned);
                let sum =
                    |of: &dyn Fn(&super::Site) -> Slots| owned().fold(Slots::ZERO, |sum, site| sum.plus(of(site)));
                (sum(&|site| site.gate().room(Class::Core)), sum(&|site| site.gate().limit()))
            }
        };
        self.sender.headroom(class, free, limit, self.room.waiting())
    }

    /// A core request was answered; its slots are free from here on.
    pub fn core_answered(&self, route: usize, place: Place<CorePeer>, took: Duration) {
        self.owned_answered(route, &place, took);
    }

    /// An open request was answered, or ended in any other way; its slots are free from here on. Only sites of ours
    /// learn from how long it took.
    pub fn open_answered(&self, route: usize, place: OpenPlace, took: Duration) {
        match &place {
            OpenPlace::Owned(place) => {
                self.owned_answered(route, place, took);
                self.room.left(place.cost());
            }
            OpenPlace::Rented(place) => self.rented_answered(place),
        }
    }

    fn owned_answered(&self, route: usize, place: &Place<CorePeer>, took: Duration) {
        place.upstream().answered();
        let Some(route) = self.routes.get(route) else { return };
        let at = route.owned().members.iter().position(|members| members.site().id() == place.site().id());
        if let Some(timing) = at.and_then(|at| route.timings.get(at)) {
            timing.finished(took);
        }
    }

    fn rented_answered(&self, place: &Place<RentedPeer>) {
        place.upstream().answered();
        self.room.left(place.cost());
    }
}
