//! What operates a gateway beside the requests that it carries: nothing here is on the way of one but counters.
//!
//! `health` asks servers whether they are up, `admin` answers operators and control over HTTP, with `state` as what it
//! shows; `meters` counts, `access` writes down what was asked, `rate` says when a client asks too often; `reload`
//! takes changes while requests go on, and `handover` gives the clients' port to another process; `doors` are the ports of
//! operators. `sharing` asks for leases of slots and gives them out.

pub mod access;
pub mod admin;
#[cfg(test)]
mod document;
pub mod doors;
pub(crate) mod drains;
pub mod handover;
pub mod health;
pub mod meters;
pub mod rate;
pub mod reload;
pub mod sharing;
pub mod state;
