//! File work off the threads that serve sockets.

use crate::standin::storage::StoreError;

/// Runs file work where it may block. A panic in it is the caller's panic.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, StoreError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => Ok(done),
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(StoreError::Offline("the broker is stopping")),
        },
    }
}
