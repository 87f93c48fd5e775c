//! From a request's key to the code that answers it, with the faults that were asked for in between.

use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::messages::ApiVersionsRequest;

use super::api::{self, Api, api_versions};
use super::broker::Broker;
use super::connection::{Caller, Ended, finish};
use super::partition::lock;
use crate::serve::memory::Share;
use crate::serve::{Ended as Broken, Served};
use crate::standin::faults::{Action, Drop};
use crate::wire::fetch::FetchRequest;
use crate::wire::frame::ResponseHeader;
use crate::wire::produce::ProduceRequest;
use crate::wire::{ApiKey, ErrorCode, OutFrame, WireError, cold};

/// A request up to this size takes no share of the memory for requests: the bound on connections bounds them, and they
/// never wait behind large ones.
const UNCOUNTED_BYTES: usize = 64 << 10;
/// Answers up to this size are not counted: a connection has one at a time, and as much of a buffer anyway.
const SMALL_ANSWER_BYTES: usize = 64 << 10;

/// What is to be done with the frame in hand.
pub(crate) enum Answered {
    /// It goes out; the share is the memory of its records.
    Written(Option<Share>),
    /// Nothing goes out.
    Silent,
}

/// Whether a request of this key and version can be answered at all. ApiVersions always can: its answer says in which.
pub(crate) fn served(key: i16, version: i16) -> Result<Served, Broken> {
    let api = ApiKey::from_i16(key).filter(|api| api_versions::SERVED.contains(api));
    match api {
        None => Err(WireError::Unsupported { api: key, version }.into()),
        Some(api) if api == ApiKey::ApiVersions || api_versions::is_served(api, version) => {
            Ok(Served { uncounted_bytes: UNCOUNTED_BYTES, bytes_max: usize::MAX })
        }
        Some(api) => Err(Broken::Version { api: api.name(), version }),
    }
}

/// Answers one request into `out`.
pub(crate) async fn answer(
    broker: &Arc<Broker>,
    api: ApiKey,
    caller: &Caller,
    correlation_id: i32,
    body: Bytes,
    out: &mut OutFrame,
) -> Result<Answered, Ended> {
    let fault = lock(&broker.faults).take(api);
    let refusal = match fault {
        None => None,
        Some(Action::Error(code)) => Some(code),
        Some(Action::Drop(Drop::BeforeWrite)) => return Err(Ended::Fault),
        Some(Action::Drop(Drop::AfterWrite)) => {
            route(broker, api, caller, correlation_id, body, None, out).await?;
            return Err(Ended::Fault);
        }
        Some(Action::Delay(delay)) => {
            tokio::select! {
                () = tokio::time::sleep(delay) => {}
                () = broker.stopping.cancelled() => {}
            }
            None
        }
    };
    route(broker, api, caller, correlation_id, body, refusal, out).await
}

