//! From a request's key to the code that answers it.
//!
//! Adding an API: a type that implements [`Api`] (or [`RawApi`], for bodies that pass undecoded), a line in [`SERVED`],
//! a line in [`answer`].

use std::sync::Arc;

use bytes::Bytes;
use naru_kafka::serve::memory::Share;
use naru_kafka::serve::messages::{ApiVersionsRequest, Request};
use naru_kafka::serve::{Ended as Broken, Served};
use naru_kafka::wire::frame::ResponseHeader;
use naru_kafka::wire::{ApiKey, ErrorCode, OutFrame, WireError, cold};

use super::Call;
use super::api::{self, api_versions};
use super::connection::ANSWER_BYTES_MAX;
pub(crate) use super::connection::Ended;
use super::permit::{Asking, Permitted};
use crate::groups::api as groups;
use crate::groups::api::members;
use crate::security::{Caller, Traffic, UNKNOWN_REQUEST_BYTES_MAX};
use crate::topics::api as topics;
use crate::{clock, fetch};

/// Answers up to this size are not counted: a connection has one at a time, and as much of a buffer anyway.
const SMALL_ANSWER_BYTES: usize = 64 << 10;
/// Requests up to this size take no share of the memory: a connection has one of them at a time, and they never wait
/// behind batches.
const UNCOUNTED_BYTES: usize = 64 << 10;

