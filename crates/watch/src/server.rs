//! The watch as a process serves it.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{Event as Sent, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use futures::stream::unfold;
use naru_runtime::causes::with_causes;
use naru_runtime::exposition::Sample;
use naru_runtime::http::{BindError, bind, serve_until};
use naru_runtime::tasks::Tasks;
use naru_runtime::telemetry::{Metrics, Observed, Reading};
use ring::digest;
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast, mpsc};
use tokio::time::{MissedTickBehavior, interval};

use crate::api::{
    AcknowledgeAsked, ActionAsked, Incidents, OPENAPI, Overview, Refused, SeriesAnswer, SeriesAsked, SeriesView,
    Summary, Taken,
};
use crate::config::WatchConfig;
use crate::desk::{Desk, DeskError, PageJob, PageOutcome};
use crate::engine::{DISK_USED, Engine, Scrape};
use crate::event::Change;
use crate::ledger::{Ledger, LedgerError};
use crate::scrape::Times;
use crate::selector::Selector;
use crate::{page, postmortem, scrape};

/// Longest request: a rehearsal's report.
const REQUEST_BYTES_MAX: usize = 8 << 20;
/// Looks that wait for the engine: a second's worth of a thousand targets.
const LOOKS_MAX: usize = 1024;
/// How often signals are judged: a part of a second, beside looks once a second.
const JUDGE_EVERY: Duration = Duration::from_millis(250);
/// How often disks are measured and listeners are told.
const TELL_EVERY: Duration = Duration::from_secs(1);
/// Listeners to events at a time: some consoles and their reloads.
const LISTENERS_MAX: usize = 64;
/// Events that a slow listener may be behind; then it is told to read anew.
const EVENTS_MAX: usize = 256;
/// Series with points in one answer.
const SERIES_SHOWN_MAX: usize = 64;
/// How far back points are shown without being asked.
const SECONDS_SHOWN: u32 = 300;

