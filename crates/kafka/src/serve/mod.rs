//! What anything that answers Kafka's protocol needs before it decides: requests read within bounds, memory budgets,
//! answers written within a time. Knows no rule of a log; the stand-in and the relay are its users.

pub mod api_versions;
mod buffers;
pub mod fetch;
pub mod memory;
mod requests;

/// The cold messages, by `kafka-protocol`: read and written by [`crate::wire::cold`].
pub mod messages {
    pub use kafka_protocol::messages::*;
    pub use kafka_protocol::protocol::Request;
}

pub use requests::{Arrived, Ended, Limits, Memory, RequestReader, Served, write_answer};
