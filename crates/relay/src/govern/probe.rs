//! Whether a side answers beside the traffic, and whether it is the cluster that it was.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::clock;
use crate::coordination::Coordination as _;
use crate::relay::Relay;
use crate::sequence::Millis;
use crate::side::{Side, SideMap};
use crate::sides::Probe;
use crate::upstream::Upstream;

/// Four times within the shortest takeover: an absence is seen from its beginning.
const EVERY: Duration = Duration::from_millis(250);
/// A broker that is well answers in a millisecond; two of these fit into the time after which a side is given up.
const ANSWER_MAX: Duration = Duration::from_millis(500);

/// What both sides get at a first start to say which clusters they are: connections are made in it.
const FIRST_ANSWER_MAX: Duration = Duration::from_secs(2);

/// The key of both clusters' ids.
const CLUSTERS: &str = "clusters";

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

/// The id that both sides show where none is kept of either: a mistake in the configuration, which must not look like a
/// lost standby. Once ids are kept, the probes tell which side's addresses are wrong, and the other goes on.
pub(crate) async fn one_cluster_on_both_sides(relay: &Relay) -> Option<String> {
    if !matches!(relay.state.coordination.read(CLUSTERS).await, Ok(None)) {
        return None;
    }
    let shown = async |side: Side| {
        let metadata = timeout(FIRST_ANSWER_MAX, relay.upstreams[side].control.metadata(Some(&[]))).await;
        metadata.ok()?.ok()?.cluster_id
    };
    let (a, b) = tokio::join!(shown(Side::A), shown(Side::B));
    a.filter(|a| b.as_ref() == Some(a)).map(|id| id.to_string())
}

async fn run(relay: Arc<Relay>, side: Side, told: watch::Sender<Option<Probe>>) {
    let client = match Upstream::client(side, &relay.config, "probe") {
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
                let shown = metadata.cluster_id.as_deref();
                let is_expected = is_expected(&relay, side, shown, &mut expected).await;
                relay.saw_cluster(side, shown, expected.as_deref());
                match is_expected {
                    Some(true) => {
                        absent_since = None;
                        Probe::Serving
                    }
                    Some(false) => Probe::WrongCluster { since: *absent_since.get_or_insert(asked) },
                    None => Probe::Absent { since: *absent_since.get_or_insert(asked) },
                }
            }
            Ok(Err(error)) => {
                tracing::debug!(%side, error = &error as &dyn std::error::Error, "a probe failed");
                Probe::Absent { since: *absent_since.get_or_insert(asked) }
            }
            Err(_) => Probe::Absent { since: *absent_since.get_or_insert(asked) },
        };
        relay.upstreams[side].recognised.set(probe == Probe::Serving);
        let before = told.send_replace(Some(probe));
        if before.is_none_or(|before| std::mem::discriminant(&before) != std::mem::discriminant(&probe)) {
            tracing::info!(%side, ?probe, "a side is probed");
            if let Probe::WrongCluster { .. } = probe {
                let found = relay.cluster(side).shown;
                tracing::error!(%side, found, expected, "another cluster answers, or the same one as on the other side");
            }
        }
    }
    client.shutdown(ANSWER_MAX).await;
}

/// Whether the cluster is the one that was configured or seen first. The first one is kept. None if that cannot be known:
/// it shows no id, as one that is starting, or nothing can be kept now.
async fn is_expected(relay: &Relay, side: Side, shown: Option<&str>, expected: &mut Option<String>) -> Option<bool> {
    let shown = shown.filter(|shown| !shown.is_empty())?;
    // Once more if the other side's prober was faster.
    for _ in Side::BOTH {
        if expected.is_none() {
            match first_seen(relay, side, shown).await {
                First::Is(first) => *expected = Some(first),
                First::TheOthers => return Some(false),
                First::Unknown => {}
            }
        }
    }
    expected.as_deref().map(|expected| expected == shown)
}

/// What is kept of a cluster's id.
enum First {
    /// This one.
    Is(String),
    /// None, and the one that answers is the other side's.
    TheOthers,
    /// It cannot be read or kept now.
    Unknown,
}

/// What is kept of the cluster's id. Both sides' stand in one record, so that two sides cannot both be the first to
/// name one cluster.
async fn first_seen(relay: &Relay, side: Side, shown: &str) -> First {
    let coordination = &relay.state.coordination;
    let (version, mut clusters) = match coordination.read(CLUSTERS).await {
        Ok(None) => (0, SideMap::<Option<String>>::default()),
        Ok(Some(held)) => match serde_json::from_slice(&held.value) {
            Ok(clusters) => (held.version, clusters),
            Err(error) => {
                tracing::warn!(%side, %error, "the kept ids of the clusters cannot be understood");
                return First::Unknown;
            }
        },
        Err(error) => {
            tracing::warn!(%side, error = &error as &dyn std::error::Error, "the cluster's id cannot be read");
            return First::Unknown;
        }
    };
    if let Some(kept) = clusters[side].take() {
        return First::Is(kept);
    }
    if clusters[side.other()].as_deref() == Some(shown) {
        return First::TheOthers;
    }
    clusters[side] = Some(shown.to_owned());
    let value = serde_json::to_vec(&clusters).expect("ids are texts");
    match coordination.swap(CLUSTERS, version, Bytes::from(value)).await {
        Ok(_) => First::Is(shown.to_owned()),
        // Looked at again with the next probe.
        Err(error) => {
            tracing::debug!(%side, error = &error as &dyn std::error::Error, "the cluster's id is not kept yet");
            First::Unknown
        }
    }
}
