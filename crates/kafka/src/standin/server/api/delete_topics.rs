//! DeleteTopics, by name or identity. Committed offsets go with the topic.

use std::sync::Arc;

use kafka_protocol::messages::delete_topics_response::DeletableTopicResult;
use kafka_protocol::messages::{DeleteTopicsRequest, DeleteTopicsResponse, TopicName};

use super::{Api, text, uuid, words};
use crate::standin::server::broker::Broker;
use crate::standin::server::connection::Caller;
use crate::wire::{ErrorCode, TopicId};

/// From this version on topics may be named by identity.
const IDENTIFIED_FROM: i16 = 6;

pub(crate) struct DeleteTopics;

impl Api for DeleteTopics {
    type Request = DeleteTopicsRequest;

    async fn answer(broker: &Arc<Broker>, caller: &Caller, request: Self::Request) -> DeleteTopicsResponse {
        let mut responses = Vec::new();
        for (name, id) in asked(caller, &request) {
            let found = match &name {
                Some(name) => Ok(name.as_str().to_owned()),
                None => broker.topics.get_by_id(id).map(|t| t.name.clone()).ok_or(ErrorCode::UNKNOWN_TOPIC_ID),
            };
            let one = DeletableTopicResult::default().with_topic_id(uuid(id)).with_name(name);
            let found = match found {
                Ok(found) => found,
                Err(code) => {
                    responses.push(
                        one.with_error_code(code.0)
                            .with_error_message(words("This server does not host this topic ID.")),
                    );
                    continue;
                }
            };
            let forget = broker.coordinator.forget_topic(&found);
            responses.push(match broker.topics.delete(&found, forget).await {
                Ok(topic) => one.with_name(Some(TopicName(text(found.clone())))).with_topic_id(uuid(topic.id)),
                Err(refusal) => one.with_error_code(refusal.code.0).with_error_message(words(&refusal.message)),
            });
        }
        DeleteTopicsResponse::default().with_responses(responses)
    }

    fn refuse(caller: &Caller, request: &Self::Request, code: ErrorCode) -> DeleteTopicsResponse {
        let responses = asked(caller, request).into_iter().map(|(name, id)| {
            DeletableTopicResult::default().with_name(name).with_topic_id(uuid(id)).with_error_code(code.0)
        });
        DeleteTopicsResponse::default().with_responses(responses.collect())
    }
}

fn asked(caller: &Caller, request: &DeleteTopicsRequest) -> Vec<(Option<TopicName>, TopicId)> {
    if caller.version < IDENTIFIED_FROM {
        return request.topic_names.iter().map(|name| (Some(name.clone()), TopicId::NIL)).collect();
    }
    request.topics.iter().map(|t| (t.name.clone(), TopicId(*t.topic_id.as_bytes()))).collect()
}
