//! ApiVersions: how what is served is told.

use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::{ApiVersionsRequest, ApiVersionsResponse};

use crate::wire::{ApiKey, ErrorCode};

/// Answers a request of a version that is served: with what is served, each API in every version that the codec knows.
/// From version 3 the client names itself; Kafka refuses a name that is not one.
pub fn answer(served: &[ApiKey], version: i16, request: &ApiVersionsRequest) -> ApiVersionsResponse {
    let named = is_name(&request.client_software_name) && is_name(&request.client_software_version);
    if version >= 3 && !named {
        return shown(&[], ErrorCode::INVALID_REQUEST);
    }
    shown(served, ErrorCode::NONE)
}

/// The answer, with or without an error.
pub fn shown(served: &[ApiKey], code: ErrorCode) -> ApiVersionsResponse {
    let served = served.iter().map(|api| {
        let versions = api.versions();
        ApiVersion::default()
            .with_api_key(*api as i16)
            .with_min_version(*versions.start())
            .with_max_version(*versions.end())
    });
    ApiVersionsResponse::default().with_error_code(code.0).with_api_keys(served.collect())
}

fn is_name(name: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    edge(name.chars().next()) && edge(name.chars().next_back()) && name.chars().all(inner)
}
