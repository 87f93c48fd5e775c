//! The planner against made-up worlds that do not share its assumptions.

#![allow(clippy::unwrap_used, clippy::print_stdout)] // a test panics on failure, and the simulations print their figures

mod campaigns;
mod pacing;
mod world;