/// What is served, in every version that the codec knows: no transactions, no telemetry, no share groups, no new group
/// protocol.
pub const SERVED: &[ApiKey] = &[
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
    ApiKey::SaslHandshake,
    ApiKey::ApiVersions,
    ApiKey::CreateTopics,
    ApiKey::DeleteTopics,
    ApiKey::DeleteRecords,
    ApiKey::InitProducerId,
    ApiKey::OffsetForLeaderEpoch,
    ApiKey::SaslAuthenticate,
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

/// A message that `kafka-protocol` reads and writes.
pub(crate) trait Api {
    /// The request.
    type Request: Request + Permitted + Send + Sync;

    /// Carries the request out.
    fn answer(
        call: &mut Call<'_>,
        request: Self::Request,
    ) -> impl Future<Output = <Self::Request as Request>::Response> + Send;
}

/// A message whose body passes undecoded.
pub trait RawApi {
    /// The answer's body, in the request's version. An error closes the connection: for when there is no answer that
    /// says what is wrong.
    fn answer(call: &mut Call<'_>, body: Bytes) -> impl Future<Output = Result<Bytes, Ended>> + Send;
}

/// Whether a request of this key and version can be answered at all, and how much of it is free of charge. ApiVersions
/// always can: its answer says in which versions.
pub(crate) fn served(caller: &Caller, key: i16, version: i16) -> Result<Served, Broken> {
    let api = ApiKey::from_i16(key).filter(|api| SERVED.contains(api));
    let known = caller.is_known();
    let bytes_max = if known { usize::MAX } else { UNKNOWN_REQUEST_BYTES_MAX };
    match api {
        Some(api) if !caller.permits(api) => Err(Broken::Unknown { api: api.name() }),
        None => Err(WireError::Unsupported { api: key, version }.into()),
        Some(ApiKey::Produce) if ApiKey::Produce.supports(version) => Ok(Served { uncounted_bytes: 0, bytes_max }),
        Some(api) if api == ApiKey::ApiVersions || api.supports(version) => {
            Ok(Served { uncounted_bytes: UNCOUNTED_BYTES, bytes_max })
        }
        Some(api) => Err(Broken::Version { api: api.name(), version }),
    }
}

/// Answers one request, which is not Produce, into `out`; what is given back is the memory of the answer.
pub(super) async fn answer(
    key: ApiKey,
    call: &mut Call<'_>,
    correlation_id: i32,
    body: Bytes,
    out: &mut OutFrame,
) -> Result<Option<Share>, Ended> {
    macro_rules! cold {
        ($api:ty) => {
            answer_cold::<$api>(key, call, correlation_id, body, out).await
        };
    }
    macro_rules! raw {
        ($api:ty) => {
            answer_raw::<$api>(key, call, correlation_id, body, out).await
        };
    }
    match key {
        ApiKey::Fetch => {
            let version = call.version;
            let caller = Arc::clone(&call.session.caller);
            let mut fetched = fetch::answer(call.relay, &caller, version, body).await?;
            let throttle_ms = caller.charge(Traffic::Fetch, fetched.bytes as u64, clock::now());
            call.session.throttle_ms = throttle_ms;
            fetched.response.throttle_time_ms = i32::try_from(throttle_ms).unwrap_or(i32::MAX);
            begin(key, version, correlation_id, out);
            fetched.response.encode(version, out)?;
            out.finish(ANSWER_BYTES_MAX)?;
            Ok(fetched.share)
        }
        ApiKey::ApiVersions if !key.supports(call.version) => {
            // Kafka's own way: the client reads version 0 whatever it asked for, and asks again.
            begin(key, 0, correlation_id, out);
            let response = api_versions::shown(ErrorCode::UNSUPPORTED_VERSION);
            cold::encode_response::<ApiVersionsRequest>(0, &response, out)?;
            out.finish(ANSWER_BYTES_MAX)?;
            Ok(None)
        }
        ApiKey::JoinGroup => raw!(members::JoinGroup),
        ApiKey::SyncGroup => raw!(members::SyncGroup),
        ApiKey::Heartbeat => raw!(members::Heartbeat),
        ApiKey::LeaveGroup => raw!(members::LeaveGroup),
        ApiKey::OffsetCommit => cold!(groups::offset_commit::OffsetCommit),
        ApiKey::OffsetFetch => cold!(groups::offset_fetch::OffsetFetch),
        ApiKey::OffsetDelete => cold!(groups::offset_delete::OffsetDelete),
        ApiKey::DescribeGroups => cold!(groups::describe_groups::DescribeGroups),
        ApiKey::ListGroups => cold!(groups::list_groups::ListGroups),
        ApiKey::CreateTopics => cold!(topics::create_topics::CreateTopics),
        ApiKey::DeleteTopics => cold!(topics::delete_topics::DeleteTopics),
        ApiKey::CreatePartitions => cold!(topics::create_partitions::CreatePartitions),
        ApiKey::AlterConfigs => cold!(topics::alter_configs::AlterConfigs),
        ApiKey::IncrementalAlterConfigs => cold!(topics::incremental_alter_configs::IncrementalAlterConfigs),
        ApiKey::DescribeConfigs => cold!(topics::describe_configs::DescribeConfigs),
        ApiKey::DescribeProducers => cold!(topics::describe_producers::DescribeProducers),
        ApiKey::DescribeLogDirs => cold!(topics::describe_log_dirs::DescribeLogDirs),
        ApiKey::DescribeTopicPartitions => cold!(topics::describe_topic_partitions::DescribeTopicPartitions),
        ApiKey::DeleteGroups => cold!(groups::delete_groups::DeleteGroups),
        ApiKey::ApiVersions => cold!(api_versions::ApiVersions),
        ApiKey::SaslHandshake => cold!(api::sasl_handshake::SaslHandshake),
        ApiKey::SaslAuthenticate => cold!(api::sasl_authenticate::SaslAuthenticate),
        ApiKey::Metadata => cold!(api::metadata::Metadata),
        ApiKey::ListOffsets => cold!(api::list_offsets::ListOffsets),
        ApiKey::FindCoordinator => cold!(api::find_coordinator::FindCoordinator),
        ApiKey::InitProducerId => cold!(api::init_producer_id::InitProducerId),
        ApiKey::OffsetForLeaderEpoch => cold!(api::offset_for_leader_epoch::OffsetForLeaderEpoch),
        ApiKey::DeleteRecords => cold!(api::delete_records::DeleteRecords),
        ApiKey::DescribeCluster => cold!(api::describe_cluster::DescribeCluster),
        other => Err(WireError::Unsupported { api: other as i16, version: call.version }.into()),
    }
}

fn begin(api: ApiKey, version: i16, correlation_id: i32, out: &mut OutFrame) {
    out.begin();
    ResponseHeader::new(correlation_id).encode(api, version, out);
}

async fn answer_cold<A: Api>(
    api: ApiKey,
    call: &mut Call<'_>,
    correlation_id: i32,
    body: Bytes,
    out: &mut OutFrame,
) -> Result<Option<Share>, Ended> {
    let version = call.version;
    let mut request = cold::decode_request::<A::Request>(version, body)?;
    let withheld = if call.session.caller.is_bound() {
        let caller = Arc::clone(&call.session.caller);
        request.withhold(&Asking { caller, relay: Arc::clone(call.relay), version })
    } else {
        None
    };
    let mut response = A::answer(call, request).await;
    if let Some(restore) = withheld {
        restore(&mut response);
    }
    begin(api, version, correlation_id, out);
    cold::encode_response::<A::Request>(version, &response, out)?;
    out.finish(ANSWER_BYTES_MAX)?;
    // A large answer waits for its share like records do, so that slow readers cannot hold many of them.
    drop(response);
    Ok(if out.len() > SMALL_ANSWER_BYTES { call.relay.answers.take(out.len()).await } else { None })
}

/// As for [`Api`], of a body that passes undecoded.
async fn answer_raw<A: RawApi>(
    api: ApiKey,
    call: &mut Call<'_>,
    correlation_id: i32,
    body: Bytes,
    out: &mut OutFrame,
) -> Result<Option<Share>, Ended> {
    let version = call.version;
    let body = A::answer(call, body).await?;
    begin(api, version, correlation_id, out);
    let size = body.len();
    out.push(body);
    out.finish(ANSWER_BYTES_MAX)?;
    Ok(if size > SMALL_ANSWER_BYTES { call.relay.answers.take(size).await } else { None })
}
