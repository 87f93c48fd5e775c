//! What requests and the reconciler share: the book, what can be had, and who makes things.

use std::collections::BTreeMap;
use std::sync::Arc;

use naru_runtime::clocks::{SystemClock, WallClock as _};
use tokio::sync::{Mutex, MutexGuard, Notify};

use crate::book::{Book, Change};
use crate::config::Catalogue;
use crate::crash::Crash;
use crate::provider::Provider;
use crate::provider::topics::Topics;
use crate::reconcile::{Call, Maker, Patience};
use crate::resource::{Phase, Spec};
use crate::store::{Store, StoreError};

/// The book, in memory and on the disk.
#[derive(Debug)]
pub struct Held {
    /// In memory.
    pub book: Book,
    pub(crate) store: Store,
}

impl Held {
    /// Keeps changes, then takes them in.
    ///
    /// # Errors
    /// The disk's; nothing has changed then.
    pub async fn commit(&mut self, changes: Vec<Change>, now_unix_ms: i64) -> Result<(), StoreError> {
        if changes.is_empty() {
            return Ok(());
        }
        self.store.commit(&changes, now_unix_ms).await?;
        changes.into_iter().for_each(|change| self.book.apply(change));
        Ok(())
    }
}

/// What requests and the reconciler share.
#[derive(Debug)]
pub struct Shared {
    pub(crate) held: Mutex<Held>,
    pub(crate) catalogue: Catalogue,
    pub(crate) patience: Patience,
    pub(crate) providers: BTreeMap<Maker, Arc<dyn Provider>>,
    pub(crate) topics: Option<Arc<Topics>>,
    pub(crate) fence: u64,
    pub(crate) clock: SystemClock,
    pub(crate) crash: Crash,
    pub(crate) wake: Notify,
}

impl Shared {
    /// The book, for one at a time.
    pub async fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().await
    }

    /// Milliseconds since 1970.
    pub fn now(&self) -> i64 {
        self.clock.unix_ms()
    }

    /// What can be had.
    pub fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    /// How long things may take.
    pub fn patience(&self) -> Patience {
        self.patience
    }

    /// Who makes things.
    pub fn providers(&self) -> &BTreeMap<Maker, Arc<dyn Provider>> {
        &self.providers
    }

    /// Who carries out a call.
    pub fn provider(&self, call: &Call) -> Option<Arc<dyn Provider>> {
        let (Call::Create(_, maker, _) | Call::Delete(_, maker, _)) = call;
        self.providers.get(maker).cloned()
    }

    /// The number of this start.
    pub fn fence(&self) -> u64 {
        self.fence
    }

    /// A step at which a test may end the process.
    pub fn crash(&self, step: &str) {
        self.crash.here(step);
    }

    /// Waits until something has been applied.
    pub async fn woken(&self) {
        self.wake.notified().await;
    }

    /// Tells the log's provider which topics are ours.
    pub async fn own_topics(&self) {
        let Some(topics) = &self.topics else { return };
        let held = self.held().await;
        let book = &held.book;
        let asked = book.items.values().filter(|item| !matches!(item.phase, Phase::Wanted | Phase::Gone));
        let named = asked.filter_map(|item| {
            let resource = book.resources.get(&item.resource)?;
            matches!(resource.spec, Spec::Topic(_)).then(|| (resource.spec.name().to_owned(), item.key.clone()))
        });
        topics.own(named.collect::<Vec<_>>());
    }
}
