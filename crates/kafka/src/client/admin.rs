//! Topics, configurations, producers: what a relay has to set up, look at and take down.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use kafka_protocol::{
    messages::{
        CreatePartitionsRequest, CreateTopicsRequest, DeleteRecordsRequest, DeleteTopicsRequest,
        DescribeClusterRequest, DescribeConfigsRequest, DescribeProducersRequest, IncrementalAlterConfigsRequest,
        InitProducerIdRequest, ProducerId,
        create_partitions_request::CreatePartitionsTopic,
        create_topics_request::{CreatableTopic, CreatableTopicConfig},
        delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic},
        describe_configs_request::DescribeConfigsResource,
        describe_producers_request::TopicRequest,
        incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig},
    },
    protocol::StrBytes,
};

use super::{
    Asked, Broker, CallOptions, Client, ClientError, Connection, Lane, Outcome, TopicPartition, config::join_address,
    leaders::by_topic, offsets::answers,
};
use crate::wire::{ApiKey, ErrorCode, TopicId};

/// How long a broker may work on a change before it answers. As the Java client's.
const CHANGE_WAIT: Duration = Duration::from_secs(30);

/// A topic to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTopic {
    /// Its name.
    pub name: String,
    /// How many partitions.
    pub partitions: i32,
    /// How many replicas of each; -1 leaves it to the broker.
    pub replication: i16,
    /// Its configuration where it differs from the broker's.
    pub configs: BTreeMap<String, String>,
}

impl NewTopic {
    /// With the broker's replication and configuration.
    pub fn new(name: impl Into<String>, partitions: i32) -> Self {
        Self { name: name.into(), partitions, replication: -1, configs: BTreeMap::new() }
    }

    /// Sets a configuration.
    pub fn config(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.configs.insert(name.into(), value.into());
        self
    }
}

/// The cluster as its brokers describe it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// Its id.
    pub cluster_id: Arc<str>,
    /// The controller's node id, or the one to turn to.
    pub controller: Option<i32>,
    /// Live brokers.
    pub brokers: Vec<Broker>,
}

/// What a configuration belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigOwner {
    /// A topic.
    Topic(String),
    /// A broker, by node id.
    Broker(i32),
}

impl ConfigOwner {
    fn on_the_wire(&self) -> (i8, StrBytes) {
        match self {
            Self::Topic(name) => (2, named(name)),
            Self::Broker(id) => (4, StrBytes::from_string(id.to_string())),
        }
    }
}

impl std::fmt::Display for ConfigOwner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Topic(name) => write!(f, "topic {name}"),
            Self::Broker(id) => write!(f, "broker {id}"),
        }
    }
}

/// One configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigEntry {
    /// Its name.
    pub name: String,
    /// Its value; brokers withhold sensitive ones.
    pub value: Option<String>,
    /// Whether it is the default, at whatever level.
    pub is_default: bool,
    /// Whether it cannot be changed while the broker runs.
    pub read_only: bool,
}

/// A change to one configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigChange {
    /// Sets a value.
    Set(String, String),
    /// Back to the default.
    Unset(String),
}

/// What a partition's leader remembers of a producer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducerState {
    /// Its id.
    pub producer_id: i64,
    /// Its latest epoch.
    pub epoch: i32,
    /// The sequence of its last record.
    pub last_sequence: i32,
    /// The time inside its last batch, in milliseconds.
    pub last_timestamp_ms: i64,
    /// Where its open transaction began.
    pub transaction_start: Option<i64>,
}

