//! ApiVersions: what is served. A version that is not served is answered in version 0 with what is.

use naru_kafka::serve::api_versions;
use naru_kafka::serve::messages::{ApiVersionsRequest, ApiVersionsResponse};
use naru_kafka::wire::ErrorCode;

use crate::accept::Call;
use crate::accept::dispatch::{Api, SERVED};

pub(crate) struct ApiVersions;

/// The answer, with or without an error: what is served is told in both cases.
pub(crate) fn shown(code: ErrorCode) -> ApiVersionsResponse {
    api_versions::shown(SERVED, code)
}

impl Api for ApiVersions {
    type Request = ApiVersionsRequest;

    async fn answer(call: &mut Call<'_>, request: Self::Request) -> ApiVersionsResponse {
        api_versions::answer(SERVED, call.version, &request)
    }
}
