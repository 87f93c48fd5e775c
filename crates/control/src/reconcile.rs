//! What is held against what there is, again and again: each round looks at everything, so that nothing depends on a
//! message that could be lost. Decisions are pure; each step of a saga is kept before it is made.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::book::{Book, Change};
use crate::config::{Catalogue, Placement};
use crate::desk::{lead_ms, let_go};
use crate::keeper::Shared;
use crate::provider::{Provider, ProviderError, Seen, SeenState, Shape, Wanted};
use crate::resource::{Item, Life, Phase, Resource, Spec};
use crate::saga::{self, Step};
use crate::store::StoreError;
use naru_runtime::clocks::millis;

/// Calls to providers at once: within what a cloud takes before it throttles.
const CALLS_MAX: usize = 8;

/// Who makes what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Maker {
    /// Processes of this machine.
    Local,
    /// The cloud.
    Cloud,
    /// The log.
    Topics,
}

/// What the makers show; one that gave no answer is missing.
pub type Shown = BTreeMap<Maker, BTreeMap<String, Seen>>;

/// How long things may take.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Until a request has what it needs at least.
    pub obtain_ms: i64,
    /// Until the records of a released topic are deleted.
    pub topic_grace_ms: i64,
}

/// Who makes the things of a request.
pub fn maker(spec: &Spec, catalogue: &Catalogue) -> Maker {
    match spec.machines().and_then(|machines| catalogue.flavor(machines.flavor)).map(|flavor| flavor.provider) {
        Some(Placement::Local) => Maker::Local,
        Some(Placement::Cloud) => Maker::Cloud,
        None => Maker::Topics,
    }
}

/// From when the things of a resource are asked for: before they must be ready, by their lead.
fn begins(resource: &Resource, catalogue: &Catalogue) -> i64 {
    let flavor = resource.spec.machines().and_then(|machines| catalogue.flavor(machines.flavor));
    resource.from_unix_ms.saturating_sub(flavor.map_or(0, lead_ms)).max(resource.applied_unix_ms)
}

fn wanted(item: &Item, resource: &Resource, patience: Patience, now: i64) -> bool {
    match resource.life {
        Life::Held => item.ordinal < resource.spec.count() && item.made_as == resource.spec.made_as(),
        Life::Releasing => {
            let grace = resource.released_unix_ms.unwrap_or(now).saturating_add(patience.topic_grace_ms);
            matches!(resource.spec, Spec::Topic(_)) && now < grace
        }
        Life::Gone => false,
    }
}

/// What changes by time alone: leases end, what cannot be had is given back, what is wanted gets its place.
pub fn lives(book: &Book, catalogue: &Catalogue, patience: Patience, now: i64) -> Vec<Change> {
    let mut changes = Vec::new();
    let note = |changes: &mut Vec<Change>, what: String| changes.push(Change::Note("reconciler".to_owned(), what));
    for resource in book.resources.values().filter(|resource| resource.life != Life::Gone) {
        let name = resource.spec.name();
        let (ready, _) = book.progress(resource.id);
        let count = resource.spec.count();
        if resource.life == Life::Releasing {
            if book.items_of(resource.id).all(|item| item.phase == Phase::Gone) {
                changes.push(Change::Resource(Resource { life: Life::Gone, ..resource.clone() }));
                note(&mut changes, format!("nothing of {name} is left"));
            }
            continue;
        }
        if resource.until_unix_ms <= now {
            changes.push(let_go(resource, "its lease has ended", now));
            note(&mut changes, format!("let {name} go: its lease has ended"));
            continue;
        }
        let begins = begins(resource, catalogue);
        if now < begins {
            continue;
        }
        let least = resource.spec.machines().map_or(count, |machines| machines.at_least);
        if !resource.complete && ready < least && now >= begins.saturating_add(patience.obtain_ms) {
            let why = format!("{ready} of at least {least} could be had in time");
            changes.push(let_go(resource, &why, now));
            note(&mut changes, format!("gave {name} back: {why}"));
            continue;
        }
        if !resource.complete && ready >= least {
            changes.push(Change::Resource(Resource { complete: true, ..resource.clone() }));
            note(&mut changes, format!("{name} is ready: {ready} of {count}"));
        }
        let made_as = resource.spec.made_as();
        let has = |item: &&Item| item.phase != Phase::Gone && item.phase != Phase::Releasing && item.made_as == made_as;
        let places: BTreeSet<u32> = book.items_of(resource.id).filter(has).map(|item| item.ordinal).collect();
        for ordinal in (0..count).filter(|ordinal| !places.contains(ordinal)) {
            let before = book.items_of(resource.id).filter(|item| item.ordinal == ordinal);
            let incarnation = before.map(|item| item.incarnation + 1).max().unwrap_or(0);
            changes.push(Change::Item(Item::wanted(resource.id, ordinal, incarnation, made_as.clone())));
        }
    }
    changes
}

