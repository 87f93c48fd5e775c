//! Topics that are there already: taken in when both sides have them alike, made on the other side when only one has
//! them. What the rules refuse is named once, with the command that mends it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use naru_kafka::client::metadata::TopicMetadata;
use naru_kafka::client::offsets::OffsetAt;
use naru_kafka::client::{Client, ClientError, TopicPartition};
use naru_kafka::wire::ErrorCode;
use tokio::time::{Instant, sleep_until};

use crate::config::Adopt;
use crate::relay::Relay;
use crate::sequence::{Event, View};
use crate::side::{Side, SideMap, SideSet};
use crate::topics::logs::{Unread, differs_at, extents};
use crate::topics::plan::{Observed, Present};
use crate::topics::record::Change;
use crate::topics::registry::observe;
use crate::topics::rules::{self, BATCH_BYTES_MAX_CONFIG, Severity};
use crate::topics::show::{needed, needs, show};
use crate::topics::{AdminError, Life, TopicRecord, fresh_topic_id};
use crate::unserved::Why;

/// How often the configuration of a topic that is served is read again: it changes by hand.
const CONFIGS_AGE_MAX: Duration = Duration::from_secs(300);

/// What was seen last, so that a change is noticed and a complaint is made once.
#[derive(Debug, Default)]
struct Seen {
    /// Complaints about topics.
    told: BTreeSet<String>,
    /// Topics about which something was said in this look.
    refused: BTreeSet<Arc<str>>,
    /// Those of them that are two logs.
    two_logs: BTreeSet<Arc<str>>,
    /// Topics in which the first comparison found transactions.
    transactional: BTreeSet<Arc<str>>,
    /// Since when a topic that is kept was seen on no side.
    on_no_side: BTreeMap<Arc<str>, Instant>,
    /// Since when a topic was seen on one side only.
    on_one_side: BTreeMap<Arc<str>, Instant>,
    /// Sides that could not be read.
    unread: SideMap<bool>,
    /// When a topic's configuration was read.
    configs: BTreeMap<Arc<str>, Instant>,
    /// Leader epochs by topic and partition.
    epochs: SideMap<BTreeMap<Arc<str>, Vec<i32>>>,
}

impl Seen {
    fn tell(&mut self, topic: &str, what: String) {
        self.refused.insert(Arc::from(topic));
        if self.told.insert(format!("{topic}: {what}")) {
            tracing::warn!(topic, what, "a topic is not as the relay needs it");
        }
    }

    /// The topics, or a word about why not when that is new. Whether a side is away is the probes' to say.
    fn read(&mut self, side: Side, topics: Result<Topics, ClientError>) -> Option<Topics> {
        let failed = topics.as_ref().err().map(ToString::to_string);
        let was = std::mem::replace(&mut self.unread[side], failed.is_some());
        if let Some(error) = failed
            && !was
        {
            tracing::info!(%side, error, "the topics of a side cannot be read");
        }
        topics.ok()
    }
}

/// Looks until the relay stops: now and then, and when somebody asks for a topic that is not known.
pub(crate) async fn run(relay: Arc<Relay>) {
    let mut seen = Seen::default();
    loop {
        let (a, b) = tokio::join!(topics(&relay.upstreams.a.control), topics(&relay.upstreams.b.control));
        let (a, b) = (seen.read(Side::A, a), seen.read(Side::B, b));
        for (side, topics) in [(Side::A, &a), (Side::B, &b)] {
            if let Some(topics) = topics {
                look_at_leaders(&relay, side, topics, &mut seen).await;
            }
        }
        finish(&relay).await;
        if let (Some(a), Some(b)) = (a, b) {
            look_at_topics(&relay, &a, &b, &mut seen).await;
            look_at_configs(&relay, &mut seen).await;
        }
        show(&relay);
        let next = Instant::now() + relay.config.discovery_interval;
        tokio::select! {
            () = relay.stopping.cancelled() => return,
            () = relay.discover.notified() => {}
            () = sleep_until(next) => {}
        }
    }
}

