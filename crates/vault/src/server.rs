//! The vault as a process serves it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{ConnectInfo, DefaultBodyLimit, FromRequest as _, Request, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use naru_runtime::clocks::{SystemClock, WallClock};
use naru_runtime::http::{BindError, bind};
use naru_runtime::mtls::{MtlsError, server_config};
use naru_runtime::tasks::Tasks;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

use crate::answer::{AnswerError, Vault};
use crate::api::{OPENAPI, Refused, ResolveRequest, TokeniseRequest};
use crate::config::VaultConfig;
use crate::keys::{self, KeysError};
use crate::listen::{Peer, RoleListener};
use crate::uses::{Uses, UsesError};

/// The vault's own role, which its certificate names.
pub const ROLE: &str = "vault";

/// How long the body of a request may take to come: 4 MiB on a slow line within a house.
const BODY_WITHIN: Duration = Duration::from_secs(10);

/// Why a vault could not be opened. The operator's side.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Keys.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The record of uses.
    #[error(transparent)]
    Uses(#[from] UsesError),
    /// Certificates.
    #[error("tls of the vault")]
    Tls(#[from] MtlsError),
    /// A caller is allowed what the vault has no keys of.
    #[error("callers are allowed the field {0}, which has no keys: run naru vault key add --field {0}")]
    UnknownField(String),
    /// The port could not be had.
    #[error(transparent)]
    Bind(#[from] BindError),
}

struct Shared {
    vault: Vault,
    clock: Box<dyn WallClock>,
    requests: Arc<Semaphore>,
}

/// A vault that serves; seal its record when it has stopped.
#[derive(Clone)]
pub struct Serving {
    shared: Arc<Shared>,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Serving {
    /// Seals the record of uses.
    ///
    /// # Errors
    /// The disk's.
    pub fn seal(&self) -> Result<(), UsesError> {
        self.shared.vault.uses().seal()
    }
}

/// Opens keys and record, and serves until the tasks are told to stop.
///
/// # Errors
/// When anything of it cannot be had.
pub async fn serve(config: &VaultConfig, tasks: &Tasks) -> Result<Serving, OpenError> {
    let clock = SystemClock::new();
    let fields = keys::load(&config.keys)?;
    let uses = Uses::open(&config.uses, &config.signing_key, clock.unix_ms())?;
    let vault = Vault::new(fields, config.callers.clone(), uses);
    if let Some(field) = vault.unknown_fields().first() {
        return Err(OpenError::UnknownField((*field).to_owned()));
    }
    let roles: Vec<String> = config.callers.iter().map(|caller| caller.role.clone()).collect();
    let allowed: Vec<&str> = roles.iter().map(String::as_str).collect();
    let tls = server_config(&config.tls, ROLE, &allowed)?;
    let (tcp, address) = bind(config.listen).await?;
    let connections_max = usize::try_from(config.connections_max).unwrap_or(1);
    let listener = RoleListener::new(tcp, TlsAcceptor::from(tls), roles, connections_max);
    let requests = Arc::new(Semaphore::new(usize::try_from(config.requests_max).unwrap_or(1)));
    let shared = Arc::new(Shared { vault, clock: Box::new(clock), requests });
    let router = Router::new()
        .route("/v1/tokenise", post(tokenise))
        .route("/v1/resolve", post(resolve))
        .route("/openapi.json", get(openapi))
        .layer(DefaultBodyLimit::max(config.request_bytes_max.as_usize()))
        .with_state(shared.clone());
    let stop = tasks.stop_token();
    let service = router.into_make_service_with_connect_info::<Peer>();
    tasks.spawn_fallible("vault", async move {
        axum::serve(listener, service).with_graceful_shutdown(stop.cancelled_owned()).await
    });
    Ok(Serving { shared, address })
}

async fn openapi() -> Response {
    ([(CONTENT_TYPE, "application/json")], OPENAPI).into_response()
}

async fn tokenise(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    request: Request,
) -> Response {
    let work = move |shared: &Shared, request: TokeniseRequest| {
        shared.vault.tokenise(&peer.role, shared.clock.unix_ms(), &request)
    };
    answer(shared, request, work).await
}

async fn resolve(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    request: Request,
) -> Response {
    let work = move |shared: &Shared, request: ResolveRequest| {
        shared.vault.resolve(&peer.role, shared.clock.unix_ms(), &request)
    };
    answer(shared, request, work).await
}

/// The work of a request, on a thread that may block: the record is on the disk before there is an answer.
async fn answer<R: DeserializeOwned + Send + 'static, A: Serialize + Send + 'static>(
    shared: Arc<Shared>,
    request: Request,
    work: impl FnOnce(&Shared, R) -> Result<A, AnswerError> + Send + 'static,
) -> Response {
    // Before the body is read: bodies are what takes memory.
    let Ok(room) = shared.requests.clone().try_acquire_owned() else {
        return refuse(StatusCode::SERVICE_UNAVAILABLE, "too many requests at once, come again");
    };
    let request = match tokio::time::timeout(BODY_WITHIN, Json::<R>::from_request(request, &())).await {
        Ok(Ok(Json(request))) => request,
        // Its own words may quote what was sent.
        Ok(Err(rejection)) => {
            return refuse(rejection.status(), "the request is not as docs/api/vault.json has it, or too large");
        }
        Err(_) => return refuse(StatusCode::REQUEST_TIMEOUT, "the request did not come in time"),
    };
    let work = move || {
        // As long as it works, whether or not the caller still waits.
        let _room = room;
        work(&shared, request)
    };
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(answer)) => Json(answer).into_response(),
        Ok(Err(AnswerError::Forbidden(refused))) => (StatusCode::FORBIDDEN, Json(refused)).into_response(),
        Ok(Err(AnswerError::Refused(refused))) => (StatusCode::UNPROCESSABLE_ENTITY, Json(refused)).into_response(),
        Ok(Err(AnswerError::NotRecorded(error))) => {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "a use could not be recorded, nothing is answered"
            );
            refuse(StatusCode::SERVICE_UNAVAILABLE, "the use could not be recorded")
        }
        Err(_) => refuse(StatusCode::INTERNAL_SERVER_ERROR, "the vault failed"),
    }
}

fn refuse(status: StatusCode, error: &str) -> Response {
    (status, Json(Refused { error: error.to_owned(), part: None, index: None })).into_response()
}
