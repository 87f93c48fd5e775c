//! One request: which site and server, or the waiting room.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use naru_model::invariant;
use naru_model::{Class, SiteKind};

use super::blueprint::SITES_MAX;
use super::mutant::mutant;
use super::residency::{CorePeer, Peer, RentedPeer};
use super::retry::ATTEMPTS_MAX;
use super::room::Turn;
use super::site::{Entry, Members, Place, Tier};
use super::upstream::Choice;
use super::visit::{ClientKey, SiteKey, Ticket, Visit};
use super::{Gate, Millis, OpenPool, OwnedPool, Policy, Service, Unrouted, route};

/// When a core request that was refused may come again: a slot is held for about a tenth of that.
const CORE_RETRY_AFTER: Duration = Duration::from_secs(1);
/// Requests in a row that a user's own site may have no room for before he is moved: a full moment is no reason to leave,
/// and if everybody left who meets one, the site would be emptier than it has to be for a while.
const AWAY_MAX: u8 = 2;
/// A site of ours whose use is below this part is one where somebody who has to move can stay: the lower threshold of
/// the slow actions (rent, drain), so that it is not about to spill itself.
const SETTLED_BELOW: f64 = 0.65;

/// A request, and what is known about it.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'r> {
    /// Now, on a clock that never goes back.
    pub now: Millis,
    /// Now, milliseconds since 1970.
    pub unix_ms: u64,
    /// The host that was asked, with or without a port.
    pub host: &'r str,
    /// The request target: path and query.
    pub target: &'r str,
    /// Who asks.
    pub client: ClientKey,
    /// The visit that his browser carries.
    pub visit: Option<Visit>,
    /// The ticket that his browser carries.
    pub ticket: Option<Ticket>,
    /// Whether what it carries may leave our own sites, if its class may.
    pub may_leave: bool,
    /// Which attempt it is, from 1, and the server of the one before.
    pub attempt: (u32, Option<SocketAddr>),
    /// A random number, for this attempt alone.
    pub random: u64,
}

/// Where a request goes.
#[derive(Debug)]
pub enum Decision {
    /// A core request.
    Core(CoreDecision),
    /// An open request.
    Open(OpenDecision),
    /// No request of ours.
    Unrouted(Unrouted),
}

/// What becomes of a core request.
#[derive(Debug)]
pub enum CoreDecision {
    /// It is sent to a server of ours.
    Forward {
        /// Which, with the slots that it holds.
        place: Place<CorePeer>,
        /// The visit that the browser carries from here on.
        visit: Visit,
        /// The route's position.
        route: usize,
        /// Why there.
        reason: Reason,
    },
    /// No site of ours can take it: 503 with Retry-After, at once, and never a cloud.
    Unavailable {
        /// When it may come again.
        retry_after: Duration,
        /// The route's position.
        route: usize,
        /// Why.
        reason: Reason,
    },
}

/// What becomes of an open request.
#[derive(Debug)]
pub enum OpenDecision {
    /// It is sent to a server.
    Forward {
        /// Which, with the slots that it holds.
        place: OpenPlace,
        /// The visit that the browser carries from here on.
        visit: Visit,
        /// The route's position.
        route: usize,
        /// Why there.
        reason: Reason,
    },
    /// The waiting room's page.
    Wait(Wait),
}

/// A server for an open request.
#[derive(Debug)]
pub enum OpenPlace {
    /// One of ours.
    Owned(Place<CorePeer>),
    /// A rented one.
    Rented(Place<RentedPeer>),
}

/// What the waiting room's page says.
#[derive(Debug, Clone, Copy)]
pub struct Wait {
    /// The ticket that the browser carries from here on; none for somebody who is inside or was called.
    pub ticket: Option<Ticket>,
    /// His place, from 1; 0 for somebody whose turn it is and who waits for a free slot.
    pub place: u64,
    /// How long, by the rate of now.
    pub estimate: Option<Duration>,
    /// When the page asks again.
    pub refresh: Duration,
    /// The route's position.
    pub route: usize,
    /// Why.
    pub reason: Reason,
}

