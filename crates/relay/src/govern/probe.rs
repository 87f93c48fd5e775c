//! Whether a side answers beside the traffic, and whether it is the cluster that it was.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use naru_kafka::client::{Client, ClientConfig, ClientError};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::clock;
use crate::coordination::{Coordination as _, ReadFailed};
use crate::relay::Relay;
use crate::sequence::Millis;
use crate::side::{Side, SideMap};
use crate::sides::Probe;

/// Four times within the shortest takeover: an absence is seen from its beginning.
const EVERY: Duration = Duration::from_millis(250);
/// A broker that is well answers in a millisecond; two of these fit into the time after which a side is given up.
const ANSWER_MAX: Duration = Duration::from_millis(500);

/// The newest probe of each side; None before the first.
pub(super) type Probes = SideMap<watch::Receiver<Option<Probe>>>;

/// Starts a prober for each side.
pub(super) fn start(relay: &Arc<Relay>) -> Probes {
    SideMap::from_fn(|side| {
        let (sender, receiver) = watch::channel(None);
        relay.tasks.spawn("probing a side", run(Arc::clone(relay), side, sender));
        receiver
    })
}

fn client(relay: &Relay, side: Side) -> Result<Client, ClientError> {
    let bootstrap = relay.config.side(side).bootstrap.iter().map(ToString::to_string);
    let mut config = ClientConfig::new(bootstrap);
    config.connection.client_id = format!("naru-relay-{}-probe", relay.config.node_id);
    config.connection.connect_timeout = ANSWER_MAX;
    config.connection.request_timeout = ANSWER_MAX;
    config.attempts_max = 1;
    Client::new(config)
}

async fn run(relay: Arc<Relay>, side: Side, told: watch::Sender<Option<Probe>>) {
    let client = match client(&relay, side) {
        Ok(client) => client,
        // The same settings have made the side's other clients.
        Err(error) => return tracing::error!(%side, error = &error as &dyn std::error::Error, "no probes"),
    };
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut expected = relay.config.side(side).cluster_id.clone();
    let mut absent_since: Option<Millis> = None;
    loop {
        tokio::select! {
            () = relay.stopping.cancelled() => break,
            _ = ticks.tick() => {}
        }
        let asked = clock::now();
        let probe = match timeout(ANSWER_MAX, client.metadata(Some(&[]))).await {
            Ok(Ok(metadata)) => {
                let shown = metadata.cluster_id.unwrap_or_default();
                match is_expected(&relay, side, &shown, &mut expected).await {
                    true => {
                        absent_since = None;
                        Probe::Serving
                    }
                    false => Probe::WrongCluster { since: *absent_since.get_or_insert(asked) },
                }
            }
            Ok(Err(error)) => {
                tracing::debug!(%side, error = &error as &dyn std::error::Error, "a probe failed");
                Probe::Absent { since: *absent_since.get_or_insert(asked) }
            }
            Err(_) => Probe::Absent { since: *absent_since.get_or_insert(asked) },
        };
        let before = told.send_replace(Some(probe));
        if before.is_none_or(|before| std::mem::discriminant(&before) != std::mem::discriminant(&probe)) {
            tracing::info!(%side, ?probe, "a side is probed");
        }
    }
    client.shutdown(ANSWER_MAX).await;
}

/// Whether the cluster is the one that was configured or seen first. The first one is kept.
async fn is_expected(relay: &Relay, side: Side, shown: &str, expected: &mut Option<String>) -> bool {
    if expected.is_none() {
        *expected = first_seen(relay, side, shown).await;
    }
    expected.as_deref().is_some_and(|expected| expected == shown)
}

async fn first_seen(relay: &Relay, side: Side, shown: &str) -> Option<String> {
    let coordination = &relay.state.coordination;
    let key = |side: Side| format!("cluster/{side}");
    let read = async |side| {
        let held = coordination.read(&key(side)).await?;
        Ok::<_, ReadFailed>(held.map(|held| String::from_utf8_lossy(&held.value).into_owned()))
    };
    let (kept, others) = match (read(side).await, read(side.other()).await) {
        (Ok(kept), Ok(others)) => (kept, others),
        (Err(error), _) | (_, Err(error)) => {
            tracing::warn!(%side, error = &error as &dyn std::error::Error, "the cluster's id cannot be read");
            return None;
        }
    };
    if kept.is_some() {
        return kept;
    }
    if others.as_deref() == Some(shown) {
        tracing::error!(%side, cluster = shown, "both sides are the same cluster");
        return None;
    }
    match coordination.swap(&key(side), 0, Bytes::copy_from_slice(shown.as_bytes())).await {
        Ok(_) => Some(shown.to_owned()),
        Err(error) => {
            tracing::warn!(%side, error = &error as &dyn std::error::Error, "the cluster's id cannot be kept");
            None
        }
    }
}
