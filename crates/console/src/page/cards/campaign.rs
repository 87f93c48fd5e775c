//! The campaign that goes out, and the notifications beside it.

use maud::{Markup, html};
use naru_model::written::thousands;

use super::titled;
use crate::gather::Snapshot;
use crate::page::shown::{Tone, away, bar, chip};
use crate::part::courier::{Campaign, Courier};
use crate::words::Words;

/// Campaigns that are shown: those that go out, and of the others the newest by name.
const SHOWN_MAX: usize = 3;

/// The card.
pub fn card(now: &Snapshot, words: &Words) -> Markup {
    let body = match now.courier.here() {
        None => away(words, now.courier.away()),
        Some(courier) => of(courier, words),
    };
    titled(words.campaign, &body)
}

fn of(courier: &Courier, words: &Words) -> Markup {
    let mut campaigns: Vec<_> = courier.campaigns.iter().collect();
    campaigns.sort_by_key(|(name, campaign)| (campaign.phase == "over", std::cmp::Reverse(name.as_str())));
    let notices = [(words.sent, "accepted"), (words.delivered, "delivered"), (words.failed, "failed")];
    html! {
        @if campaigns.is_empty() { p.quiet { (words.no_campaign) } }
        @for (name, campaign) in campaigns.into_iter().take(SHOWN_MAX) { (one(name, campaign, words)) }
        p.quiet {
            (words.pace) " " (thousands(courier.campaign_per_minute)) (words.per_minute)
            @if !courier.pace.is_empty() { " (" (words.pace_by) ": " (courier.pace) ")" }
            @if courier.in_doubt > 0 { " · " (thousands(courier.in_doubt)) " " (words.in_doubt) }
        }
        @if !courier.usage.is_empty() {
            p.quiet {
                (words.notices) ": "
                @for (index, (name, state)) in notices.into_iter().enumerate() {
                    @if index > 0 { " · " } (name) " " (thousands(courier.usage.get(state).copied().unwrap_or_default()))
                }
            }
        }
    }
}

fn one(name: &str, campaign: &Campaign, words: &Words) -> Markup {
    let (tone, phase) = match campaign.phase.as_str() {
        "sending" => (Tone::Well, words.sending),
        "settling" => (Tone::Well, words.settling),
        "over" => (Tone::Off, words.over),
        _ => (Tone::Look, words.stopped),
    };
    let delivered = campaign.count(&["delivered"]);
    let on_the_way = campaign.count(&["persisted", "sent", "accepted", "in_doubt"]);
    let (failed, total) = (campaign.count(&["failed", "dead"]), campaign.total());
    let label = format!(
        "{} {} · {} {} / {} {}",
        words.delivered,
        thousands(delivered),
        words.sent,
        thousands(on_the_way),
        thousands(total),
        words.read_so_far
    );
    html! {
        div.campaign {
            p { b { (name) } " " (chip(tone, phase)) }
            (bar([(delivered as f64, "done"), (on_the_way as f64, "way")], total as f64, &label))
            small { (label) @if failed > 0 { " · " (words.failed) " " (thousands(failed)) } }
        }
    }
}
