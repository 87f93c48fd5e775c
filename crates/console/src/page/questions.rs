//! Questions by SQL: the answer as a table, as a chart, and as a link that asks anew.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Response;
use maud::{Markup, html};
use naru_model::written::thousands;

use super::respond;

use crate::part::lake::{Answer, Questioner};
use crate::server::Desk;
use crate::viewer::{Viewer, escape};
use crate::words::Words;

/// Longest question: an address that every browser and proxy takes.
const QUESTION_BYTES_MAX: usize = 6_000;

/// What somebody may want to ask first.
const EXAMPLES: [&str; 4] = [
    "select * from naru.freshness",
    "select date_trunc('minute', at) as minute, count(*) as payments, sum(amount) as won from pay.payments group by 1 order by 1",
    "select payee, count(*) as payments, sum(amount) as won from pay.payments group by payee order by won desc limit 10",
    "select table_schema, table_name from information_schema.tables order by 1, 2",
];

/// `GET /sql?q=QUESTION`: asks it, for somebody who is logged in.
pub async fn show(State(desk): State<Arc<Desk>>, headers: HeaderMap, uri: Uri) -> Response {
    let viewer = Viewer::of(&desk, &headers, &uri);
    let words = viewer.words();
    let question = viewer.query.get("q").map_or("", |question| question.trim());
    let (status, answer) = answer(&desk, &viewer, question).await;
    let body = html! {
        h1 { (words.questions) }
        div.stack {
            section.card { (form(&viewer, question)) }
            @if let Some(answer) = answer { (answer) }
        }
    };
    respond(&desk, &viewer, status, words.questions, &body)
}

fn form(viewer: &Viewer, question: &str) -> Markup {
    let words = viewer.words();
    html! {
        form.stack #question method="get" action="/sql" {
            label.field {
                span { (words.query) }
                textarea name="q" rows="5" maxlength=(QUESTION_BYTES_MAX) spellcheck="false" required { (question) }
            }
            div.row { button type="submit" { (words.ask_it) } span.quiet { (words.ask_help) } }
            @if viewer.session.is_none() {
                p { a href={ "/login?to=" (escape(&address(question))) } { (words.log_in_to_ask) } }
            }
        }
        details open[question.is_empty()] {
            summary { (words.examples) }
            ul { @for example in EXAMPLES { li { a.mono href=(address(example)) { (example) } } } }
        }
    }
}

/// The page of a question.
fn address(question: &str) -> String {
    if question.is_empty() { "/sql".to_owned() } else { format!("/sql?q={}", escape(question)) }
}

async fn answer(desk: &Desk, viewer: &Viewer, question: &str) -> (StatusCode, Option<Markup>) {
    let words = viewer.words();
    let wrong = |status, why: &str| (status, Some(html! { p.said.bad role="alert" { (why) } }));
    let Some(mut lake) = desk.config.lake.as_ref().and_then(Questioner::new) else {
        return wrong(StatusCode::OK, words.no_lake);
    };
    if question.is_empty() || viewer.session.is_none() {
        return (StatusCode::OK, None);
    }
    if question.len() > QUESTION_BYTES_MAX {
        return wrong(StatusCode::URI_TOO_LONG, words.refused);
    }
    let Ok(_place) = desk.places.try_acquire() else { return wrong(StatusCode::SERVICE_UNAVAILABLE, words.busy) };
    let began = Instant::now();
    match lake.ask(question, desk.config.question_max).await {
        Ok(answer) => (StatusCode::OK, Some(shown(&answer, question, began, words))),
        Err(why) => wrong(StatusCode::OK, &why.to_string()),
    }
}

fn shown(answer: &Answer, question: &str, began: Instant, words: &Words) -> Markup {
    let took = began.elapsed().as_millis() as u64;
    html! {
        section.card {
            h2 { (words.result) }
            p.quiet {
                (thousands(answer.rows.len() as u64)) " " (words.rows_of) " · " (thousands(took)) " ms · "
                a #share href=(address(question)) { (words.share) } " — " (words.share_help)
            }
            @if answer.cut { p.said.bad { (words.cut) } }
            @if answer.rows.is_empty() { p { (words.no_rows) } }
            @else {
                div.answer tabindex="0" role="region" aria-label=(words.result) { table #answer {
                    thead { tr { @for column in &answer.columns { th scope="col" { (column) } } } }
                    tbody { @for row in &answer.rows {
                        tr { @for value in row {
                            td { @match value { Some(value) => (value), None => span.quiet { "null" } } }
                        } }
                    } }
                } }
            }
        }
        @if !answer.rows.is_empty() {
            section.card #answer-chart hidden {
                h2 { (words.chart) }
                div.plot role="img" aria-label=(words.chart) {}
                p.quiet { (words.chart_help) }
            }
        }
    }
}
