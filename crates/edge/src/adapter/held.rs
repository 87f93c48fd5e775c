//! Where a request is.

use std::net::SocketAddr;

use naru_model::SiteKind;

use crate::policy::{CorePeer, Millis, OpenPlace, Place};

/// A server, with the slots that the request holds there.
#[derive(Debug)]
pub(super) enum Held {
    Core(Place<CorePeer>),
    Open(OpenPlace),
}

impl Held {
    /// Where it answers.
    pub fn address(&self) -> SocketAddr {
        match self {
            Self::Core(place) | Self::Open(OpenPlace::Owned(place)) => place.upstream().address(),
            Self::Open(OpenPlace::Rented(place)) => place.upstream().address(),
        }
    }

    /// Whose machines it runs on.
    pub fn kind(&self) -> SiteKind {
        match self {
            Self::Core(_) | Self::Open(OpenPlace::Owned(_)) => SiteKind::Owned,
            Self::Open(OpenPlace::Rented(_)) => SiteKind::Rented,
        }
    }

    /// It failed before an answer came.
    pub fn failed(&self, now: Millis) {
        match self {
            Self::Core(place) | Self::Open(OpenPlace::Owned(place)) => place.failed(now),
            Self::Open(OpenPlace::Rented(place)) => place.failed(now),
        }
    }
}