/// A step that is to be made, once it is kept.
#[derive(Debug, Clone)]
pub enum Call {
    /// Make it.
    Create(Item, Maker, Wanted),
    /// End it.
    Delete(Item, Maker, Seen),
}

/// The next steps of everything: what is to be kept now, and the calls behind it.
pub fn steps(
    book: &Book,
    catalogue: &Catalogue,
    shown: &Shown,
    settle_ms: &BTreeMap<Maker, i64>,
    patience: Patience,
    now: i64,
) -> (Vec<Change>, Vec<Call>) {
    let (mut changes, mut calls) = (Vec::new(), Vec::new());
    for item in book.items.values() {
        let Some(resource) = book.resources.get(&item.resource) else { continue };
        let maker = maker(&resource.spec, catalogue);
        // Who gave no answer shows nothing, which is not the same as absence.
        let Some(seen) = shown.get(&maker) else { continue };
        let seen = seen.get(&item.key);
        let alive = seen.filter(|seen| seen.state != SeenState::Gone);
        if item.phase == Phase::Gone {
            // It came after all, or its end was not carried out: nothing that is ours lives without being wanted. A list
            // that is late shows what has ended for a while; ending it once more is harmless.
            if let Some(seen) = alive {
                calls.push(Call::Delete(item.clone(), maker, seen.clone()));
            }
            continue;
        }
        let settle = settle_ms.get(&maker).copied().unwrap_or(0);
        match saga::next(item, wanted(item, resource, patience, now), seen, now, settle) {
            Step::Nothing => {}
            Step::Ask => {
                let asking = Item { phase: Phase::Asking, asked_unix_ms: Some(now), ..item.clone() };
                calls.push(Call::Create(asking.clone(), maker, order(&asking, resource, catalogue)));
                changes.push(Change::Item(asking));
            }
            Step::Release => {
                let releasing = Item { phase: Phase::Releasing, ..item.clone() };
                let by_id = || item.id.clone().map(|id| Seen { key: item.key.clone(), id, state: SeenState::Ready });
                if let Some(seen) = alive.cloned().or_else(by_id) {
                    calls.push(Call::Delete(releasing.clone(), maker, seen));
                }
                if item.phase != Phase::Releasing {
                    changes.push(Change::Item(releasing));
                }
            }
            Step::Keep(phase) => changes.push(Change::Item(Item { phase, note: String::new(), ..item.clone() })),
            Step::Gone(why) => {
                let gone = Item { phase: Phase::Gone, ended_unix_ms: Some(now), note: why.to_owned(), ..item.clone() };
                if wanted(item, resource, patience, now) {
                    let what = format!("{} of {} is to be replaced: {why}", item.key, resource.spec.name());
                    changes.push(Change::Note("reconciler".to_owned(), what));
                }
                changes.push(Change::Item(gone));
            }
        }
    }
    (changes, calls)
}

fn order(item: &Item, resource: &Resource, catalogue: &Catalogue) -> Wanted {
    let shape = match (&resource.spec, resource.spec.machines()) {
        (Spec::Topic(topic), _) => Shape::Topic(topic.clone()),
        (_, machines) => {
            let template = machines.and_then(|machines| machines.template).and_then(|name| catalogue.template(name));
            Shape::Machine {
                flavor: machines.map(|machines| machines.flavor.to_owned()).unwrap_or_default(),
                market: machines.map(|machines| machines.market).unwrap_or_default(),
                command: template.map(|template| template.command.clone()).unwrap_or_default(),
            }
        }
    };
    Wanted { key: item.key.clone(), resource: resource.spec.name().to_owned(), shape }
}

/// What an answer to a creation means.
pub fn created(item: &Item, answer: &Result<Seen, ProviderError>, now: i64) -> Item {
    match answer {
        Ok(seen) => {
            let phase = match seen.state {
                SeenState::Booting => Phase::Booting,
                SeenState::Ready => Phase::Ready,
                SeenState::Gone => Phase::Gone,
            };
            let ended_unix_ms = (phase == Phase::Gone).then_some(now);
            let since_unix_ms = item.since_unix_ms.or(Some(now));
            let id = Some(seen.id.clone());
            Item { phase, id, since_unix_ms, ended_unix_ms, note: String::new(), ..item.clone() }
        }
        Err(error) => Item { note: error.to_string(), ..item.clone() },
    }
}

/// Why a round ended the process.
#[derive(Debug, thiserror::Error)]
pub enum RoundError {
    /// The book could not be kept; nothing was done that is not in it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Another control holds what this one did. It must end.
    #[error("replaced: {0}")]
    Replaced(String),
}

