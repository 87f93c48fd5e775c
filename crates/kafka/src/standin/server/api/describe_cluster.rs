//! DescribeCluster: one node.

use std::sync::Arc;

use kafka_protocol::messages::describe_cluster_response::DescribeClusterBroker;
use kafka_protocol::messages::{BrokerId, DescribeClusterRequest, DescribeClusterResponse};

use super::{Api, OPERATIONS_NOT_ASKED, text, words};
use crate::standin::server::broker::Broker;
use crate::standin::server::connection::Caller;
use crate::wire::ErrorCode;

const BROKERS: i8 = 1;

pub(crate) struct DescribeCluster;

impl Api for DescribeCluster {
    type Request = DescribeClusterRequest;

    async fn answer(broker: &Arc<Broker>, caller: &Caller, request: Self::Request) -> DescribeClusterResponse {
        if caller.version >= 1 && request.endpoint_type != BROKERS {
            return Self::refuse(caller, &request, ErrorCode::MISMATCHED_ENDPOINT_TYPE)
                .with_error_message(words("This is a broker's endpoint."));
        }
        let (host, port) = broker.endpoint(caller);
        let node = BrokerId(broker.config.node_id);
        DescribeClusterResponse::default()
            .with_cluster_id(text(broker.cluster_id.clone()))
            .with_controller_id(node)
            .with_brokers(vec![DescribeClusterBroker::default().with_broker_id(node).with_host(host).with_port(port)])
            .with_cluster_authorized_operations(OPERATIONS_NOT_ASKED)
    }

    fn refuse(_: &Caller, _: &Self::Request, code: ErrorCode) -> DescribeClusterResponse {
        DescribeClusterResponse::default()
            .with_error_code(code.0)
            .with_controller_id(BrokerId(-1))
            .with_cluster_authorized_operations(OPERATIONS_NOT_ASKED)
    }
}
