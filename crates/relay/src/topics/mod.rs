//! Topics of both sides as one: which there are, under which identity, with which configuration; changes as one
//! intent on both sides.
//!
//! What the relay knows of a topic is durable ([`TopicRecord`]). A change is first written down as an intent, then done
//! on one side after the other, then written down as done. [`plan::next`] says from the record and what both sides show
//! what is to be done next, so that a relay that crashed at any step goes on where it was.

pub(crate) mod api;
mod ask;
mod gone;
mod identity;
pub(crate) mod logs;
pub mod plan;
pub mod record;
pub mod registry;
pub mod rules;
pub(crate) mod show;
#[cfg(test)]
mod tests;

pub use identity::fresh_topic_id;
pub use record::{Life, TopicRecord};
pub use registry::{AdminError, Registry};
