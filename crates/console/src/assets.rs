//! Styles, scripts and the sign of the pages, within the binary: nothing is loaded from the network.

use axum::extract::Path;
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};

/// Each file, by its name and kind. uPlot is version 1.6.32 as published on npm (`dist/`), MIT: assets/uPlot.LICENSE.
const FILES: [(&str, &str, &str); 5] = [
    ("console.css", "text/css; charset=utf-8", include_str!("../assets/console.css")),
    ("console.js", "text/javascript; charset=utf-8", include_str!("../assets/console.js")),
    ("uPlot.min.css", "text/css; charset=utf-8", include_str!("../assets/uPlot.min.css")),
    ("uPlot.iife.min.js", "text/javascript; charset=utf-8", include_str!("../assets/uPlot.iife.min.js")),
    ("sign.svg", "image/svg+xml", include_str!("../assets/sign.svg")),
];

/// One of them.
pub async fn file(Path(name): Path<String>) -> Response {
    match FILES.iter().find(|(file, ..)| *file == name) {
        // Asked again with each build, and not in between: the files are a few dozen kilobytes.
        Some((_, kind, text)) => ([(CONTENT_TYPE, *kind), (CACHE_CONTROL, "max-age=300")], *text).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
