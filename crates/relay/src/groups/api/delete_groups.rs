//! DeleteGroups: the group on the active side, its offsets on both.

use naru_kafka::serve::messages::delete_groups_response::DeletableGroupResult;
use naru_kafka::serve::messages::{DeleteGroupsRequest, DeleteGroupsResponse};
use naru_kafka::wire::ErrorCode;

use super::{COMMIT_WAIT_MAX, check_ready, mirror, of_active};
use crate::accept::Call;
use crate::accept::api::once;
use crate::accept::dispatch::Api;
use crate::groups::carry::Job;
use crate::relay::Relay;

pub(crate) struct DeleteGroups;

impl Api for DeleteGroups {
    type Request = DeleteGroupsRequest;

    async fn answer(call: &mut Call<'_>, request: Self::Request) -> DeleteGroupsResponse {
        let mut results = Vec::with_capacity(request.groups_names.len());
        for group in once(request.groups_names, Clone::clone) {
            let code = delete(call.relay, &group).await.err().unwrap_or(ErrorCode::NONE);
            results.push(DeletableGroupResult::default().with_group_id(group).with_error_code(code.0));
        }
        DeleteGroupsResponse::default().with_results(results)
    }
}

async fn delete(relay: &std::sync::Arc<Relay>, group: &str) -> Result<(), ErrorCode> {
    let mirror = mirror(relay, group);
    check_ready(mirror, group)?;
    let offsets = of_active(mirror, |side| {
        let client = mirror.client(side).clone();
        async move { client.committed_offsets(group, None).await }
    });
    let places: Vec<_> = offsets.await?.into_iter().map(|found| found.at).collect();
    let changes = places.iter().map(|place| (place.clone(), None)).collect();
    mirror.group(group)?.change(Job::DeleteGroup(places), changes, COMMIT_WAIT_MAX).await.map(drop)
}
