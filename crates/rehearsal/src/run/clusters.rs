//! The clusters of a run: started, given their topics, weakened where the scenario asks for it, stopped.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use naru_kafka::node::{Node, NodeError, NodeKind, NodeOptions};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use super::{ANSWER_WITHIN, DRAIN_WITHIN, LogKind, Options, PARTITIONS, RehearsalError};
use crate::children::{self, Ended, Ending};
use crate::scenario::{Cluster, Scenario, Via};
use crate::state::State;

/// How long making the topics may take: a JVM that has just started is slow.
const TOPICS_WITHIN: std::time::Duration = std::time::Duration::from_secs(20);

/// The nodes by index of their cluster.
pub(super) type Nodes = Arc<Vec<Mutex<Node>>>;

pub(super) async fn start(options: &Options, state: &State) -> Result<Nodes, RehearsalError> {
    let mut starting: JoinSet<Result<(usize, Node), RehearsalError>> = JoinSet::new();
    for (index, cluster) in options.scenario.clusters.iter().enumerate() {
        let mut node = NodeOptions::new(kind(options, index)?, state.child(&format!("cluster-{}", cluster.name)));
        node.cluster_id = format!("naru-cluster-{:09}", index + 1);
        if !options.log.is_kafka() {
            node = node.arg("--flush").arg(cluster.flush.name());
            // As the node sets Apache Kafka up: members come at once, and the load does not wait for a group.
            node = node.arg("--group-initial-rebalance-delay").arg("0s");
            if cluster.lose_unflushed_tail {
                node = node.arg("--admin").arg("127.0.0.1:0");
            }
        }
        let (name, lossy) = (cluster.name.clone(), loses_tail(options.log, cluster));
        starting.spawn(async move {
            let started = Node::start(node).await;
            let node = started.map_err(|source| RehearsalError::Node { cluster: name.clone(), source })?;
            if lossy {
                lose_unflushed_tail(&name, &node).await?;
            }
            Ok((index, node))
        });
    }
    let mut nodes = Vec::new();
    while let Some(node) = starting.join_next().await {
        nodes.push(node.map_err(RehearsalError::Part)??);
    }
    nodes.sort_by_key(|(index, _)| *index);
    Ok(Arc::new(nodes.into_iter().map(|(_, node)| Mutex::new(node)).collect()))
}

/// What plays a cluster.
fn kind(options: &Options, cluster: usize) -> Result<NodeKind, RehearsalError> {
    let Some(version) = options.log.kafka_version(options.scenario.relay.as_ref(), cluster) else {
        return Ok(NodeKind::StandIn { exe: options.exe.clone() });
    };
    let peers = options.peers.as_ref().ok_or_else(|| {
        RehearsalError::Unfit(
            "--log kafka and --log mixed need --peers DIR, where Kafka's jars are: `./x rehearse` fetches them"
                .to_owned(),
        )
    })?;
    let libs = peers.join(format!("kafka-{version}/libs"));
    if !libs.is_dir() {
        return Err(RehearsalError::Unfit(format!("--peers: there is no {}", libs.display())));
    }
    Ok(NodeKind::Apache { libs, java: PathBuf::from("java") })
}

pub(super) async fn bootstraps(nodes: &Nodes) -> Vec<String> {
    let mut bootstraps = Vec::with_capacity(nodes.len());
    for node in nodes.iter() {
        bootstraps.push(node.lock().await.bootstrap());
    }
    bootstraps
}

/// Asks every node to end, and says how each did.
pub(super) async fn stop(log: LogKind, scenario: &Scenario, nodes: &Nodes) -> Result<Vec<Ended>, RehearsalError> {
    let mut stopped = JoinSet::new();
    for (index, cluster) in scenario.clusters.iter().enumerate() {
        let (nodes, cluster) = (Arc::clone(nodes), cluster.name.clone());
        stopped.spawn(async move {
            let mut node = nodes[index].lock().await;
            let ending = match node.is_running() {
                Ok(false) => Ok(Ending::Early(None)),
                Ok(true) => match node.stop(DRAIN_WITHIN).await {
                    Ok(status) => Ok(Ending::Asked(status)),
                    Err(NodeError::TimedOut { .. }) => Ok(Ending::Forced),
                    Err(source) => Err(source),
                },
                Err(source) => Err(source),
            };
            match ending {
                Ok(ending) => Ok(Ended { child: format!("cluster {cluster}"), code: exit_code(log), ending }),
                Err(source) => Err(RehearsalError::Node { cluster, source }),
            }
        });
    }
    let mut endings = Vec::with_capacity(scenario.clusters.len());
    while let Some(outcome) = stopped.join_next().await {
        endings.push(outcome.map_err(RehearsalError::Part)??);
    }
    Ok(endings)
}

