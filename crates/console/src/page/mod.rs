//! The pages. Everything that came from elsewhere passes maud, which escapes it.

pub mod cards;
pub mod day;
pub mod forms;
pub mod login;
pub mod plans;
pub mod questions;
pub mod shown;

use std::sync::Arc;

use axum::extract::State;
use axum::http::header::{CONTENT_TYPE, SET_COOKIE};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use maud::{DOCTYPE, Markup, html};

use crate::server::Desk;
use crate::viewer::{CHOICE_S, Theme, Viewer};

/// Adds what all pages have, and answers with it.
pub fn respond(desk: &Desk, viewer: &Viewer, status: StatusCode, title: &str, body: &Markup) -> Response {
    let page = layout(viewer, title, body).into_string();
    let mut response = (status, [(CONTENT_TYPE, "text/html; charset=utf-8")], page).into_response();
    if viewer.chosen {
        let secure = if desk.config.behind_tls { "; Secure" } else { "" };
        for (name, value) in [("lang", viewer.lang.code()), ("theme", viewer.theme.code())] {
            let cookie = format!("{name}={value}; Path=/; SameSite=Strict; Max-Age={CHOICE_S}{secure}");
            if let Ok(cookie) = HeaderValue::from_str(&cookie) {
                response.headers_mut().append(SET_COOKIE, cookie);
            }
        }
    }
    response
}

fn layout(viewer: &Viewer, title: &str, body: &Markup) -> Markup {
    let words = viewer.words();
    let theme = match viewer.theme {
        Theme::Auto => words.theme_auto,
        Theme::Light => words.theme_light,
        Theme::Dark => words.theme_dark,
    };
    let pages = [("/", words.day), ("/plans", words.plans), ("/sql", words.questions)];
    let is_at = |path: &str| viewer.path == path || (path != "/" && viewer.path.starts_with(path));
    html! {
        (DOCTYPE)
        html lang=(viewer.lang.code()) data-theme=(viewer.theme.code()) {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · Naru" }
                link rel="icon" href="/assets/sign.svg" type="image/svg+xml";
                link rel="stylesheet" href="/assets/uPlot.min.css";
                link rel="stylesheet" href="/assets/console.css";
                script src="/assets/uPlot.iife.min.js" defer {}
                script src="/assets/console.js" defer {}
            }
            body {
                a.skip href="#main" { (words.skip) }
                header.top {
                    a.brand href="/" { img src="/assets/sign.svg" alt="" width="26" height="26"; " Naru" }
                    nav aria-label="Naru" {
                        @for (path, name) in pages {
                            a href=(path) aria-current=[is_at(path).then_some("page")] { (name) }
                        }
                    }
                    div.settings {
                        a #lang href=(viewer.with("lang", viewer.lang.other().code()))
                            lang=(viewer.lang.other().code()) { (words.language) }
                        a #theme href=(viewer.with("theme", viewer.theme.next().code()))
                            title={ (words.theme) ": " (theme) } aria-label={ (words.theme) ": " (theme) } { "◐ " (theme) }
                        @match &viewer.session {
                            None => a href="/login" { (words.log_in) },
                            Some(_) => form method="post" action="/logout" {
                                input type="hidden" name="csrf" value=(viewer.csrf());
                                button.plain type="submit" { (words.log_out) }
                            },
                        }
                    }
                }
                main #main { (body) }
            }
        }
    }
}

/// Where there is no page.
pub async fn missing(State(desk): State<Arc<Desk>>, headers: HeaderMap, uri: Uri) -> Response {
    let viewer = Viewer::of(&desk, &headers, &uri);
    let words = viewer.words();
    let body = html! { section.card { h1 { (words.not_found) } p { a href="/" { (words.day) } } } };
    respond(&desk, &viewer, StatusCode::NOT_FOUND, words.not_found, &body)
}
