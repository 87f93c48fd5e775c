//! OffsetDelete: offsets that nobody in the group subscribes to.

use std::sync::Arc;

use kafka_protocol::messages::offset_delete_response::{OffsetDeleteResponsePartition, OffsetDeleteResponseTopic};
use kafka_protocol::messages::{OffsetDeleteRequest, OffsetDeleteResponse};

use super::Api;
use crate::standin::server::broker::Broker;
use crate::standin::server::connection::Caller;
use crate::wire::ErrorCode;

pub(crate) struct OffsetDelete;

impl Api for OffsetDelete {
    type Request = OffsetDeleteRequest;

    async fn answer(broker: &Arc<Broker>, caller: &Caller, request: Self::Request) -> OffsetDeleteResponse {
        let asked: Vec<(String, i32)> = request
            .topics
            .iter()
            .flat_map(|t| t.partitions.iter().map(|p| (t.name.as_str().to_owned(), p.partition_index)))
            .collect();
        let mut codes = match broker.coordinator.delete_offsets(&request.group_id, &asked).await {
            Ok(codes) => codes.into_iter(),
            Err(code) => return Self::refuse(caller, &request, code),
        };
        let mut topics = Vec::new();
        for topic in &request.topics {
            let live = broker.topics.get(topic.name.as_str());
            let partitions = topic.partitions.iter().map(|p| {
                let known = live.as_ref().is_some_and(|live| live.partition(p.partition_index).is_some());
                let code = codes.next().unwrap_or_default();
                let code = if known { code } else { ErrorCode::UNKNOWN_TOPIC_OR_PARTITION };
                OffsetDeleteResponsePartition::default().with_partition_index(p.partition_index).with_error_code(code.0)
            });
            let partitions = partitions.collect();
            topics.push(OffsetDeleteResponseTopic::default().with_name(topic.name.clone()).with_partitions(partitions));
        }
        OffsetDeleteResponse::default().with_topics(topics)
    }

    fn refuse(_: &Caller, _: &Self::Request, code: ErrorCode) -> OffsetDeleteResponse {
        OffsetDeleteResponse::default().with_error_code(code.0)
    }
}
