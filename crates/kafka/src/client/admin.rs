//! Topics, configurations, producers: what a relay has to set up, look at and take down.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use kafka_protocol::{
    messages::{
        CreatePartitionsRequest, CreateTopicsRequest, DeleteRecordsRequest, DeleteRecordsResponse, DeleteTopicsRequest,
        DescribeClusterRequest, DescribeConfigsRequest, DescribeConfigsResponse, DescribeProducersRequest,
        DescribeProducersResponse, IncrementalAlterConfigsRequest, InitProducerIdRequest, ProducerId,
        create_partitions_request::CreatePartitionsTopic,
        create_topics_request::{CreatableTopic, CreatableTopicConfig},
        delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic},
        describe_configs_request::DescribeConfigsResource,
        describe_configs_response::DescribeConfigsResourceResult,
        describe_producers_request::TopicRequest,
        describe_producers_response,
        incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig},
    },
    protocol::StrBytes,
};

use super::{
    Broker, CallOptions, Client, ClientError, TopicPartition,
    ask::{Repeat, Said, Target},
    config::join_address,
};
use crate::wire::TopicId;

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

impl Client {
    /// The cluster's id, controller and brokers.
    pub async fn describe_cluster(&self) -> Result<Cluster, ClientError> {
        self.ask_any(&DescribeClusterRequest::default(), &CallOptions::default(), |said, answer| {
            said.check(answer.error_code, answer.error_message.as_ref())?;
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
            .ask(Target::Controller, Repeat::IfNotDone, &request, &options, |said, mut answer| {
                let result = answer.topics.pop().ok_or_else(|| said.lacks("a result"))?;
                said.check(result.error_code, result.error_message.as_ref())?;
                Ok(TopicId::from(result.topic_id))
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
        self.ask(Target::Controller, Repeat::IfNotDone, &request, &options, |said, mut answer| {
            let result = answer.responses.pop().ok_or_else(|| said.lacks("a result"))?;
            said.check(result.error_code, result.error_message.as_ref())
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
        self.ask(Target::Controller, Repeat::IfNotDone, &request, &options, |said, mut answer| {
            let result = answer.results.pop().ok_or_else(|| said.lacks("a result"))?;
            said.check(result.error_code, result.error_message.as_ref())
        })
        .await?;
        self.forget_leaders(name);
        Ok(())
    }

    /// Moves the log start up to an offset (`None`: to the high watermark). Gives the log start. Repeatable.
    pub async fn delete_records(&self, at: &TopicPartition, before: Option<i64>) -> Result<i64, ClientError> {
        let make = || {
            let partition =
                DeleteRecordsPartition::default().with_partition_index(at.partition).with_offset(before.unwrap_or(-1));
            let topic =
                DeleteRecordsTopic::default().with_name(named(&at.topic).into()).with_partitions(vec![partition]);
            DeleteRecordsRequest::default().with_topics(vec![topic]).with_timeout_ms(change_wait_ms())
        };
        let options = CallOptions::default().broker_wait(CHANGE_WAIT);
        self.ask_leader(at, &options, make, |answer: &DeleteRecordsResponse, at| {
            let topics = answer.topics.iter().flat_map(|topic| topic.partitions.iter().map(move |p| (topic, p)));
            let (_, found) = { topics }.find(|(topic, p)| at.is(&topic.name, p.partition_index))?;
            Some((found.error_code, found.low_watermark))
        })
        .await
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
        let read = |said: &Said<'_>, mut answer: DescribeConfigsResponse| {
            let result = answer.results.pop().ok_or_else(|| said.lacks("a result"))?;
            said.check(result.error_code, result.error_message.as_ref())?;
            let entry = |config: DescribeConfigsResourceResult| ConfigEntry {
                name: config.name.to_string(),
                value: config.value.map(|value| value.to_string()),
                is_default: config.config_source == DEFAULT_SOURCE,
                read_only: config.read_only,
            };
            Ok(result.configs.into_iter().map(entry).collect())
        };
        match owner {
            ConfigOwner::Topic(_) => self.ask_any(&request, &options, read).await,
            // A broker's configuration is asked of itself.
            ConfigOwner::Broker(id) => {
                let broker = self.node(*id).await?;
                self.ask(Target::Broker(&broker), Repeat::Freely, &request, &options, read).await
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
        self.ask(Target::Controller, Repeat::IfNotDone, &request, &options, |said, mut answer| {
            let result = answer.responses.pop().ok_or_else(|| said.lacks("a result"))?;
            said.check(result.error_code, result.error_message.as_ref())
        })
        .await
    }

    /// What the leader of a partition remembers of its producers.
    pub async fn describe_producers(&self, at: &TopicPartition) -> Result<Vec<ProducerState>, ClientError> {
        let make = || {
            let topic =
                TopicRequest::default().with_name(named(&at.topic).into()).with_partition_indexes(vec![at.partition]);
            DescribeProducersRequest::default().with_topics(vec![topic])
        };
        self.ask_leader(at, &CallOptions::default(), make, |answer: &DescribeProducersResponse, at| {
            let topics = answer.topics.iter().flat_map(|topic| topic.partitions.iter().map(move |p| (topic, p)));
            let (_, found) = { topics }.find(|(topic, p)| at.is(&topic.name, p.partition_index))?;
            let state = |state: &describe_producers_response::ProducerState| ProducerState {
                producer_id: state.producer_id.0,
                epoch: state.producer_epoch,
                last_sequence: state.last_sequence,
                last_timestamp_ms: state.last_timestamp,
                transaction_start: (state.current_txn_start_offset >= 0).then_some(state.current_txn_start_offset),
            };
            Some((found.error_code, found.active_producers.iter().map(state).collect()))
        })
        .await
    }

    /// A fresh producer id and its epoch, without a transactional id.
    pub async fn init_producer_id(&self) -> Result<(i64, i16), ClientError> {
        let request = InitProducerIdRequest::default()
            .with_transactional_id(None)
            .with_transaction_timeout_ms(i32::MAX)
            .with_producer_id(ProducerId(-1))
            .with_producer_epoch(-1);
        // Repeating it costs an id of the broker's 2^63.
        self.ask_any(&request, &CallOptions::default(), |said, answer| {
            said.check(answer.error_code, None)?;
            Ok((answer.producer_id.0, answer.producer_epoch))
        })
        .await
    }
}

/// `config_source` of a value that nobody set.
const DEFAULT_SOURCE: i8 = 5;