async fn route(
    broker: &Arc<Broker>,
    api: ApiKey,
    caller: &Caller,
    id: i32,
    body: Bytes,
    refusal: Option<ErrorCode>,
    out: &mut OutFrame,
) -> Result<Answered, Ended> {
    macro_rules! cold {
        ($api:ty) => {
            answer_cold::<$api>(broker, api, caller, id, body, refusal, out).await
        };
    }
    match api {
        ApiKey::Produce => answer_produce(broker, caller, id, body, refusal, out).await,
        ApiKey::Fetch => answer_fetch(broker, caller, id, body, refusal, out).await,
        ApiKey::ApiVersions if !api_versions::is_served(api, caller.version) => {
            // Kafka's own way: the client reads version 0 whatever it asked for, and asks again.
            begin(ApiKey::ApiVersions, 0, id, out);
            let response = api_versions::shown(ErrorCode::UNSUPPORTED_VERSION);
            cold::encode_response::<ApiVersionsRequest>(0, &response, out)?;
            finish(out)?;
            Ok(Answered::Written(None))
        }
        ApiKey::ApiVersions => cold!(api_versions::ApiVersions),
        ApiKey::ListOffsets => cold!(api::list_offsets::ListOffsets),
        ApiKey::Metadata => cold!(api::metadata::Metadata),
        ApiKey::OffsetCommit => cold!(api::offset_commit::OffsetCommit),
        ApiKey::OffsetFetch => cold!(api::offset_fetch::OffsetFetch),
        ApiKey::FindCoordinator => cold!(api::find_coordinator::FindCoordinator),
        ApiKey::JoinGroup => cold!(api::join_group::JoinGroup),
        ApiKey::Heartbeat => cold!(api::heartbeat::Heartbeat),
        ApiKey::LeaveGroup => cold!(api::leave_group::LeaveGroup),
        ApiKey::SyncGroup => cold!(api::sync_group::SyncGroup),
        ApiKey::DescribeGroups => cold!(api::describe_groups::DescribeGroups),
        ApiKey::ListGroups => cold!(api::list_groups::ListGroups),
        ApiKey::CreateTopics => cold!(api::create_topics::CreateTopics),
        ApiKey::DeleteTopics => cold!(api::delete_topics::DeleteTopics),
        ApiKey::DeleteRecords => cold!(api::delete_records::DeleteRecords),
        ApiKey::InitProducerId => cold!(api::init_producer_id::InitProducerId),
        ApiKey::OffsetForLeaderEpoch => cold!(api::offset_for_leader_epoch::OffsetForLeaderEpoch),
        ApiKey::DescribeConfigs => cold!(api::describe_configs::DescribeConfigs),
        ApiKey::AlterConfigs => cold!(api::alter_configs::AlterConfigs),
        ApiKey::DescribeLogDirs => cold!(api::describe_log_dirs::DescribeLogDirs),
        ApiKey::CreatePartitions => cold!(api::create_partitions::CreatePartitions),
        ApiKey::DeleteGroups => cold!(api::delete_groups::DeleteGroups),
        ApiKey::IncrementalAlterConfigs => cold!(api::incremental_alter_configs::IncrementalAlterConfigs),
        ApiKey::OffsetDelete => cold!(api::offset_delete::OffsetDelete),
        ApiKey::DescribeCluster => cold!(api::describe_cluster::DescribeCluster),
        ApiKey::DescribeProducers => cold!(api::describe_producers::DescribeProducers),
        ApiKey::DescribeTopicPartitions => cold!(api::describe_topic_partitions::DescribeTopicPartitions),
        other => Err(WireError::Unsupported { api: other as i16, version: caller.version }.into()),
    }
}

fn begin(api: ApiKey, version: i16, correlation_id: i32, out: &mut OutFrame) {
    out.begin();
    ResponseHeader::new(correlation_id).encode(api, version, out);
}

async fn answer_cold<A: Api>(
    broker: &Arc<Broker>,
    api: ApiKey,
    caller: &Caller,
    correlation_id: i32,
    body: Bytes,
    refusal: Option<ErrorCode>,
    out: &mut OutFrame,
) -> Result<Answered, Ended> {
    let request = cold::decode_request::<A::Request>(caller.version, body)?;
    let response = match refusal {
        Some(code) => A::refuse(caller, &request, code),
        None => A::answer(broker, caller, request).await,
    };
    begin(api, caller.version, correlation_id, out);
    cold::encode_response::<A::Request>(caller.version, &response, out)?;
    finish(out)?;
    // A large answer waits for its share like records do, so that slow readers cannot hold many of them.
    drop(response);
    let share = if out.len() > SMALL_ANSWER_BYTES { broker.answers.take(out.len()).await } else { None };
    Ok(Answered::Written(share))
}

async fn answer_produce(
    broker: &Arc<Broker>,
    caller: &Caller,
    correlation_id: i32,
    body: Bytes,
    refusal: Option<ErrorCode>,
    out: &mut OutFrame,
) -> Result<Answered, Ended> {
    let request = ProduceRequest::decode(caller.version, body)?;
    let produced = match refusal {
        Some(code) => api::produce::refuse(&request, code),
        None => api::produce::answer(broker, caller, request).await,
    };
    match (produced.silent, produced.failed) {
        (true, true) => return Err(Ended::Unacknowledged),
        (true, false) => return Ok(Answered::Silent),
        (false, _) => {}
    }
    begin(ApiKey::Produce, caller.version, correlation_id, out);
    produced.response.encode(caller.version, out)?;
    finish(out)?;
    Ok(Answered::Written(None))
}

async fn answer_fetch(
    broker: &Arc<Broker>,
    caller: &Caller,
    correlation_id: i32,
    body: Bytes,
    refusal: Option<ErrorCode>,
    out: &mut OutFrame,
) -> Result<Answered, Ended> {
    let request = FetchRequest::decode(caller.version, body)?;
    let fetched = match refusal {
        Some(code) => api::fetch::refuse(&request, code),
        None => api::fetch::answer(broker, request).await,
    };
    begin(ApiKey::Fetch, caller.version, correlation_id, out);
    fetched.response.encode(caller.version, out)?;
    finish(out)?;
    Ok(Answered::Written(fetched.share))
}
