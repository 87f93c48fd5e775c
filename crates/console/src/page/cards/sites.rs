//! The sites as the gateways see them.

use maud::{Markup, html};
use naru_model::written::thousands;

use super::titled;
use crate::gather::Snapshot;
use crate::page::shown::{Tone, away, bar, chip, scroll, slots};
use crate::part::edge::{Edge, Site};
use crate::words::Words;

/// The card.
pub fn card(now: &Snapshot, words: &Words) -> Markup {
    let body = html! {
        @if now.edges.is_empty() { (away(words, None)) }
        @for (name, edge) in &now.edges {
            @if now.edges.len() > 1 { h3 { (name) } }
            @match edge.here() {
                None => (away(words, edge.away())),
                Some(edge) => (sites(edge, words)),
            }
        }
    };
    titled(words.sites, &body)
}

fn sites(edge: &Edge, words: &Words) -> Markup {
    let state = &edge.state;
    html! {
        (scroll(words.sites, &html! { table {
            thead { tr {
                th scope="col" { (words.site) } th scope="col" { (words.in_flight) }
                th.number scope="col" { (words.servers) } th scope="col" { (words.state) }
            } }
            tbody { @for site in &state.sites { (row(edge, site, words)) } }
        } }))
        p.quiet {
            @if state.plan > 0 { (words.plan_in_force) " " (thousands(state.plan)) } @else { (words.no_plan) }
            " · " (words.waiting) " " (thousands(state.waiting_room.waiting))
            " · " (words.decisions) " " (thousands(state.decisions.written))
        }
    }
}

fn row(edge: &Edge, site: &Site, words: &Words) -> Markup {
    let (core, open) = (site.in_flight.core, site.in_flight.open);
    let label = format!("{} {} · {} {} / {}", words.core, slots(core), words.open, slots(open), slots(site.limit));
    let servers = edge.state.pools.iter().flat_map(|pool| &pool.servers).filter(|server| server.site == site.name);
    let (all, up) = servers.fold((0, 0), |(all, up), server| (all + 1, up + u64::from(server.up && !server.ejected)));
    let kind = if site.kind == "rented" { words.rented } else { words.owned };
    html! {
        tr data-site=(site.name) {
            th scope="row" { (site.name) " " small { (kind) } }
            td.meter {
                (bar([(core as f64, "core"), (open as f64, "open")], site.limit as f64, &label))
                small { (label) }
            }
            td.number { (up) "/" (all) }
            td {
                @if site.draining { (chip(Tone::Look, words.drains)) }
                @else if up < all { (chip(Tone::Bad, &format!("{} {up}/{all}", words.servers))) }
                @else { (chip(Tone::Well, words.takes)) }
            }
        }
    }
}
