//! The relay's machines in a world made of a seed: `./x simulate relay --seeds N`.

#![allow(clippy::unwrap_used)] // a test panics on failure
#![allow(missing_docs)] // read as a program, not as an interface

mod broker;
mod clients;
mod commits;
mod coordinator;
mod durable;
mod faults;
mod govern;
mod history;
mod marks;
#[cfg(feature = "mutation")]
mod mutants;
mod network;
mod oracle;
mod orders;
mod relay;
mod simulate;
mod trace;
mod world;
