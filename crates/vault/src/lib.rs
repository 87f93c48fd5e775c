//! The vault: tokens in place of personal data, and the only keys that make and open them.
//!
//! Owns keys per field with versions, tokenising and resolving over HTTP, and the record of who resolved what and why.
//! Nobody else holds these keys. It never depends on the log, the lake or a database.

pub mod answer;
pub mod api;
pub mod config;
mod hex;
pub mod keys;
mod listen;
pub mod server;
pub mod token;
pub mod uses;
