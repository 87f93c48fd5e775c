//! One file per message of a group's coordinator.

pub(crate) mod delete_groups;
pub(crate) mod describe_groups;
pub(crate) mod list_groups;
pub(crate) mod members;
pub(crate) mod offset_commit;
pub(crate) mod offset_delete;
pub(crate) mod offset_fetch;

use std::sync::Arc;
use std::time::Duration;

use naru_kafka::client::{ClientError, TopicPartition};
use naru_kafka::wire::ErrorCode;

use super::Mirror;
use super::carry::has_moved;
use crate::relay::Relay;
use crate::side::Side;

/// Longest that a commit waits for both sides: it keeps its connection, and with it the client's heartbeats, from being
/// served. Session time-outs begin at 6 s.
const COMMIT_WAIT_MAX: Duration = Duration::from_secs(3);

fn mirror<'a>(relay: &'a Arc<Relay>, group: &str) -> &'a Mirror {
    &relay.group_of_consumers(group).mirror
}

/// Whether the group may be used now: its active side holds all that was acknowledged, and may be asked alone.
fn check_ready(mirror: &Mirror, group: &str) -> Result<(), ErrorCode> {
    if mirror.group(group)?.status().view.ready && mirror.may_ask() {
        Ok(())
    } else {
        Err(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS)
    }
}

/// Asks the active side, for as long as it is that: after a takeover its clients look for their coordinator again.
async fn of_active<T, F>(mirror: &Mirror, ask: impl FnOnce(Side) -> F) -> Result<T, ErrorCode>
where
    F: Future<Output = Result<T, ClientError>>,
{
    let mut announced = mirror.watch();
    let side = announced.borrow_and_update().held.active;
    tokio::select! {
        answer = ask(side) => answer.map_err(|error| {
            tracing::debug!(%side, error = &error as &dyn std::error::Error, "a side does not answer for a consumer group");
            code_of(&error)
        }),
        // The sender lives as long as the relay.
        _ = announced.wait_for(|announced| announced.held.active != side) => Err(ErrorCode::NOT_COORDINATOR),
    }
}

/// What a client is told when a side answered with an error, or not at all.
fn code_of(error: &ClientError) -> ErrorCode {
    match error.code() {
        // What a broker says of itself is not about the relay, which stays where it is.
        Some(code) if !has_moved(code) => code,
        _ => ErrorCode::COORDINATOR_NOT_AVAILABLE,
    }
}

/// Whether clients see this partition. What they do not see has no offsets: the other side may not have it.
fn is_served(relay: &Relay, at: &TopicPartition) -> bool {
    relay.served.get(&at.topic).is_some_and(|topic| topic.partition(at.partition).is_some())
}
