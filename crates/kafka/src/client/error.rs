//! What can go wrong between this client and a broker: who was asked, what was asked, whose fault it is, whether a
//! retry can help, and whether the request may have taken effect all the same.

use std::{fmt, io, sync::Arc, time::Duration};

use crate::wire::{ApiKey, ErrorCode, WireError};

/// The broker that an error is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Broker {
    /// `host:port` as connected to.
    pub address: Arc<str>,
    /// The node id, known once metadata has named it; a bootstrap address has none.
    pub node_id: Option<i32>,
}

impl fmt::Display for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.node_id {
            Some(id) => write!(f, "broker {id} ({})", self.address),
            None => write!(f, "broker {}", self.address),
        }
    }
}

/// What was asked: the API, and the thing it was about (a topic-partition, a group) where there is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// The API's key number.
    pub api_key: i16,
    /// For example `orders-3`, or `group billing`; empty when the request is about the cluster.
    pub about: Arc<str>,
}

impl Asked {
    /// A request that is about the whole cluster.
    pub fn api(api: ApiKey) -> Self {
        Self { api_key: api as i16, about: Arc::from("") }
    }

    /// A request about one thing.
    pub fn about(api: ApiKey, about: impl fmt::Display) -> Self {
        Self { api_key: api as i16, about: Arc::from(about.to_string()) }
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match ApiKey::from_i16(self.api_key) {
            Some(api) => f.write_str(api.name())?,
            None => write!(f, "api {}", self.api_key)?,
        }
        if self.about.is_empty() { Ok(()) } else { write!(f, " for {}", self.about) }
    }
}

/// Whether a request that failed can have taken effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was not sent, or the broker refused it: nothing happened.
    NotDone,
    /// It may have taken effect: look before sending it again.
    Unknown,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotDone => "it was not done",
            Self::Unknown => "outcome unknown",
        })
    }
}

/// The side that has to change something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The caller asked for something wrong, or configured this client wrongly.
    Caller,
    /// The broker refused or misbehaved.
    Broker,
    /// The way between the two, or a broker that is not there.
    Network,
}

