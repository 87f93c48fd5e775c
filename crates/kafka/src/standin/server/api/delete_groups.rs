//! DeleteGroups: groups without members, with their offsets.

use std::sync::Arc;

use kafka_protocol::messages::delete_groups_response::DeletableGroupResult;
use kafka_protocol::messages::{DeleteGroupsRequest, DeleteGroupsResponse};

use super::Api;
use crate::standin::server::broker::Broker;
use crate::standin::server::connection::Caller;
use crate::wire::ErrorCode;

pub(crate) struct DeleteGroups;

impl Api for DeleteGroups {
    type Request = DeleteGroupsRequest;

    async fn answer(broker: &Arc<Broker>, _: &Caller, request: Self::Request) -> DeleteGroupsResponse {
        let mut results = Vec::new();
        for id in request.groups_names {
            let code = broker.coordinator.delete(&id).await.err().unwrap_or_default();
            results.push(DeletableGroupResult::default().with_group_id(id).with_error_code(code.0));
        }
        DeleteGroupsResponse::default().with_results(results)
    }

    fn refuse(_: &Caller, request: &Self::Request, code: ErrorCode) -> DeleteGroupsResponse {
        let results = request
            .groups_names
            .iter()
            .map(|id| DeletableGroupResult::default().with_group_id(id.clone()).with_error_code(code.0));
        DeleteGroupsResponse::default().with_results(results.collect())
    }
}
