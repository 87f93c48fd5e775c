//! The audit against two stand-in clusters and tables that these tests write by themselves: no line of capture, relay or
//! lake has a part in it.
#![allow(clippy::unwrap_used, missing_docs)] // a test panics on failure

mod faults;
mod lake;
mod late;
mod postgres;
mod python;
mod source;
mod world;
