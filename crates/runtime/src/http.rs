//! An HTTP port of a process, served to its end.

use std::io;
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// What a request that has begun gets when its process stops: a reader that stalls must not hold up the end.
const END_MAX: Duration = Duration::from_secs(1);

/// Serves until told to stop, and then for at most a second what has begun.
///
/// # Errors
/// When the system refuses to accept.
pub async fn serve_until(listener: TcpListener, router: Router, stop: CancellationToken) -> io::Result<()> {
    let late = async {
        stop.cancelled().await;
        tokio::time::sleep(END_MAX).await;
    };
    tokio::select! {
        served = axum::serve(listener, router).with_graceful_shutdown(stop.clone().cancelled_owned()) => served,
        () = late => Ok(()),
    }
}