/// Why a request goes where it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Reason {
    /// The site where the user was put before.
    Stays = 1,
    /// The first site of ours in the user's order.
    First = 2,
    /// Another site of ours, since the first had no room or was down.
    NextOwned = 3,
    /// A site rented ahead, since ours had no room.
    PreRented = 4,
    /// An autoscaled site, since nothing else had room.
    Autoscaled = 5,
    /// A second attempt.
    Retry = 6,
    /// No site has room.
    Full = 7,
    /// No server is up.
    Down = 8,
    /// Others wait already.
    Behind = 9,
    /// His turn has not come.
    NotYet = 10,
    /// The attempts or the budget for them are used up.
    NoRetry = 11,
    /// No such route, or a path that can be read in two ways.
    Unrouted = 12,
}

impl Reason {
    /// Every reason, by number from 1.
    pub const ALL: [Self; 12] = [
        Self::Stays,
        Self::First,
        Self::NextOwned,
        Self::PreRented,
        Self::Autoscaled,
        Self::Retry,
        Self::Full,
        Self::Down,
        Self::Behind,
        Self::NotYet,
        Self::NoRetry,
        Self::Unrouted,
    ];

    /// The reason in words, as a label of a metric has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stays => "stays",
            Self::First => "first",
            Self::NextOwned => "next_owned",
            Self::PreRented => "pre_rented",
            Self::Autoscaled => "autoscaled",
            Self::Retry => "retry",
            Self::Full => "full",
            Self::Down => "down",
            Self::Behind => "behind",
            Self::NotYet => "not_yet",
            Self::NoRetry => "no_retry",
            Self::Unrouted => "unrouted",
        }
    }
}

/// A decision in short, as it is logged and counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome<'d> {
    /// What the request carries; `None` when it is on no route.
    pub class: Option<Class>,
    /// Where it is sent, if it is.
    pub site: Option<(&'d naru_model::SiteId, SiteKind)>,
    /// The server, if it is sent.
    pub address: Option<SocketAddr>,
    /// Why.
    pub reason: Reason,
}

impl Decision {
    /// The decision in short.
    pub fn outcome(&self) -> Outcome<'_> {
        fn sent<'d, P: Peer>(class: Class, place: &'d Place<P>, reason: Reason) -> Outcome<'d> {
            let site = Some((place.site().id(), place.site().tier().kind()));
            Outcome { class: Some(class), site, address: Some(place.upstream().address()), reason }
        }
        let kept = |class: Option<Class>, reason: Reason| Outcome { class, site: None, address: None, reason };
        match self {
            Self::Core(CoreDecision::Forward { place, reason, .. }) => sent(Class::Core, place, *reason),
            Self::Core(CoreDecision::Unavailable { reason, .. }) => kept(Some(Class::Core), *reason),
            Self::Open(OpenDecision::Forward { place: OpenPlace::Owned(place), reason, .. }) => {
                sent(Class::Open, place, *reason)
            }
            Self::Open(OpenDecision::Forward { place: OpenPlace::Rented(place), reason, .. }) => {
                sent(Class::Open, place, *reason)
            }
            Self::Open(OpenDecision::Wait(wait)) => kept(Some(Class::Open), wait.reason),
            Self::Unrouted(_) => kept(None, Reason::Unrouted),
        }
    }
}

impl Policy {
    /// The position of the route that a request is on.
    ///
    /// # Errors
    /// Why it is on none.
    pub fn find(&self, host: &str, target: &str) -> Result<usize, Unrouted> {
        let patterns = self.routes.iter().map(|route| (route.class(), &route.pattern));
        route::find(patterns, host, target)
    }

