//! A group between two sides that are played by the test: scripts of single cases, and seeded disorder.

#![allow(clippy::unwrap_used)] // a test panics on failure

mod disorder;
mod marks;
mod scripts;
mod world;
