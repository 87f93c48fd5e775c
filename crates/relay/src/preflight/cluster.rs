//! The clusters themselves: two different ones, and new enough.

use naru_kafka::client::Lane;
use naru_kafka::wire::ApiKey;

use super::{Look, PreflightError};
use crate::side::{Side, SideMap};
use crate::topics::rules::Severity;

/// What the relay asks of a broker, with the version that it cannot do without.
const NEEDED: &[(ApiKey, i16, &str)] = &[
    (ApiKey::OffsetCommit, 2, "offsets on the standby need a retention of their own"),
    (ApiKey::LeaveGroup, 3, "members that a takeover left behind have to be removed"),
    (ApiKey::CreateTopics, 2, "topics are made on both sides"),
    (ApiKey::CreatePartitions, 0, "partitions are added on both sides"),
    (ApiKey::DeleteRecords, 0, "the log start is moved on both sides"),
    (ApiKey::IncrementalAlterConfigs, 0, "configurations are changed on both sides"),
    (ApiKey::DescribeProducers, 0, "transactional history has to be seen"),
    (ApiKey::OffsetDelete, 0, "offsets are deleted on both sides"),
];

impl Look<'_> {
    pub(super) async fn clusters(&mut self) -> Result<(), PreflightError> {
        let mut ids: SideMap<Option<String>> = SideMap::default();
        for side in Side::BOTH {
            let failed = |source| PreflightError::Side { side, source };
            let cluster = self.clients[side].describe_cluster().await.map_err(failed)?;
            let id = cluster.cluster_id.to_string();
            if let Some(expected) = self.config.side(side).cluster_id.clone().filter(|expected| *expected != id) {
                let what = format!("this is cluster {id}, the configuration names {expected}");
                self.find(Severity::Refusal, None, Some(side), what, None);
            }
            ids[side] = Some(id);
            for broker in &cluster.brokers {
                let connection = self.clients[side].connection(broker, Lane::Control).await.map_err(failed)?;
                for (api, version, why) in NEEDED {
                    let offered = connection.offered().offered(*api as i16);
                    if offered.is_none_or(|(min, max)| *version < min && *version > 0 || *version > max) {
                        let what = format!("{broker} does not offer {} in version {version}: {why}", api.name());
                        self.find(Severity::Refusal, None, Some(side), what, None);
                    }
                }
            }
        }
        if ids.a == ids.b {
            let what = "both sides are the same cluster: a record would be in one place twice".to_owned();
            self.find(Severity::Refusal, None, None, what, None);
        }
        Ok(())
    }
}
