//! The log: which cluster is active, who acknowledges, and what a side lacks.

use maud::{Markup, html};
use naru_model::written::thousands;

use super::titled;
use crate::gather::Snapshot;
use crate::page::shown::{Tone, away, chip, length, scroll};
use crate::part::relay::{Group, Side};
use crate::words::Words;

/// The card.
pub fn card(now: &Snapshot, words: &Words) -> Markup {
    let body = match now.relay.here() {
        None => away(words, now.relay.away()),
        Some(relay) => html! { @for group in relay.shown() { (group_of(group, words)) } },
    };
    titled(words.the_log, &body)
}

fn group_of(group: &Group, words: &Words) -> Markup {
    let (tone, mode) = match group.mode.as_str() {
        "duplex" => (Tone::Well, words.duplex),
        "solo" => (Tone::Look, words.solo),
        _ => (Tone::Bad, words.stopped_mode),
    };
    html! {
        p {
            b { (words.group) " " (group.name) } " " (chip(tone, mode))
            @if let Some(grant) = &group.grant { " " span.quiet { (grant) } }
        }
        (scroll(&group.name, &html! { table {
            thead { tr {
                th scope="col" { (words.side) } th scope="col" { (words.state) } th.number scope="col" { (words.behind) }
            } }
            tbody { @for (name, side) in &group.sides { (side_of(name, side, name == &group.active, words)) } }
        } }))
        p.quiet {
            (thousands(group.partitions)) " " (words.partitions)
            @if let Some(switching) = &group.switching { " · " (words.switching) ": " (switching) }
            @if let Some(back) = &group.catch_up {
                " · " (back.side.to_uppercase()) " " (words.comes_back) ": " (back.stage)
                @if let Some(seconds) = back.ends_in_seconds { " (" (length(seconds)) ")" }
            }
            @if let Some(takeover) = &group.last_takeover {
                " · " (words.last_takeover) ": " (takeover.from.to_uppercase()) " → " (group.active.to_uppercase())
                @if let Some(cause) = &takeover.cause { " (" (cause) ")" }
                ", " (words.took) " " (length(takeover.took_ms / 1_000.0))
            }
        }
    }
}

fn side_of(name: &str, side: &Side, is_active: bool, words: &Words) -> Markup {
    let records = side.lag_records.map(|records| thousands(records.unsigned_abs()));
    html! {
        tr {
            th scope="row" { (name.to_uppercase()) " " small { @if is_active { (words.active) } @else { (words.standby) } } }
            td {
                @match (side.in_sync, side.absent_seconds) {
                    (_, Some(seconds)) => (chip(Tone::Bad, &format!("{} {}", words.absent_for, length(seconds.floor())))),
                    (true, None) => (chip(Tone::Well, words.in_sync)),
                    (false, None) => (chip(Tone::Look, words.not_in_sync)),
                }
            }
            td.number {
                (records.unwrap_or_else(|| "–".to_owned())) " " span.unit { (words.records) }
                @if side.lag_seconds > 0.0 { ", " (length(side.lag_seconds)) }
            }
        }
    }
}
