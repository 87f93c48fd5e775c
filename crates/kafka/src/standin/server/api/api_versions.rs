//! ApiVersions: what is served. A version that is not served is answered in version 0 with what is.

use std::sync::Arc;

use kafka_protocol::messages::{ApiVersionsRequest, ApiVersionsResponse};

use super::Api;
use crate::serve::api_versions;
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
pub(crate) fn shown(code: ErrorCode) -> ApiVersionsResponse {
    api_versions::shown(SERVED, code)
}

impl Api for ApiVersions {
    type Request = ApiVersionsRequest;

    async fn answer(_: &Arc<Broker>, caller: &Caller, request: Self::Request) -> ApiVersionsResponse {
        api_versions::answer(SERVED, caller.version, &request)
    }

    fn refuse(_: &Caller, _: &Self::Request, code: ErrorCode) -> ApiVersionsResponse {
        shown(code)
    }
}
