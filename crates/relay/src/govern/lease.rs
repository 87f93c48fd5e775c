//! The right to decide (RELAY-9).

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::clock;
use crate::coordination::Coordination as _;
use crate::relay::Relay;

/// How long a lease holds. Longer than any pause that the sides' own sessions survive would only delay a successor.
const TIME_TO_LIVE: Duration = Duration::from_secs(10);
/// Several tries in its life.
const RENEW_EVERY: Duration = Duration::from_secs(2);
/// A coordinator that takes longer than this is asked again.
const ANSWER_MAX: Duration = Duration::from_secs(2);
const NAME: &str = "relay";

/// Takes or renews the lease. It is counted from before it was asked for.
pub(super) async fn take(relay: &Arc<Relay>) {
    let holder = format!("{}/{}", relay.cluster_id, relay.epoch);
    let asked = clock::now();
    let answer = timeout(ANSWER_MAX, relay.state.coordination.lease(NAME, &holder, TIME_TO_LIVE)).await;
    match answer {
        Ok(Ok(Some(granted))) => {
            let length_ms = u64::try_from(granted.time_to_live.as_millis()).unwrap_or(0);
            relay.lease.send_replace(asked.saturating_add(length_ms));
        }
        Ok(Ok(None)) => tracing::warn!("another relay holds the lease"),
        Ok(Err(error)) => tracing::warn!(error = &error as &dyn std::error::Error, "the lease cannot be renewed"),
        Err(_) => tracing::warn!("the coordinator does not answer for the lease"),
    }
}

/// Keeps it until the relay stops.
pub(super) async fn run(relay: Arc<Relay>) {
    let mut ticks = interval(RENEW_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = relay.stopping.cancelled() => return,
            _ = ticks.tick() => take(&relay).await,
        }
    }
}
