//! How far a partition has come, and waiting for it.

use tokio::sync::watch;

use super::StoreError;

/// How far a partition has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// The first offset that can be read.
    pub log_start: i64,
    /// The offset up to which consumers may read.
    pub high_watermark: i64,
    /// The offset below which everything is on disk.
    pub durable_end: i64,
    /// The store was closed or deleted, or is offline.
    pub closed: bool,
    // How often appends above `rolled_back_to` were cut off because an fsync failed.
    pub(super) rollbacks: u64,
    pub(super) rolled_back_to: i64,
}

/// Waits until an append is done as the flush policy says.
#[derive(Debug)]
#[must_use = "an append under Flush::Fsync is not durable until this was awaited"]
pub struct Durable(Option<Ticket>);

#[derive(Debug)]
struct Ticket {
    progress: watch::Receiver<Progress>,
    end: i64,
    rollbacks: u64,
}

impl Ticket {
    fn outcome(&self, progress: &Progress) -> Option<Result<(), StoreError>> {
        let rolled_back = match progress.rollbacks - self.rollbacks {
            0 => false,
            1 => self.end > progress.rolled_back_to,
            // Not known any more; the producer sends again, and is told if it was there.
            _ => true,
        };
        if rolled_back {
            return Some(Err(StoreError::RolledBack));
        }
        if progress.durable_end >= self.end {
            return Some(Ok(()));
        }
        progress.closed.then_some(Err(StoreError::Offline("it was closed before the batch was durable")))
    }
}

impl Durable {
    pub(super) fn at_once() -> Self {
        Self(None)
    }

    pub(super) fn when(progress: watch::Receiver<Progress>, end: i64) -> Self {
        let rollbacks = progress.borrow().rollbacks;
        Self(Some(Ticket { progress, end, rollbacks }))
    }

    /// Waits for the fsync that covers the append; at once under [`Flush::Write`](super::Flush::Write). Dropping the
    /// future gives up waiting, nothing else.
    ///
    /// # Errors
    /// The fsync failed and the batch was cut off, or the store was closed.
    pub async fn wait(self) -> Result<(), StoreError> {
        let Some(mut ticket) = self.0 else { return Ok(()) };
        loop {
            let seen = *ticket.progress.borrow_and_update();
            if let Some(outcome) = ticket.outcome(&seen) {
                return outcome;
            }
            if ticket.progress.changed().await.is_err() {
                return Err(StoreError::Offline("it was dropped before the batch was durable"));
            }
        }
    }

    /// Whether waiting would not take any time.
    pub fn is_settled(&self) -> bool {
        self.0.as_ref().is_none_or(|ticket| {
            let seen = *ticket.progress.borrow();
            ticket.outcome(&seen).is_some()
        })
    }
}
