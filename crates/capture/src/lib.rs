//! Capture: each committed change of a service database becomes a record on the log, once and in order.
//!
//! Owns the source side of the lake: slots, publications, the initial copy, the format of change records
//! (docs/formats/changes.md). A sensitive column leaves as a token or not at all. It never depends on the lake, on
//! audit, DataFusion or Iceberg.
