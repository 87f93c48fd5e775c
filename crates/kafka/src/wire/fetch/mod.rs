//! Fetch, versions 4 to 18.

mod request;
mod response;

pub use request::{FetchPartition, FetchRequest, ForgottenTopic, ReplicaState};
pub use response::{AbortedTransaction, EpochEndOffset, FetchResponse, FetchedPartition, SnapshotId};

use crate::wire::{ApiKey, WireError};

/// The first version that names topics by identity.
const IDENTIFIED_FROM: i16 = 13;

fn flexible(version: i16) -> Result<bool, WireError> {
    if !ApiKey::Fetch.supports(version) {
        return Err(WireError::Unsupported { api: ApiKey::Fetch as i16, version });
    }
    Ok(ApiKey::Fetch.is_flexible(version))
}
