#![allow(clippy::unwrap_used)] // a test panics on failure

mod duplex;
mod script;
