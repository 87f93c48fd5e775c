//! The customer's side: a payment and a transfer service, and pages of an offer, written as a customer would write them.
//! It uses no crate of Naru, and is meant to be copied.
//!
//! What it keeps, whatever fails:
//! - an answer 201 is given only for what stands on disk (SQLite, one fsync per group of requests);
//! - every operation's postings add up to zero in each currency, and no user's balance is below zero;
//! - each operation gets the user's next sequence number, and goes to the log in that order;
//! - the log may be away: operations wait in a table of the same database, the outbox, until it is back.
//!
//! The path of a request: [`connections`] -> [`http`] -> [`instruction`] -> [`writer`] (the only one that writes) -> [`store`]; and from
//! there [`publish`] carries the outbox to the log. The [`pages`] have no database: they only take their time.

pub mod connections;
pub mod http;
pub mod instruction;
pub mod pages;
pub mod publish;
pub mod service;
pub mod store;
pub mod writer;

pub use instruction::Kind;
pub use service::{Config, Service, ServiceError};