/// Why the watch could not be opened. The operator's side.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The state directory.
    #[error("the state directory")]
    State(#[source] std::io::Error),
    /// The ledger; its lock keeps a second watch away.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// No client for HTTP.
    #[error("no client for HTTP")]
    Http(#[source] reqwest::Error),
    /// The port could not be had.
    #[error(transparent)]
    Bind(#[from] BindError),
}

struct Shared {
    engine: Mutex<Engine>,
    ledger: Arc<tokio::sync::Mutex<Ledger>>,
    times: Times,
    jobs: mpsc::Sender<PageJob>,
    events: broadcast::Sender<(&'static str, Arc<str>)>,
    listeners: Arc<Semaphore>,
    token: Option<digest::Digest>,
    waiting: std::sync::atomic::AtomicUsize,
}

/// Opens the ledger, and looks, judges and serves until the tasks are told to stop; gives the address.
///
/// # Errors
/// When anything of it cannot be had.
pub async fn serve(config: &WatchConfig, tasks: &Tasks, metrics: &Metrics) -> Result<SocketAddr, OpenError> {
    let times = Times::new();
    std::fs::create_dir_all(&config.state).map_err(OpenError::State)?;
    let mut desk = Desk::new(config);
    let ledger = Ledger::open(&config.state, times.now_ms(), |entry| desk.apply(&entry))?;
    desk.started(times.now_ms(), config.targets.len());
    let http = reqwest::Client::builder().no_proxy().build().map_err(OpenError::Http)?;
    let (listener, address) = bind(config.listen).await?;
    let (jobs, jobs_in) = mpsc::channel(page::WAITING_MAX);
    let (found, looks) = mpsc::channel(LOOKS_MAX);
    let (outcomes, outcomes_in) = mpsc::channel(page::WAITING_MAX);
    let token = config.token.as_ref().map(|token| digest::digest(&digest::SHA256, token.reveal().as_bytes()));
    let shared = Arc::new(Shared {
        engine: Mutex::new(Engine::new(config, desk, times.now_ms())),
        ledger: Arc::new(tokio::sync::Mutex::new(ledger)),
        times,
        jobs,
        events: broadcast::Sender::new(EVENTS_MAX),
        listeners: Arc::new(Semaphore::new(LISTENERS_MAX)),
        token,
        waiting: std::sync::atomic::AtomicUsize::new(0),
    });
    show(&shared, metrics);
    let stop = tasks.stop_token();
    for (place, target) in config.targets.iter().cloned().enumerate() {
        let pace = (config.interval, config.answer_max);
        tasks.spawn("look", scrape::run((place, target), pace, times, http.clone(), found.clone(), stop.clone()));
    }
    tasks.spawn("pages", page::run(config.pages.clone(), http, jobs_in, outcomes, stop.clone()));
    let disks = config.limits.iter().filter_map(|limit| Some((limit.name.clone(), limit.path.clone()?))).collect();
    tasks.spawn("engine", run(shared.clone(), looks, outcomes_in, disks, stop.clone()));
    tasks.spawn_fallible("watch", serve_until(listener, router(shared), stop));
    Ok(address)
}

/// The watch's own figures.
fn show(shared: &Arc<Shared>, metrics: &Metrics) {
    let observe = |name, help, kind, read: fn(&Shared) -> u64| {
        // Weak: metrics outlive the tasks.
        let shared = Arc::downgrade(shared);
        metrics.observe(name, help, kind, move || {
            let value = shared.upgrade().map_or(0, |shared| read(&shared));
            vec![Reading { labels: Vec::new(), value }]
        });
    };
    observe("watch_open_incidents", "Incidents that are not over", Observed::Gauge, |shared| {
        shared.engine().desk.incidents().filter(|one| one.is_open()).count() as u64
    });
    observe("watch_targets_away", "Targets that do not answer", Observed::Gauge, |shared| {
        shared.engine().targets().iter().filter(|one| one.away_since_unix_ms.is_some()).count() as u64
    });
    observe("watch_series", "Series in memory", Observed::Gauge, |shared| shared.engine().book().series().len() as u64);
    observe("watch_series_refused", "Values refused, since there were too many series", Observed::Counter, |shared| {
        shared.engine().book().refused()
    });
    observe(
        "watch_ledger_waiting_entries",
        "Entries of the ledger that wait for the disk",
        Observed::Gauge,
        |shared| shared.waiting.load(std::sync::atomic::Ordering::Relaxed) as u64,
    );
}

impl Shared {
    fn engine(&self) -> MutexGuard<'_, Engine> {
        // What a panic left behind is stopped with the process by its task.
        self.engine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes down what was said, wakes who is to be woken, and tells listeners. False while the disk refuses.
    async fn settle(&self) -> bool {
        // First the ledger, so that what is taken from the desk is written in its order.
        let mut ledger = self.ledger.clone().lock_owned().await;
        let (said, jobs, told) = {
            let mut engine = self.engine();
            let (said, jobs) = (engine.desk.take_said(), engine.desk.take_jobs());
            let mut told = Vec::new();
            let mut touched: Vec<u64> = said.iter().filter_map(|entry| entry.event.incident()).collect();
            touched.dedup();
            for id in touched {
                told.extend(engine.desk.incident(id).ok().and_then(|one| text("incident", &Summary::of(one))));
            }
            (said, jobs, told)
        };
        for job in jobs {
            self.wake(job);
        }
        for event in told {
            // Nobody listens.
            if self.events.send(event).is_err() {
                break;
            }
        }
        if said.is_empty() && ledger.waiting() == 0 {
            return true;
        }
        let written = tokio::task::spawn_blocking(move || {
            let done = ledger.append(said);
            (ledger.waiting(), done)
        });
        let Ok((waiting, done)) = written.await else { return false };
        self.waiting.store(waiting, std::sync::atomic::Ordering::Relaxed);
        if let Err(error) = &done {
            let error: &dyn std::error::Error = error;
            tracing::error!(error, waiting, "the ledger cannot be written, entries wait");
        }
        done.is_ok()
    }

    fn wake(&self, job: PageJob) {
        if let Err(error) = self.jobs.try_send(job) {
            let job = match error {
                mpsc::error::TrySendError::Full(job) | mpsc::error::TrySendError::Closed(job) => job,
            };
            tracing::error!(incident = job.incident, "too many pages wait, this one is given up");
            let now = self.times.now_ms();
            self.engine().desk.paged(now, PageOutcome { job, delivered: false, attempts: 0 });
        }
    }

    fn overview(&self) -> Overview {
        let engine = self.engine();
        Overview {
            now_unix_ms: self.times.now_ms(),
            targets: engine.targets(),
            limits: engine.limits(),
            open: engine.desk.incidents().rev().filter(|one| one.is_open()).map(Summary::of).collect(),
            series: engine.book().series().len(),
            series_refused: engine.book().refused(),
            ledger_waiting: self.waiting.load(std::sync::atomic::Ordering::Relaxed),
        }
    }

    fn series(&self, selectors: &[Selector], seconds: Option<u32>) -> SeriesAnswer {
        let now_unix_ms = self.times.now_ms();
        let engine = self.engine();
        let (book, bound) = (engine.book(), if selectors.is_empty() { usize::MAX } else { SERIES_SHOWN_MAX });
        let window_ms = i64::from(seconds.unwrap_or(if selectors.is_empty() { 5 } else { SECONDS_SHOWN })) * 1000;
        let meant = |one: &&crate::series::Series| {
            selectors.is_empty()
                || selectors.iter().any(|selector| selector.matches(&one.target, &one.name, &one.labels))
        };
        let mut series: Vec<SeriesView> = Vec::new();
        let mut more = false;
        for one in book.series().filter(meant) {
            if series.len() == bound {
                more = true;
                break;
            }
            let back = book.past_of(one, now_unix_ms).back(window_ms);
            let take = if selectors.is_empty() { 1 } else { usize::MAX };
            let mut points: Vec<(i64, f64)> = back.take(take).map(|reading| (reading.at_ms, reading.value)).collect();
            points.reverse();
            let (target, name, labels) = (one.target.clone(), one.name.clone(), one.labels.clone());
            series.push(SeriesView { id: one.id(), target, name, labels, points });
        }
        SeriesAnswer { now_unix_ms, series, more }
    }
}

fn text(name: &'static str, what: &impl Serialize) -> Option<(&'static str, Arc<str>)> {
    // Figures that are not finite never come in.
    serde_json::to_string(what).ok().map(|text| (name, text.into()))
}

async fn run(
    shared: Arc<Shared>,
    mut looks: mpsc::Receiver<Scrape>,
    mut outcomes: mpsc::Receiver<PageOutcome>,
    disks: Vec<(String, std::path::PathBuf)>,
    stop: tokio_util::sync::CancellationToken,
) {
    let mut judge = interval(JUDGE_EVERY);
    judge.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut tell = interval(TELL_EVERY);
    tell.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Some(scrape) = looks.recv() => shared.engine().feed(scrape),
            Some(outcome) = outcomes.recv() => {
                let now = shared.times.now_ms();
                shared.engine().desk.paged(now, outcome);
            }
            _ = judge.tick() => {
                let now = shared.times.now_ms();
                shared.engine().judge(now);
                shared.settle().await;
            }
            _ = tell.tick() => {
                measure(&shared, &disks);
                // Without listeners nobody is told.
                if shared.events.receiver_count() > 0
                    && let Some(event) = text("status", &shared.overview())
                    && shared.events.send(event).is_err()
                {
                    tracing::debug!("the last listener has gone");
                }
            }
        }
    }
    shared.settle().await;
    let mut ledger = shared.ledger.clone().lock_owned().await;
    let sealed = tokio::task::spawn_blocking(move || ledger.seal()).await;
    if let Ok(Err(error)) = sealed {
        tracing::error!(error = &error as &dyn std::error::Error, "the ledger ends without a signature");
    }
}

/// How full the file systems of this machine are that somebody asked for.
fn measure(shared: &Shared, disks: &[(String, std::path::PathBuf)]) {
    for (limit, path) in disks {
        match nix::sys::statvfs::statvfs(path) {
            Ok(space) => {
                // As df counts it: what only root may use is not there.
                let used = space.blocks() - space.blocks_free();
                let all = used + space.blocks_available();
                let value = if all == 0 { 0.0 } else { used as f64 / all as f64 };
                let labels = vec![("limit".to_owned(), limit.clone())];
                let sample = Sample { name: DISK_USED.to_owned(), labels, value };
                shared.engine().measured(shared.times.now_ms(), sample);
            }
            Err(error) => tracing::debug!(limit, error = &error as &dyn std::error::Error, "a disk cannot be measured"),
        }
    }
}

fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/v1/status", get(async |State(shared): State<Arc<Shared>>| Json(shared.overview())))
        .route("/v1/series", get(series))
        .route("/v1/incidents", get(incidents))
        .route("/v1/incidents/{id}", get(incident))
        .route("/v1/incidents/{id}/postmortem", get(document))
        .route("/v1/incidents/{id}/acknowledge", post(acknowledge))
        .route("/v1/incidents/{id}/actions", post(act))
        .route("/v1/actions/{id}/close", post(close))
        .route("/v1/changes", get(changes).post(change))
        .route("/v1/events", get(events))
        .route("/openapi.json", get(async || ([(CONTENT_TYPE, "application/json")], OPENAPI)))
        .layer(DefaultBodyLimit::max(REQUEST_BYTES_MAX))
        .with_state(shared)
}

