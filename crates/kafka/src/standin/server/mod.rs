//! The socket side of the stand-in: connections, requests, the group coordinator, background work, the admin port.
//!
//! Path of a request: `connection` -> `dispatch` -> `api/<message>` -> `topics`, `coordinator` or a partition's store.

mod admin;
mod api;
mod blocking;
mod broker;
mod clock;
mod connection;
mod coordinator;
mod dispatch;
mod figures;
mod housekeeping;
mod identity;
mod journal;
mod partition;
mod start;
mod topics;

#[cfg(test)]
mod tests;

pub use figures::Figures;
pub use start::{Standin, StandinError};
