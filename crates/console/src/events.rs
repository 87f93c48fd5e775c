//! The page as it goes on: server-sent events to each browser that follows.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, RETRY_AFTER};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use futures::stream;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio_util::sync::CancellationToken;

use crate::frame::Frame;
use crate::server::Desk;
use crate::viewer::Viewer;
use crate::words::Lang;

/// One browser that follows.
struct Follower {
    frames: watch::Receiver<Arc<Frame>>,
    had: Option<Arc<Frame>>,
    lang: Lang,
    stop: CancellationToken,
    _place: OwnedSemaphorePermit,
}

/// `GET /events`: a message for each moment, the first with the whole page.
pub async fn follow(State(desk): State<Arc<Desk>>, headers: HeaderMap, uri: Uri) -> Response {
    let Ok(place) = Arc::clone(&desk.viewers).try_acquire_owned() else {
        return (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, "10")]).into_response();
    };
    let lang = Viewer::of(&desk, &headers, &uri).lang;
    let mut frames = desk.frames.subscribe();
    frames.mark_changed();
    let follower = Follower { frames, had: None, lang, stop: desk.stop.clone(), _place: place };
    let events = stream::unfold(follower, |mut follower| async move {
        let event = follower.next().await?;
        Some((Ok::<_, Infallible>(event), follower))
    });
    // A proxy in between must hand each on at once.
    ([(CACHE_CONTROL, "no-store"), (axum::http::HeaderName::from_static("x-accel-buffering"), "no")], Sse::new(events))
        .into_response()
}

impl Follower {
    /// The next moment; none when the console ends. A browser that is slow misses moments, and never holds one up.
    async fn next(&mut self) -> Option<Event> {
        tokio::select! {
            () = self.stop.cancelled() => return None,
            changed = self.frames.changed() => changed.ok()?,
        }
        let frame = Arc::clone(&self.frames.borrow_and_update());
        let news = frame.news(self.had.as_deref(), self.lang);
        let event = Event::default().event("frame").json_data(&news).ok()?;
        self.had = Some(frame);
        Some(event)
    }
}
