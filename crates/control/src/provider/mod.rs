//! The contract of whoever makes things: create, observe, delete.
//!
//! - A key is used for one thing, for ever: `create` with a key that was used gives that thing, in whatever state it is.
//! - `observe` shows everything of this owner that lives, and may be late by [`Provider::settle`] at most.
//! - `delete` of a thing that is not there is done.
//! - Each change carries a fence, which rises with every start of the owner; a lower one than was seen is refused.
//!
//! `conformance` holds each implementation to it.

pub mod cloud;
#[cfg(test)]
mod conformance;
pub mod local;
pub mod topics;

use std::time::Duration;

use async_trait::async_trait;

use crate::resource::{Market, Topic};

/// What is to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Its name, for ever.
    pub key: String,
    /// What it is for, shown to people at the provider.
    pub resource: String,
    /// Its kind.
    pub shape: Shape,
}

/// A kind of thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shape {
    /// A machine, or a process in its place.
    Machine {
        /// What kind.
        flavor: String,
        /// How it is paid for.
        market: Market,
        /// What a process runs; machines boot by themselves.
        command: Vec<String>,
    },
    /// A topic.
    Topic(Topic),
}

/// Where a thing is, as its provider shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SeenState {
    /// It is there, and not ready.
    Booting,
    /// It serves.
    Ready,
    /// It has ended.
    Gone,
}

/// A thing, as its provider shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Its name to us.
    pub key: String,
    /// Its name to the provider.
    pub id: String,
    /// Where it is.
    pub state: SeenState,
}

/// Why a provider did not do it.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    /// Asked too often; later helps.
    #[error("the provider wants to be asked more slowly")]
    Throttled,
    /// There is none now; later, or another kind, may help.
    #[error("the provider has none: {0}")]
    NoCapacity(String),
    /// What was asked for cannot be meant. Ours; no retry helps.
    #[error("the provider refuses: {0}")]
    Refused(String),
    /// Another process has taken over in our name. This one must stop.
    #[error("another control has taken over: {0}")]
    Stale(String),
    /// It is not known whether it was done. A retry helps.
    #[error("no answer of the provider: {0}")]
    Unknown(String),
}

/// Who makes things.
#[async_trait]
pub trait Provider: Send + Sync + std::fmt::Debug {
    /// How long [`Provider::observe`] may be wrong about what was done.
    fn settle(&self) -> Duration;

    /// Makes a thing, once for its key.
    async fn create(&self, fence: u64, wanted: &Wanted) -> Result<Seen, ProviderError>;

    /// Everything of this owner that lives; what has ended may be shown as well.
    async fn observe(&self) -> Result<Vec<Seen>, ProviderError>;

    /// Ends a thing.
    async fn delete(&self, fence: u64, seen: &Seen) -> Result<(), ProviderError>;
}
