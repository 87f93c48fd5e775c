//! The day in one line, and what somebody must look at.

use maud::{Markup, html};
use naru_model::written::thousands;

use crate::gather::Snapshot;
use crate::page::shown::{Tone, chip, rounded, won};
use crate::words::Words;

/// Something that somebody must look at: who says it, and what.
struct Look {
    tone: Tone,
    who: String,
    what: String,
}

/// The card.
pub fn card(now: &Snapshot, words: &'static Words) -> Markup {
    let looks = looks(now, words);
    let tone = looks.iter().map(|look| look.tone).max().unwrap_or(Tone::Well);
    let verdict = match looks.len() {
        0 => words.all_well.to_owned(),
        many => format!("{many} {}", words.to_look_at),
    };
    html! {
        section.summary {
            div.verdict role="status" {
                (chip(tone, &verdict))
                @if looks.is_empty() { span.quiet { (words.nothing_to_look_at) } }
                @else {
                    ul { @for look in &looks { li { (chip(look.tone, &look.who)) " " (look.what) } } }
                }
            }
            dl.tiles { (tiles(now, words)) }
        }
    }
}

fn tile(name: &str, value: &str, unit: &str, more: &str) -> Markup {
    html! { div { dt { (name) } dd { b { (value) } " " span.unit { (unit) } @if !more.is_empty() { small { (more) } } } } }
}

fn tiles(now: &Snapshot, words: &'static Words) -> Markup {
    let point = |name: &str| now.points.get(name).copied();
    let shown = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), rounded);
    let classes: Vec<f64> = ["class/core", "class/open"].into_iter().filter_map(point).collect();
    let all = (!classes.is_empty()).then(|| classes.iter().sum());
    let by_class =
        format!("{} {} · {} {}", words.core, shown(point("class/core")), words.open, shown(point("class/open")));
    let (mode, active) = now.relay.here().and_then(|relay| relay.shown().first().copied()).map_or_else(
        || ("–".to_owned(), String::new()),
        |group| (words.mode(&group.mode).to_owned(), format!("{} {}", group.active.to_uppercase(), words.active)),
    );
    let behind: Option<u64> = now.lake.here().map(|tables| tables.iter().filter_map(|table| table.behind).sum());
    let costs = now.control.here().map(|control| &control.costs);
    let (booked, budget): (u64, u64) = costs
        .into_iter()
        .flatten()
        .fold((0, 0), |(booked, budget), cost| (booked + cost.booked_krw, budget + cost.budget_krw));
    let money = if costs.is_some() { won(booked) } else { "–".to_owned() };
    html! {
        (tile(words.requests, &shown(all), words.per_second, &by_class))
        (tile(words.free_room, &shown(point("room/open")), "%", ""))
        (tile(words.waiting, &shown(point("waiting")), words.people, ""))
        (tile(words.the_log, &mode, "", &active))
        (tile(words.the_tables, &behind.map_or_else(|| "–".to_owned(), thousands), words.records, words.behind))
        (tile(words.money, &money, words.booked, &format!("{} {}", words.budget, won(budget))))
    }
}

/// What every role raises, and who is away.
fn looks(now: &Snapshot, words: &Words) -> Vec<Look> {
    let mut looks = Vec::new();
    let mut add = |tone, who: &str, what: String| looks.push(Look { tone, who: who.to_owned(), what });
    for (name, is_here) in now.presence() {
        if !is_here {
            add(Tone::Bad, name, words.away.to_owned());
        }
    }
    for group in now.relay.here().into_iter().flat_map(|relay| &relay.groups) {
        for alarm in &group.alarms {
            let tone = if alarm.name == "solo" { Tone::Look } else { Tone::Bad };
            add(tone, &format!("{} {}", group.name, alarm.name), alarm.text.clone());
        }
    }
    for (name, edge) in &now.edges {
        let Some(edge) = edge.here() else { continue };
        if edge.state.decisions.gap_core > 0 {
            add(Tone::Bad, name, format!("{}: {}", words.undecided, edge.state.decisions.gap_core));
        }
        if edge.headroom.iter().any(|class| class.stop && class.class == "open" && class.limit > 0) {
            add(Tone::Look, name, words.stop_sending.to_owned());
        }
        for problem in &edge.state.reloads.problems {
            add(Tone::Look, name, problem.clone());
        }
    }
    for table in now.lake.here().into_iter().flatten().filter(|table| table.stage == "stopped") {
        add(Tone::Bad, &table.name, format!("{}: {}", words.stopped, table.reason));
    }
    for alarm in now.courier.here().into_iter().flat_map(|courier| &courier.alarms) {
        add(Tone::Look, "courier", alarm.clone());
    }
    for incident in now.watch.here().into_iter().flat_map(|watch| &watch.incidents) {
        match incident.phase.as_str() {
            "resolved" => {}
            "acknowledged" => add(Tone::Look, &incident.cause, incident.because.clone()),
            _ => add(Tone::Bad, &incident.cause, incident.because.clone()),
        }
    }
    if now.violations() > 0.0 {
        add(Tone::Bad, words.invariants, thousands(now.violations() as u64));
    }
    looks
}