/// Why a connection ended. Shared by every request that was pending on it.
#[derive(Debug, thiserror::Error)]
pub enum CloseCause {
    /// This side closed it.
    #[error("closed by this side")]
    Local,
    /// The broker closed it between two answers.
    #[error("closed by the broker")]
    Remote,
    /// The broker closed it inside an answer.
    #[error("closed by the broker {bytes_read} bytes into an answer")]
    CutInFrame {
        /// Bytes of the unfinished answer, its length field included.
        bytes_read: usize,
    },
    /// Reading or writing failed.
    #[error("the socket failed")]
    Io(#[source] io::Error),
    /// An answer broke the framing or was larger than allowed.
    #[error("an answer broke the protocol")]
    Frame(#[source] WireError),
    /// Brokers answer in order; another id means that the two sides disagree about what was asked.
    #[error("an answer carried correlation id {found}, expected {expected:?}")]
    Correlation {
        /// The id of the oldest pending request, if there was one.
        expected: Option<i32>,
        /// The id in the answer.
        found: i32,
    },
    /// A request waited too long. Answers come in order, so all behind it would wait as well.
    #[error("a request waited {waited_ms} ms for its answer")]
    TimedOut {
        /// The request's own limit.
        waited_ms: u64,
    },
}

/// An error of this client. See [`ClientError::fault`], [`ClientError::retry_can_help`] and
/// [`ClientError::outcome`].
#[derive(Debug, Clone, thiserror::Error)]
pub enum ClientError {
    /// The client's settings do not make sense.
    #[error("client configuration: {problem}")]
    Config {
        /// What is wrong and how to mend it.
        problem: String,
    },
    /// Certificates or keys could not be used.
    #[error("tls configuration: {problem}")]
    TlsConfig {
        /// Which input was refused.
        problem: &'static str,
        /// The library's reason.
        #[source]
        source: rustls::Error,
    },
    /// No TCP connection.
    #[error("cannot connect to {broker}")]
    Connect {
        /// Who was called.
        broker: Box<Broker>,
        /// The operating system's reason.
        #[source]
        source: Arc<io::Error>,
    },
    /// No TLS session.
    #[error("tls handshake with {broker} failed")]
    Tls {
        /// Who was called.
        broker: Box<Broker>,
        /// The library's reason.
        #[source]
        source: Arc<io::Error>,
    },
    /// The broker does not accept the credentials or the mechanism, or did not prove that it knows the password.
    #[error("{broker}: authentication by {mechanism} failed: {problem}")]
    Authentication {
        /// Who was called.
        broker: Box<Broker>,
        /// For example `SCRAM-SHA-256`.
        mechanism: &'static str,
        /// What failed, without secrets.
        problem: String,
    },
    /// The connection ended before the answer.
    #[error("{asked} at {broker}: connection ended, {outcome}")]
    Closed {
        /// Who was asked.
        broker: Box<Broker>,
        /// What was asked.
        asked: Asked,
        /// [`Outcome::NotDone`] if no byte of the request was handed to the socket.
        outcome: Outcome,
        /// Why it ended.
        #[source]
        source: Arc<CloseCause>,
    },
    /// No answer in time.
    #[error("{asked} at {broker}: no answer within {} ms, {outcome}", limit.as_millis())]
    TimedOut {
        /// Who was asked.
        broker: Box<Broker>,
        /// What was asked.
        asked: Asked,
        /// The limit that passed.
        limit: Duration,
        /// [`Outcome::NotDone`] if the request still waited for its turn.
        outcome: Outcome,
    },
    /// The two sides share no version of an API.
    #[error(
        "{asked} at {broker}: this client speaks versions {ours_min} to {ours_max}, the broker offers {}",
        offered(.theirs)
    )]
    NoCommonVersion {
        /// Who was asked.
        broker: Box<Broker>,
        /// What was asked.
        asked: Asked,
        /// Lowest version of this client.
        ours_min: i16,
        /// Highest version of this client.
        ours_max: i16,
        /// The broker's range; `None` if it does not offer the API.
        theirs: Option<(i16, i16)>,
    },
    /// The request could not be encoded: it is larger than allowed, or a field does not exist in that version.
    #[error("{asked}: the request cannot be encoded")]
    Encode {
        /// What was asked.
        asked: Asked,
        /// Which field.
        #[source]
        source: WireError,
    },
    /// The broker's answer could not be understood.
    #[error("{asked} at {broker}: the answer cannot be decoded, {outcome}")]
    Decode {
        /// Who was asked.
        broker: Box<Broker>,
        /// What was asked.
        asked: Asked,
        /// Unknown: the broker did act on the request.
        outcome: Outcome,
        /// Which field.
        #[source]
        source: WireError,
    },
    /// The broker's answer was well formed but lacks what was asked for.
    #[error("{asked} at {broker}: the answer lacks {missing}")]
    Incomplete {
        /// Who was asked.
        broker: Box<Broker>,
        /// What was asked.
        asked: Asked,
        /// What was looked for.
        missing: &'static str,
    },
    /// The broker answered with an error code.
    #[error("{asked} at {broker}: {}{}", code.name(), detail(.message))]
    Answered {
        /// Who answered.
        broker: Box<Broker>,
        /// What was asked.
        asked: Asked,
        /// The code.
        code: ErrorCode,
        /// The broker's words, where the API has a field for them.
        message: Option<Box<str>>,
    },
    /// Metadata names no leader, coordinator or node to ask, after the allowed refreshes.
    #[error("{asked}: no broker to ask after {attempts} attempts")]
    NoBroker {
        /// What was asked.
        asked: Asked,
        /// Metadata refreshes made.
        attempts: u32,
    },
    /// The request was never sent: what had to come before it (finding the broker, opening a session) failed with an
    /// outcome of its own.
    #[error("{asked}: not sent")]
    NotSent {
        /// What was to be asked.
        asked: Asked,
        /// What failed.
        #[source]
        source: Box<ClientError>,
    },
    /// The client was shut down.
    #[error("the client is shut down")]
    ShutDown,
    /// The caller's own callback failed while a range was read.
    #[error("reading stopped by its consumer")]
    Consumer(#[source] Arc<dyn std::error::Error + Send + Sync>),
}

fn offered(theirs: &Option<(i16, i16)>) -> String {
    match theirs {
        Some((min, max)) => format!("{min} to {max}"),
        None => "none".to_owned(),
    }
}

fn detail(message: &Option<Box<str>>) -> String {
    message.as_deref().map(|text| format!(": {text}")).unwrap_or_default()
}

impl ClientError {
    /// The side that has to change something.
    pub fn fault(&self) -> Fault {
        match self {
            Self::NotSent { source, .. } => source.fault(),
            Self::Config { .. }
            | Self::TlsConfig { .. }
            | Self::Encode { .. }
            | Self::ShutDown
            | Self::Consumer(_)
            | Self::Authentication { .. } => Fault::Caller,
            Self::Connect { .. } | Self::Tls { .. } | Self::Closed { .. } | Self::TimedOut { .. } => Fault::Network,
            Self::NoCommonVersion { .. } | Self::Decode { .. } | Self::Incomplete { .. } | Self::NoBroker { .. } => {
                Fault::Broker
            }
            Self::Answered { code, .. } => {
                if code.is_retriable() {
                    Fault::Broker
                } else {
                    Fault::Caller
                }
            }
        }
    }

    /// Whether the same request can succeed later without anybody changing it. Says nothing about whether sending it
    /// again is safe: see [`ClientError::outcome`].
    pub fn retry_can_help(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::Closed { .. } | Self::TimedOut { .. } | Self::NoBroker { .. } => true,
            // A restarting broker cuts handshakes; a refused certificate stays refused.
            Self::Tls { source, .. } => source.kind() != io::ErrorKind::InvalidData,
            Self::Answered { code, .. } => code.is_retriable(),
            Self::NotSent { source, .. } => source.retry_can_help(),
            _ => false,
        }
    }

