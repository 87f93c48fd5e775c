//! What the stream and the requests of one client connection tell one another.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use super::asker::Asker;
use crate::operations::meters::Meters;
use crate::request::{Limits, Reason, Refusal};

/// How the client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// HTTP/1.1, or 1.0.
    Http1,
    /// HTTP/2, by ALPN or by its preface.
    Http2,
}

/// One client connection.
#[derive(Debug)]
pub(crate) struct Connection {
    /// Who connected.
    pub client: SocketAddr,
    pub protocol: Protocol,
    /// What its requests are held against, from its beginning to its end.
    pub limits: Limits,
    /// Whoever connected, as the one who asks.
    pub asker: Asker,
    meters: Arc<Meters>,
    answered: AtomicU64,
    switched: AtomicBool,
    refused: OnceLock<Refusal>,
}

impl Connection {
    pub fn new(client: SocketAddr, protocol: Protocol, limits: Limits, asker: Asker, meters: Arc<Meters>) -> Self {
        Self {
            client,
            protocol,
            limits,
            asker,
            meters,
            answered: AtomicU64::new(0),
            switched: AtomicBool::new(false),
            refused: OnceLock::new(),
        }
    }

    /// Counts a refusal, wherever its answer comes from.
    pub fn count(&self, reason: Reason) {
        self.meters.refused(reason);
    }

    /// A request was answered in full: the next may pass.
    pub fn answer_ended(&self) {
        self.answered.fetch_add(1, Ordering::Release);
    }

    /// Requests that were answered in full.
    pub fn answered(&self) -> u64 {
        self.answered.load(Ordering::Acquire)
    }

    /// The upgrade that the client asked for is granted: what follows is no longer HTTP.
    pub fn switch(&self) {
        self.switched.store(true, Ordering::Release);
    }

    /// Whether it was.
    pub fn is_switched(&self) -> bool {
        self.switched.load(Ordering::Acquire)
    }

    /// The stream refused the rest of a request whose head has passed.
    pub fn refuse(&self, refusal: Refusal) {
        // The first refusal ends the connection; there is no second one to lose.
        self.refused.get_or_init(|| refusal);
    }

    /// What was refused of the request in hand.
    pub fn refused(&self) -> Option<Refusal> {
        self.refused.get().copied()
    }
}
