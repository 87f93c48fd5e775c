//! The audit: proves that source, both clusters and the lake hold the same, or names the rows that differ.
//!
//! Owns sketches, windows, certificates and orders of repair. It reads everything by code of its own, and never takes the
//! relay's, capture's or the lake's word; it depends on none of them.
