//! The audit: proves that source, both clusters and the lake hold the same, or names the rows that differ.
//!
//! Owns sketches, windows, certificates and orders of repair. It reads everything by code of its own, and never takes the
//! relay's, capture's or the lake's word; it depends on none of them. Invariants: equal windows never differ in their
//! sketches (AUDIT-1), every difference is named with its exact multiplicity or the window is left open (AUDIT-2), and
//! a certificate that was altered, cut or reordered is refused (AUDIT-3).
//!
//! [`canonical`] says what the bytes of a record are, [`sketch`] sums them up, [`verdict`] compares; all three are pure.

pub mod auditor;
pub mod canonical;
pub mod certificate;
pub mod config;
pub mod gather;
pub mod lake;
pub mod log;
pub mod repair;
pub mod sketch;
pub mod source;
pub mod verdict;
