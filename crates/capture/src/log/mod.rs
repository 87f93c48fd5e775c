//! The log's side: topics, where each partition ends, and batches written once and in order.

mod partitioner;
mod producer;
pub mod resume;
pub mod topics;

pub(crate) use partitioner::partition;
pub use producer::{Producer, ProducerOptions, TooLarge};
