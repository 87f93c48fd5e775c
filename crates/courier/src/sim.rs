//! A simulated provider: NHN-style, with faults by seed, and a log of what it delivered, which is the judge of everything else.
//!
//! It runs as a process of its own, holds its state in memory, and is not killed; the log is a line of JSON for each message
//! that reached a person, written before anybody is told.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path as FilePath;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use naru_runtime::clocks::{SystemClock, WallClock as _, millis};
use naru_runtime::http::serve_until;
use naru_runtime::tasks::Tasks;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

use crate::api::ReceiptsBody;
use crate::provider::nhn::{Answer, AnswerHead, DUPLICATE_CODE, Delivery, KEY_HEAD, RECIPIENTS_MAX, SendBody};

/// Largest request: 1,000 recipients of 200 bytes, five times.
const REQUEST_BYTES_MAX: usize = 1 << 20;
/// How often receipts are sent, how many at once, how often a call is tried, and how long it may take.
const CALL_EVERY: Duration = Duration::from_millis(25);
const CALL_MAX: usize = 2000;
const CALL_TRIES: u32 = 3;
const CALL_TIMEOUT: Duration = Duration::from_secs(2);

/// How likely each fault is, in hundredths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Faults {
    /// The request is refused with 429.
    pub too_many: u32,
    /// It is taken, and never answered.
    pub silent_taken: u32,
    /// It is lost, and never answered.
    pub silent_lost: u32,
    /// It is taken, and answered with 500.
    pub error_taken: u32,
    /// It is taken late, when the client may have given up.
    pub late_taken: u32,
    /// A question is answered with 503.
    pub question: u32,
    /// A receipt is never called back.
    pub receipt_lost: u32,
    /// It is called back twice.
    pub receipt_twice: u32,
    /// The message does not arrive.
    pub failed: u32,
}

impl Faults {
    /// None.
    pub const NONE: Self = Self {
        too_many: 0,
        silent_taken: 0,
        silent_lost: 0,
        error_taken: 0,
        late_taken: 0,
        question: 0,
        receipt_lost: 0,
        receipt_twice: 0,
        failed: 0,
    };
    /// A bad day: more than a third of all requests have a fault.
    pub const HEAVY: Self = Self {
        too_many: 8,
        silent_taken: 9,
        silent_lost: 7,
        error_taken: 6,
        late_taken: 8,
        question: 10,
        receipt_lost: 10,
        receipt_twice: 10,
        failed: 2,
    };
}

/// The settings of a simulated provider.
#[derive(Debug, Clone)]
pub struct SimConfig {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where receipts are called back; `POST /sim/callback` changes it.
    pub callback: Option<String>,
    /// Draws the faults.
    pub seed: u64,
    /// How likely they are.
    pub faults: Faults,
    /// How long a key that was seen is refused.
    pub key_lifetime: Duration,
    /// A silent answer takes this long, and a late one half of it; longer than the client waits.
    pub silence: Duration,
    /// Receipts come within this.
    pub receipt_within: Duration,
}

/// A line of the log: a message that reached a person. The log of a simulation: its addresses are invented.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivered {
    /// When, in milliseconds since 1970.
    pub at_ms: i64,
    /// The key of its request.
    pub key: String,
    /// The courier's reference.
    pub reference: String,
    /// Who got it.
    pub contact: String,
    /// `AD` or `NORMAL`.
    pub purpose: String,
    /// The first characters of what they got.
    pub mark: String,
}

/// What the provider keeps.
struct Kept {
    rng: ChaCha8Rng,
    log: File,
    /// Keys within their lifetime: when they were seen.
    keys: HashMap<String, i64>,
    /// What became of each key's messages; kept for ever, as a provider does for some weeks.
    deliveries: HashMap<String, Vec<Delivery>>,
    /// Receipts by when they are due.
    due: BTreeMap<(i64, u64), Delivery>,
    next_receipt: u64,
    callback: Option<String>,
}

struct Sim {
    config: SimConfig,
    clock: SystemClock,
    kept: Mutex<Kept>,
}

impl Sim {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now_ms(&self) -> i64 {
        self.clock.unix_ms()
    }
}

impl Kept {
    /// A number below 100.
    fn draw(&mut self) -> u32 {
        self.rng.next_u32() % 100
    }
}

