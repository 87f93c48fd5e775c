//! The policy under random decisions, with chaos in configuration, plan and health, and in simulated surges.

#![allow(clippy::unwrap_used)] // a test panics on failure
#![allow(missing_docs)] // read as a program, not as an interface

mod agenda;
mod blueprints;
mod decisions;
#[cfg(feature = "mutation")]
mod mutants;
mod oracle;
mod paths;
mod spill;
mod waiting;
mod world;
