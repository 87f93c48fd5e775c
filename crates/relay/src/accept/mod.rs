//! Clients: their connections, what they may ask, and who answers it.

pub mod api;
mod connection;
pub mod dispatch;
mod permit;
mod produce;

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use naru_kafka::wire::StrBytes;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::relay::Relay;
use crate::security::Caller;

/// How long accepting pauses after the system refused a connection, such as for want of file handles.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What belongs to one connection of a client, for as long as it is open. Its requests but Produce are answered one at a
/// time, so each has it to itself.
#[derive(Debug)]
pub struct Session {
    /// Where the client is.
    pub peer: SocketAddr,
    /// Where it came to.
    pub local: SocketAddr,
    /// Who the client is, and what it may do.
    pub caller: Arc<Caller>,
    /// How long nothing is read from the client once its answer is written, milliseconds.
    pub(crate) throttle_ms: u64,
    /// Nothing can follow the answer that is being made.
    pub(crate) close_after_answer: bool,
    slots: HashMap<TypeId, Box<dyn Any + Send + Sync>>,
}

impl Session {
    fn new(peer: SocketAddr, local: SocketAddr, caller: Arc<Caller>) -> Self {
        Self { peer, local, caller, throttle_ms: 0, close_after_answer: false, slots: HashMap::new() }
    }

    /// Something that an API keeps per connection, made when first asked for; dropped with the connection.
    pub fn slot<T: Any + Send + Sync + Default>(&mut self) -> &mut T {
        let slot = self.slots.entry(TypeId::of::<T>()).or_insert_with(|| Box::new(T::default()));
        slot.downcast_mut().expect("a slot holds the type that it is filed under")
    }
}

/// One request that is being answered.
#[derive(Debug)]
pub struct Call<'a> {
    /// The relay.
    pub relay: &'a Arc<Relay>,
    /// The connection.
    pub session: &'a mut Session,
    /// The request's version.
    pub version: i16,
    /// The name that the client gives itself.
    pub client_id: Option<StrBytes>,
}

/// Takes connections until the relay stops; then lets those in hand come to their end, within the time for draining.
pub(crate) async fn listen(relay: Arc<Relay>, listener: TcpListener) {
    let connections = TaskTracker::new();
    let cut = CancellationToken::new();
    loop {
        let accepted = tokio::select! {
            () = relay.stopping.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (socket, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let open = relay.connections.fetch_add(1, Ordering::Relaxed);
        let counted = Counted(Arc::clone(&relay));
        if open >= relay.config.connections_max as usize {
            tracing::info!(%peer, open, "connection refused: as many as allowed are open");
            continue;
        }
        let cut = cut.clone();
        connections.spawn(async move {
            cut.run_until_cancelled(connection::serve(&counted.0, socket, peer)).await;
        });
    }
    connections.close();
    if tokio::time::timeout(relay.config.drain_max, connections.wait()).await.is_err() {
        tracing::warn!(open = connections.len(), "requests were cut off at the end of the drain");
        cut.cancel();
        connections.wait().await;
    }
}

/// An open connection, counted until it is dropped, whatever ends it.
struct Counted(Arc<Relay>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}
