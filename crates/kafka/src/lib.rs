//! The log: its wire format, a raw-batch client, and a stand-in broker.
//!
//! Owns everything that speaks or imitates the Kafka protocol. Invariant: bytes from a socket cost bounded memory
//! and never become a record that a client did not send. Depends on no crate of Naru but `naru-model`.

pub mod client;
pub mod node;
pub mod serve;
pub mod standin;
pub mod wire;
