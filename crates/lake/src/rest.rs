//! The catalogue as Iceberg's REST protocol has it, to read: programs attach by URL and read the files themselves.
//!
//! It knows no users, masks or policies: those hold for SQL only.

use axum::Json;
use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use iceberg::{NamespaceIdent, TableIdent};
use serde_json::{Value, json};

use crate::catalogue::Catalogue;
use crate::error::LakeError;

/// What stands between the parts of a namespace in a path.
const SEPARATOR: char = '\u{1f}';

/// What is offered, as `GET /v1/config` tells it.
const ENDPOINTS: [&str; 7] = [
    "GET /v1/{prefix}/namespaces",
    "GET /v1/{prefix}/namespaces/{namespace}",
    "HEAD /v1/{prefix}/namespaces/{namespace}",
    "GET /v1/{prefix}/namespaces/{namespace}/tables",
    "GET /v1/{prefix}/namespaces/{namespace}/tables/{table}",
    "HEAD /v1/{prefix}/namespaces/{namespace}/tables/{table}",
    "GET /v1/config",
];

/// Every route.
pub fn router(catalogue: Catalogue) -> Router {
    Router::new()
        .route("/v1/config", get(config))
        .route("/v1/namespaces", get(namespaces))
        .route("/v1/namespaces/{namespace}", get(namespace))
        .route("/v1/namespaces/{namespace}/tables", get(tables))
        .route("/v1/namespaces/{namespace}/tables/{table}", get(table))
        .fallback(nothing_else)
        .method_not_allowed_fallback(only_reads)
        .with_state(catalogue)
}

/// An answer that is no success, in the protocol's words.
struct Refusal {
    status: StatusCode,
    kind: &'static str,
    message: String,
}

impl Refusal {
    fn missing(kind: &'static str, what: &str) -> Self {
        Self { status: StatusCode::NOT_FOUND, kind, message: format!("{what} does not exist") }
    }
}

impl From<LakeError> for Refusal {
    fn from(error: LakeError) -> Self {
        tracing::warn!(error = &error as &dyn std::error::Error, "the catalogue was not read");
        Self {
            status: StatusCode::SERVICE_UNAVAILABLE,
            kind: "ServiceUnavailableException",
            message: "the catalogue cannot be read now; the lake's log says why".to_owned(),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let error = json!({ "message": self.message, "type": self.kind, "code": self.status.as_u16() });
        (self.status, Json(json!({ "error": error }))).into_response()
    }
}

async fn nothing_else() -> Refusal {
    Refusal::missing("NoSuchEndpointException", "that endpoint")
}

async fn only_reads() -> Refusal {
    Refusal {
        status: StatusCode::METHOD_NOT_ALLOWED,
        kind: "UnsupportedOperationException",
        message: "the lake's tables are written by the lake alone".to_owned(),
    }
}

async fn config() -> Json<Value> {
    Json(json!({ "defaults": {}, "overrides": {}, "endpoints": ENDPOINTS }))
}

async fn namespaces(State(catalogue): State<Catalogue>) -> Result<Json<Value>, Refusal> {
    let listed = catalogue.list().await?;
    let names: Vec<_> = listed.into_iter().map(|(namespace, _)| namespace.inner()).collect();
    Ok(Json(json!({ "namespaces": names })))
}

/// The tables of a namespace that is there.
async fn listed(catalogue: &Catalogue, name: &str) -> Result<(NamespaceIdent, Vec<TableIdent>), Refusal> {
    let wanted: Vec<String> = name.split(SEPARATOR).map(str::to_owned).collect();
    let found = catalogue.list().await?.into_iter().find(|(namespace, _)| **namespace == wanted);
    found.ok_or_else(|| Refusal::missing("NoSuchNamespaceException", "that namespace"))
}

async fn namespace(State(catalogue): State<Catalogue>, Path(name): Path<String>) -> Result<Json<Value>, Refusal> {
    let (namespace, _) = listed(&catalogue, &name).await?;
    Ok(Json(json!({ "namespace": namespace.inner(), "properties": {} })))
}

async fn tables(State(catalogue): State<Catalogue>, Path(name): Path<String>) -> Result<Json<Value>, Refusal> {
    let (_, tables) = listed(&catalogue, &name).await?;
    let identifier =
        |table: TableIdent| json!({ "namespace": table.namespace().clone().inner(), "name": table.name() });
    Ok(Json(json!({ "identifiers": tables.into_iter().map(identifier).collect::<Vec<_>>() })))
}

async fn table(
    State(catalogue): State<Catalogue>,
    Path((namespace, name)): Path<(String, String)>,
) -> Result<Json<Value>, Refusal> {
    let (namespace, _) = listed(&catalogue, &namespace).await?;
    let found = catalogue.find(&TableIdent::new(namespace, name)).await?;
    let table = found.ok_or_else(|| Refusal::missing("NoSuchTableException", "that table"))?;
    let location = table.metadata_location_result().map_err(LakeError::from)?;
    let metadata = serde_json::to_value(table.metadata())
        .map_err(|error| LakeError::Snapshot { table: table.identifier().to_string(), what: error.to_string() })?;
    Ok(Json(json!({ "metadata-location": location, "metadata": metadata, "config": {} })))
}
