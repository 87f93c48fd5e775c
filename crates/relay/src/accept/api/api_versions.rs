//! ApiVersions: what is served. A version that is not served is answered in version 0 with what is.

use naru_kafka::serve::messages::api_versions_response::ApiVersion;
use naru_kafka::serve::messages::{ApiVersionsRequest, ApiVersionsResponse};
use naru_kafka::wire::ErrorCode;

use crate::accept::Call;
use crate::accept::dispatch::{Api, SERVED};

pub(crate) struct ApiVersions;

/// The answer, with or without an error: what is served is told in both cases.
pub(crate) fn shown(code: ErrorCode) -> ApiVersionsResponse {
    let served = SERVED.iter().map(|api| {
        let versions = api.versions();
        ApiVersion::default()
            .with_api_key(*api as i16)
            .with_min_version(*versions.start())
            .with_max_version(*versions.end())
    });
    ApiVersionsResponse::default().with_error_code(code.0).with_api_keys(served.collect())
}

/// From version 3 the client names itself; Kafka refuses a name that is not one.
fn is_name(name: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    edge(name.chars().next()) && edge(name.chars().next_back()) && name.chars().all(inner)
}

impl Api for ApiVersions {
    type Request = ApiVersionsRequest;

    async fn answer(call: &mut Call<'_>, request: Self::Request) -> ApiVersionsResponse {
        let named = is_name(&request.client_software_name) && is_name(&request.client_software_version);
        if call.version >= 3 && !named {
            return shown(ErrorCode::INVALID_REQUEST).with_api_keys(Vec::new());
        }
        shown(ErrorCode::NONE)
    }
}
