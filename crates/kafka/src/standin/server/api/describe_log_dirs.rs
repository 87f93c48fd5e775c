//! DescribeLogDirs: one directory, and what each partition takes in it.

use std::sync::Arc;

use kafka_protocol::messages::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use kafka_protocol::messages::{DescribeLogDirsRequest, DescribeLogDirsResponse, TopicName};

use super::{Api, text};
use crate::standin::server::broker::Broker;
use crate::standin::server::connection::Caller;
use crate::wire::ErrorCode;

pub(crate) struct DescribeLogDirs;

impl Api for DescribeLogDirs {
    type Request = DescribeLogDirsRequest;

    async fn answer(broker: &Arc<Broker>, _: &Caller, request: Self::Request) -> DescribeLogDirsResponse {
        let mut topics = Vec::new();
        for topic in broker.topics.all() {
            let asked = request.topics.as_ref().map(|asked| asked.iter().find(|t| t.topic.as_str() == topic.name));
            let wanted = |index: i32| match &asked {
                None => true,
                Some(topic) => topic.is_some_and(|t| t.partitions.contains(&index)),
            };
            let partitions: Vec<_> = topic
                .partitions
                .iter()
                .filter(|p| wanted(p.index))
                .map(|p| {
                    DescribeLogDirsPartition::default()
                        .with_partition_index(p.index)
                        .with_partition_size(i64::try_from(p.store.size_bytes()).unwrap_or(i64::MAX))
                })
                .collect();
            if !partitions.is_empty() {
                let name = TopicName(text(topic.name.clone()));
                topics.push(DescribeLogDirsTopic::default().with_name(name).with_partitions(partitions));
            }
        }
        let dir = broker.config.data.to_string_lossy().into_owned();
        let result = DescribeLogDirsResult::default()
            .with_log_dir(text(dir))
            .with_topics(topics)
            .with_total_bytes(-1)
            .with_usable_bytes(-1);
        DescribeLogDirsResponse::default().with_results(vec![result])
    }

    fn refuse(_: &Caller, _: &Self::Request, code: ErrorCode) -> DescribeLogDirsResponse {
        DescribeLogDirsResponse::default().with_error_code(code.0)
    }
}
