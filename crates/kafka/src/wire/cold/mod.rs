//! The messages that are not on the record path: `kafka-protocol` reads and writes them, behind a guard.
//!
//! That decoder reserves memory for whatever count it reads. So every message is first walked by its declared shape,
//! which allocates nothing, and only one whose every length and count is true is given to it.

mod requests;
mod responses;
mod shape;
#[cfg(test)]
pub(super) mod tests;

use bytes::Bytes;
use kafka_protocol::protocol::{Decodable, Encodable, Message, Request};

use crate::wire::{ApiKey, OutFrame, WireError};
use shape::Field;

/// Elements of variable size (structures, strings, unknown tags) in one request. The decoder takes up to some 400
/// bytes for one that is two bytes on the wire; this keeps a request below 40 MiB. The largest honest one, a commit of
/// offsets, has one per partition.
pub const REQUEST_ELEMENTS_MAX: usize = 100_000;

/// The same for an answer: metadata of a large cluster has one per partition and more.
pub const RESPONSE_ELEMENTS_MAX: usize = 1_000_000;

/// Which way a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// To a broker.
    Request,
    /// From a broker.
    Response,
}

macro_rules! declared {
    ($($api:ident = $shape:ident,)*) => {
        fn declared(api: ApiKey, direction: Direction) -> Option<&'static [Field]> {
            match (api, direction) {
                $(
                    (ApiKey::$api, Direction::Request) => Some(requests::$shape),
                    (ApiKey::$api, Direction::Response) => Some(responses::$shape),
                )*
                // Own code reads these.
                (ApiKey::Produce | ApiKey::Fetch, _) => None,
            }
        }
    };
}

declared! {
    ListOffsets = LIST_OFFSETS,
    Metadata = METADATA,
    OffsetCommit = OFFSET_COMMIT,
    OffsetFetch = OFFSET_FETCH,
    FindCoordinator = FIND_COORDINATOR,
    JoinGroup = JOIN_GROUP,
    Heartbeat = HEARTBEAT,
    LeaveGroup = LEAVE_GROUP,
    SyncGroup = SYNC_GROUP,
    DescribeGroups = DESCRIBE_GROUPS,
    ListGroups = LIST_GROUPS,
    SaslHandshake = SASL_HANDSHAKE,
    ApiVersions = API_VERSIONS,
    CreateTopics = CREATE_TOPICS,
    DeleteTopics = DELETE_TOPICS,
    DeleteRecords = DELETE_RECORDS,
    InitProducerId = INIT_PRODUCER_ID,
    OffsetForLeaderEpoch = OFFSET_FOR_LEADER_EPOCH,
    DescribeAcls = DESCRIBE_ACLS,
    CreateAcls = CREATE_ACLS,
    DeleteAcls = DELETE_ACLS,
    DescribeConfigs = DESCRIBE_CONFIGS,
    AlterConfigs = ALTER_CONFIGS,
    DescribeLogDirs = DESCRIBE_LOG_DIRS,
    SaslAuthenticate = SASL_AUTHENTICATE,
    CreatePartitions = CREATE_PARTITIONS,
    DeleteGroups = DELETE_GROUPS,
    IncrementalAlterConfigs = INCREMENTAL_ALTER_CONFIGS,
    OffsetDelete = OFFSET_DELETE,
    DescribeCluster = DESCRIBE_CLUSTER,
    DescribeProducers = DESCRIBE_PRODUCERS,
    DescribeTopicPartitions = DESCRIBE_TOPIC_PARTITIONS,
}

/// Walks a body by its declared shape: every length and count must be true. Allocates nothing. The decoding functions
/// call it; a proxy may call it alone.
///
/// What follows the end of a request is ignored, as Kafka does: librdkafka 2.16 puts three bytes there when it asks for
/// every topic. Nothing may follow the end of an answer.
pub fn guard(api: ApiKey, direction: Direction, version: i16, body: &[u8]) -> Result<(), WireError> {
    let unsupported = WireError::Unsupported { api: api as i16, version };
    let Some(shape) = declared(api, direction).filter(|_| api.supports(version)) else { return Err(unsupported) };
    let elements_max = match direction {
        Direction::Request => REQUEST_ELEMENTS_MAX,
        Direction::Response => RESPONSE_ELEMENTS_MAX,
    };
    match shape::walk(shape, version, api.is_flexible(version), body, elements_max)? {
        0 => Ok(()),
        _ if direction == Direction::Request => Ok(()),
        left => Err(WireError::Trailing { field: "message", left }),
    }
}

/// Reads the body of a request.
pub fn decode_request<T: Request>(version: i16, body: Bytes) -> Result<T, WireError> {
    decode(T::KEY, Direction::Request, version, body)
}

/// Reads the body of the answer to a request of type `T`.
pub fn decode_response<T: Request>(version: i16, body: Bytes) -> Result<T::Response, WireError> {
    decode(T::KEY, Direction::Response, version, body)
}

/// Writes the body of a request.
pub fn encode_request<T: Request>(version: i16, request: &T, out: &mut OutFrame) -> Result<(), WireError> {
    encode(version, request, out)
}

/// Writes the body of the answer to a request of type `T`.
pub fn encode_response<T: Request>(version: i16, response: &T::Response, out: &mut OutFrame) -> Result<(), WireError> {
    encode(version, response, out)
}

fn decode<M: Decodable>(key: i16, direction: Direction, version: i16, mut body: Bytes) -> Result<M, WireError> {
    let api = ApiKey::from_i16(key).ok_or(WireError::Unsupported { api: key, version })?;
    guard(api, direction, version, &body)?;
    M::decode(&mut body, version).map_err(|_| WireError::Malformed { api: key, version })
}

/// `kafka-protocol` refuses to write a message with a field that the version does not have; what it had written by
/// then is taken back.
fn encode<M: Encodable + Message>(version: i16, message: &M, out: &mut OutFrame) -> Result<(), WireError> {
    let start = out.tail().len();
    message.encode(out.tail(), version).map_err(|_| {
        out.tail().truncate(start);
        WireError::Unwritable { field: std::any::type_name::<M>(), version }
    })
}
