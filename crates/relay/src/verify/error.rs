//! Why a comparison could not be made.

use std::io;

use naru_kafka::client::{ClientError, Fault};

use crate::side::Side;

/// The comparison could not be finished. It says nothing about whether the sides are equal.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// A side could not be read.
    #[error("side {side} cannot be read")]
    Side {
        /// Which.
        side: Side,
        /// What was asked of whom, and how it failed.
        #[source]
        source: ClientError,
    },
    /// The relay did not say up to where both sides are equal.
    #[error("the relay does not say how far both sides are equal")]
    Relay(#[source] ClientError),
    /// A side's log keeps being cut while it is read.
    #[error("side {side}: the log start of {at} keeps moving while it is compared")]
    Moving {
        /// Which.
        side: Side,
        /// The partition.
        at: String,
    },
    /// A topic that was named is on neither side.
    #[error("topic {topic} is on neither side")]
    NoTopic {
        /// Its name.
        topic: String,
    },
    /// What was found could not be told.
    #[error("the result could not be written")]
    Output(#[source] io::Error),
}

impl VerifyError {
    /// Whether the same call can succeed later without a change of the configuration.
    pub fn retry_can_help(&self) -> bool {
        match self {
            Self::Side { source, .. } | Self::Relay(source) => source.retry_can_help(),
            Self::Moving { .. } => true,
            Self::NoTopic { .. } | Self::Output(_) => false,
        }
    }

    /// The side that has to change something.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Side { source, .. } | Self::Relay(source) => source.fault(),
            Self::Moving { .. } => Fault::Broker,
            Self::NoTopic { .. } | Self::Output(_) => Fault::Caller,
        }
    }
}