/// Serves until the tasks are told to stop; answers with its address.
///
/// # Errors
/// When the port or the log cannot be had.
pub async fn serve(config: SimConfig, log: &FilePath, tasks: &Tasks) -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind(config.listen).await?;
    let address = listener.local_addr()?;
    let kept = Kept {
        rng: ChaCha8Rng::seed_from_u64(config.seed),
        log: File::options().create(true).append(true).open(log)?,
        keys: HashMap::new(),
        deliveries: HashMap::new(),
        due: BTreeMap::new(),
        next_receipt: 0,
        callback: config.callback.clone(),
    };
    let sim = Arc::new(Sim { config, clock: SystemClock::new(), kept: Mutex::new(kept) });
    let router = Router::new()
        .route("/message/v1.0/SMS/free-form-messages/{purpose}", post(submit))
        .route("/message/v1.0/deliveries/{key}", get(ask))
        .route("/sim/callback", post(callback))
        .layer(DefaultBodyLimit::max(REQUEST_BYTES_MAX))
        .with_state(sim.clone());
    let stop = tasks.stop_token();
    tasks.spawn_fallible("provider", serve_until(listener, router, stop.clone()));
    tasks.spawn("receipts", async move {
        tokio::select! {
            () = call_back(sim) => {}
            () = stop.cancelled() => {}
        }
    });
    Ok(address)
}

/// Where receipts go from now on.
#[derive(Deserialize)]
struct Callback {
    url: String,
}

async fn callback(State(sim): State<Arc<Sim>>, Json(Callback { url }): Json<Callback>) -> StatusCode {
    sim.kept().callback = Some(url);
    StatusCode::NO_CONTENT
}

fn said(status: StatusCode, code: i64, message: &str, deliveries: Vec<Delivery>) -> Response {
    let header = AnswerHead { is_successful: code == 0, result_code: code, result_message: message.to_owned() };
    (status, Json(Answer { header, deliveries })).into_response()
}

/// What happens to a request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Taken,
    TooMany,
    SilentTaken,
    SilentLost,
    ErrorTaken,
    LateTaken,
}

fn fate(draw: u32, faults: Faults) -> Fate {
    let table = [
        (faults.too_many, Fate::TooMany),
        (faults.silent_taken, Fate::SilentTaken),
        (faults.silent_lost, Fate::SilentLost),
        (faults.error_taken, Fate::ErrorTaken),
        (faults.late_taken, Fate::LateTaken),
    ];
    let mut below = 0;
    for (share, fate) in table {
        below += share;
        if draw < below {
            return fate;
        }
    }
    Fate::Taken
}

async fn submit(
    State(sim): State<Arc<Sim>>,
    Path(purpose): Path<String>,
    heads: HeaderMap,
    Json(body): Json<SendBody>,
) -> Response {
    let Some(key) = heads.get(KEY_HEAD).and_then(|key| key.to_str().ok()).map(str::to_owned) else {
        return said(StatusCode::BAD_REQUEST, -4000, "no idempotency key", Vec::new());
    };
    if body.recipients.len() > RECIPIENTS_MAX || body.recipients.is_empty() {
        return said(StatusCode::BAD_REQUEST, -4001, "1 to 1000 recipients", Vec::new());
    }
    let fate = fate(sim.kept().draw(), sim.config.faults);
    // A task of its own: a client that gives up does not undo what the provider does.
    let taking = {
        let (sim, key) = (sim.clone(), key.clone());
        async move {
            if fate == Fate::LateTaken {
                tokio::time::sleep(sim.config.silence / 2).await;
            }
            take(&sim, &key, &purpose, body)
        }
    };
    match fate {
        Fate::TooMany => return said(StatusCode::TOO_MANY_REQUESTS, -4290, "too many requests", Vec::new()),
        Fate::SilentLost => {
            tokio::time::sleep(sim.config.silence).await;
            return StatusCode::GATEWAY_TIMEOUT.into_response();
        }
        _ => {}
    }
    let mut taken = tokio::task::JoinSet::new();
    taken.spawn(taking);
    let is_new = match fate {
        // Dropping the set would undo it; it is given its time whatever the client does.
        Fate::LateTaken => {
            let mut detached = taken;
            detached.detach_all();
            tokio::time::sleep(sim.config.silence).await;
            return StatusCode::GATEWAY_TIMEOUT.into_response();
        }
        _ => matches!(taken.join_next().await, Some(Ok(Ok(true)))),
    };
    match fate {
        Fate::SilentTaken => {
            tokio::time::sleep(sim.config.silence).await;
            StatusCode::GATEWAY_TIMEOUT.into_response()
        }
        Fate::ErrorTaken => said(StatusCode::INTERNAL_SERVER_ERROR, -5000, "something broke", Vec::new()),
        _ if is_new => said(StatusCode::OK, 0, "SUCCESS", Vec::new()),
        _ => said(StatusCode::CONFLICT, DUPLICATE_CODE, "this idempotency key was used", Vec::new()),
    }
}

