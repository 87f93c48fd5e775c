//! What is held, what waits, and a plan whose prices a person compares before he approves it.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Response;
use maud::{Markup, html};
use naru_model::written::thousands;
use naru_runtime::config::Secret;
use serde_json::{Value, json};

use super::forms::{fields, is_own, see};
use super::shown::{Tone, away, bar, chip, moment, scroll, won};
use super::{missing, respond};
use crate::ask::Unanswered;
use crate::config::ControlSource;
use crate::part::control::{self, Control, Flavor, Line, Plan, PlanRecord, Spec};
use crate::part::{Part, ask};
use crate::server::Desk;
use crate::viewer::Viewer;
use crate::words::Words;

/// By whose token is read: that of who is logged in, else the console's own.
fn reads_by<'t>(source: &'t ControlSource, viewer: &'t Viewer) -> Option<&'t Secret> {
    viewer.session.as_ref().map(|(_, session)| &session.token).or(source.token.as_ref())
}

/// SHA-256 in hexadecimal digits, which is what control calls a plan by.
fn is_hash(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// `GET /plans`, and `GET /plans?hash=HASH`, which leads to that plan.
pub async fn show(State(desk): State<Arc<Desk>>, headers: HeaderMap, uri: Uri) -> Response {
    let viewer = Viewer::of(&desk, &headers, &uri);
    let words = viewer.words();
    let asked = viewer.query.get("hash").map(|hash| hash.trim().to_ascii_lowercase());
    if let Some(hash) = asked.filter(|hash| is_hash(hash)) {
        return see(&format!("/plans/{hash}"));
    }
    let control = ask(desk.config.control.as_ref(), async |source| {
        control::ask(&desk.asker, source, reads_by(source, &viewer)).await
    });
    let body = overview(&viewer, &control.await);
    respond(&desk, &viewer, StatusCode::OK, words.plans, &body)
}

fn overview(viewer: &Viewer, control: &Part<Control>) -> Markup {
    let words = viewer.words();
    html! {
        h1 { (words.plans) }
        div.stack {
            section.card {
                h2 { (words.asked_for) }
                @match control.here() {
                    None => (away(words, control.away())),
                    Some(control) => (waiting(viewer, control)),
                }
            }
            section.card {
                h2 { (words.open_plan) }
                form.row method="get" action="/plans" {
                    label.field { span { (words.hash) } input.mono type="text" name="hash" required pattern="[0-9a-fA-F]{64}" maxlength="64"; }
                    button.second type="submit" { (words.open_it) }
                }
            }
            @if let Some(control) = control.here() { section.card { h2 { (words.held) } (held(control, words)) } }
        }
    }
}

fn waiting(viewer: &Viewer, control: &Control) -> Markup {
    let words = viewer.words();
    if control.requests.is_empty() {
        return html! { p.quiet { (words.nothing_asked) } };
    }
    html! {
        form method="post" action="/plans" {
            input type="hidden" name="csrf" value=(viewer.csrf());
            (scroll(words.asked_for, &html! { table.stacks {
                thead { tr {
                    th scope="col" { (words.name) } th scope="col" { (words.what) } th scope="col" { (words.team) }
                    th scope="col" { (words.by) } th.number scope="col" { (words.hours) }
                } }
                tbody { @for request in &control.requests {
                    tr {
                        th scope="row" { label {
                            input type="checkbox" name={ "name-" (request.spec.name) } value="on" checked;
                            " " (request.spec.name)
                        } }
                        td data-label=(words.what) { (what(&request.spec, words)) }
                        td data-label=(words.team) { (request.spec.team) }
                        td data-label=(words.by) { (request.by) }
                        td.number data-label=(words.hours) { (request.spec.hours) }
                    }
                } }
            } }))
            @if viewer.session.is_some() { p { button type="submit" { (words.show_price) } } }
            @else { (to_log_in(viewer)) }
        }
    }
}

fn to_log_in(viewer: &Viewer) -> Markup {
    let words = viewer.words();
    html! { p { (chip(Tone::Off, words.reads_only)) " " a href={ "/login?to=" (viewer.path) } { (words.log_in_first) } } }
}

fn what(spec: &Spec, words: &Words) -> String {
    match (spec.count, &spec.flavor, spec.partitions) {
        (Some(count), Some(flavor), _) => format!("{} · {} {} {flavor}", spec.kind, thousands(count), words.machines),
        (_, _, Some(partitions)) => format!("{} · {} {}", spec.kind, thousands(partitions), words.partitions),
        _ => spec.kind.clone(),
    }
}

fn held(control: &Control, words: &Words) -> Markup {
    let held: Vec<_> = control.resources.iter().filter(|resource| resource.life != "gone").collect();
    if held.is_empty() {
        return html! { p.quiet { (words.nothing_held) } };
    }
    html! {
        (scroll(words.held, &html! { table.stacks {
            thead { tr {
                th scope="col" { (words.name) } th scope="col" { (words.kind) } th scope="col" { (words.team) }
                th scope="col" { (words.state) } th.number scope="col" { (words.ready) } th scope="col" { (words.until) }
                th.number scope="col" { (words.booked) }
            } }
            tbody { @for resource in held {
                @let tone = if resource.ready >= resource.wanted { Tone::Well } else { Tone::Look };
                tr {
                    th scope="row" { (resource.name) }
                    td data-label=(words.kind) { (resource.kind) }
                    td data-label=(words.team) { (resource.team) }
                    td data-label=(words.state) { (chip(tone, &resource.life)) }
                    td.number data-label=(words.ready) { (thousands(resource.ready)) "/" (thousands(resource.wanted)) }
                    td data-label=(words.until) { (moment(resource.until_unix_ms)) }
                    td.number data-label=(words.booked) { (won(resource.booked_krw)) }
                }
            } }
        } }))
    }
}

/// `POST /plans`: has control make the plan of the requests that are ticked, and leads to it.
pub async fn make(State(desk): State<Arc<Desk>>, headers: HeaderMap, uri: Uri, body: Bytes) -> Response {
    let viewer = Viewer::of(&desk, &headers, &uri);
    let mut names: Vec<_> =
        fields(&body).keys().filter_map(|name| name.strip_prefix("name-").map(str::to_owned)).collect();
    names.sort();
    if names.is_empty() {
        return see("/plans");
    }
    let asked = json!({ "names": names });
    match change(&desk, &viewer, &headers, &body, "/v1/plans", &asked).await {
        Ok(plan) => see(&format!("/plans/{}", plan["hash"].as_str().filter(|hash| is_hash(hash)).unwrap_or_default())),
        Err(refusal) => refusal.page(&desk, &viewer),
    }
}

/// `GET /plans/HASH`.
pub async fn one(at: State<Arc<Desk>>, Path(hash): Path<String>, headers: HeaderMap, uri: Uri) -> Response {
    if !is_hash(&hash) {
        return missing(at, headers, uri).await;
    }
    let State(desk) = at;
    let viewer = Viewer::of(&desk, &headers, &uri);
    let words = viewer.words();
    let Some(source) = &desk.config.control else {
        return respond(
            &desk,
            &viewer,
            StatusCode::OK,
            words.plan,
            &html! { section.card { p { (words.no_control) } } },
        );
    };
    let path = format!("/v1/plans/{hash}");
    let (record, flavors) = tokio::join!(
        desk.asker.json::<PlanRecord>(&source.address, &path, reads_by(source, &viewer)),
        ask(desk.config.cloud.as_ref(), async |cloud| control::ask_flavors(&desk.asker, cloud).await),
    );
    match record {
        Ok(record) => {
            let body = plan(&viewer, &record, flavors.here().map_or(&[][..], Vec::as_slice));
            respond(&desk, &viewer, StatusCode::OK, words.plan, &body)
        }
        Err(why) => Refusal::from(why).page(&desk, &viewer),
    }
}

fn plan(viewer: &Viewer, record: &PlanRecord, flavors: &[Flavor]) -> Markup {
    let words = viewer.words();
    let plan = &record.plan;
    let said = match viewer.query.get("said").map(String::as_str) {
        Some("approved") if record.approved_by.is_some() => Some(words.approved_now),
        Some("applied") if record.applied_by.is_some() => Some(words.applied_now),
        _ => None,
    };
    html! {
        h1 { (words.plan) }
        div.stack {
            @if let Some(said) = said { p.said.well role="status" { (said) } }
            section.card {
                p.mono { (plan.hash) }
                p.quiet { (words.made_at) " " (moment(record.made_unix_ms)) }
                (lines(plan, flavors, words))
            }
            section.card { h2 { (words.state) } (standing(viewer, record)) }
        }
    }
}

fn lines(plan: &Plan, flavors: &[Flavor], words: &Words) -> Markup {
    html! {
        (scroll(words.plan, &html! { table.stacks {
            thead { tr {
                th scope="col" { (words.name) } th scope="col" { (words.what) } th.number scope="col" { (words.hours) }
                th.number scope="col" { (words.an_hour) } th.number scope="col" { (words.whole_lease) }
                th scope="col" { (words.compare) } th scope="col" { (words.why) }
            } }
            tbody {
                @for line in &plan.lines {
                    tr {
                        th scope="row" { (line.spec.name) " " small { (line.action) } }
                        td data-label=(words.what) { (what(&line.spec, words)) }
                        td.number data-label=(words.hours) { (line.spec.hours) }
                        td.number data-label=(words.an_hour) { (won(line.krw_per_hour)) }
                        td.number data-label=(words.whole_lease) { (won(line.krw)) }
                        td.compare data-label=(words.compare) { (prices(line, flavors, words)) }
                        td data-label=(words.why) { (line.reason) }
                    }
                }
                tr.total {
                    th scope="row" colspan="4" { (words.in_all) } td.number { (won(plan.krw)) } td colspan="2" {}
                }
            }
        } }))
    }
}

/// What the same machines cost an hour by every flavor and market of the cloud's list, the lowest first.
fn prices(line: &Line, flavors: &[Flavor], words: &Words) -> Markup {
    let Some(count) = line.spec.count.filter(|_| line.krw_per_hour > 0) else { return html! { "–" } };
    let mut prices: Vec<(u64, String)> = Vec::new();
    for flavor in flavors {
        let markets = [(words.ahead, flavor.reserved_krw_per_hour), (words.on_demand, flavor.on_demand_krw_per_hour)];
        prices.extend(markets.map(|(market, krw)| (krw * count, format!("{} {market}", flavor.name))));
    }
    prices.sort();
    let most = prices.iter().map(|(krw, _)| *krw).max().unwrap_or(0).max(line.krw_per_hour) as f64;
    html! {
        @if prices.is_empty() { "–" }
        ul.prices { @for (index, (krw, name)) in prices.iter().enumerate() {
            @let is_this = *krw == line.krw_per_hour;
            li {
                span { (name) " " b { (won(*krw)) } " " small {
                    @if index == 0 { (words.cheapest) }
                    @if is_this { @if index == 0 { " · " } (words.this_plan) }
                } }
                (bar([(*krw as f64, if is_this { "core" } else { "other" }), (0.0, "open")], most, name))
            }
        } }
    }
}

fn standing(viewer: &Viewer, record: &PlanRecord) -> Markup {
    let words = viewer.words();
    let hash = &record.plan.hash;
    let button = |deed: &str, name: &str| {
        html! {
            form method="post" action={ "/plans/" (hash) "/" (deed) } {
                input type="hidden" name="csrf" value=(viewer.csrf());
                button type="submit" { (name) }
            }
        }
    };
    let needs = !record.plan.approval.is_empty();
    html! {
        p {
            @if needs { (chip(Tone::Look, words.needs_approval)) " " b { (record.plan.approval.join(", ")) } }
            @else { (chip(Tone::Well, words.within_limit)) }
        }
        p {
            @match &record.approved_by {
                Some(by) => { (chip(Tone::Well, words.approved_by)) " " b { (by) } }
                None if needs => (chip(Tone::Off, words.not_approved)),
                None => {}
            }
        }
        p {
            @match &record.applied_by {
                Some(by) => { (chip(Tone::Well, words.applied_by)) " " b { (by.as_str().unwrap_or_default()) } }
                None => (chip(Tone::Off, words.not_applied)),
            }
        }
        @if record.applied_by.is_none() {
            @if viewer.session.is_none() { (to_log_in(viewer)) }
            @else {
                p.quiet { (words.sure) }
                div.row {
                    @if needs && record.approved_by.is_none() { (button("approve", words.approve)) }
                    @else { (button("apply", words.apply)) }
                }
            }
            @if needs && record.approved_by.is_none() {
                p.quiet { (words.share_plan) " " a.mono href={ "/plans/" (hash) } { "/plans/" (hash) } }
            }
        }
    }
}

/// `POST /plans/HASH/approve`.
pub async fn approve(at: State<Arc<Desk>>, hash: Path<String>, headers: HeaderMap, uri: Uri, body: Bytes) -> Response {
    deed(at, hash, headers, uri, body, "approve", "approved").await
}

/// `POST /plans/HASH/apply`.
pub async fn apply(at: State<Arc<Desk>>, hash: Path<String>, headers: HeaderMap, uri: Uri, body: Bytes) -> Response {
    deed(at, hash, headers, uri, body, "apply", "applied").await
}

async fn deed(
    at: State<Arc<Desk>>,
    Path(hash): Path<String>,
    headers: HeaderMap,
    uri: Uri,
    body: Bytes,
    deed: &str,
    done: &str,
) -> Response {
    if !is_hash(&hash) {
        return missing(at, headers, uri).await;
    }
    let State(desk) = at;
    // What is shown is shown as the plan's page: the form's own address cannot be opened.
    let viewer = Viewer { path: format!("/plans/{hash}"), ..Viewer::of(&desk, &headers, &uri) };
    let path = format!("/v1/plans/{hash}/{deed}");
    match change(&desk, &viewer, &headers, &body, &path, &json!({})).await {
        Ok(_) => see(&format!("/plans/{hash}?said={done}")),
        Err(refusal) => refusal.page(&desk, &viewer),
    }
}

/// Why something was not shown or done.
struct Refusal {
    status: StatusCode,
    why: Why,
}

enum Why {
    NotOwn,
    NotLoggedIn,
    NoControl,
    Busy,
    Said(String),
    Unanswered(String),
}

impl From<Unanswered> for Refusal {
    fn from(why: Unanswered) -> Self {
        match why {
            Unanswered::Refused { status, said } => {
                Self { status: StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY), why: Why::Said(said) }
            }
            other => Self { status: StatusCode::BAD_GATEWAY, why: Why::Unanswered(other.to_string()) },
        }
    }
}

