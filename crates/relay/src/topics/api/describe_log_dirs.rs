//! DescribeLogDirs: one directory with every partition, of no size: the records are in the clusters behind the relay.

use naru_kafka::serve::messages::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use naru_kafka::serve::messages::{DescribeLogDirsRequest, DescribeLogDirsResponse, TopicName};

use crate::accept::Call;
use crate::accept::api::text;
use crate::accept::dispatch::Api;

/// The name of the directory.
const DIRECTORY: &str = "relay";

pub(crate) struct DescribeLogDirs;

impl Api for DescribeLogDirs {
    type Request = DescribeLogDirsRequest;

    async fn answer(call: &mut Call<'_>, request: Self::Request) -> DescribeLogDirsResponse {
        let mut topics = Vec::new();
        for topic in call.relay.served.all() {
            let asked =
                request.topics.as_ref().map(|asked| asked.iter().find(|one| one.topic.as_str() == &*topic.name));
            let wanted = |index: i32| match &asked {
                None => true,
                Some(asked) => asked.is_some_and(|asked| asked.partitions.contains(&index)),
            };
            let indexes =
                topic.partitions.iter().map(|partition| partition.at().partition).filter(|index| wanted(*index));
            let partitions: Vec<_> =
                indexes.map(|index| DescribeLogDirsPartition::default().with_partition_index(index)).collect();
            if !partitions.is_empty() {
                let name = TopicName(text(topic.name.to_string()));
                topics.push(DescribeLogDirsTopic::default().with_name(name).with_partitions(partitions));
            }
        }
        let result = DescribeLogDirsResult::default()
            .with_log_dir(text(DIRECTORY))
            .with_topics(topics)
            .with_total_bytes(-1)
            .with_usable_bytes(-1);
        DescribeLogDirsResponse::default().with_results(vec![result])
    }
}
