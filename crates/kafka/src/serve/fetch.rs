//! Fetch without sessions: every answer says so with session id 0.

use crate::wire::fetch::{FetchPartition, FetchRequest, FetchResponse, FetchedPartition};
use crate::wire::{ErrorCode, RecordData};

/// Sessions are never made, so a client that continues one is told that it is unknown.
pub fn refuse_session(request: &FetchRequest) -> Option<ErrorCode> {
    match (request.session_id, request.session_epoch) {
        (0, -1 | 0) | (_, -1) => None,
        (0, _) => Some(ErrorCode::INVALID_FETCH_SESSION_EPOCH),
        _ => Some(ErrorCode::FETCH_SESSION_ID_NOT_FOUND),
    }
}

/// Refuses a whole request.
pub fn refuse(request: &FetchRequest, code: ErrorCode) -> FetchResponse {
    let mut response = FetchResponse { error: code, ..FetchResponse::default() };
    // Where the version has no code of its own for the whole, the partitions carry it.
    for (topic, partitions) in request.topics.iter() {
        response.topics.push_topic(topic.clone());
        partitions.iter().for_each(|asked| response.topics.push(failed(asked, code)));
    }
    response
}

/// Refuses one partition. Its records are empty, not null: librdkafka takes the whole answer for malformed otherwise.
pub fn failed(asked: &FetchPartition, code: ErrorCode) -> FetchedPartition {
    FetchedPartition {
        partition: asked.partition,
        error: code,
        records: RecordData::Chunks(Vec::new()),
        ..FetchedPartition::default()
    }
}
