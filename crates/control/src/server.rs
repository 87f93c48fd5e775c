//! Control as a process serves it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path as FilePath;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use naru_runtime::clocks::{SystemClock, WallClock as _, millis};
use naru_runtime::http::{BindError, bind, serve_until};
use naru_runtime::tasks::Tasks;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{Mutex, Notify};

use crate::access::{self, Grant};
use crate::api::{CampaignAsked, Done, DraftView, OPENAPI, Overview, PlanAsked, Refused, RenewAsked, Renewed, view};
use crate::book::{Book, Change, Reply};
use crate::campaign;
use crate::config::{Catalogue, ControlConfig};
use crate::crash::Crash;
use crate::desk::{self, Decided, Refusal};
use crate::keeper::{Held, Shared};
use crate::ledger::{Ledger, LedgerError};
use crate::plan::Impossible;
use crate::provider::cloud::Cloud;
use crate::provider::local::Local;
use crate::provider::topics::Topics;
use crate::provider::{Provider, ProviderError};
use crate::reconcile::{self, Maker, Patience};
use crate::resource::{Fault, Life, Spec};
use crate::store::{Store, StoreError};

/// Longest request: a campaign's plan with its hours and lines.
const REQUEST_BYTES_MAX: usize = 4 << 20;
/// Longest idempotency key.
const KEY_BYTES_MAX: usize = 200;
/// Lines that go to the ledger at once.
const NOTES_MAX: u32 = 1000;
/// How often the ledger follows the book.
const LEDGER_INTERVAL: Duration = Duration::from_millis(200);

