//! The watch: what the roles show by the second, what is about to run out, incidents that open themselves, pages and
//! postmortems.
//!
//! Owns the series in memory, the detectors, the rule of causes, incidents and the ledger of them. Detectors are causal by
//! type: they see a series only as [`series::Past`], which has no future, no length and no range. Whatever is said of an
//! incident stands in the ledger, and the incident is made of that alone. It reads what roles show and decides nothing for
//! them: it depends on no crate of a role, and on no library of theirs.

pub mod api;
pub mod cause;
pub mod config;
pub mod desk;
pub mod detect;
pub mod engine;
pub mod event;
pub mod incident;
pub mod ledger;
pub mod page;
pub mod postmortem;
pub mod scrape;
pub mod selector;
pub mod series;
pub mod server;
