//! ApiVersions: what is served. A version that is not served is answered in version 0 with what is.

use std::sync::Arc;

use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::{ApiVersionsRequest, ApiVersionsResponse};

use super::Api;
use crate::standin::server::broker::Broker;
use crate::standin::server::connection::Caller;
use crate::wire::{ApiKey, ErrorCode};

/// What is served, in the versions in which it is: no SASL, no access lists, no transactions.
pub(crate) const SERVED: &[ApiKey] = &[
    ApiKey::Produce,
    ApiKey::Fetch,
    ApiKey::ListOffsets,
    ApiKey::Metadata,
    ApiKey::OffsetCommit,
    ApiKey::OffsetFetch,
    ApiKey::FindCoordinator,
    ApiKey::JoinGroup,
    ApiKey::Heartbeat,
    ApiKey::LeaveGroup,
    ApiKey::SyncGroup,
    ApiKey::DescribeGroups,
    ApiKey::ListGroups,
    ApiKey::ApiVersions,
    ApiKey::CreateTopics,
    ApiKey::DeleteTopics,
    ApiKey::DeleteRecords,
    ApiKey::InitProducerId,
    ApiKey::OffsetForLeaderEpoch,
    ApiKey::DescribeConfigs,
    ApiKey::AlterConfigs,
    ApiKey::DescribeLogDirs,
    ApiKey::CreatePartitions,
    ApiKey::DeleteGroups,
    ApiKey::IncrementalAlterConfigs,
    ApiKey::OffsetDelete,
    ApiKey::DescribeCluster,
    ApiKey::DescribeProducers,
    ApiKey::DescribeTopicPartitions,
];

/// Whether a version of an API is served.
pub(crate) fn is_served(api: ApiKey, version: i16) -> bool {
    SERVED.contains(&api) && api.supports(version)
}

pub(crate) struct ApiVersions;

/// The answer, with or without an error: what is served is told in both cases.
pub(crate) fn answer(code: ErrorCode) -> ApiVersionsResponse {
    let served = SERVED.iter().map(|api| {
        let versions = api.versions();
        ApiVersion::default()
            .with_api_key(*api as i16)
            .with_min_version(*versions.start())
            .with_max_version(*versions.end())
    });
    ApiVersionsResponse::default().with_error_code(code.0).with_api_keys(served.collect())
}

impl Api for ApiVersions {
    type Request = ApiVersionsRequest;

    async fn answer(_: &Arc<Broker>, caller: &Caller, request: Self::Request) -> ApiVersionsResponse {
        // From version 3 the client names itself; Kafka refuses a name that is not one.
        let named = |name: &str| {
            let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
            !name.is_empty()
                && name.chars().all(inner)
                && name.starts_with(|c: char| c.is_ascii_alphanumeric())
                && name.ends_with(|c: char| c.is_ascii_alphanumeric())
        };
        if caller.version >= 3 && !(named(&request.client_software_name) && named(&request.client_software_version)) {
            return answer(ErrorCode::INVALID_REQUEST).with_api_keys(Vec::new());
        }
        answer(ErrorCode::NONE)
    }

    fn refuse(_: &Caller, _: &Self::Request, code: ErrorCode) -> ApiVersionsResponse {
        answer(code)
    }
}
