//! What each role says of itself, read as leniently as its contract allows: a field that is missing is empty, one that is
//! new is ignored, so that a console of another day's build still shows what it can.

pub mod control;
pub mod courier;
pub mod edge;
pub mod lake;
pub mod process;
pub mod relay;
pub mod watch;

use std::fmt::Display;

/// A role, as far as it can be seen now.
#[derive(Debug, Clone, Default)]
pub enum Part<T> {
    /// The configuration does not name it.
    #[default]
    Off,
    /// It gave no answer; why, in words.
    Away(String),
    /// What it said.
    Here(T),
}

impl<T> Part<T> {
    /// What it said, if it did.
    pub fn here(&self) -> Option<&T> {
        match self {
            Self::Here(said) => Some(said),
            Self::Off | Self::Away(_) => None,
        }
    }

    /// Why it is not here, where it should be.
    pub fn away(&self) -> Option<&str> {
        match self {
            Self::Away(why) => Some(why),
            Self::Off | Self::Here(_) => None,
        }
    }

    /// Whether it is configured.
    pub fn is_on(&self) -> bool {
        !matches!(self, Self::Off)
    }
}

/// Asks one that may not be configured.
pub async fn ask<S, T, E: Display>(source: Option<&S>, ask: impl AsyncFnOnce(&S) -> Result<T, E>) -> Part<T> {
    match source {
        None => Part::Off,
        Some(source) => match ask(source).await {
            Ok(said) => Part::Here(said),
            Err(why) => Part::Away(why.to_string()),
        },
    }
}
