//! Why a request would go where it would go, in words: the same order, the same gates, and nothing held.

use std::fmt::Write as _;

use naru_model::{Class, SiteKind};

use super::decide::order;
use super::residency::Peer;
use super::route::find;
use super::site::{Members, Tier};
use super::slots::Slots;
use super::visit::ClientKey;
use super::{Millis, Policy, Service};

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub struct Question<'q> {
    /// The host.
    pub host: &'q str,
    /// Path and query.
    pub target: &'q str,
    /// Who would ask.
    pub client: ClientKey,
    /// Now.
    pub now: Millis,
}

impl Policy {
    /// Says where a first request of this client would go now, and what would come after that place.
    pub fn explain(&self, question: &Question<'_>) -> String {
        let mut text = String::new();
        let mut line = |head: &str, rest: &str| {
            // Writing to a string does not fail.
            writeln!(text, "{head:<9}{rest}").unwrap_or_default();
        };
        let patterns = self.routes.iter().map(|route| (route.class(), route.pattern()));
        let route = match find(patterns, question.host, question.target) {
            Ok(index) => &self.routes[index],
            Err(unrouted) => {
                line("request", question.target);
                line("refused", &format!("{unrouted}: it is not forwarded anywhere"));
                return text;
            }
        };
        let (class, cost) = (route.class(), route.cost());
        let class_name = if class == Class::Core { "core" } else { "open" };
        let host = route.pattern().host().map(|host| format!(" of {host}")).unwrap_or_default();
        line("request", question.target);
        line(
            "route",
            &format!("{}{host}: {class_name}, pool {}, slots per request {cost}", route.pattern().path(), route.pool),
        );
        let mut places = Vec::new();
        places.extend(self.places(&route.owned().members, question, class, cost));
        if let Service::Open(pool) = &route.service {
            for tier in [Tier::PreRented, Tier::Autoscaled] {
                let members: Vec<_> =
                    pool.rented.iter().filter(|members| members.site().tier() == tier).cloned().collect();
                places.extend(self.places(&members, question, class, cost));
            }
        }
        let line_is_busy = class == Class::Open && self.room.is_busy();
        let chosen = places.iter().position(|(takes, _)| *takes).filter(|_| !line_is_busy);
        for (index, (_, place)) in places.iter().enumerate() {
            let mark = if chosen == Some(index) { "  <- goes here" } else { "" };
            line(&format!("{}.", index + 1), &format!("{place}{mark}"));
        }
        match (class, chosen) {
            (Class::Core, _) => {
                let rented: Vec<&str> = self
                    .sites
                    .iter()
                    .filter(|site| site.tier().kind() == SiteKind::Rented)
                    .map(|site| site.id().as_str())
                    .collect();
                let names = if rented.is_empty() { "no site is rented now".to_owned() } else { rented.join(", ") };
                line("never", &format!("{names}: a core route has no place for a rented server (EDGE-1)"));
                line("else", "503 with Retry-After, at once");
            }
            (Class::Open, _) if line_is_busy => {
                line(
                    "waits",
                    &format!("{} people are ahead: the waiting room, as the next in line", self.room.waiting()),
                );
            }
            (Class::Open, None) => line("waits", "no site has room: the waiting room, as the next in line"),
            (Class::Open, Some(_)) => line("else", "the waiting room, and the sender is asked to stop"),
        }
        line("stays", "a user who is inside already is sent where he was put, as long as there is room");
        text
    }

    /// The sites in this client's order: whether each would take the request, and its state in words.
    fn places<P: Peer>(
        &self,
        members: &[Members<P>],
        question: &Question<'_>,
        class: Class,
        cost: Slots,
    ) -> Vec<(bool, String)> {
        let describe = |index: usize| {
            let members = &members[index];
            let (site, gate) = (members.site(), members.site().gate());
            let tier = match site.tier() {
                Tier::Owned => "owned",
                Tier::PreRented => "rented ahead",
                Tier::Autoscaled => "autoscaled",
            };
            let mut room = gate.room(class);
            if site.tier() == Tier::Autoscaled {
                room = room.min(self.autoscaled.room(class));
            }
            let up = members.upstreams().iter().filter(|upstream| upstream.is_usable(question.now)).count();
            let usable = members.is_usable(question.now);
            let why_not = match (usable, cost <= room, site.is_draining()) {
                (_, _, true) => ", is draining",
                (false, _, _) => ", no server is up",
                (true, false, _) => ", no room",
                (true, true, false) => "",
            };
            let kept = match (class, gate.reserve()) {
                (Class::Open, reserve) if reserve > Slots::ZERO => format!(" ({reserve} are kept for core)"),
                _ => String::new(),
            };
            let state = format!(
                "{} ({tier}): {room} of {} slots free{kept}, {up} of {} servers up{why_not}",
                site.id().as_str(),
                gate.limit(),
                members.upstreams().len(),
            );
            (usable && cost <= room, state)
        };
        order(members, question.client).map(describe).collect()
    }
}
