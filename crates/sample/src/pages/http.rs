//! The HTTP interface of the pages.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};

use super::Page;
use super::access_log::{AccessLog, Received};
use super::slots::Slots;
use crate::http::BODY_BYTES_MAX;

/// The header of an answer that names the process.
pub const SERVED_BY: &str = "served-by";
/// The header of an answer that says how many milliseconds the request waited for slots.
pub const QUEUEING_MS: &str = "queueing-ms";

#[derive(Debug)]
pub(super) struct App {
    pub(super) page: Page,
    pub(super) name: String,
    pub(super) slots: Slots,
    pub(super) log: AccessLog,
    pub(super) planted: Option<String>,
}

/// The page and all that lies below it; a health check; and for any other path 404, which the access log has too.
pub(super) fn router(app: Arc<App>) -> Router {
    let path = format!("/{}", app.page.name());
    Router::new()
        .route(&path, any(show))
        .route(&format!("{path}/{{*rest}}"), any(show))
        .route("/health", get(async || StatusCode::OK))
        .fallback(unknown)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(app)
}

/// A request as it arrived.
type Arrived = (Method, Uri, HeaderMap, Result<Bytes, BytesRejection>);

async fn show(State(app): State<Arc<App>>, method: Method, uri: Uri, headers: HeaderMap, body: Body) -> Response {
    if let Err(status) = app.record((method, uri, headers, body)) {
        return app.sign(status.into_response());
    }
    let queueing = app.slots.work(app.page.cost()).await;
    let (title, text) = match app.page {
        Page::Promotion => ("11.11", "Today only: half the price of everything that comes in pairs."),
        Page::Gift => ("Your gift", "It is on its way to you."),
    };
    let body = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>{title}</title>\n<h1>{title}</h1>\n<p>{text}</p>\n</html>\n"
    );
    let html = HeaderValue::from_static("text/html; charset=utf-8");
    let mut response = (StatusCode::OK, [(CONTENT_TYPE, html)], body).into_response();
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let millis = u64::try_from(queueing.as_millis()).unwrap_or(u64::MAX);
    response.headers_mut().insert(QUEUEING_MS, HeaderValue::from(millis));
    app.sign(response)
}

async fn unknown(State(app): State<Arc<App>>, method: Method, uri: Uri, headers: HeaderMap, body: Body) -> Response {
    let status = app.record((method, uri, headers, body)).err().unwrap_or(StatusCode::NOT_FOUND);
    app.sign(status.into_response())
}

type Body = Result<Bytes, BytesRejection>;

impl App {
    /// Puts a request into the access log. One that could not be written there is not served: the log says what this
    /// process was given, all of it. The error is the status to answer.
    fn record(&self, (method, uri, headers, body): Arrived) -> Result<(), StatusCode> {
        let arrived = (&method, &uri, &headers, body.as_deref().unwrap_or_default());
        let written = self.log.add(&Received::new(&self.name, self.planted.as_deref(), arrived));
        if let Err(error) = written {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "a request could not be written to the access log"
            );
            return Err(StatusCode::SERVICE_UNAVAILABLE);
        }
        body.map(|_| ()).map_err(|rejection| rejection.status())
    }

    /// An answer with the name of who gave it.
    fn sign(&self, mut response: Response) -> Response {
        if let Ok(name) = HeaderValue::from_str(&self.name) {
            response.headers_mut().insert(SERVED_BY, name);
        }
        response
    }
}