/// What was begun and cut off.
async fn finish(relay: &Arc<Relay>) {
    let unfinished = relay.topics.finish(|topic| needed(relay, topic)).await;
    let is_blocked = |error: &AdminError| matches!(error, AdminError::Blocked { .. });
    let blocked = unfinished.iter().filter(|(_, error)| is_blocked(error));
    relay.unserved.blocked(blocked.map(|(topic, error)| (Arc::clone(topic), error.to_string())).collect());
    for (topic, error) in unfinished {
        // Quietly: what waits for a side that is away is that side's alarm.
        let error = &error as &dyn std::error::Error;
        tracing::debug!(%topic, error, "a change of a topic is not finished; it is tried again");
    }
    show(relay);
}

/// Tells partitions of leaders that are new, also where no connection was lost: the end is looked at before the next
/// write (RELAY-3).
async fn look_at_leaders(relay: &Relay, side: Side, topics: &Topics, seen: &mut Seen) {
    let mut epochs = BTreeMap::new();
    for (name, topic) in topics {
        let now: Vec<_> = topic.partitions.iter().map(|partition| partition.leader_epoch).collect();
        let before = seen.epochs[side].get(name);
        if let (Some(before), Some(served)) = (before, relay.served.get(name)) {
            for (partition, (now, before)) in served.partitions.iter().zip(now.iter().zip(before)) {
                // One that is not served any more need not know.
                if now > before && partition.send(Event::Reconnected { side }).await.is_ok() {
                    tracing::info!(%side, at = %partition.at(), leader_epoch = now, "a partition has a new leader");
                }
            }
        }
        epochs.insert(Arc::clone(name), now);
    }
    seen.epochs[side] = epochs;
}

/// Configurations that were changed by hand: what breaks the rules is told, and the smaller limit on batches holds.
async fn look_at_configs(relay: &Arc<Relay>, seen: &mut Seen) {
    let served = relay.topics.all();
    seen.configs.retain(|name, _| served.iter().any(|record| record.name == *name));
    for record in served.iter().filter(|record| record.life == Life::Live) {
        let name = &record.name;
        if seen.configs.get(name).is_some_and(|read| read.elapsed() < CONFIGS_AGE_MAX) {
            continue;
        }
        seen.configs.insert(Arc::clone(name), Instant::now());
        let clients = SideMap::from_fn(|side| &relay.upstreams[side].control);
        let (Observed::Present(a), Observed::Present(b)) =
            tokio::join!(observe(clients.a, name), observe(clients.b, name))
        else {
            continue;
        };
        is_sound(relay, name, SideMap { a: &a, b: &b }, None, seen);
        let Some(limit) = smaller_limit(&a, &b) else { continue };
        if record.configs.get(BATCH_BYTES_MAX_CONFIG) != Some(&limit) {
            tracing::info!(topic = %name, limit, "the limit on batches was changed by hand");
            if let Err(error) = relay.topics.note(name, BATCH_BYTES_MAX_CONFIG, limit).await {
                tracing::warn!(topic = %name, error = &error as &dyn std::error::Error, "a topic cannot be kept");
            }
        }
    }
}

/// The limit on batches that neither side refuses; none where a side does not say its own.
fn smaller_limit(a: &Present, b: &Present) -> Option<String> {
    let limit = |there: &Present| there.configs.get(BATCH_BYTES_MAX_CONFIG)?.value.parse::<usize>().ok();
    Some(limit(a)?.min(limit(b)?).to_string())
}

type Topics = BTreeMap<Arc<str>, TopicMetadata>;

async fn topics(client: &Client) -> Result<Topics, ClientError> {
    let metadata = client.metadata(None).await?;
    let usable = |topic: &TopicMetadata| !topic.internal && topic.error == ErrorCode::NONE;
    Ok(metadata.topics.into_iter().filter(usable).map(|topic| (Arc::clone(&topic.name), topic)).collect())
}