    /// Decides about one attempt of one request. Slots are held from here on until the place is dropped.
    pub fn decide(&self, asked: &Asked<'_>) -> Decision {
        let index = match self.find(asked.host, asked.target) {
            Ok(index) => index,
            Err(unrouted) => return Decision::Unrouted(unrouted),
        };
        let may = self.may_try(self.routes[index].class(), asked.attempt.0);
        match &self.routes[index].service {
            Service::Core(pool) => Decision::Core(self.decide_core(asked, index, pool, may)),
            Service::Open(pool) => match self.decide_open(asked, index, pool, may) {
                OpenDecision::Wait(_) if mutant!(RefuseOpen) => Decision::Unrouted(Unrouted::NoRoute),
                decision => Decision::Open(decision),
            },
        }
    }

    /// Whether the budget has this attempt; a first one pays in.
    fn may_try(&self, class: Class, attempt: u32) -> bool {
        if attempt <= 1 {
            self.retries.deposit(class);
            return true;
        }
        attempt <= ATTEMPTS_MAX && self.retries.withdraw(class)
    }

    fn decide_core(&self, asked: &Asked<'_>, route: usize, pool: &OwnedPool, may: bool) -> CoreDecision {
        let is_usable = pool.members.iter().any(|members| members.is_usable(asked.now));
        let entry = self.entry(asked, route, Class::Core, !is_usable);
        let stays = || self.stay(&pool.members, asked, &entry).map(|place| (place, Reason::Stays));
        let found = if may { stays().or_else(|| in_order(&pool.members, asked, &entry, |_| true)) } else { None };
        let Some((place, reason)) = found else {
            let reason = self.why_not(may, is_usable || pool.members.iter().any(Members::is_up));
            return CoreDecision::Unavailable { retry_after: CORE_RETRY_AFTER, route, reason };
        };
        let (address, kind) = (place.upstream().address(), place.site().tier().kind());
        let stays = self.networks.contain(address.ip()) && Class::Core.may_run_on(kind);
        invariant!(EDGE_1, stays, "core route {route} was about to go to {address}");
        if !stays {
            // Where violations are counted and the process goes on, the request does not.
            return CoreDecision::Unavailable { retry_after: CORE_RETRY_AFTER, route, reason: Reason::Down };
        }
        let reason = if asked.attempt.0 > 1 { Reason::Retry } else { reason };
        let home_is_up = is_up_at(&pool.members, asked);
        CoreDecision::Forward { visit: visit(asked, Class::Core, place.site().key(), home_is_up), place, route, reason }
    }

    fn decide_open(&self, asked: &Asked<'_>, route: usize, pool: &OpenPool, may: bool) -> OpenDecision {
        let turn = asked.ticket.as_ref().and_then(|ticket| Some((ticket, self.room.turn(ticket)?)));
        // Whoever shows a ticket by which somebody has entered is somebody else, and comes last.
        let inside = asked.visit.filter(Visit::is_inside);
        let enters = inside.is_none() && asked.attempt.0 <= 1;
        let turn = turn.filter(|(ticket, turn)| !enters || *turn != Turn::Called || self.room.take_entry(ticket));
        // Whoever is inside stays inside; the line is for those who come.
        let wait = match (inside, turn) {
            (Some(_), _) | (None, Some((_, Turn::Called))) => None,
            (None, Some((ticket, turn @ Turn::Waits { place, estimate }))) => {
                let (ticket, refresh) = (Some(*ticket), turn.refresh(asked.random));
                Some(Wait { ticket, place, estimate, refresh, route, reason: Reason::NotYet })
            }
            (None, None) if self.room.is_busy() => Some(self.draw(asked, route, Reason::Behind)),
            (None, None) => None,
        };
        if let Some(wait) = wait {
            return OpenDecision::Wait(wait);
        }
        if let (None, Some((ticket, _))) = (inside, turn) {
            // He is here, whether there is a slot at this moment or not: his turn is not given to another.
            self.room.came(ticket);
        }
        let is_usable = pool.owned.members.iter().any(|members| members.is_usable(asked.now))
            || pool.rented.iter().any(|members| members.is_usable(asked.now));
        let entry = self.entry(asked, route, Class::Open, !is_usable);
        let found = if may { self.open_place(asked, pool, &entry) } else { None };
        let Some((place, reason)) = found else {
            let is_up = || pool.owned.members.iter().any(Members::is_up) || pool.rented.iter().any(Members::is_up);
            let reason = self.why_not(may, is_usable || is_up());
            if let (true, Some((ticket, Turn::Called))) = (enters, turn) {
                self.room.give_entry_back(ticket);
                self.room.found_no_slot();
            }
            let may_come_again = inside.is_some() || turn.is_some();
            return OpenDecision::Wait(match may_come_again {
                // He keeps what he has: a visit, or a ticket that was called.
                true => {
                    let ticket = turn.map(|(ticket, _)| *ticket);
                    let refresh = Turn::Called.refresh(asked.random);
                    Wait { ticket, place: 0, estimate: None, refresh, route, reason }
                }
                false => self.draw(asked, route, reason),
            });
        };
        let site = match &place {
            OpenPlace::Owned(place) => place.site().key(),
            OpenPlace::Rented(place) => place.site().key(),
        };
        let reason = if asked.attempt.0 > 1 { Reason::Retry } else { reason };
        let home_is_up = is_up_at(&pool.owned.members, asked) || is_up_at(&pool.rented, asked);
        OpenDecision::Forward { place, visit: visit(asked, Class::Open, site, home_is_up), route, reason }
    }

