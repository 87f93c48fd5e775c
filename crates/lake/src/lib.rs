//! The lake: records of the log become rows of open tables, queryable within about a second.
//!
//! Owns ingestion, tables and the SQL endpoint, and is the only one that knows DataFusion and Iceberg. What a table holds
//! and how far the log is read into it stand in one snapshot: after a crash only the snapshot is believed.

pub mod catalogue;
pub mod change;
pub mod config;
pub mod error;
pub mod events;
pub mod ingest;
pub mod lake;
pub mod rest;
pub mod sql;
pub mod table;
pub mod upkeep;