async fn look_at_topics(relay: &Arc<Relay>, a: &Topics, b: &Topics, seen: &mut Seen) {
    seen.refused.clear();
    seen.two_logs.clear();
    let mut unserved = BTreeMap::new();
    for name in a.keys().chain(b.keys().filter(|name| !a.contains_key(*name))) {
        let on_both = a.contains_key(name) == b.contains_key(name);
        if on_both {
            seen.on_one_side.remove(name);
        }
        if let Some(record) = relay.topics.get(name) {
            match record.life {
                Life::Creating => drop(unserved.insert(Arc::clone(name), Why::Waits)),
                _ if !on_both && is_stuck(relay, &record) => look_at_fork(relay, name, seen).await,
                _ if record.taken_in > 0 && is_any(relay, name, |view| view.transactional) => {
                    seen.transactional.insert(Arc::clone(name));
                    unserved.insert(Arc::clone(name), Why::Refused);
                    refuse_transactions(relay, name, seen).await;
                }
                _ if record.taken_in > 0 && is_any(relay, name, |view| view.differs) => {
                    seen.tell(name, "the sides hold two logs of it, not one; preflight says more".to_owned());
                    unserved.insert(Arc::clone(name), Why::TwoLogs);
                }
                _ => {}
            }
            // One that was gone and is there again is taken in as a new one.
            if record.life != Life::Gone {
                continue;
            }
        }
        if seen.transactional.contains(name) {
            seen.tell(name, "it holds transactions, which the relay does not serve".to_owned());
            unserved.insert(Arc::clone(name), Why::Refused);
            continue;
        }
        // Somebody who makes a topic on both sides makes it on one first.
        let grace = relay.config.discovery_interval * 2;
        if !on_both && seen.on_one_side.entry(Arc::clone(name)).or_insert_with(Instant::now).elapsed() < grace {
            unserved.insert(Arc::clone(name), Why::Waits);
            continue;
        }
        if let Err(error) = adopt(relay, name, seen).await {
            tracing::warn!(topic = %name, error = &error as &dyn std::error::Error, "a topic cannot be taken in");
        }
        if relay.topics.get(name).is_none_or(|record| !record.is_served()) {
            let why = match (seen.two_logs.contains(name), seen.refused.contains(name)) {
                (true, _) => Why::TwoLogs,
                (false, true) => Why::Refused,
                (false, false) => Why::Waits,
            };
            unserved.insert(Arc::clone(name), why);
        }
    }
    look_for_gone(relay, a, b, seen).await;
    for record in relay.topics.all().into_iter().filter(|record| record.life == Life::Gone) {
        unserved.entry(record.name).or_insert(Why::Gone);
    }
    // Before it is said that nothing waits.
    show(relay);
    relay.unserved.found(unserved);
    seen.on_one_side.retain(|name, _| a.contains_key(name) != b.contains_key(name));
    seen.transactional.retain(|name| a.contains_key(name) || b.contains_key(name));
}

/// Topics that are kept and that both sides have no more.
async fn look_for_gone(relay: &Arc<Relay>, a: &Topics, b: &Topics, seen: &mut Seen) {
    let is_there = |name: &Arc<str>| a.contains_key(name) || b.contains_key(name);
    seen.on_no_side.retain(|name, _| !is_there(name));
    for record in relay.topics.all().into_iter().filter(|record| record.life == Life::Live && !is_there(&record.name)) {
        let name = &record.name;
        let since = *seen.on_no_side.entry(Arc::clone(name)).or_insert_with(Instant::now);
        if since.elapsed() < relay.config.discovery_interval {
            continue;
        }
        let clients = SideMap::from_fn(|side| &relay.upstreams[side].control);
        let (Observed::Absent, Observed::Absent) = tokio::join!(observe(clients.a, name), observe(clients.b, name))
        else {
            continue;
        };
        seen.on_no_side.remove(name);
        tracing::error!(topic = %name, "a topic was deleted on both sides past the relay; it is served no longer");
        if let Err(error) = relay.topics.lost(name).await {
            tracing::warn!(topic = %name, error = &error as &dyn std::error::Error, "a topic cannot be kept");
        }
    }
}

