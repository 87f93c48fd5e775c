//! The control plane: what teams ask for, planned, priced, approved, applied, held by leases and given back.
//!
//! Owns the book of requests and resources, the sagas that make and end things at providers, tokens and the ledger of what
//! was decided. Decisions (`plan`, `saga`, `desk`, `net`) are pure; what they change is durable before it is answered or
//! acted on. It believes nothing of a provider but what the provider shows, and never depends on a provider's code.

pub mod access;
pub mod api;
pub mod book;
pub mod campaign;
pub mod config;
pub mod crash;
pub mod desk;
pub mod keeper;
pub mod ledger;
pub mod net;
pub mod plan;
pub mod provider;
pub mod reconcile;
pub mod resource;
pub mod saga;
pub mod server;

pub mod store;