/// Starts a node that was killed where it was, on an empty disk.
pub(super) async fn start_empty(node: &mut Node) -> Result<(), NodeError> {
    let data = node.data_dir();
    std::fs::remove_dir_all(&data).map_err(|source| NodeError::File { path: data, source })?;
    let mut options = node.options().clone();
    options.port = Some(node.address().port());
    *node = Node::start(options).await?;
    Ok(())
}

/// What a node ends with when it is asked to.
pub(super) fn exit_code(log: LogKind) -> i32 {
    if log.is_kafka() { children::JVM_ENDS_ON_SIGTERM } else { children::ENDS_WELL }
}

/// Settings of topics that two clusters must answer alike: by default 4.3.1 refuses times that 3.9.2 takes.
const ALIKE: [(&str, &str); 2] = [
    ("message.timestamp.before.max.ms", "9223372036854775807"),
    ("message.timestamp.after.max.ms", "9223372036854775807"),
];

/// Makes the topics on every cluster that anybody uses.
pub(super) async fn make_topics(
    scenario: &Scenario,
    bootstraps: &[String],
    names: &[String],
) -> Result<(), RehearsalError> {
    let mut used = BTreeSet::new();
    for via in scenario.services.iter().map(|service| service.via).chain([scenario.consumers.via]) {
        used.extend(match via {
            Via::Cluster(cluster) => Some(cluster),
            Via::Relay => None,
        });
    }
    used.extend(scenario.relay.iter().flat_map(|relay| [relay.a, relay.b]));
    used.extend(scenario.copier.iter().flat_map(|copier| [copier.from, copier.to]));
    let alike: &[(&str, &str)] = if scenario.relay.is_some() { &ALIKE } else { &[] };
    for cluster in used {
        let error = |source| RehearsalError::Topics { cluster: scenario.clusters[cluster].name.clone(), source };
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &bootstraps[cluster]).set_log_level(RDKafkaLogLevel::Warning);
        let admin: AdminClient<DefaultClientContext> = config.create().map_err(error)?;
        let new = names.iter().map(|name| {
            let topic = NewTopic::new(name, PARTITIONS, TopicReplication::Fixed(1));
            alike.iter().fold(topic, |topic, (key, value)| topic.set(key, value))
        });
        let new: Vec<NewTopic<'_>> = new.collect();
        let within = AdminOptions::new().request_timeout(Some(TOPICS_WITHIN));
        for made in admin.create_topics(&new, &within).await.map_err(error)? {
            if let Err((_, code)) = made
                && code != RDKafkaErrorCode::TopicAlreadyExists
            {
                return Err(error(KafkaError::AdminOp(code)));
            }
        }
    }
    Ok(())
}

/// Only the stand-in can be told; on Kafka the option is shown as ignored.
pub(super) fn loses_tail(log: LogKind, cluster: &Cluster) -> bool {
    !log.is_kafka() && cluster.lose_unflushed_tail
}

/// A killed process leaves what it wrote to the operating system, a machine without power does not: the stand-in is told
/// to keep back what it has not flushed, so that SIGKILL takes it along.
pub(super) async fn lose_unflushed_tail(cluster: &str, node: &Node) -> Result<(), RehearsalError> {
    let admin = node.admin().ok_or_else(|| RehearsalError::Unfit(format!("cluster {cluster} has no admin port")))?;
    let client = reqwest::Client::builder().no_proxy().timeout(ANSWER_WITHIN).build()?;
    let request =
        client.post(format!("http://{admin}/faults")).json(&serde_json::json!({ "lose_unflushed_tail": true }));
    let answer = request.send().await.and_then(reqwest::Response::error_for_status);
    answer.map(|_shown| ()).map_err(|source| RehearsalError::Fault { cluster: cluster.to_owned(), source })
}