/// Whether this holds for any partition of a topic that is served.
fn is_any(relay: &Relay, name: &str, what: impl Fn(&View) -> bool) -> bool {
    let topic = relay.served.get(name);
    topic.is_some_and(|topic| topic.partitions.iter().any(|partition| what(&partition.shown().view)))
}

/// A topic with transactions is not taken in: clients that read committed records only would read aborted ones.
async fn refuse_transactions(relay: &Arc<Relay>, name: &Arc<str>, seen: &mut Seen) {
    seen.tell(name, "it holds transactions, which the relay does not serve".to_owned());
    if let Err(error) = relay.topics.let_go(name).await {
        tracing::warn!(topic = %name, error = &error as &dyn std::error::Error, "a topic cannot be kept");
    }
}

/// Whether it was taken in, and not all of it was compared.
fn is_stuck(relay: &Relay, record: &TopicRecord) -> bool {
    record.taken_in > 0 && record.life == Life::Live && is_any(relay, &record.name, |view| !view.compared)
}

/// One side lacks a topic that was taken in and is not compared: somebody has deleted one of two logs. It is taken in
/// anew.
async fn look_at_fork(relay: &Arc<Relay>, name: &Arc<str>, seen: &mut Seen) {
    let clients = SideMap::from_fn(|side| &relay.upstreams[side].control);
    let (a, b) = tokio::join!(observe(clients.a, name), observe(clients.b, name));
    let one_lacks_it =
        matches!((&a, &b), (Observed::Present(_), Observed::Absent) | (Observed::Absent, Observed::Present(_)));
    let since = *seen.on_one_side.entry(Arc::clone(name)).or_insert_with(Instant::now);
    if !one_lacks_it || since.elapsed() < relay.config.discovery_interval {
        return;
    }
    tracing::info!(topic = %name, "a topic that one side lacks now is taken in anew");
    if let Err(error) = relay.topics.let_go(name).await {
        tracing::warn!(topic = %name, error = &error as &dyn std::error::Error, "a topic cannot be kept");
    }
}

async fn adopt(relay: &Arc<Relay>, name: &Arc<str>, seen: &mut Seen) -> Result<(), AdminError> {
    // With one side alone in sync nothing says what the other holds by now.
    if needed(relay, name) != SideSet::PAIR && needs(relay, name).duplex {
        return Ok(());
    }
    let clients = SideMap::from_fn(|side| &relay.upstreams[side].control);
    let (a, b) = tokio::join!(observe(clients.a, name), observe(clients.b, name));
    match (a, b) {
        (Observed::Present(a), Observed::Present(b)) => adopt_both(relay, name, SideMap { a, b }, seen).await,
        (Observed::Present(there), Observed::Absent) => adopt_one(relay, name, Side::A, there, seen).await,
        (Observed::Absent, Observed::Present(there)) => adopt_one(relay, name, Side::B, there, seen).await,
        // Gone meanwhile, or a side is: the next look sees.
        _ => Ok(()),
    }
}

/// Whether the rules let it be served; what they refuse is told.
fn is_sound(relay: &Relay, name: &str, on: SideMap<&Present>, only: Option<Side>, seen: &mut Seen) -> bool {
    let bootstrap = SideMap::from_fn(|side| {
        let addresses: Vec<_> = relay.config.side(side).bootstrap.iter().map(ToString::to_string).collect();
        addresses.join(",")
    });
    let found = rules::check(name, &on, &bootstrap, needs(relay, name));
    let concerns = |side: Option<Side>| only.is_none_or(|only| side == Some(only));
    let refused = found.into_iter().filter(|one| one.severity == Severity::Refusal && concerns(one.side));
    let refused: Vec<_> = refused.collect();
    for finding in &refused {
        seen.tell(name, finding.to_string());
    }
    refused.is_empty()
}

fn record(name: &Arc<str>, there: &Present, life: Life) -> TopicRecord {
    let set = there.configs.iter().filter(|(name, setting)| !setting.is_default || *name == BATCH_BYTES_MAX_CONFIG);
    TopicRecord {
        name: Arc::clone(name),
        id: fresh_topic_id(),
        partitions: there.partitions,
        replication: i16::try_from(there.replication).unwrap_or(-1),
        configs: set.map(|(name, setting)| (name.clone(), setting.value.clone())).collect(),
        sides: SideMap::default(),
        taken_in: there.partitions,
        life,
    }
}