fn refuse(status: StatusCode, error: impl Into<String>) -> Response {
    (status, Json(Refused { error: error.into() })).into_response()
}

fn refused(error: &DeskError) -> Response {
    let status = match error {
        DeskError::NoIncident(_) | DeskError::NoAction(_) => StatusCode::NOT_FOUND,
        DeskError::Over(_) | DeskError::Lasts(_) => StatusCode::CONFLICT,
        DeskError::Evidence { .. } | DeskError::Field { .. } => StatusCode::UNPROCESSABLE_ENTITY,
    };
    refuse(status, error.to_string())
}

#[expect(clippy::result_large_err, reason = "a refusal is the answer itself, made once a request")]
fn selectors(asked: &SeriesAsked) -> Result<Vec<Selector>, Response> {
    let texts = asked.selectors.iter().flat_map(|all| all.split(';')).filter(|text| !text.trim().is_empty());
    let parsed: Result<Vec<Selector>, _> = texts.take(32).map(|text| text.trim().parse()).collect();
    parsed.map_err(|error| refuse(StatusCode::UNPROCESSABLE_ENTITY, format!("match: {error}")))
}

async fn series(State(shared): State<Arc<Shared>>, Query(asked): Query<SeriesAsked>) -> Response {
    match selectors(&asked) {
        Ok(selectors) => Json(shared.series(&selectors, asked.seconds)).into_response(),
        Err(refused) => refused,
    }
}

