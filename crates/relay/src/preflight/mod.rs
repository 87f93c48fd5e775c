//! What would break if a relay served these two clusters, and the command that mends each.
//!
//! Reads both sides and changes nothing. The rules about a topic's configuration are those by which a running relay
//! takes topics in ([`crate::topics::rules`]); here they are joined by what only a look at the logs, the groups and the
//! brokers shows.

mod cluster;
mod groups;
mod logs;

use std::collections::BTreeMap;

use naru_kafka::client::metadata::TopicMetadata;
use naru_kafka::client::{Client, ClientError};
use naru_kafka::wire::ErrorCode;
use serde::Serialize;

use crate::config::{Adopt, Mode, RelayConfig};
use crate::side::{Side, SideMap};
use crate::topics::plan::{Observed, Present};
use crate::topics::registry::observe;
use crate::topics::rules::{self, Finding, Needs, Severity};
use crate::upstream::{Upstream, UpstreamError};

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum PreflightError {
    /// The settings of a side's client. The operator's side.
    #[error("side {side} cannot be spoken to")]
    Settings {
        /// Which.
        side: Side,
        /// What is wrong.
        #[source]
        source: UpstreamError,
    },
    /// A side does not answer. A retry helps once it does.
    #[error("side {side} cannot be looked at")]
    Side {
        /// Which.
        side: Side,
        /// Its words.
        #[source]
        source: ClientError,
    },
}

/// What a service group would have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// The topics, by name.
    pub topics: Vec<String>,
    /// How many consumer groups.
    pub consumers: usize,
}

/// What was found.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// How many topics were looked at.
    pub topics: usize,
    /// How many consumer groups.
    pub groups: usize,
    /// What each service group would have, in the order of the configuration.
    pub services: Vec<Service>,
    /// Refusals first, by topic.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Whether the relay would refuse something.
    pub fn refuses(&self) -> bool {
        self.findings.iter().any(|finding| finding.severity == Severity::Refusal)
    }
}

type Topics = BTreeMap<String, TopicMetadata>;

/// One look at both sides.
struct Look<'a> {
    config: &'a RelayConfig,
    clients: SideMap<Client>,
    findings: Vec<Finding>,
}

impl Look<'_> {
    fn find(
        &mut self,
        severity: Severity,
        topic: Option<&str>,
        side: Option<Side>,
        what: String,
        command: Option<String>,
    ) {
        self.findings.push(Finding { severity, topic: topic.map(str::to_owned), side, what, command });
    }

    /// As the tools of Kafka take it.
    fn bootstrap(&self, side: Side) -> String {
        let addresses: Vec<_> = self.config.side(side).bootstrap.iter().map(ToString::to_string).collect();
        addresses.join(",")
    }

    fn needs(&self, topic: &str) -> Needs {
        let group = self.config.group_of_topic(topic);
        let duplex = self.config.all_groups().iter().any(|one| one.name == group && one.mode == Mode::Duplex);
        Needs { duplex, mends_times: self.config.adopt_mends_times }
    }
}

/// Looks at both sides. `only` limits it to these topics.
pub async fn run(config: &RelayConfig, only: &[String]) -> Result<Report, PreflightError> {
    let client =
        |side| Upstream::client(side, config, "preflight").map_err(|source| PreflightError::Settings { side, source });
    let clients = SideMap { a: client(Side::A)?, b: client(Side::B)? };
    let mut look = Look { config, clients, findings: Vec::new() };
    look.clusters().await?;
    let topics = SideMap { a: look.topics(Side::A, only).await?, b: look.topics(Side::B, only).await? };
    let names: std::collections::BTreeSet<_> = topics.a.keys().chain(topics.b.keys()).cloned().collect();
    for name in &names {
        look.topic(name).await?;
    }
    let consumers = look.groups().await?;
    let services = config.all_groups().into_iter().map(|group| Service {
        topics: names.iter().filter(|topic| config.group_of_topic(topic) == group.name).cloned().collect(),
        consumers: consumers.iter().filter(|name| config.group_of_consumers(name) == group.name).count(),
        name: group.name,
    });
    let services = services.collect();
    let mut findings = look.findings;
    findings.sort_by(|a, b| b.severity.cmp(&a.severity).then_with(|| a.topic.cmp(&b.topic)));
    Ok(Report { topics: names.len(), groups: consumers.len(), services, findings })
}

impl Look<'_> {
    async fn topics(&self, side: Side, only: &[String]) -> Result<Topics, PreflightError> {
        let metadata = self.clients[side].metadata(None).await;
        let metadata = metadata.map_err(|source| PreflightError::Side { side, source })?;
        let usable = |topic: &TopicMetadata| {
            let wanted = only.is_empty() || only.iter().any(|name| **name == *topic.name);
            !topic.internal && topic.error == ErrorCode::NONE && wanted
        };
        Ok(metadata.topics.into_iter().filter(usable).map(|topic| (topic.name.to_string(), topic)).collect())
    }

    async fn topic(&mut self, name: &str) -> Result<(), PreflightError> {
        let (a, b) = tokio::join!(observe(&self.clients.a, name), observe(&self.clients.b, name));
        match (a, b) {
            (Observed::Present(a), Observed::Present(b)) => {
                let bootstrap = SideMap::from_fn(|side| self.bootstrap(side));
                let on = SideMap { a: &a, b: &b };
                let found = rules::check(name, &on, &bootstrap, self.needs(name));
                let comparable = a.partitions == b.partitions;
                self.findings.extend(found);
                if comparable {
                    self.logs(name, a.partitions).await?;
                }
                Ok(())
            }
            (Observed::Present(there), Observed::Absent) => self.one_side(name, Side::A, &there).await,
            (Observed::Absent, Observed::Present(there)) => self.one_side(name, Side::B, &there).await,
            (Observed::Absent, Observed::Absent) => Ok(()),
            (Observed::Unreachable, _) => self.unreadable(name, Side::A),
            (_, Observed::Unreachable) => self.unreadable(name, Side::B),
        }
    }

    fn unreadable(&mut self, name: &str, side: Side) -> Result<(), PreflightError> {
        let what =
            "its configuration cannot be read: the relay's principal needs Describe and DescribeConfigs".to_owned();
        let command = format!(
            "kafka-acls.sh --bootstrap-server {} --add --allow-principal User:RELAY --operation DescribeConfigs --topic {name}",
            self.bootstrap(side)
        );
        self.find(Severity::Refusal, Some(name), Some(side), what, Some(command));
        Ok(())
    }

    async fn one_side(&mut self, name: &str, side: Side, there: &Present) -> Result<(), PreflightError> {
        let bootstrap = SideMap::from_fn(|side| self.bootstrap(side));
        let found = rules::check(name, &SideMap { a: there, b: there }, &bootstrap, self.needs(name));
        self.findings.extend(found.into_iter().filter(|finding| finding.side == Some(side)));
        let other = side.other();
        let command = format!(
            "kafka-topics.sh --bootstrap-server {} --create --topic {name} --partitions {}",
            bootstrap[other], there.partitions
        );
        match self.config.adopt {
            Adopt::Any => {
                let what = format!("only side {side} has it: the relay makes it on side {other} and copies it");
                self.find(Severity::Warning, Some(name), Some(other), what, None);
            }
            Adopt::Both => {
                let what = format!("only side {side} has it, and adopt is \"both\"");
                self.find(Severity::Refusal, Some(name), Some(other), what, Some(command.clone()));
            }
        }
        self.beginnings(name, side, there.partitions, command).await
    }
}