async fn adopt_both(
    relay: &Arc<Relay>,
    name: &Arc<str>,
    there: SideMap<Present>,
    seen: &mut Seen,
) -> Result<(), AdminError> {
    if !is_sound(relay, name, SideMap { a: &there.a, b: &there.b }, None, seen) {
        return Ok(());
    }
    if let Some(at) = fork(relay, name, there.a.partitions).await? {
        // Which of both counts, nothing says: taken in, one of them would be made again from the other.
        let what = format!(
            "the last batch that both sides have in {at} is not the same: two logs, not one; preflight says more"
        );
        seen.tell(name, what);
        seen.two_logs.insert(Arc::clone(name));
        return Ok(());
    }
    let mut changes = rules::mended(&there.a);
    for change in rules::mended(&there.b) {
        if !changes.contains(&change) {
            changes.push(change);
        }
    }
    let life = if changes.is_empty() { Life::Live } else { Life::Altering { changes } };
    let active = relay.group_of_topic(name).standing.borrow().active;
    let mut record = record(name, &there[active], life);
    // Either side could refuse more than this.
    if let Some(limit) = smaller_limit(&there.a, &there.b) {
        record.configs.insert(BATCH_BYTES_MAX_CONFIG.to_owned(), limit);
    }
    record.sides = SideMap::from_fn(|side| Some(there[side].id));
    if there.a.replication != there.b.replication {
        record.replication = -1;
    }
    relay.topics.adopt(record, needed(relay, name)).await.map(drop)
}

/// The first partition whose logs cannot be one.
async fn fork(relay: &Relay, name: &Arc<str>, partitions: i32) -> Result<Option<TopicPartition>, AdminError> {
    let clients = SideMap::from_fn(|side| &relay.upstreams[side].control);
    let failed = |Unread { side, source }| AdminError::Side { side, source };
    for index in 0..partitions {
        let at = TopicPartition::new(Arc::clone(name), index);
        let on = extents(&clients, &at).await.map_err(failed)?;
        let differs = differs_at(&clients, &at, &on, |id| id == relay.copier_id).await.map_err(failed)?;
        if differs.is_some() {
            return Ok(Some(at));
        }
    }
    Ok(None)
}

/// Made on the other side, empty: the partitions copy what is there. A log that no longer begins at 0 would have to be
/// padded first, which only the return of a side does.
async fn adopt_one(
    relay: &Arc<Relay>,
    name: &Arc<str>,
    side: Side,
    there: Present,
    seen: &mut Seen,
) -> Result<(), AdminError> {
    if relay.config.adopt == Adopt::Both {
        seen.tell(name, format!("only side {side} has it, and adopt is \"both\""));
        return Ok(());
    }
    if needed(relay, name) != SideSet::PAIR
        || !is_sound(relay, name, SideMap { a: &there, b: &there }, Some(side), seen)
    {
        return Ok(());
    }
    for index in 0..there.partitions {
        let at = TopicPartition::new(Arc::clone(name), index);
        let start = relay.upstreams[side].control.list_offset(&at, OffsetAt::Earliest).await;
        let start = start.map_err(|source| AdminError::Side { side, source })?.offset.unwrap_or(0);
        if start > 0 {
            seen.tell(name, format!("only side {side} has it, and its log {at} begins at {start}, not at 0"));
            return Ok(());
        }
    }
    let changes = rules::mended(&there);
    let mut record = record(name, &there, Life::Creating);
    record.sides[side] = Some(there.id);
    for Change { name, value } in &changes {
        record.configs.extend(value.iter().map(|value| (name.clone(), value.clone())));
    }
    tracing::info!(topic = %name, %side, "a topic that one side has is made on the other");
    relay.topics.adopt(record, SideSet::PAIR).await?;
    if !changes.is_empty() {
        relay.topics.alter(name, changes, SideSet::PAIR, false).await?;
    }
    Ok(())
}
