//! Why a rehearsal has no verdict.

use naru_kafka::client::ClientError;
use naru_kafka::node::NodeError;
use rdkafka::error::KafkaError;

use crate::read_back::ReadBackError;
use crate::sabotage::NothingToAlter;
use crate::service_process::ServiceError;
use crate::state::StateError;

/// Why there is no verdict.
#[derive(Debug, thiserror::Error)]
pub enum RehearsalError {
    /// The user ended it.
    #[error("interrupted: no verdict; every child process is stopped")]
    Interrupted,
    /// The user's side: the scenario and the chosen log do not go together, or the log is not there.
    #[error("{0}")]
    Unfit(String),
    /// The output directory cannot be used.
    #[error("cannot prepare the output directory")]
    State(#[from] StateError),
    /// A broker did not do what it should. This machine's side, or a bug of the subject.
    #[error("cluster {cluster}")]
    Node {
        /// Which cluster.
        cluster: String,
        /// What happened.
        #[source]
        source: NodeError,
    },
    /// A service did not start.
    #[error("service {name}")]
    Service {
        /// Which service.
        name: String,
        /// What happened.
        #[source]
        source: ServiceError,
    },
    /// The topics could not be made.
    #[error("cannot make the topics on cluster {cluster}")]
    Topics {
        /// Which cluster.
        cluster: String,
        /// What happened.
        #[source]
        source: KafkaError,
    },
    /// The campaign was not planned.
    #[error("the campaign has no plan")]
    Plan(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A consumer could not be made.
    #[error("cannot start the observers")]
    Observers(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// An HTTP client could not be made.
    #[error("cannot make an HTTP client")]
    Http(#[from] reqwest::Error),
    /// The log could not be read at the end, so nothing can be said.
    #[error("cannot read the log of {from} at the end")]
    ReadBack {
        /// "cluster a", "relay".
        from: String,
        /// What happened.
        #[source]
        source: Box<ReadBackError>,
    },
    /// The relay does not show the topics of its clusters.
    #[error("the relay does not show the topics that both of its clusters have")]
    RelayTopics {
        /// What happened.
        #[source]
        source: ClientError,
    },
    /// The control's copier could not be made.
    #[error("cannot start the copier")]
    Copier(#[source] ClientError),
    /// What the sabotage was to do could not be done.
    #[error("cannot do what the sabotage is to do")]
    Sabotage(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The user's side: the sabotage that was asked for has nothing to alter in this scenario.
    #[error(transparent)]
    NothingToAlter(#[from] NothingToAlter),
    /// A part of the rehearsal panicked: a bug of ours.
    #[error("a part of the rehearsal failed")]
    Part(#[source] tokio::task::JoinError),
    /// The broker refused to be weakened as the scenario asks.
    #[error("cluster {cluster} does not take the fault that the scenario asks for")]
    Fault {
        /// Which cluster.
        cluster: String,
        /// What happened.
        #[source]
        source: reqwest::Error,
    },
}

impl RehearsalError {
    /// Whether the user's input is at fault.
    pub fn is_bad_input(&self) -> bool {
        matches!(
            self,
            Self::Unfit(_)
                | Self::NothingToAlter(_)
                | Self::State(StateError::NotOurs { .. } | StateError::InUse { .. })
        )
    }
}
