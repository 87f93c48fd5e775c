//! A simulated cloud, as a process of its own: machines that boot late, run out, are throttled, show up late in lists and
//! are reclaimed, with a meter of its own.
//!
//! Owns the list of machines that were ever rented and what each costs; a test asks it, not the renter, what there is.
//! It never depends on the renter: they meet at the HTTP contract of docs/api/cloud-sim.json.

pub mod api;
pub mod cloud;
pub mod config;
mod journal;
mod luck;
pub mod server;
