//! What a caller may not do is taken out of its request before that is carried out, and answered with Kafka's code.
//!
//! Every request that is served says here what it needs ([`Permitted`] is a condition of being served), so that no
//! handler can forget to ask. Produce and Fetch, whose messages are not decoded whole, ask where they look topics up.

mod configs;
mod describe;
mod groups;
mod topics;

use std::sync::Arc;

use naru_kafka::serve::messages::{
    ApiVersionsRequest, DescribeClusterRequest, Request, SaslAuthenticateRequest, SaslHandshakeRequest,
};
use naru_kafka::wire::{ErrorCode, TopicId};

use crate::relay::Relay;
use crate::security::{Caller, Operation, Resource};

/// Puts what was taken out into the answer.
pub(crate) type Restore<R> = Box<dyn FnOnce(&mut <R as Request>::Response) + Send>;

/// Kafka's codes for who may not.
const TOPIC_DENIED: i16 = ErrorCode::TOPIC_AUTHORIZATION_FAILED.0;
const GROUP_DENIED: i16 = ErrorCode::GROUP_AUTHORIZATION_FAILED.0;
const CLUSTER_DENIED: i16 = ErrorCode::CLUSTER_AUTHORIZATION_FAILED.0;

/// Who asks, and of whom.
#[derive(Debug, Clone)]
pub(crate) struct Asking {
    pub(crate) caller: Arc<Caller>,
    pub(crate) relay: Arc<Relay>,
    pub(crate) version: i16,
}

impl Asking {
    fn topic(&self, operation: Operation, name: &str) -> bool {
        self.caller.may(operation, Resource::Topic(name))
    }

    fn group(&self, operation: Operation, name: &str) -> bool {
        self.caller.may(operation, Resource::Group(name))
    }

    /// A topic by its identity. One that is not there is nobody's secret.
    fn topic_by_id(&self, operation: Operation, id: [u8; 16]) -> bool {
        let found = self.relay.served.by_id(TopicId(id));
        found.is_none_or(|topic| self.topic(operation, &topic.name))
    }
}

/// A request whose parts can be permitted one by one.
pub(crate) trait Permitted: Request {
    /// Takes out what is not permitted. None: there is nothing to put back.
    fn withhold(&mut self, asking: &Asking) -> Option<Restore<Self>>;
}

/// Takes out of a list what is not kept.
fn split<T>(items: &mut Vec<T>, keep: impl Fn(&T) -> bool) -> Vec<T> {
    items.extract_if(.., |item| !keep(item)).collect()
}

/// Needs nothing but to be known, or not even that.
macro_rules! for_everybody {
    ($($request:ident),*) => {
        $(impl Permitted for $request {
            fn withhold(&mut self, _: &Asking) -> Option<Restore<Self>> {
                None
            }
        })*
    };
}

for_everybody!(ApiVersionsRequest, DescribeClusterRequest, SaslAuthenticateRequest, SaslHandshakeRequest);