fn named(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn change_wait_ms() -> i32 {
    i32::try_from(CHANGE_WAIT.as_millis()).unwrap_or(i32::MAX)
}

/// The one result in an answer about one thing.
fn only(connection: &Connection, asked: Asked, result: Option<(i16, Option<StrBytes>)>) -> Result<(), ClientError> {
    match result {
        None => Err(connection.incomplete(asked, "a result")),
        Some((0, _)) => Ok(()),
        Some((code, message)) => Err(connection.answered_error(asked, ErrorCode(code), message.as_ref())),
    }
}

impl Client {
    /// Runs a change on the controller, or the broker that stands in for it. Tried again, within the bound on
    /// attempts, only if it was not done.
    async fn change<T>(
        &self,
        mut run: impl AsyncFnMut(Connection) -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        let mut retry = self.retry();
        loop {
            let result = match self.controller_connection().await {
                Ok(connection) => run(connection).await,
                Err(error) => Err(error),
            };
            match result {
                Ok(value) => return Ok(value),
                Err(error) if error.outcome() == Outcome::Unknown => return Err(error),
                Err(error) => retry.wait(error).await?,
            }
        }
    }

    async fn controller_connection(&self) -> Result<Connection, ClientError> {
        let metadata = self.metadata(Some(&[])).await?;
        let controller = metadata.brokers.iter().find(|broker| broker.node_id == metadata.controller);
        let broker = controller.or(metadata.brokers.first()).ok_or_else(|| ClientError::NoBroker {
            asked: Asked::about(ApiKey::Metadata, "the controller"),
            attempts: 1,
        })?;
        self.connection(broker, Lane::Control).await
    }

    /// The cluster's id, controller and brokers.
    pub async fn describe_cluster(&self) -> Result<Cluster, ClientError> {
        let asked = Asked::api(ApiKey::DescribeCluster);
        self.on_any_broker(asked.clone(), async |connection| {
            let answer = connection.call(&DescribeClusterRequest::default()).await?;
            only(&connection, asked.clone(), Some((answer.error_code, answer.error_message)))?;
            let brokers = answer.brokers.iter().map(|broker| Broker {
                address: Arc::from(join_address(&broker.host, broker.port)),
                node_id: Some(broker.broker_id.0),
            });
            Ok(Cluster {
                cluster_id: Arc::from(answer.cluster_id.as_str()),
                controller: (answer.controller_id.0 >= 0).then_some(answer.controller_id.0),
                brokers: brokers.collect(),
            })
        })
        .await
    }

    /// Makes a topic, or (`validate_only`) says whether it could be made. Gives its identity, nil from brokers that
    /// do not tell. Its partitions may have no leader yet when this returns.
    pub async fn create_topic(&self, topic: &NewTopic, validate_only: bool) -> Result<TopicId, ClientError> {
        let config = |(name, value): (&String, &String)| {
            CreatableTopicConfig::default().with_name(named(name)).with_value(Some(named(value)))
        };
        let wanted = CreatableTopic::default()
            .with_name(named(&topic.name).into())
            .with_num_partitions(topic.partitions)
            .with_replication_factor(topic.replication)
            .with_configs(topic.configs.iter().map(config).collect());
        let request = CreateTopicsRequest::default()
            .with_topics(vec![wanted])
            .with_timeout_ms(change_wait_ms())
            .with_validate_only(validate_only);
        let options = CallOptions::about(&topic.name).broker_wait(CHANGE_WAIT);
        let made = self
            .change(async |connection| {
                let mut answer = connection.call_with(&request, &options).await?;
                let result = answer.topics.pop();
                let id = result.as_ref().map_or(TopicId::NIL, |result| TopicId::from(result.topic_id));
                let asked = Asked::about(ApiKey::CreateTopics, &topic.name);
                only(&connection, asked, result.map(|result| (result.error_code, result.error_message)))?;
                Ok(id)
            })
            .await?;
        self.forget_leaders(&topic.name);
        Ok(made)
    }

    /// Deletes a topic by its name.
    pub async fn delete_topic(&self, name: &str) -> Result<(), ClientError> {
        let request =
            DeleteTopicsRequest::default().with_topic_names(vec![named(name).into()]).with_timeout_ms(change_wait_ms());
        // From version 6 the request has another shape, for identities.
        let options = CallOptions::about(name).broker_wait(CHANGE_WAIT).versions(1, 5);
        self.change(async |connection| {
            let mut answer = connection.call_with(&request, &options).await?;
            let result = answer.responses.pop().map(|result| (result.error_code, result.error_message));
            only(&connection, Asked::about(ApiKey::DeleteTopics, name), result)
        })
        .await?;
        self.forget_leaders(name);
        Ok(())
    }

    /// Raises a topic's number of partitions to `count`.
    pub async fn create_partitions(&self, name: &str, count: i32) -> Result<(), ClientError> {
        let topic =
            CreatePartitionsTopic::default().with_name(named(name).into()).with_count(count).with_assignments(None);
        let request = CreatePartitionsRequest::default().with_topics(vec![topic]).with_timeout_ms(change_wait_ms());
        let options = CallOptions::about(name).broker_wait(CHANGE_WAIT);
        self.change(async |connection| {
            let mut answer = connection.call_with(&request, &options).await?;
            let result = answer.results.pop().map(|result| (result.error_code, result.error_message));
            only(&connection, Asked::about(ApiKey::CreatePartitions, name), result)
        })
        .await?;
        self.forget_leaders(name);
        Ok(())
    }

    /// Moves the log start up to an offset (`None`: to the high watermark). Gives the log start. Repeatable.
    pub async fn delete_records(&self, at: &TopicPartition, before: Option<i64>) -> Result<i64, ClientError> {
        let partitions = [at.clone()];
        let partition =
            DeleteRecordsPartition::default().with_partition_index(at.partition).with_offset(before.unwrap_or(-1));
        let topic = DeleteRecordsTopic::default().with_name(named(&at.topic).into()).with_partitions(vec![partition]);
        let request = DeleteRecordsRequest::default().with_topics(vec![topic]).with_timeout_ms(change_wait_ms());
        let options = CallOptions::about(at).broker_wait(CHANGE_WAIT);
        let mut starts = self
            .on_leaders(&partitions, async |connection, indexes| {
                let answer = connection.call_with(&request, &options).await?;
                let found = answer
                    .topics
                    .iter()
                    .flat_map(|topic| &topic.partitions)
                    .find(|partition| partition.partition_index == at.partition);
                Ok(answers(&connection, ApiKey::DeleteRecords, &partitions, &indexes, |_| {
                    found.map(|found| (ErrorCode(found.error_code), None, found.low_watermark))
                }))
            })
            .await;
        starts.pop().expect("one asked for, one answered")
    }

    /// All configurations of a topic or broker.
    pub async fn describe_configs(&self, owner: &ConfigOwner) -> Result<Vec<ConfigEntry>, ClientError> {
        let (kind, name) = owner.on_the_wire();
        let resource = DescribeConfigsResource::default()
            .with_resource_type(kind)
            .with_resource_name(name)
            .with_configuration_keys(None);
        let request = DescribeConfigsRequest::default().with_resources(vec![resource]);
        let options = CallOptions::about(owner);
        let asked = Asked::about(ApiKey::DescribeConfigs, owner);
        let ask = async |connection: Connection| {
            let mut answer = connection.call_with(&request, &options).await?;
            let Some(result) = answer.results.pop() else {
                return Err(connection.incomplete(asked.clone(), "a result"));
            };
            only(&connection, asked.clone(), Some((result.error_code, result.error_message)))?;
            let entry = |config: kafka_protocol::messages::describe_configs_response::DescribeConfigsResourceResult| {
                ConfigEntry {
                    name: config.name.to_string(),
                    value: config.value.map(|value| value.to_string()),
                    is_default: config.config_source == DEFAULT_SOURCE,
                    read_only: config.read_only,
                }
            };
            Ok(result.configs.into_iter().map(entry).collect())
        };
        match owner {
            ConfigOwner::Topic(_) => self.on_any_broker(asked.clone(), ask).await,
            // A broker's configuration is asked of itself.
            ConfigOwner::Broker(id) => {
                let broker = self.node(*id).await?;
                ask(self.connection(&broker, Lane::Control).await?).await
            }
        }
    }

    /// Changes configurations and leaves the others alone.
    pub async fn alter_configs(&self, owner: &ConfigOwner, changes: &[ConfigChange]) -> Result<(), ClientError> {
        let (kind, name) = owner.on_the_wire();
        let change = |change: &ConfigChange| match change {
            ConfigChange::Set(name, value) => AlterableConfig::default()
                .with_name(named(name))
                .with_config_operation(0)
                .with_value(Some(named(value))),
            ConfigChange::Unset(name) => {
                AlterableConfig::default().with_name(named(name)).with_config_operation(1).with_value(None)
            }
        };
        let resource = AlterConfigsResource::default()
            .with_resource_type(kind)
            .with_resource_name(name)
            .with_configs(changes.iter().map(change).collect());
        let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
        let options = CallOptions::about(owner).broker_wait(CHANGE_WAIT);
        self.change(async |connection| {
            let mut answer = connection.call_with(&request, &options).await?;
            let result = answer.responses.pop().map(|result| (result.error_code, result.error_message));
            only(&connection, Asked::about(ApiKey::IncrementalAlterConfigs, owner), result)
        })
        .await
    }

    /// What the leader of a partition remembers of its producers.
    pub async fn describe_producers(&self, at: &TopicPartition) -> Result<Vec<ProducerState>, ClientError> {
        let partitions = [at.clone()];
        let mut states = self
            .on_leaders(&partitions, async |connection, indexes| {
                let topics = by_topic(&partitions, &indexes, |topic, _| {
                    TopicRequest::default().with_name(named(topic).into()).with_partition_indexes(vec![at.partition])
                });
                let request = DescribeProducersRequest::default().with_topics(topics);
                let answer = connection.call_with(&request, &CallOptions::about(at)).await?;
                let found = answer
                    .topics
                    .iter()
                    .flat_map(|topic| &topic.partitions)
                    .find(|partition| partition.partition_index == at.partition);
                Ok(answers(&connection, ApiKey::DescribeProducers, &partitions, &indexes, |_| {
                    let found = found?;
                    let state =
                        |state: &kafka_protocol::messages::describe_producers_response::ProducerState| ProducerState {
                            producer_id: state.producer_id.0,
                            epoch: state.producer_epoch,
                            last_sequence: state.last_sequence,
                            last_timestamp_ms: state.last_timestamp,
                            transaction_start: (state.current_txn_start_offset >= 0)
                                .then_some(state.current_txn_start_offset),
                        };
                    let states: Vec<_> = found.active_producers.iter().map(state).collect();
                    Some((ErrorCode(found.error_code), found.error_message.clone(), states))
                }))
            })
            .await;
        states.pop().expect("one asked for, one answered")
    }

    /// A fresh producer id and its epoch, without a transactional id.
    pub async fn init_producer_id(&self) -> Result<(i64, i16), ClientError> {
        let request = InitProducerIdRequest::default()
            .with_transactional_id(None)
            .with_transaction_timeout_ms(i32::MAX)
            .with_producer_id(ProducerId(-1))
            .with_producer_epoch(-1);
        let asked = Asked::api(ApiKey::InitProducerId);
        self.on_any_broker(asked.clone(), async |connection| {
            let answer = connection.call(&request).await?;
            only(&connection, asked.clone(), Some((answer.error_code, None)))?;
            Ok((answer.producer_id.0, answer.producer_epoch))
        })
        .await
    }
}

/// `config_source` of a value that nobody set.
const DEFAULT_SOURCE: i8 = 5;
