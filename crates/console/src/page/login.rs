//! Logging in with a token of control, and out.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::header::SET_COOKIE;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use axum::response::Response;
use maud::{Markup, html};
use naru_runtime::config::Secret;

use super::forms::{fields, is_own, own_path, see};
use super::respond;
use crate::ask::Unanswered;
use crate::part::control;
use crate::server::Desk;
use crate::viewer::{SESSION, Viewer};

/// `GET /login?to=PATH`.
pub async fn show(State(desk): State<Arc<Desk>>, headers: HeaderMap, uri: Uri) -> Response {
    let viewer = Viewer::of(&desk, &headers, &uri);
    let to = viewer.query.get("to").map_or("/", String::as_str);
    page(&desk, &viewer, StatusCode::OK, to, None)
}

fn page(desk: &Desk, viewer: &Viewer, status: StatusCode, to: &str, wrong: Option<&str>) -> Response {
    let words = viewer.words();
    let form = match desk.config.control {
        None => html! { p.said.bad role="alert" { (words.no_control) } },
        Some(_) => html! {
            form.stack method="post" action="/login" {
                input type="hidden" name="to" value=(own_path(to));
                label.field {
                    span { (words.token) }
                    input type="password" name="token" required autocomplete="off" maxlength="200" autofocus;
                }
                p.quiet { (words.token_help) }
                button type="submit" { (words.log_in) }
            }
        },
    };
    let body: Markup = html! {
        section.card.narrow {
            h1 { (words.log_in) }
            @if let Some(wrong) = wrong { p.said.bad role="alert" { (wrong) } }
            (form)
        }
    };
    respond(desk, viewer, status, words.log_in, &body)
}

/// `POST /login`: whom control knows by his token is logged in.
pub async fn log_in(State(desk): State<Arc<Desk>>, headers: HeaderMap, uri: Uri, body: Bytes) -> Response {
    let viewer = Viewer::of(&desk, &headers, &uri);
    let words = viewer.words();
    let fields = fields(&body);
    let field = |name: &str| fields.get(name).map_or("", String::as_str);
    let again = |status, why: &str| page(&desk, &viewer, status, field("to"), Some(why));
    if !is_own(&headers) {
        return again(StatusCode::FORBIDDEN, words.csrf);
    }
    let Some(source) = &desk.config.control else { return again(StatusCode::SERVICE_UNAVAILABLE, words.no_control) };
    let Ok(_place) = desk.places.try_acquire() else { return again(StatusCode::SERVICE_UNAVAILABLE, words.busy) };
    // What cannot stand in a header is no token of control's.
    let token = field("token").trim();
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return again(StatusCode::FORBIDDEN, words.wrong_token);
    }
    let token = Secret::new(token);
    match control::ask(&desk.asker, source, Some(&token)).await {
        Ok(_) => {}
        Err(Unanswered::Refused { status: 401, .. }) => return again(StatusCode::FORBIDDEN, words.wrong_token),
        Err(why) => return again(StatusCode::BAD_GATEWAY, &format!("{}: {why}", words.unanswered)),
    }
    let Ok(id) = desk.sessions.begin(token, desk.config.session_max, Instant::now()) else {
        return again(StatusCode::SERVICE_UNAVAILABLE, words.busy);
    };
    let mut response = see(own_path(field("to")));
    set(&desk, &mut response, &id, desk.config.session_max.as_secs());
    response
}

/// `POST /logout`.
pub async fn log_out(State(desk): State<Arc<Desk>>, headers: HeaderMap, uri: Uri, body: Bytes) -> Response {
    let viewer = Viewer::of(&desk, &headers, &uri);
    let mut response = see("/");
    if let Some((id, session)) = &viewer.session
        && is_own(&headers)
        && session.sent(fields(&body).get("csrf").map_or("", String::as_str))
    {
        desk.sessions.end(id);
        set(&desk, &mut response, "", 0);
    }
    response
}

fn set(desk: &Desk, response: &mut Response, id: &str, seconds: u64) {
    let secure = if desk.config.behind_tls { "; Secure" } else { "" };
    let cookie = format!("{SESSION}={id}; Path=/; HttpOnly; SameSite=Strict; Max-Age={seconds}{secure}");
    if let Ok(cookie) = HeaderValue::from_str(&cookie) {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
}
