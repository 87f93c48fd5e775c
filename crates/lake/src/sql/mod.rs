//! SQL over the tables, on the PostgreSQL protocol.
//!
//! The way of a query: `server` (who connects) -> `service` (what is said) -> `guard` (may it, and what may it cost) ->
//! `session` (DataFusion over the tables of one role at one moment) -> `scan` (the only door to rows).

pub mod config;
pub mod growing;
pub mod guard;
pub mod own;
pub mod role;
pub mod scan;
pub mod schemas;
pub mod server;
pub mod service;
pub mod session;
pub mod settings;
pub mod single;
pub mod syntax;
pub mod tables;
pub mod tls;
pub mod yielding;
