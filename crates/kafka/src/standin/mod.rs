//! The stand-in broker: one node per process, for the one-command start and for fault simulation. It is not a product.
//!
//! Owns the rules of a partition's log ([`log`]), its files ([`storage`]), consumer groups ([`groups`]), topics
//! ([`topics`]), faults on request ([`faults`]) and the socket side ([`server`]). Invariant: what is acknowledged is
//! written as the flush policy says, and a connection costs bounded memory whatever it sends. Serves no transactions
//! and no replication; what it does not serve it does not advertise.

pub mod config;
pub mod faults;
pub mod groups;
pub mod log;
pub mod server;
pub mod storage;
pub mod topics;

pub use config::StandinConfig;
pub use server::{Figures, Standin, StandinError};