    /// The site where the user is; else our own sites, then those rented ahead, then autoscaled ones within the budget.
    fn open_place(&self, asked: &Asked<'_>, pool: &OpenPool, entry: &Entry) -> Option<(OpenPlace, Reason)> {
        let owned = |found: Option<(Place<CorePeer>, Reason)>| found.map(|(place, why)| (OpenPlace::Owned(place), why));
        let own = &pool.owned.members;
        if asked.may_leave
            && let Some(found) = self.stay(&pool.rented, asked, entry)
        {
            return Some((OpenPlace::Rented(found), Reason::Stays));
        }
        if let Some(found) = self.stay(own, asked, entry) {
            return Some((OpenPlace::Owned(found), Reason::Stays));
        }
        // Whoever has to leave a full site of ours for good goes where he can stay: another one that is about to fill up,
        // too, would soon send him on. Others fill that one.
        let leaves = asked.visit.is_some_and(|visit| visit.away >= AWAY_MAX) && is_up_at(own, asked);
        let is_settled = |members: &Members<CorePeer>| !leaves || members.site.gate().used() < SETTLED_BELOW;
        owned(in_order(own, asked, entry, is_settled))
            .or_else(|| self.rented_place(Tier::PreRented, asked, pool, entry))
            .or_else(|| if leaves { owned(in_order(own, asked, entry, |_| true)) } else { None })
            .or_else(|| self.rented_place(Tier::Autoscaled, asked, pool, entry))
    }

    fn stay<P: Peer>(&self, members: &[Members<P>], asked: &Asked<'_>, entry: &Entry) -> Option<Place<P>> {
        let there = was_at(members, asked)?;
        there.enter(entry, self.budget(there.site.tier()))
    }

    fn rented_place(
        &self,
        tier: Tier,
        asked: &Asked<'_>,
        pool: &OpenPool,
        entry: &Entry,
    ) -> Option<(OpenPlace, Reason)> {
        if !asked.may_leave {
            return None;
        }
        let from = pool.rented.partition_point(|members| members.site.tier() < tier);
        let until = pool.rented.partition_point(|members| members.site.tier() <= tier);
        let members = &pool.rented[from..until];
        let place = order(members, asked.client).find_map(|index| members[index].enter(entry, self.budget(tier)))?;
        let reason = if tier == Tier::Autoscaled { Reason::Autoscaled } else { Reason::PreRented };
        Some((OpenPlace::Rented(place), reason))
    }

