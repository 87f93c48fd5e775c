//! The courier: campaigns and usage notifications, from a recipient's token to the provider's receipt.
//!
//! Owns the sending state machine ([`batch`]), its durable log ([`log`]), who may be sent what and when ([`admit`],
//! [`hours`]), pacing ([`pace`]) and the adapters of providers ([`provider`]). Invariant: the exact batch and its key
//! are durable before a byte leaves, and a batch whose outcome is unknown goes out again only under the same key and
//! within that key's lifetime; later it is settled by receipts and by asking. It never knows the edge, the relay or the
//! lake as crates, and never a recipient's address beyond the call that hands it to the provider.

pub mod address;
pub mod admit;
pub mod api;
pub mod batch;
pub mod config;
pub mod courier;
mod drive;
pub mod hours;
mod http;
pub mod log;
pub mod pace;
pub mod provider;
pub mod reached;
pub mod reading;
pub mod recipients;
mod sending;
pub mod sim;
pub mod state;
pub mod status;
mod usage;