/// Why control could not be opened. The operator's side.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The state directory.
    #[error("the state directory, or that of local processes")]
    State(#[source] std::io::Error),
    /// The book.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The ledger; its lock keeps a second control away.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The cloud cannot be asked.
    #[error("no client for the cloud")]
    Cloud(#[source] reqwest::Error),
    /// The relay cannot be asked.
    #[error("no client for the relay")]
    Relay(#[source] naru_kafka::client::ClientError),
    /// The port could not be had.
    #[error(transparent)]
    Bind(#[from] BindError),
}

/// Opens book and ledger, and serves and reconciles until the tasks are told to stop; gives the address.
///
/// # Errors
/// When anything of it cannot be had.
pub async fn serve(config: &ControlConfig, tasks: &Tasks) -> Result<SocketAddr, OpenError> {
    let clock = SystemClock::new();
    std::fs::create_dir_all(&config.state).map_err(OpenError::State)?;
    // First, for its lock: two controls must not share a state directory.
    let ledger = Ledger::open(&config.state, clock.unix_ms())?;
    let mut store = Store::open(&config.state).await?;
    let fence = store.start().await?;
    let book = store.load(clock.unix_ms()).await?;
    let follower = Store::open(&config.state).await?;
    let (providers, topics) = providers(config)?;
    let (listener, address) = bind(config.listen).await?;
    tracing::info!(fence, resources = book.resources.len(), entries = ledger.last(), "control opened");
    let shared = Arc::new(Shared {
        held: Mutex::new(Held { book, store }),
        catalogue: Catalogue::of(config),
        patience: Patience { obtain_ms: millis(config.obtain_max), topic_grace_ms: millis(config.topic_grace) },
        providers,
        topics,
        fence,
        clock,
        crash: Crash::at(config.crash_at.as_deref()),
        wake: Notify::new(),
    });
    let stop = tasks.stop_token();
    tasks.spawn_fallible("reconciler", reconcile::run(shared.clone(), config.reconcile_interval, stop.clone()));
    tasks.spawn_fallible("ledger", follow(follower, ledger, stop.clone()));
    tasks.spawn_fallible("control", serve_until(listener, router(shared), stop));
    Ok(address)
}

type Providers = (BTreeMap<Maker, Arc<dyn Provider>>, Option<Arc<Topics>>);

fn providers(config: &ControlConfig) -> Result<Providers, OpenError> {
    let mut providers: BTreeMap<Maker, Arc<dyn Provider>> = BTreeMap::new();
    let local = Local::new(&config.state.join("local"), &config.owner).map_err(OpenError::State)?;
    providers.insert(Maker::Local, Arc::new(local));
    if let Some(cloud) = &config.cloud {
        let cloud =
            Cloud::new(cloud.address, &config.owner, cloud.settle, cloud.answer_max).map_err(OpenError::Cloud)?;
        providers.insert(Maker::Cloud, Arc::new(cloud));
    }
    let topics = config.relay.as_ref().map(|relay| {
        let bootstrap = relay.bootstrap.iter().map(ToString::to_string).collect();
        Topics::new(bootstrap, relay.request_timeout).map(Arc::new)
    });
    let topics = topics.transpose().map_err(OpenError::Relay)?;
    if let Some(topics) = &topics {
        providers.insert(Maker::Topics, topics.clone());
    }
    Ok((providers, topics))
}

/// Lets the ledger follow the book, and signs it at the end.
async fn follow(mut store: Store, ledger: Ledger, stop: tokio_util::sync::CancellationToken) -> Result<(), OpenError> {
    let mut ledger = ledger;
    loop {
        let stopping = stop.is_cancelled();
        let notes = store.notes_after(ledger.last(), NOTES_MAX).await?;
        let more = notes.len() == NOTES_MAX as usize;
        let written = tokio::task::spawn_blocking(move || {
            let mut ledger = ledger;
            let done = ledger.append(&notes).and_then(|()| if stopping && !more { ledger.seal() } else { Ok(()) });
            (ledger, done)
        });
        let Ok((back, done)) = written.await else { return Ok(()) };
        ledger = back;
        done?;
        match (more, stopping) {
            (true, _) => continue,
            (false, true) => return Ok(()),
            (false, false) => {}
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(LEDGER_INTERVAL) => {}
        }
    }
}

fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/v1/requests/{name}", put(request).delete(withdraw))
        .route("/v1/plans", post(plan))
        .route("/v1/plans/{hash}", get(plan_by_hash))
        .route("/v1/plans/{hash}/approve", post(approve))
        .route("/v1/plans/{hash}/apply", post(apply))
        .route("/v1/campaigns", post(campaigns))
        .route("/v1/resources", get(overview))
        .route("/v1/resources/{name}", get(resource))
        .route("/v1/resources/{name}/renew", post(renew))
        .route("/v1/resources/{name}/release", post(release))
        .route("/v1/cost", get(cost))
        .route("/openapi.json", get(openapi))
        .layer(DefaultBodyLimit::max(REQUEST_BYTES_MAX))
        .with_state(shared)
}

async fn openapi() -> Response {
    ([(CONTENT_TYPE, "application/json")], OPENAPI).into_response()
}

fn refuse(status: StatusCode, error: impl Into<String>, faults: Vec<Impossible>, retry_helps: bool) -> Response {
    (status, Json(Refused { error: error.into(), faults, retry_helps })).into_response()
}

fn refused(refusal: &Refusal) -> Response {
    let (status, faults) = match refusal {
        Refusal::Forbidden(_) => (StatusCode::FORBIDDEN, Vec::new()),
        Refusal::Unknown(_) => (StatusCode::NOT_FOUND, Vec::new()),
        Refusal::Impossible(faults) => (StatusCode::UNPROCESSABLE_ENTITY, faults.clone()),
        Refusal::Stale(_) | Refusal::Unapproved(_) => (StatusCode::CONFLICT, Vec::new()),
    };
    refuse(status, refusal.to_string(), faults, false)
}

fn not_kept(error: &StoreError) -> Response {
    tracing::error!(error = error as &dyn std::error::Error, "the book cannot be read or kept, nothing is changed");
    refuse(StatusCode::SERVICE_UNAVAILABLE, "the book cannot be kept now; nothing has changed", Vec::new(), true)
}

/// A request, as every handler gets it.
struct Asked {
    shared: Arc<Shared>,
    headers: HeaderMap,
    uri: String,
    body: Bytes,
}

impl Asked {
    async fn grant(&self, held: &mut Held) -> Result<Grant, Response> {
        let header = self.headers.get(AUTHORIZATION).and_then(|header| header.to_str().ok());
        let token = header.and_then(|header| header.strip_prefix("Bearer "));
        let unknown = || {
            let fix = "send a token: Authorization: Bearer naru_..., as naru control token add showed it";
            refuse(StatusCode::UNAUTHORIZED, fix, Vec::new(), false)
        };
        let token = token.ok_or_else(unknown)?;
        let grant = held.store.token(&access::hash(token.trim())).await.map_err(|error| not_kept(&error))?;
        let grant = grant.ok_or_else(unknown)?;
        if grant.until_unix_ms <= self.shared.now() {
            return Err(refuse(
                StatusCode::UNAUTHORIZED,
                "the token has expired: have a new one made",
                Vec::new(),
                false,
            ));
        }
        Ok(grant)
    }

    #[expect(clippy::result_large_err, reason = "a refusal is the answer itself, made once a request")]
    fn json<T: DeserializeOwned + Default>(&self) -> Result<T, Response> {
        if self.body.is_empty() { Ok(T::default()) } else { self.must() }
    }

    #[expect(clippy::result_large_err, reason = "a refusal is the answer itself, made once a request")]
    fn must<T: DeserializeOwned>(&self) -> Result<T, Response> {
        serde_json::from_slice(&self.body).map_err(|error| {
            let what = format!("the request is not as docs/api/control.json has it: {error}");
            refuse(StatusCode::BAD_REQUEST, what, Vec::new(), false)
        })
    }

    /// Reads, by any token.
    async fn read<T: Serialize>(self, answer: impl FnOnce(&Book, &Catalogue, i64) -> Option<T>) -> Response {
        let mut held = self.shared.held().await;
        if let Err(response) = self.grant(&mut held).await {
            return response;
        }
        match answer(&held.book, &self.shared.catalogue, self.shared.now()) {
            Some(answer) => Json(answer).into_response(),
            None => refuse(StatusCode::NOT_FOUND, "there is no such thing", Vec::new(), false),
        }
    }

    /// Decides, keeps what it changes, and answers; the same idempotency key gives the same answer.
    async fn decide<T: Serialize>(self, decide: impl FnOnce(&Book, &Catalogue, &Grant, i64) -> Decided<T>) -> Response {
        let mut held = self.shared.held().await;
        let grant = match self.grant(&mut held).await {
            Ok(grant) => grant,
            Err(response) => return response,
        };
        let now = self.shared.now();
        let key = self.headers.get("idempotency-key").and_then(|key| key.to_str().ok());
        if key.is_some_and(|key| key.is_empty() || key.len() > KEY_BYTES_MAX) {
            let what = format!("Idempotency-Key has 1 to {KEY_BYTES_MAX} bytes");
            return refuse(StatusCode::BAD_REQUEST, what, Vec::new(), false);
        }
        let key = key.map(|key| format!("{}/{key}", grant.name));
        let asked = access::hash(&format!("{}\n{}", self.uri, String::from_utf8_lossy(&self.body)));
        if let Some(reply) = key.as_ref().and_then(|key| held.book.replies.get(key)) {
            if reply.asked != asked {
                let what = "this Idempotency-Key was used for another request: choose another";
                return refuse(StatusCode::UNPROCESSABLE_ENTITY, what, Vec::new(), false);
            }
            let status = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::OK);
            return (status, [(CONTENT_TYPE, "application/json")], reply.body.clone()).into_response();
        }
        let (mut changes, answer) = match decide(&held.book, &self.shared.catalogue, &grant, now) {
            Ok(decided) => decided,
            Err(refusal) => return refused(&refusal),
        };
        let body = serde_json::to_string(&answer).expect("an answer is plain data with text as keys");
        if let Some(key) = key {
            let reply = Reply { asked, status: StatusCode::OK.as_u16(), body: body.clone(), at_unix_ms: now };
            changes.push(Change::Reply(key, reply));
        }
        let resources = changes.iter().any(|change| matches!(change, Change::Resource(_)));
        if resources {
            self.shared.crash("applying");
        }
        if let Err(error) = held.commit(changes, now).await {
            return not_kept(&error);
        }
        if resources {
            self.shared.crash("applied");
        }
        drop(held);
        self.shared.wake.notify_one();
        ([(CONTENT_TYPE, "application/json")], body).into_response()
    }
}

type At = State<Arc<Shared>>;

fn asked(State(shared): At, headers: HeaderMap, uri: Uri, body: Bytes) -> Asked {
    Asked { shared, headers, uri: uri.to_string(), body }
}

async fn request(at: At, headers: HeaderMap, uri: Uri, Path(name): Path<String>, body: Bytes) -> Response {
    let asked = asked(at, headers, uri, body);
    let spec: Spec = match asked.must() {
        Ok(spec) => spec,
        Err(response) => return response,
    };
    if spec.name() != name {
        let fault = Fault::new("name", "give it the name of the address");
        return refused(&Refusal::Impossible(vec![Impossible { name, fault }]));
    }
    asked.decide(|book, catalogue, grant, _| desk::request(book, catalogue, grant, &spec).map(done)).await
}

fn done((changes, ()): (Vec<Change>, ())) -> (Vec<Change>, Done) {
    (changes, Done {})
}

async fn withdraw(at: At, headers: HeaderMap, uri: Uri, Path(name): Path<String>) -> Response {
    let asked = asked(at, headers, uri, Bytes::new());
    asked.decide(|book, _, grant, _| desk::withdraw(book, grant, &name).map(done)).await
}

async fn plan(at: At, headers: HeaderMap, uri: Uri, body: Bytes) -> Response {
    let asked = asked(at, headers, uri, body);
    let names: PlanAsked = match asked.json() {
        Ok(names) => names,
        Err(response) => return response,
    };
    asked.decide(|book, catalogue, grant, now| desk::plan(book, catalogue, grant, &names.names, now)).await
}

async fn plan_by_hash(at: At, headers: HeaderMap, uri: Uri, Path(hash): Path<String>) -> Response {
    asked(at, headers, uri, Bytes::new()).read(|book, _, _| book.plans.get(&hash).cloned()).await
}

async fn approve(at: At, headers: HeaderMap, uri: Uri, Path(hash): Path<String>) -> Response {
    let asked = asked(at, headers, uri, Bytes::new());
    asked.decide(|book, _, grant, _| desk::approve(book, grant, &hash).map(done)).await
}

async fn apply(at: At, headers: HeaderMap, uri: Uri, Path(hash): Path<String>) -> Response {
    let asked = asked(at, headers, uri, Bytes::new());
    if let Err(response) = foreign_topics(&asked.shared, &hash).await {
        return response;
    }
    asked.decide(|book, catalogue, grant, now| desk::apply(book, catalogue, grant, &hash, now)).await
}

/// Refuses a plan that would take a topic that is there already, and is not ours.
async fn foreign_topics(shared: &Shared, hash: &str) -> Result<(), Response> {
    let names: Vec<String> = {
        let held = shared.held().await;
        let record = held.book.plans.get(hash).filter(|record| record.applied_by.is_none());
        let lines = record.iter().flat_map(|record| &record.plan.lines);
        let topics =
            lines.filter(|line| matches!(line.spec, Spec::Topic(_)) && held.book.holder(line.spec.name()).is_none());
        topics.map(|line| line.spec.name().to_owned()).collect()
    };
    for name in names {
        let fault = |field: &str, fix: &str| {
            refused(&Refusal::Impossible(vec![Impossible { name: name.clone(), fault: Fault::new(field, fix) }]))
        };
        let Some(topics) = &shared.topics else {
            return Err(fault("kind", "this control has no relay: topics cannot be asked of it"));
        };
        match topics.exists(&name).await {
            Ok(false) => {}
            Ok(true) => return Err(fault("name", "a topic of this name is there, and is not ours: choose another")),
            Err(error) => return Err(unreachable(&error)),
        }
    }
    Ok(())
}

fn unreachable(error: &ProviderError) -> Response {
    let what = format!("the log cannot be asked whether the name is free: {error}");
    refuse(StatusCode::SERVICE_UNAVAILABLE, what, Vec::new(), true)
}

async fn campaigns(at: At, headers: HeaderMap, uri: Uri, body: Bytes) -> Response {
    let asked = asked(at, headers, uri, body);
    let CampaignAsked { hash, plan, team, flavor } = match asked.must() {
        Ok(campaign) => campaign,
        Err(response) => return response,
    };
    let specs = match campaign::requests(plan.as_bytes(), &hash, &team, &flavor) {
        Ok(specs) => specs,
        Err(error) => return refuse(StatusCode::UNPROCESSABLE_ENTITY, error.to_string(), Vec::new(), false),
    };
    asked
        .decide(|book, catalogue, grant, now| {
            // The requests and their plan are one decision: a copy of the book takes the former in.
            let (mut changes, mut with) = (Vec::new(), book.clone());
            for spec in &specs {
                let (more, ()) = desk::request(&with, catalogue, grant, spec)?;
                more.iter().cloned().for_each(|change| with.apply(change));
                changes.extend(more);
            }
            let names: Vec<String> = specs.iter().map(|spec| spec.name().to_owned()).collect();
            let (more, plan) = desk::plan(&with, catalogue, grant, &names, now)?;
            changes.extend(more);
            changes.push(Change::Note(grant.name.clone(), format!("asked for the capacity of campaign plan {hash}")));
            Ok((changes, plan))
        })
        .await
}

async fn overview(at: At, headers: HeaderMap, uri: Uri) -> Response {
    let all = |book: &Book, catalogue: &Catalogue, _: i64| {
        let held = book.resources.values().filter(|resource| resource.life != Life::Gone);
        let requests = book.drafts.values().map(|draft| DraftView { spec: draft.spec.clone(), by: draft.by.clone() });
        Some(Overview {
            resources: held.map(|resource| view(book, catalogue, resource)).collect(),
            requests: requests.collect(),
        })
    };
    asked(at, headers, uri, Bytes::new()).read(all).await
}

async fn resource(at: At, headers: HeaderMap, uri: Uri, Path(name): Path<String>) -> Response {
    // The newest of the name, also when it is gone: what became of it is asked about most.
    let newest = |book: &Book, catalogue: &Catalogue, _: i64| {
        let resource = book.resources.values().rev().find(|resource| resource.spec.name() == name)?;
        Some(view(book, catalogue, resource))
    };
    asked(at, headers, uri, Bytes::new()).read(newest).await
}

async fn renew(at: At, headers: HeaderMap, uri: Uri, Path(name): Path<String>, body: Bytes) -> Response {
    let asked = asked(at, headers, uri, body);
    let RenewAsked { hours } = match asked.must() {
        Ok(renew) => renew,
        Err(response) => return response,
    };
    asked
        .decide(|book, catalogue, grant, now| {
            let (changes, until_unix_ms) = desk::renew(book, catalogue, grant, &name, hours, now)?;
            Ok((changes, Renewed { until_unix_ms }))
        })
        .await
}

async fn release(at: At, headers: HeaderMap, uri: Uri, Path(name): Path<String>) -> Response {
    let asked = asked(at, headers, uri, Bytes::new());
    asked.decide(|book, _, grant, now| desk::release(book, grant, &name, now).map(done)).await
}

async fn cost(at: At, headers: HeaderMap, uri: Uri) -> Response {
    asked(at, headers, uri, Bytes::new()).read(|book, catalogue, now| Some(desk::cost(book, catalogue, now))).await
}

/// Makes a token, and gives it: only its hash is kept. Works beside a control that runs.
///
/// # Errors
/// The disk's.
pub async fn add_token(state: &FilePath, grant: &Grant, token: &str) -> Result<(), StoreError> {
    Store::open(state).await?.put_token(&access::hash(token), grant).await
}

/// Forgets a token; false when there was none.
///
/// # Errors
/// The disk's.
pub async fn remove_token(state: &FilePath, name: &str) -> Result<bool, StoreError> {
    Store::open(state).await?.remove_token(name).await
}
