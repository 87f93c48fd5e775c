//! What every long-running process of Naru needs before it does anything of its own.
//!
//! Owns configuration, telemetry, shutdown, clocks, tracked tasks, key files, mutual TLS between roles, hash-chained
//! signed segments and a bounded spool: pieces that a role picks from, not a framework that calls it. Invariant: a role
//! starts with a whole, checked configuration or not at all, and everything it spawned has ended when it exits. Knows no
//! domain: it depends on no crate of ours.

pub mod causes;
pub mod config;
pub mod durable;
pub mod exposition;
pub mod keys;

pub use durable::{AppendError, Durability};
pub mod clocks;
pub mod hex;
pub mod http;
pub mod mtls;
pub mod segments;
pub mod shutdown;
pub mod spool;
pub mod tasks;
pub mod telemetry;
