//! DeleteTopics: on both sides, as one intent.

use std::sync::Arc;

use naru_kafka::serve::messages::delete_topics_response::DeletableTopicResult;
use naru_kafka::serve::messages::{DeleteTopicsRequest, DeleteTopicsResponse, TopicName};
use naru_kafka::wire::{ErrorCode, TopicId};

use super::told;
use crate::accept::Call;
use crate::accept::api::{text, uuid};
use crate::accept::dispatch::Api;
use crate::relay::Relay;
use crate::topics::registry::AdminError;
use crate::topics::show::{needed, show};

/// From this version on topics may be named by their identity.
const IDENTITIES_FROM: i16 = 6;

pub(crate) struct DeleteTopics;

impl Api for DeleteTopics {
    type Request = DeleteTopicsRequest;

    async fn answer(call: &mut Call<'_>, request: Self::Request) -> DeleteTopicsResponse {
        let named = request.topic_names.into_iter().map(|name| (Some(name), TopicId::NIL));
        let topics = request.topics.into_iter().map(|topic| (topic.name, TopicId(*topic.topic_id.as_bytes())));
        let mut responses = Vec::new();
        for (name, id) in named.chain(topics) {
            let found = match &name {
                Some(name) => relay_topic(call.relay, name),
                None => call.relay.topics.by_id(id).map(|record| (record.name, record.id)),
            };
            let shown = found.as_ref().map(|(name, _)| TopicName(text(name.to_string()))).or(name.clone());
            let mut response = DeletableTopicResult::default().with_name(shown);
            if call.version >= IDENTITIES_FROM {
                response.topic_id = uuid(found.as_ref().map_or(id, |(_, id)| *id));
            }
            let deleted = match found {
                Some((name, _)) => delete(call.relay, &name).await,
                None if name.is_none() => {
                    Err(AdminError::refused(ErrorCode::UNKNOWN_TOPIC_ID, "There is no topic with this id."))
                }
                None => Err(AdminError::refused(
                    ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
                    "This server does not host this topic-partition.",
                )),
            };
            responses.push(match deleted {
                Ok(()) => response,
                Err(error) => {
                    let (code, words) = told(name.as_ref().map_or("", |name| name.as_str()), &error);
                    response.error_code = code;
                    if call.version >= 5 {
                        response.error_message = words;
                    }
                    response
                }
            });
        }
        DeleteTopicsResponse::default().with_responses(responses)
    }
}

fn relay_topic(relay: &Relay, name: &str) -> Option<(Arc<str>, TopicId)> {
    relay.topics.get(name).map(|record| (record.name, record.id))
}

async fn delete(relay: &Arc<Relay>, name: &str) -> Result<(), AdminError> {
    // First, so that no partition takes what happens to its topic for the loss of a side.
    relay.served.remove(name);
    let deleted = relay.topics.delete(name, needed(relay, name)).await;
    // Back again, if the intent could not be written down.
    show(relay);
    deleted
}