/// Delivers a request's messages, unless its key was seen; whether it was new.
fn take(sim: &Sim, key: &str, purpose: &str, body: SendBody) -> std::io::Result<bool> {
    let now = sim.now_ms();
    let lifetime = millis(sim.config.key_lifetime);
    let within = u32::try_from(sim.config.receipt_within.as_millis()).unwrap_or(u32::MAX).max(1);
    let mut kept = sim.kept();
    let kept: &mut Kept = &mut kept;
    if kept.keys.get(key).is_some_and(|seen| now < seen.saturating_add(lifetime)) {
        return Ok(false);
    }
    kept.keys.insert(key.to_owned(), now);
    let mark: String = body.content.body.chars().take(4).collect();
    let (mut lines, mut deliveries) = (Vec::new(), Vec::new());
    for contact in body.recipients.into_iter().flat_map(|recipient| recipient.contacts) {
        let (reference, purpose, key) = (contact.client_reference, purpose.to_owned(), key.to_owned());
        let delivered = Delivered {
            at_ms: now,
            key,
            reference: reference.clone(),
            contact: contact.contact,
            purpose,
            mark: mark.clone(),
        };
        serde_json::to_writer(&mut lines, &delivered)?;
        lines.push(b'\n');
        let arrived = kept.draw() >= sim.config.faults.failed;
        let status = if arrived { "DELIVERED" } else { "FAILED" }.to_owned();
        let delivery = Delivery { client_reference: reference, status };
        let calls = match kept.draw() {
            draw if draw < sim.config.faults.receipt_lost => 0,
            draw if draw < sim.config.faults.receipt_lost + sim.config.faults.receipt_twice => 2,
            _ => 1,
        };
        for _ in 0..calls {
            kept.next_receipt += 1;
            let at = now + i64::from(kept.rng.next_u32() % within);
            kept.due.insert((at, kept.next_receipt), delivery.clone());
        }
        deliveries.push(delivery);
    }
    kept.log.write_all(&lines)?;
    // A key that comes again after its lifetime delivers again: that is what its lifetime means.
    kept.deliveries.entry(key.to_owned()).or_default().append(&mut deliveries);
    Ok(true)
}

async fn ask(State(sim): State<Arc<Sim>>, Path(key): Path<String>) -> Response {
    let mut kept = sim.kept();
    if kept.draw() < sim.config.faults.question {
        return said(StatusCode::SERVICE_UNAVAILABLE, -5030, "come again", Vec::new());
    }
    match kept.deliveries.get(&key) {
        Some(deliveries) => said(StatusCode::OK, 0, "SUCCESS", deliveries.clone()),
        None => said(StatusCode::NOT_FOUND, -4040, "no such key", Vec::new()),
    }
}

/// Calls back with the receipts that are due; after some failures they are lost, as with any provider.
async fn call_back(sim: Arc<Sim>) {
    let http = reqwest::Client::builder().timeout(CALL_TIMEOUT).no_proxy().build();
    let Ok(http) = http else { return };
    loop {
        tokio::time::sleep(CALL_EVERY).await;
        let now = sim.now_ms();
        let (url, deliveries) = {
            let mut kept = sim.kept();
            let Some(url) = kept.callback.clone() else { continue };
            let mut deliveries = Vec::new();
            while deliveries.len() < CALL_MAX
                && let Some(first) = kept.due.first_entry()
                && first.key().0 <= now
            {
                deliveries.push(first.remove());
            }
            (url, deliveries)
        };
        if deliveries.is_empty() {
            continue;
        }
        let body = ReceiptsBody { deliveries };
        for _ in 0..CALL_TRIES {
            let called = http.post(&url).json(&body).send().await;
            if called.is_ok_and(|answer| answer.status().is_success()) {
                break;
            }
            tokio::time::sleep(CALL_EVERY).await;
        }
    }
}
