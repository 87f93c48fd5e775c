//! The comparer of a running relay: what it follows, and what becomes of what it finds.

use std::sync::Arc;

use naru_runtime::telemetry::{Metrics, Observed, Reading};

use super::{Difference, Followed, Follower, Options, Producers, Watch};
use crate::config::Mode;
use crate::relay::Relay;
use crate::side::{Side, SideMap};
use crate::upstream::{Upstream, UpstreamError};

/// A comparer of everything that this relay serves in duplex, by connections of its own. None: it is switched off.
pub(crate) fn follower(relay: &Arc<Relay>) -> Result<Option<Follower>, UpstreamError> {
    let rate = relay.config.compare_per_second.as_usize() as u64;
    let Some(bytes_per_second) = std::num::NonZeroU64::new(rate) else { return Ok(None) };
    let client = |side| Upstream::client(side, &relay.config, "compare");
    let clients = SideMap { a: client(Side::A)?, b: client(Side::B)? };
    let chunk_bytes = i32::try_from(relay.config.copy_bytes_max.as_usize()).unwrap_or(i32::MAX);
    let producers = Producers::Copiers(relay.copier_id);
    let options = Options { producers, bytes_per_second: Some(bytes_per_second), chunk_bytes, ..Options::default() };
    let watching = Arc::clone(relay);
    let follower = Follower::new(clients, options, move || watched(&watching), Arc::new(tell));
    Ok(Some(follower.counting_in(Arc::clone(&relay.followed))))
}

fn watched(relay: &Relay) -> Vec<Watch> {
    let mut watched = Vec::new();
    for topic in relay.served.all() {
        if relay.group_of_topic(&topic.name).config.mode != Mode::Duplex {
            continue;
        }
        watched.extend(topic.partitions.iter().map(|partition| {
            let shown = partition.shown();
            Watch {
                at: partition.at().clone(),
                log_start: shown.view.log_start,
                gate: shown.view.gate,
                in_sync: shown.view.ready && shown.in_sync.is_pair(),
            }
        }));
    }
    watched
}

/// The alarm, and the count under the rule that does not hold.
fn tell(difference: &Difference) {
    let rule = difference.rule();
    tracing::error!(rule = rule.id(), %difference, "the sides differ below the gate");
    rule.violated(difference.to_string());
}

/// Shows what the comparer did.
pub(crate) fn show(followed: &Arc<Followed>, metrics: &Metrics) {
    let show = |name, help, kind, read: fn(&Followed) -> &std::sync::atomic::AtomicU64| {
        let followed = Arc::clone(followed);
        metrics.observe(name, help, kind, move || {
            let value = read(&followed).load(std::sync::atomic::Ordering::Relaxed);
            vec![Reading { labels: Vec::new(), value }]
        });
    };
    let counter = Observed::Counter;
    show("relay_compared_batches", "Batches compared between the sides", counter, |followed| &followed.batches);
    show("relay_compared_bytes", "Bytes read for comparing, of both sides", counter, |followed| &followed.bytes);
    show("relay_compared_commits", "Rounds over all committed offsets", counter, |followed| &followed.commit_rounds);
    show("relay_differences", "Differences found between the sides", counter, |followed| &followed.differences);
    show("relay_compare_failures", "Comparisons put off", counter, |followed| &followed.failures);
    let help = "Records below the gates that were not compared yet";
    show("relay_compare_behind_records", help, Observed::Gauge, |followed| &followed.behind_records);
}
