//! The event day on one page.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Response;
use maud::{Markup, PreEscaped, html};

use super::respond;
use crate::server::Desk;
use crate::viewer::Viewer;
use crate::words::Words;

/// The lengths that a chart may show, in minutes; the last is shown unless another is asked for.
const RANGES: [u32; 3] = [5, 15, 60];

/// `GET /`.
pub async fn show(State(desk): State<Arc<Desk>>, headers: HeaderMap, uri: Uri) -> Response {
    let viewer = Viewer::of(&desk, &headers, &uri);
    let words = viewer.words();
    let frame = Arc::clone(&desk.frames.borrow());
    let card = |name: &str| {
        let found = frame.cards(viewer.lang).iter().find(|(card, _)| *card == name);
        // The card was made by maud, for everybody who follows.
        PreEscaped(found.map(|(_, text)| text.clone()).unwrap_or_default())
    };
    let slot = |name: &'static str| html! { div.slot id={ "card-" (name) } { (card(name)) } };
    let body = html! {
        h1.unseen { (words.day) }
        div #day data-name-core=(words.core) data-name-open=(words.open) data-name-campaigns=(words.campaign)
            data-name-notices=(words.notices) {
            (slot("summary"))
            (controls(&viewer, words))
            section.charts aria-label=(words.day) {
                (chart("class/", words.chart_class, words.per_second, words))
                (chart("site/", words.chart_site, words.per_second, words))
                (chart("room/", words.chart_room, "%", words))
                (chart("waiting", words.chart_waiting, words.people, words))
                (chart("lag/", words.chart_lag, words.records, words))
                (chart("behind/", words.chart_behind, words.records, words))
                (chart("sent/", words.chart_sent, words.per_minute, words))
                (slot("happened"))
            }
            div.cards {
                @for name in ["sites", "log", "tables", "campaign", "money", "incidents", "roles"] { (slot(name)) }
            }
        }
        footer { p { b { (words.keys) } " " (words.keys_text) } }
    };
    respond(&desk, &viewer, StatusCode::OK, words.day, &body)
}

fn controls(viewer: &Viewer, words: &Words) -> Markup {
    let asked = viewer.query.get("range").and_then(|range| range.parse().ok()).filter(|range| RANGES.contains(range));
    let range: u32 = asked.unwrap_or(RANGES[1]);
    let names = [words.minutes_5, words.minutes_15, words.hour_1];
    html! {
        form.controls method="get" action="/" {
            fieldset { legend { (words.range) }
                @for (minutes, name) in RANGES.into_iter().zip(names) {
                    label { input type="radio" name="range" value=(minutes) checked[minutes == range]; span { (name) } }
                }
            }
            fieldset { legend { (words.classes) }
                @for (class, name) in [("core", words.core), ("open", words.open)] {
                    label { input type="checkbox" data-filter="class" value=(class) checked; span { (name) } }
                }
            }
            fieldset #site-filter { legend { (words.sites) } }
            span #live.chip.well data-live=(words.live) data-paused=(words.paused) {
                span aria-hidden="true" { "●" } " " span.text { (words.live) }
            }
        }
    }
}

/// A chart, drawn by the script from the lines whose names begin so. Its numbers stand in the cards, too.
fn chart(prefix: &str, title: &str, unit: &str, words: &Words) -> Markup {
    html! {
        figure.chart data-lines=(prefix) data-unit=(unit) {
            figcaption { (title) }
            div.plot tabindex="0" role="img" aria-label=(title) { p.empty { (words.no_points) } }
        }
    }
}