/// Rounds until told to stop.
///
/// # Errors
/// When another control has taken over.
pub async fn run(shared: Arc<Shared>, interval: Duration, stop: CancellationToken) -> Result<(), RoundError> {
    while !stop.is_cancelled() {
        match round(&shared).await {
            Ok(()) => {}
            Err(RoundError::Store(error)) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "the book cannot be kept, nothing is changed"
                );
            }
            Err(replaced) => return Err(replaced),
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(interval) => {}
            () = shared.woken() => {}
        }
    }
    Ok(())
}

async fn look(shared: &Shared) -> Shown {
    let mut shown = Shown::new();
    for (maker, provider) in shared.providers() {
        match provider.observe().await {
            Ok(seen) => {
                // Of two under one key, which no provider should have, the one that lives counts.
                let mut by_key: BTreeMap<String, Seen> = BTreeMap::new();
                for seen in seen {
                    let alive = by_key.get(&seen.key).is_some_and(|other| other.state != SeenState::Gone);
                    if !alive {
                        by_key.insert(seen.key.clone(), seen);
                    }
                }
                shown.insert(*maker, by_key);
            }
            Err(error) => tracing::warn!(?maker, error = &error as &dyn std::error::Error, "a provider shows nothing"),
        }
    }
    shown
}

/// One round: look, decide, keep, do, keep.
async fn round(shared: &Shared) -> Result<(), RoundError> {
    shared.own_topics().await;
    let shown = look(shared).await;
    let settle_ms: BTreeMap<Maker, i64> =
        shared.providers().iter().map(|(maker, provider)| (*maker, millis(provider.settle()))).collect();
    let calls = {
        let mut held = shared.held().await;
        let now = shared.now();
        let changes = lives(&held.book, shared.catalogue(), shared.patience(), now);
        let letting_go =
            changes.iter().any(|change| matches!(change, Change::Resource(one) if one.life == Life::Releasing));
        held.commit(changes, now).await?;
        if letting_go {
            shared.crash("letting-go");
        }
        let (changes, calls) = steps(&held.book, shared.catalogue(), &shown, &settle_ms, shared.patience(), now);
        let kept =
            |phase: Phase| changes.iter().any(|change| matches!(change, Change::Item(item) if item.phase == phase));
        let kept: Vec<&str> = [
            (Phase::Asking, "asking"),
            (Phase::Ready, "ready"),
            (Phase::Releasing, "releasing"),
            (Phase::Gone, "gone"),
        ]
        .into_iter()
        .filter_map(|(phase, step)| kept(phase).then_some(step))
        .collect();
        held.commit(changes, now).await?;
        kept.into_iter().for_each(|step| shared.crash(step));
        calls
    };
    carry_out(shared, calls).await
}

/// Makes calls, some at once, and keeps what each was answered before the next is made in its place.
async fn carry_out(shared: &Shared, calls: Vec<Call>) -> Result<(), RoundError> {
    let mut running = JoinSet::new();
    let mut calls = calls.into_iter();
    loop {
        while running.len() < CALLS_MAX
            && let Some(call) = calls.next()
        {
            let Some(provider) = shared.provider(&call) else { continue };
            let fence = shared.fence();
            running.spawn(async move { made(&*provider, fence, call).await });
        }
        let Some(done) = running.join_next().await else { return Ok(()) };
        let Ok((item, outcome)) = done else { continue };
        match outcome {
            Outcome::Created(answer) => {
                shared.crash("created");
                keep_created(shared, &item, &answer).await?;
                shared.crash("kept");
            }
            Outcome::Deleted(Ok(())) => shared.crash("deleted"),
            Outcome::Deleted(Err(ProviderError::Stale(by))) => return Err(RoundError::Replaced(by)),
            Outcome::Deleted(Err(error)) => {
                tracing::warn!(key = item.key, error = &error as &dyn std::error::Error, "not ended yet");
            }
        }
    }
}

enum Outcome {
    Created(Result<Seen, ProviderError>),
    Deleted(Result<(), ProviderError>),
}

async fn made(provider: &dyn Provider, fence: u64, call: Call) -> (Item, Outcome) {
    match call {
        Call::Create(item, _, wanted) => {
            let answer = provider.create(fence, &wanted).await;
            (item, Outcome::Created(answer))
        }
        Call::Delete(item, _, seen) => {
            let answer = provider.delete(fence, &seen).await;
            (item, Outcome::Deleted(answer))
        }
    }
}

async fn keep_created(shared: &Shared, item: &Item, answer: &Result<Seen, ProviderError>) -> Result<(), RoundError> {
    match answer {
        Err(ProviderError::Stale(by)) => return Err(RoundError::Replaced(by.clone())),
        Err(error) => tracing::warn!(key = item.key, error = error as &dyn std::error::Error, "not made yet"),
        Ok(_) => {}
    }
    let mut held = shared.held().await;
    let now = shared.now();
    let now_item = created(item, answer, now);
    // Only this task changes things, and an item that is asked for has one call.
    Ok(held.commit(vec![Change::Item(now_item)], now).await?)
}
