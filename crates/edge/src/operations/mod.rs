//! What operates a gateway beside the requests that it carries: nothing here is on the way of one but counters.
//!
//! `health` asks servers whether they are up, `admin` answers operators and control over HTTP, with `state` as what it
//! shows.

pub mod admin;
#[cfg(test)]
mod document;
pub mod health;
pub mod state;