    /// Whether the request can have taken effect.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Closed { outcome, .. } | Self::TimedOut { outcome, .. } | Self::Decode { outcome, .. } => *outcome,
            Self::Incomplete { .. } => Outcome::Unknown,
            Self::Answered { code, .. } => outcome_of(*code),
            _ => Outcome::NotDone,
        }
    }

    /// Short for `outcome() == Outcome::Unknown`.
    pub fn outcome_unknown(&self) -> bool {
        self.outcome() == Outcome::Unknown
    }

    /// The error code, if the broker answered with one.
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Answered { code, .. } => Some(*code),
            Self::NotSent { source, .. } => source.code(),
            _ => None,
        }
    }

    /// The broker that was asked, if one was reached for.
    pub fn broker(&self) -> Option<&Broker> {
        match self {
            Self::Connect { broker, .. }
            | Self::Tls { broker, .. }
            | Self::Authentication { broker, .. }
            | Self::Closed { broker, .. }
            | Self::TimedOut { broker, .. }
            | Self::NoCommonVersion { broker, .. }
            | Self::Decode { broker, .. }
            | Self::Incomplete { broker, .. }
            | Self::Answered { broker, .. } => Some(broker),
            Self::NotSent { source, .. } => source.broker(),
            _ => None,
        }
    }

    pub(crate) fn no_session(broker: &Broker, limit: Duration) -> Self {
        let problem = format!("no session within {} ms", limit.as_millis());
        let source = Arc::new(io::Error::new(io::ErrorKind::TimedOut, problem));
        Self::Connect { broker: Box::new(broker.clone()), source }
    }

    /// The error of a request that this error kept from being sent.
    pub(crate) fn not_sent(self, asked: impl FnOnce() -> Asked) -> Self {
        match self.outcome() {
            Outcome::NotDone => self,
            Outcome::Unknown => Self::NotSent { asked: asked(), source: Box::new(self) },
        }
    }

    /// Names the thing that the request was about, where the place that failed did not know it.
    pub(crate) fn about(mut self, what: impl fmt::Display) -> Self {
        match &mut self {
            Self::Closed { asked, .. }
            | Self::TimedOut { asked, .. }
            | Self::NoCommonVersion { asked, .. }
            | Self::Encode { asked, .. }
            | Self::Decode { asked, .. }
            | Self::Incomplete { asked, .. }
            | Self::Answered { asked, .. }
            | Self::NoBroker { asked, .. }
            | Self::NotSent { asked, .. }
                if asked.about.is_empty() =>
            {
                asked.about = Arc::from(what.to_string());
            }
            _ => {}
        }
        self
    }
}

/// Codes after which the broker may hold the request's effect: it gave up waiting for replicas or for its disk, or it
/// does not know itself what went wrong.
fn outcome_of(code: ErrorCode) -> Outcome {
    match code {
        ErrorCode::REQUEST_TIMED_OUT
        | ErrorCode::NOT_ENOUGH_REPLICAS_AFTER_APPEND
        | ErrorCode::UNKNOWN_SERVER_ERROR
        | ErrorCode::KAFKA_STORAGE_ERROR => Outcome::Unknown,
        _ => Outcome::NotDone,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broker() -> Box<Broker> {
        Box::new(Broker { address: "b1:9092".into(), node_id: Some(1) })
    }

    fn answered(code: ErrorCode) -> ClientError {
        ClientError::Answered {
            broker: broker(),
            asked: Asked::about(ApiKey::Produce, "orders-3"),
            code,
            message: None,
        }
    }

    #[test]
    fn an_answered_code_says_whose_fault_it_is_and_what_may_have_happened() {
        let check = |code, fault, retry, outcome| {
            let error = answered(code);
            assert_eq!((error.fault(), error.retry_can_help(), error.outcome()), (fault, retry, outcome), "{error}");
        };
        check(ErrorCode::NOT_LEADER_OR_FOLLOWER, Fault::Broker, true, Outcome::NotDone);
        check(ErrorCode::REQUEST_TIMED_OUT, Fault::Broker, true, Outcome::Unknown);
        check(ErrorCode::NOT_ENOUGH_REPLICAS_AFTER_APPEND, Fault::Broker, true, Outcome::Unknown);
        check(ErrorCode::MESSAGE_TOO_LARGE, Fault::Caller, false, Outcome::NotDone);
    }

    #[test]
    fn a_message_names_the_broker_and_what_was_asked() {
        let text = answered(ErrorCode::MESSAGE_TOO_LARGE).to_string();
        assert_eq!(text, "Produce for orders-3 at broker 1 (b1:9092): MESSAGE_TOO_LARGE");
    }
}
