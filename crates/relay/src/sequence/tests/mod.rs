#![allow(clippy::unwrap_used)] // a test panics on failure

mod doubt;
mod duplex;
mod script;
mod sides;
mod starts;
