//! The lake's tables: how fresh, and what is proved of them.

use maud::{Markup, html};
use naru_model::written::thousands;

use super::titled;
use crate::gather::Snapshot;
use crate::page::shown::{Tone, away, chip, length, scroll};
use crate::part::lake::Table;
use crate::words::Words;

/// The card.
pub fn card(now: &Snapshot, words: &Words) -> Markup {
    let body = match now.lake.here() {
        None => away(words, now.lake.away()),
        Some(tables) if tables.is_empty() => html! { p.quiet { (words.no_tables) } },
        Some(tables) => html! {
            (scroll(words.the_tables, &html! { table {
                thead { tr {
                    th scope="col" { (words.table) } th scope="col" { (words.state) }
                    th.number scope="col" { (words.rows) } th.number scope="col" { (words.fresh) }
                } }
                tbody { @for table in tables { (row(table, now.at_unix_ms, words)) } }
            } }))
        },
    };
    titled(words.the_tables, &html! { (body) p.quiet { b { (words.proof) } ": " (words.no_audit) } })
}

fn row(table: &Table, now_unix_ms: i64, words: &Words) -> Markup {
    let tone = match table.stage.as_str() {
        "running" => Tone::Well,
        "stopped" => Tone::Bad,
        _ => Tone::Look,
    };
    let stage = if table.stage == "running" { words.running } else { &table.stage };
    let behind = table.behind.unwrap_or_default();
    html! {
        tr {
            th scope="row" { (table.name) }
            td {
                (chip(tone, stage)) @if !table.reason.is_empty() && tone != Tone::Well { " " small { (table.reason) } }
                @if let Some(dead) = table.dead.filter(|dead| *dead > 0) { " " small { (thousands(dead)) " " (words.dead_letters) } }
            }
            td.number { (table.rows.map_or_else(|| "–".to_owned(), thousands)) }
            td.number {
                @if behind == 0 { (words.up_to_date) }
                @else {
                    (thousands(behind)) " " span.unit { (words.records) }
                    @if let Some(at) = table.caught_up_ms { ", " (length(((now_unix_ms - at).max(0)) as f64 / 1_000.0)) }
                }
            }
        }
    }
}
