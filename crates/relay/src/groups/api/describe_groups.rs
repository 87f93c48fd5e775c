//! DescribeGroups: as the active side knows them.

use naru_kafka::serve::messages::describe_groups_response::DescribedGroup;
use naru_kafka::serve::messages::{DescribeGroupsRequest, DescribeGroupsResponse, GroupId};
use naru_kafka::wire::ErrorCode;

use super::{check_ready, mirror, of_active};
use crate::accept::Call;
use crate::accept::api::once;
use crate::accept::dispatch::Api;
use crate::groups::carry::ask;
use crate::relay::Relay;

pub(crate) struct DescribeGroups;

impl Api for DescribeGroups {
    type Request = DescribeGroupsRequest;

    async fn answer(call: &mut Call<'_>, request: Self::Request) -> DescribeGroupsResponse {
        let mut groups = Vec::with_capacity(request.groups.len());
        for group in once(request.groups, Clone::clone) {
            let described = describe(call.relay, call.version, &group, request.include_authorized_operations).await;
            groups.push(
                described.unwrap_or_else(|code| DescribedGroup::default().with_group_id(group).with_error_code(code.0)),
            );
        }
        DescribeGroupsResponse::default().with_groups(groups)
    }
}

async fn describe(
    relay: &std::sync::Arc<Relay>,
    version: i16,
    group: &GroupId,
    operations: bool,
) -> Result<DescribedGroup, ErrorCode> {
    let mirror = mirror(relay, group);
    check_ready(mirror, group)?;
    let request = DescribeGroupsRequest::default()
        .with_groups(vec![group.clone()])
        .with_include_authorized_operations(operations);
    let answer = of_active(mirror, |side| {
        let client = mirror.client(side).clone();
        // In the client's own version: a field that it does not have could not be written.
        async move { ask(&client, group, &request, (0, version)).await }
    });
    answer.await?.groups.pop().ok_or(ErrorCode::COORDINATOR_NOT_AVAILABLE)
}