async fn incidents(State(shared): State<Arc<Shared>>) -> Json<Incidents> {
    Json(Incidents { incidents: shared.engine().desk.incidents().rev().map(Summary::of).collect() })
}

async fn incident(State(shared): State<Arc<Shared>>, Path(id): Path<u64>) -> Response {
    match shared.engine().desk.incident(id) {
        Ok(incident) => Json(incident).into_response(),
        Err(error) => refused(&error),
    }
}

async fn document(State(shared): State<Arc<Shared>>, Path(id): Path<u64>) -> Response {
    match shared.engine().desk.incident(id) {
        Ok(incident) if incident.is_open() => refused(&DeskError::Lasts(id)),
        Ok(incident) => {
            ([(CONTENT_TYPE, "text/markdown; charset=utf-8")], postmortem::document(incident)).into_response()
        }
        Err(error) => refused(&error),
    }
}

async fn changes(State(shared): State<Arc<Shared>>) -> Response {
    let changes: Vec<_> = shared.engine().desk.changes().cloned().collect();
    Json(serde_json::json!({ "changes": changes })).into_response()
}

impl Shared {
    #[expect(clippy::result_large_err, reason = "a refusal is the answer itself, made once a request")]
    fn may_write(&self, headers: &HeaderMap) -> Result<(), Response> {
        let Some(token) = &self.token else { return Ok(()) };
        let given = headers.get(AUTHORIZATION).and_then(|header| header.to_str().ok());
        let given = given.and_then(|header| header.strip_prefix("Bearer ")).unwrap_or_default();
        // Digests are compared: how long that takes says nothing of the token.
        if digest::digest(&digest::SHA256, given.trim().as_bytes()).as_ref() == token.as_ref() {
            return Ok(());
        }
        Err(refuse(StatusCode::UNAUTHORIZED, "send the token of the watch: Authorization: Bearer ..."))
    }

