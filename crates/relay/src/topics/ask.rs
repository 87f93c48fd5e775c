//! Requests to a side about topics that the client of the log has no call for: as another relay's client asked them.

use naru_kafka::client::admin::ConfigChange;
use naru_kafka::client::{CallOptions, Client, ClientError, Connection, Lane};
use naru_kafka::serve::messages::create_partitions_request::CreatePartitionsTopic;
use naru_kafka::serve::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use naru_kafka::serve::messages::{CreatePartitionsRequest, IncrementalAlterConfigsRequest, Request, TopicName};
use naru_kafka::wire::{ErrorCode, StrBytes};

use super::record::Change;
use super::registry::AdminError;
use crate::side::Side;

/// DescribeConfigs and its relatives: a topic.
pub(super) const TOPIC: i8 = 2;
/// The same: a broker.
pub(super) const BROKER: i8 = 4;

const SET: i8 = 0;
const DELETE: i8 = 1;

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// A connection to the broker that changes topics, or to the one that hands changes on to it.
async fn controller(client: &Client) -> Result<Connection, ClientError> {
    let cluster = client.describe_cluster().await?;
    let controller = cluster.brokers.iter().find(|broker| broker.node_id == cluster.controller);
    // A cluster that answers has a broker.
    match controller.or(cluster.brokers.first()) {
        Some(broker) => client.connection(broker, Lane::Control).await,
        None => Err(ClientError::ShutDown),
    }
}

/// One request, in at most this version. Sent once.
pub(super) async fn ask<R: Request>(
    client: &Client,
    about: &str,
    request: &R,
    version_max: i16,
) -> Result<R::Response, ClientError> {
    let options = CallOptions::about(about).versions(0, version_max);
    controller(client).await?.call_with(request, &options).await
}

fn checked(side: Side, code: i16, message: Option<&StrBytes>) -> Result<(), AdminError> {
    if code == 0 {
        return Ok(());
    }
    let code = ErrorCode(code);
    let said = message.map_or(code.name(), |message| message.as_str());
    Err(AdminError::refused(code, format!("side {side}: {said}")))
}

/// Whether a side would add partitions.
pub(super) async fn validate_growth(side: Side, client: &Client, topic: &str, to: i32) -> Result<(), AdminError> {
    let wanted =
        CreatePartitionsTopic::default().with_name(TopicName(text(topic))).with_count(to).with_assignments(None);
    let request = CreatePartitionsRequest::default()
        .with_topics(vec![wanted])
        .with_timeout_ms(VALIDATION_MS)
        .with_validate_only(true);
    let answer = ask(client, topic, &request, i16::MAX).await.map_err(|source| AdminError::Side { side, source })?;
    answer.results.iter().try_for_each(|result| checked(side, result.error_code, result.error_message.as_ref()))
}

/// How long a side may work on a question that changes nothing, milliseconds.
const VALIDATION_MS: i32 = 5_000;

/// Whether a side would change configurations.
pub(super) async fn validate_change(
    side: Side,
    client: &Client,
    topic: &str,
    changes: &[Change],
) -> Result<(), AdminError> {
    let change = |change: &Change| match ConfigChange::from(change) {
        ConfigChange::Set(name, value) => {
            AlterableConfig::default().with_name(text(&name)).with_config_operation(SET).with_value(Some(text(&value)))
        }
        ConfigChange::Unset(name) => {
            AlterableConfig::default().with_name(text(&name)).with_config_operation(DELETE).with_value(None)
        }
    };
    let resource = AlterConfigsResource::default()
        .with_resource_type(TOPIC)
        .with_resource_name(text(topic))
        .with_configs(changes.iter().map(change).collect());
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]).with_validate_only(true);
    let answer = ask(client, topic, &request, i16::MAX).await.map_err(|source| AdminError::Side { side, source })?;
    answer.responses.iter().try_for_each(|result| checked(side, result.error_code, result.error_message.as_ref()))
}
