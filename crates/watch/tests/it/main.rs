//! The watch without its sockets, in a day that is made of one seed and played in seconds.

#![allow(clippy::unwrap_used)] // a test panics on failure

mod calm;
mod desk;
mod faults;
mod world;