impl Refusal {
    fn page(&self, desk: &Desk, viewer: &Viewer) -> Response {
        let words = viewer.words();
        let why = match &self.why {
            Why::NotOwn => words.csrf.to_owned(),
            Why::NotLoggedIn => words.log_in_first.to_owned(),
            Why::NoControl => words.no_control.to_owned(),
            Why::Busy => words.busy.to_owned(),
            Why::Said(said) => said.clone(),
            Why::Unanswered(why) => format!("{}: {why}. {}", words.unanswered, words.again),
        };
        let back = if self.status == StatusCode::NOT_FOUND { "/plans" } else { &viewer.path };
        let body = html! {
            section.card.narrow {
                h1 { (words.refused) }
                p.said.bad role="alert" { (why) }
                p { a href=(back) { (words.back) } }
            }
        };
        respond(desk, viewer, self.status, words.refused, &body)
    }
}

/// Asks control for a change, in the name of who is logged in. Control judges whether he may, and writes it down.
async fn change(
    desk: &Desk,
    viewer: &Viewer,
    headers: &HeaderMap,
    body: &Bytes,
    path: &str,
    asked: &Value,
) -> Result<Value, Refusal> {
    let refuse = |status, why| Err(Refusal { status, why });
    let Some((_, session)) = &viewer.session else { return refuse(StatusCode::UNAUTHORIZED, Why::NotLoggedIn) };
    let fields = fields(body);
    if !is_own(headers) || !session.sent(fields.get("csrf").map_or("", String::as_str)) {
        return refuse(StatusCode::FORBIDDEN, Why::NotOwn);
    }
    let Some(source) = &desk.config.control else { return refuse(StatusCode::SERVICE_UNAVAILABLE, Why::NoControl) };
    let Ok(_place) = desk.places.try_acquire() else { return refuse(StatusCode::SERVICE_UNAVAILABLE, Why::Busy) };
    Ok(desk.asker.post(&source.address, path, &session.token, asked).await?)
}
