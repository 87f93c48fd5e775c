//! The cards of the day: one a thing that somebody asks about. A part that is away says so in its own card alone.

mod campaign;
mod log;
mod sites;
mod summary;
mod tables;

use maud::{Markup, html};
use naru_model::written::thousands;

use super::shown::{Tone, away, bar, chip, length, moment, rounded, scroll, won};
use crate::gather::Snapshot;
use crate::marks::{Kind, Mark};
use crate::part::watch::{Incident, Limit};
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
                p { a href="/plans" { (words.asked_for) ": " (thousands(control.requests.len() as u64)) } }
            }
        },
    };
    let bill = now.cloud.here().map(|meter| {
        html! { p.quiet { (words.bill) ": " (won(meter.total_krw)) " · " (thousands(meter.running() as u64)) " " (words.machines) } }
    });
    titled(words.money, &html! { (body) @if let Some(bill) = bill { (bill) } })
}

fn incidents(now: &Snapshot, words: &Words) -> Markup {
    let body = match now.watch.here() {
        None if !now.watch.is_on() => html! { p.quiet { (words.no_watch) } },
        None => away(words, now.watch.away()),
        Some(watch) => html! {
            @if watch.incidents.is_empty() { p.quiet { (words.no_incidents) } }
            ul.incidents { @for incident in &watch.incidents { (one_incident(incident, words)) } }
            @if !watch.limits.is_empty() { (limits(&watch.limits, words)) }
        },
    };
    titled(words.incidents, &body)
}

fn one_incident(incident: &Incident, words: &Words) -> Markup {
    let tone = match incident.phase.as_str() {
        "resolved" => Tone::Well,
        "acknowledged" => Tone::Look,
        _ => Tone::Bad,
    };
    html! {
        li {
            b { "#" (incident.id) } " " (chip(tone, &incident.cause)) " " (incident.because) " "
            span.quiet {
                (words.since) " " (moment(incident.began_unix_ms))
                @if let Some(resolved) = incident.resolved_unix_ms { " · " (words.lasted) " " (moment(resolved)) }
                @if let Some(by) = &incident.acknowledged_by { " · " (words.acknowledged) " " (by) }
                @if incident.drafted { " · " (words.drafted) code { "naru watch postmortem " (incident.id) } }
            }
        }
    }
}

/// What runs out, and when.
fn limits(limits: &[Limit], words: &Words) -> Markup {
    html! {
        (scroll(words.runs_out, &html! { table {
            thead { tr {
                th scope="col" { (words.runs_out) } th scope="col" { (words.level) } th.number scope="col" { (words.runs_out_in) }
            } }
            tbody { @for limit in limits {
                @let level = limit.level.unwrap_or_default();
                // A full level of 1 is a share.
                @let label = if limit.full == 1.0 { format!("{:.0} %", level * 100.0) }
                    else { format!("{} / {}", rounded(level), rounded(limit.full)) };
                tr {
                    th scope="row" { (limit.name) " " small { (limit.kind) } }
                    td.meter { (bar([(level, "core"), (0.0, "open")], limit.full, &label)) small { (label) } }
                    td.number { @match &limit.forecast {
                        None => "–",
                        Some(forecast) => {
                            (length(forecast.likely_s))
                            " " small { (length(forecast.early_s)) "–" (forecast.late_s.map_or_else(|| "…".to_owned(), length)) }
                        },
                    } }
                }
            } }
        } }))
    }
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
        p.quiet { (words.invariants) ": " b { (thousands(violations as u64)) } }
    };
    titled(words.roles, &body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::part::Part;
    use crate::part::relay::{Alarm, Group, Relay};

    #[test]
    fn every_card_is_there_whoever_is_not() {
        let away = Snapshot {
            relay: Part::Away("no connection".to_owned()),
            lake: Part::Away("no answer within 900ms".to_owned()),
            ..Snapshot::default()
        };
        for lang in Lang::ALL {
            let (off, away) = (all(&Snapshot::default(), &[], lang), all(&away, &[], lang));
            assert_eq!(off.len(), away.len());
            for (name, card) in off.iter().chain(&away) {
                assert!(card.contains("<section") && card.ends_with("</section>"), "{name}: {card}");
            }
            let card = |name: &str| away.iter().find(|(card, _)| *card == name).map(|(_, text)| text.as_str());
            assert!(card("log").is_some_and(|card| card.contains("no connection")));
            assert!(card("money").is_some_and(|card| card.contains(lang.words().not_connected)));
            assert!(card("summary").is_some_and(|card| card.contains(lang.words().to_look_at)));
        }
    }

    #[test]
    fn what_others_say_is_text_and_nothing_else() {
        let hostile = "<script>alert(1)</script>\"'&";
        let alarm = Alarm { name: hostile.to_owned(), text: hostile.to_owned() };
        let group = Group { name: hostile.to_owned(), alarms: vec![alarm], partitions: 1, ..Group::default() };
        let now = Snapshot {
            relay: Part::Here(Relay { groups: vec![group], ..Relay::default() }),
            edges: vec![(hostile.to_owned(), Part::Away(hostile.to_owned()))],
            ..Snapshot::default()
        };
        let mark = Mark { t: 0.0, kind: Kind::Fault, en: hostile.to_owned(), ko: hostile.to_owned() };
        for (name, card) in all(&now, &[mark], Lang::En) {
            assert!(!card.contains("<script"), "{name}: {card}");
        }
    }
}