    /// What pays for a tier beside its own slots.
    fn budget(&self, tier: Tier) -> Option<&Arc<Gate>> {
        (tier == Tier::Autoscaled).then_some(&self.autoscaled)
    }

    fn entry(&self, asked: &Asked<'_>, route: usize, class: Class, ejected_too: bool) -> Entry {
        let Asked { attempt: (_, avoid), now, random, .. } = *asked;
        Entry { class, choice: Choice { cost: self.routes[route].cost, avoid, now, random, ejected_too } }
    }

    fn why_not(&self, may: bool, is_up: bool) -> Reason {
        match (may, is_up) {
            (false, _) => Reason::NoRetry,
            (true, true) => Reason::Full,
            (true, false) => Reason::Down,
        }
    }

    fn draw(&self, asked: &Asked<'_>, route: usize, reason: Reason) -> Wait {
        let ticket = self.room.draw(asked.client, asked.unix_ms);
        let turn = self.room.turn(&ticket).unwrap_or(Turn::Waits { place: 1, estimate: None });
        let (place, estimate) = match turn {
            Turn::Waits { place, estimate } => (place, estimate),
            Turn::Called => (0, None),
        };
        Wait { ticket: Some(ticket), place, estimate, refresh: turn.refresh(asked.random), route, reason }
    }
}

/// The visit after a request that was sent to a site. One that his own site had no room for is not yet a move: it spills
/// alone, and only one more than [`AWAY_MAX`] in a row takes the user with it. A site that is down or drained lets him go at once.
fn visit(asked: &Asked<'_>, class: Class, sent_to: SiteKey, home_is_up: bool) -> Visit {
    let (client, seen_unix_ms) = (asked.client, asked.unix_ms);
    let inside = class == Class::Open || asked.visit.is_some_and(|before| before.inside);
    match asked.visit {
        Some(before) if before.site != sent_to && home_is_up && before.away < AWAY_MAX => {
            Visit { client, site: before.site, away: before.away + 1, inside, seen_unix_ms }
        }
        _ => Visit { client, site: sent_to, away: 0, inside, seen_unix_ms },
    }
}

/// Whether the site of these where the user was put is up.
fn is_up_at<P: Peer>(members: &[Members<P>], asked: &Asked<'_>) -> bool {
    was_at(members, asked).is_some_and(|there| there.is_usable(asked.now))
}

/// The site of these where the user was put.
fn was_at<'m, P: Peer>(members: &'m [Members<P>], asked: &Asked<'_>) -> Option<&'m Members<P>> {
    let was = asked.visit.filter(|_| !mutant!(MoveUsers))?.site();
    members.iter().find(|members| members.site.key() == was)
}

/// The first of our sites in the user's order that may be had and has room.
fn in_order(
    members: &[Members<CorePeer>],
    asked: &Asked<'_>,
    entry: &Entry,
    may: impl Fn(&Members<CorePeer>) -> bool,
) -> Option<(Place<CorePeer>, Reason)> {
    order(members, asked.client).enumerate().find_map(|(nth, index)| {
        let reason = if nth == 0 { Reason::First } else { Reason::NextOwned };
        let there = Some(&members[index]).filter(|members| may(members))?;
        Some((there.enter(entry, None)?, reason))
    })
}

/// A user's own order of sites, by their ceilings: the same every time, and different for each user.
pub(super) fn order<P: Peer>(members: &[Members<P>], client: ClientKey) -> impl Iterator<Item = usize> + use<P> {
    let mut scored = [(0.0, 0); SITES_MAX];
    let count = members.len().min(SITES_MAX);
    for (index, members) in members[..count].iter().enumerate() {
        let weight = members.site.bounds().ceiling.as_f64();
        scored[index] = (members.site.key().score(client, weight), index);
    }
    scored[..count].sort_unstable_by(|one, other| other.0.total_cmp(&one.0));
    scored.into_iter().take(count).map(|(_, index)| index)
}
