//! Integration tests of the binary; one file of tests per subject.

#![allow(clippy::unwrap_used)] // a test panics on failure

mod broker;
mod capture;
mod conformance;
mod console;
mod control;
mod courier;
mod disk_full;
mod edge;
mod edge_audit;
mod edge_check;
mod edge_operations;
mod handbook;
mod kill;
mod lake;
mod node;
mod outside;
mod pipeline;
mod postgres;
mod rehearse;
mod relay;
mod up;
mod variables;
mod watch;
