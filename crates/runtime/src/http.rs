//! An HTTP port of a process, served to its end.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// What a request that has begun gets when its process stops: a reader that stalls must not hold up the end.
const END_MAX: Duration = Duration::from_secs(1);

/// A port could not be had. A retry helps when it becomes free.
#[derive(Debug, thiserror::Error)]
#[error("port {address}: cannot be bound")]
pub struct BindError {
    /// The configured address.
    pub address: SocketAddr,
    /// The system's answer.
    #[source]
    pub source: io::Error,
}

/// Takes a port, and gives it with its address: port 0 takes a free one.
///
/// # Errors
/// When it cannot be had.
pub async fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr), BindError> {
    let failed = |source| BindError { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

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
