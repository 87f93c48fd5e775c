//! Capture: each committed change of a service database becomes a record on the log, once and in order.
//!
//! Owns the source side of the lake: slots, publications, the initial copy, the format of change records
//! (docs/formats/changes.md). A sensitive column leaves as a token or not at all. It never depends on the lake, on
//! audit, DataFusion or Iceberg.

mod avro;
pub mod capture;
pub mod change;
pub mod config;
pub mod error;
mod evolve;
pub mod log;
pub mod personal;
pub mod preflight;
mod session;
pub mod source;
pub mod status;
mod stream;
pub mod table;
pub mod tokens;
mod writer;

pub use avro::{Kind, Unfit};
