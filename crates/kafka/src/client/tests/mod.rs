//! The client against scripted brokers.

#![allow(clippy::unwrap_used)] // a test panics on failure

mod cluster;
mod security;
mod sockets;
