//! The cards of the day: one a thing that somebody asks about. A part that is away says so in its own card alone.

mod campaign;
mod log;
mod sites;
mod summary;
mod tables;

use maud::{Markup, html};

use super::shown::{Tone, away, chip, moment, number, won};
use crate::gather::Snapshot;
use crate::marks::{Kind, Mark};
use crate::words::{Lang, Words};

/// What happened that is shown: the newest.
const HAPPENED_MAX: usize = 8;

/// Every card by its name.
pub fn all(now: &Snapshot, marks: &[Mark], lang: Lang) -> Vec<(&'static str, String)> {
    let words = lang.words();
    [
        ("summary", summary::card(now, words)),
        ("happened", happened(marks, lang)),
        ("sites", sites::card(now, words)),
        ("log", log::card(now, words)),
        ("tables", tables::card(now, words)),
        ("campaign", campaign::card(now, words)),
        ("money", money(now, words)),
        ("incidents", incidents(now, words)),
        ("roles", roles(now, words)),
    ]
    .map(|(name, card)| (name, card.into_string()))
    .into()
}

fn titled(title: &str, body: &Markup) -> Markup {
    html! { section.card { h2 { (title) } (body) } }
}

fn happened(marks: &[Mark], lang: Lang) -> Markup {
    let words = lang.words();
    let body = html! {
        @if marks.is_empty() { p.quiet { (words.nothing_happened) } }
        ol.happened {
            @for mark in marks.iter().rev().take(HAPPENED_MAX) {
                @let (class, sign) = match mark.kind {
                    Kind::Fault => ("fault", "✕"),
                    Kind::Mended => ("mended", "●"),
                    Kind::Plan => ("plan", "◆"),
                    Kind::Incident => ("incident", "▲"),
                };
                @let text = match lang { Lang::En => &mark.en, Lang::Ko => &mark.ko };
                li class=(class) {
                    (moment((mark.t * 1_000.0) as i64)) " "
                    span.sign aria-hidden="true" { (sign) } " " (text)
                }
            }
        }
    };
    titled(words.happened, &body)
}

fn money(now: &Snapshot, words: &Words) -> Markup {
    let body = match now.control.here() {
        None => away(words, now.control.away()),
        Some(control) => html! {
            table {
                thead { tr {
                    th scope="col" { (words.team) } th.number scope="col" { (words.booked) }
                    th.number scope="col" { (words.used) } th.number scope="col" { (words.budget) }
                } }
                tbody {
                    @for cost in &control.costs {
                        tr {
                            th scope="row" { (cost.team) }
                            td.number { (won(cost.booked_krw)) }
                            td.number { (won(cost.used_krw)) }
                            td.number { (won(cost.budget_krw)) }
                        }
                    }
                }
            }
            @if !control.requests.is_empty() {
                p { a href="/plans" { (words.asked_for) ": " (number(control.requests.len() as u64)) } }
            }
        },
    };
    let bill = now.cloud.here().map(|meter| {
        html! { p.quiet { (words.bill) ": " (won(meter.total_krw)) " · " (number(meter.running() as u64)) " " (words.machines) } }
    });
    titled(words.money, &html! { (body) @if let Some(bill) = bill { (bill) } })
}

fn incidents(now: &Snapshot, words: &Words) -> Markup {
    let body = match now.watch.here() {
        None if !now.watch.is_on() => html! { p.quiet { (words.no_watch) } },
        None => away(words, now.watch.away()),
        Some(watch) if watch.incidents.is_empty() => html! { p.quiet { (words.no_incidents) } },
        Some(watch) => html! {
            ul.incidents {
                @for incident in &watch.incidents {
                    li {
                        (chip(if incident.closed_unix_ms.is_some() { Tone::Well } else { Tone::Bad }, &incident.title))
                        " " span.quiet {
                            (words.since) " " (moment(incident.opened_unix_ms))
                            @if let Some(closed) = incident.closed_unix_ms { " · " (words.lasted) " " (moment(closed)) }
                            @if let Some(by) = &incident.acknowledged_by { " · " (words.acknowledged) " " (by) }
                        }
                    }
                }
            }
        },
    };
    titled(words.incidents, &body)
}

fn roles(now: &Snapshot, words: &Words) -> Markup {
    let violations = now.violations();
    let body = html! {
        ul.roles {
            @for (name, is_here) in now.presence() {
                li {
                    span.name { (name) } " "
                    (chip(if is_here { Tone::Well } else { Tone::Bad }, if is_here { words.answers } else { words.away }))
                }
            }
        }
        p.quiet { (words.invariants) ": " b { (number(violations as u64)) } }
    };
    titled(words.roles, &body)
}