    /// Does something at the desk, and answers when it is on the disk.
    async fn write(&self, headers: &HeaderMap, done: impl FnOnce(&mut Desk, i64) -> Result<u64, NotDone>) -> Response {
        if let Err(refused) = self.may_write(headers) {
            return refused;
        }
        let now = self.times.now_ms();
        let id = match done(&mut self.engine().desk, now) {
            Ok(id) => id,
            Err(NotDone::Desk(error)) => return refused(&error),
            Err(error @ NotDone::Json(_)) => return refuse(StatusCode::BAD_REQUEST, with_causes(&error)),
        };
        let durable = self.settle().await;
        let status = if durable { StatusCode::OK } else { StatusCode::ACCEPTED };
        (status, Json(Taken { id, durable })).into_response()
    }
}

/// Why a request changed nothing. The caller's side.
#[derive(Debug, thiserror::Error)]
enum NotDone {
    #[error(transparent)]
    Desk(#[from] DeskError),
    #[error("the request is not as docs/api/watch.json has it")]
    Json(#[from] serde_json::Error),
}

async fn acknowledge(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<u64>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let done = |desk: &mut Desk, now| {
        let asked: AcknowledgeAsked = serde_json::from_slice(&body)?;
        desk.acknowledge(now, id, asked.by)?;
        Ok(id)
    };
    shared.write(&headers, done).await
}

async fn act(State(shared): State<Arc<Shared>>, Path(id): Path<u64>, headers: HeaderMap, body: Bytes) -> Response {
    let done = |desk: &mut Desk, now| {
        let asked: ActionAsked = serde_json::from_slice(&body)?;
        Ok(desk.act(now, id, asked.what, asked.owner, asked.rehearsal)?)
    };
    shared.write(&headers, done).await
}

async fn close(State(shared): State<Arc<Shared>>, Path(id): Path<u64>, headers: HeaderMap, body: Bytes) -> Response {
    let done = |desk: &mut Desk, now| {
        desk.close(now, id, &body)?;
        Ok(id)
    };
    shared.write(&headers, done).await
}

async fn change(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    let done = |desk: &mut Desk, now| {
        let asked: Change = serde_json::from_slice(&body)?;
        Ok(desk.changed(now, asked)?)
    };
    shared.write(&headers, done).await
}

/// A listener: events as they come, and each second the series that it asked for.
struct Listener {
    shared: Arc<Shared>,
    events: broadcast::Receiver<(&'static str, Arc<str>)>,
    selectors: Vec<Selector>,
    _permit: OwnedSemaphorePermit,
}

async fn events(State(shared): State<Arc<Shared>>, Query(asked): Query<SeriesAsked>) -> Response {
    let selectors = match selectors(&asked) {
        Ok(selectors) => selectors,
        Err(refused) => return refused,
    };
    let Ok(permit) = shared.listeners.clone().try_acquire_owned() else {
        return refuse(StatusCode::SERVICE_UNAVAILABLE, "too many listen already; come again");
    };
    let listener = Listener { events: shared.events.subscribe(), shared, selectors, _permit: permit };
    let first = text("status", &listener.shared.overview());
    let stream = unfold((listener, first), |(mut listener, next)| async move {
        let (name, data) = match next {
            Some(next) => next,
            None => match listener.events.recv().await {
                Ok(event) => event,
                // What was missed is asked for anew.
                Err(broadcast::error::RecvError::Lagged(_)) => ("missed", Arc::from("{}")),
                Err(broadcast::error::RecvError::Closed) => return None,
            },
        };
        let also = match name == "status" && !listener.selectors.is_empty() {
            true => text("series", &listener.shared.series(&listener.selectors, Some(2))),
            false => None,
        };
        Some((Ok::<_, Infallible>(Sent::default().event(name).data(&*data)), (listener, also)))
    });
    Sse::new(stream).keep_alive(KeepAlive::default()).into_response()
}
