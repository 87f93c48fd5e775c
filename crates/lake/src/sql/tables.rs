//! The tables that there are, as queries find them.

use std::collections::{BTreeMap, btree_map};
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::watch;

use crate::ingest::status::Status;
use crate::table::columns::Kind;
use crate::table::view::View;

/// Namespace and name.
pub type Name = (String, String);

/// One table, as it changes.
#[derive(Debug, Clone)]
pub struct Entry {
    /// What its rows are.
    pub kind: Kind,
    /// Its topic.
    pub topic: String,
    /// As readers see it; none until it is open.
    pub published: watch::Receiver<Option<Arc<View>>>,
    /// How it is.
    pub status: Arc<Status>,
}

/// Every table. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Tables(Arc<RwLock<BTreeMap<Name, Entry>>>);

/// Every table that is open, at one moment.
pub type Views = BTreeMap<Name, Arc<View>>;

impl Tables {
    /// Takes a table in.
    ///
    /// # Errors
    /// The one that has the name already; it stays.
    pub fn add(&self, name: Name, entry: Entry) -> Result<(), Box<Entry>> {
        // Nothing panics while holding it.
        match self.0.write().unwrap_or_else(PoisonError::into_inner).entry(name) {
            btree_map::Entry::Occupied(taken) => Err(Box::new(taken.get().clone())),
            btree_map::Entry::Vacant(free) => {
                free.insert(entry);
                Ok(())
            }
        }
    }

    /// All of them.
    pub fn all(&self) -> BTreeMap<Name, Entry> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Those that are open, as they are now.
    pub fn views(&self) -> Views {
        let tables = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let view = |(name, entry): (&Name, &Entry)| Some((name.clone(), entry.published.borrow().clone()?));
        tables.iter().filter_map(view).collect()
    }
}
