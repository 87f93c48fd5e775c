//! DescribeCluster: this relay is the one broker.

use naru_kafka::serve::messages::describe_cluster_response::DescribeClusterBroker;
use naru_kafka::serve::messages::{BrokerId, DescribeClusterRequest, DescribeClusterResponse};
use naru_kafka::wire::ErrorCode;

use super::{OPERATIONS_NOT_ASKED, text};
use crate::accept::Call;
use crate::accept::dispatch::Api;

const BROKERS: i8 = 1;

pub(crate) struct DescribeCluster;

impl Api for DescribeCluster {
    type Request = DescribeClusterRequest;

    async fn answer(call: &mut Call<'_>, request: Self::Request) -> DescribeClusterResponse {
        let answer = DescribeClusterResponse::default().with_cluster_authorized_operations(OPERATIONS_NOT_ASKED);
        if call.version >= 1 && request.endpoint_type != BROKERS {
            return answer
                .with_error_code(ErrorCode::MISMATCHED_ENDPOINT_TYPE.0)
                .with_error_message(Some(text("This is a broker's endpoint.")))
                .with_controller_id(BrokerId(-1));
        }
        let relay = call.relay;
        let (host, port) = relay.endpoint(call.session.local);
        let node = DescribeClusterBroker::default()
            .with_broker_id(BrokerId(relay.config.node_id))
            .with_host(text(host))
            .with_port(i32::from(port));
        answer
            .with_cluster_id(text(relay.cluster_id.clone()))
            .with_controller_id(BrokerId(relay.config.node_id))
            .with_brokers(vec![node])
    }
}
