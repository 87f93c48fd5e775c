//! Everything that control knows, in memory; changes are values, kept by the store before they are applied here.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::plan::Plan;
use crate::resource::{Item, Life, Phase, Resource, Spec};

/// A request that no plan has carried out yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Draft {
    /// As it was asked for.
    pub spec: Spec,
    /// By whom.
    pub by: String,
}

/// A plan that was shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanRecord {
    /// The plan.
    pub plan: Plan,
    /// When it was made first.
    pub made_unix_ms: i64,
    /// Who has approved it.
    pub approved_by: Option<String>,
    /// Who has applied it.
    pub applied_by: Option<String>,
}

/// A change of the book.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A request, or none any more.
    Draft(String, Option<Draft>),
    /// A resource.
    Resource(Resource),
    /// A thing of a provider.
    Item(Item),
    /// A plan.
    Plan(PlanRecord),
    /// What stands in the ledger from now on: who, and what.
    Note(String, String),
    /// The answer to a request with an idempotency key.
    Reply(String, Reply),
}

/// An answer that is given again to the same request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// What was asked, hashed.
    pub asked: String,
    /// The status.
    pub status: u16,
    /// The answer.
    pub body: String,
    /// When; replies are forgotten after a day.
    pub at_unix_ms: i64,
}

/// The book.
#[derive(Debug, Clone, Default)]
pub struct Book {
    /// Requests by name.
    pub drafts: BTreeMap<String, Draft>,
    /// Resources by number, those that are gone included.
    pub resources: BTreeMap<u64, Resource>,
    /// Things by key, those that are gone included.
    pub items: BTreeMap<String, Item>,
    /// Plans by hash.
    pub plans: BTreeMap<String, PlanRecord>,
    /// Answers by the key of the request.
    pub replies: BTreeMap<String, Reply>,
}

impl Book {
    /// Takes in a change that was kept.
    pub fn apply(&mut self, change: Change) {
        match change {
            Change::Draft(name, Some(draft)) => {
                self.drafts.insert(name, draft);
            }
            Change::Draft(name, None) => {
                self.drafts.remove(&name);
            }
            Change::Resource(resource) => {
                self.resources.insert(resource.id, resource);
            }
            Change::Item(item) => {
                self.items.insert(item.key.clone(), item);
            }
            Change::Plan(record) => {
                self.plans.insert(record.plan.hash.clone(), record);
            }
            Change::Reply(key, reply) => {
                self.replies.insert(key, reply);
            }
            Change::Note(..) => {}
        }
    }

    /// The resource that holds a name now.
    pub fn holder(&self, name: &str) -> Option<&Resource> {
        self.resources.values().find(|resource| resource.life != Life::Gone && resource.spec.name() == name)
    }

    /// Resources that are not gone, by name.
    pub fn held(&self) -> BTreeMap<&str, &Resource> {
        let held = self.resources.values().filter(|resource| resource.life != Life::Gone);
        held.map(|resource| (resource.spec.name(), resource)).collect()
    }

    /// The number of the next resource.
    pub fn next_resource(&self) -> u64 {
        self.resources.last_key_value().map_or(1, |(id, _)| id + 1)
    }

    /// The things of a resource.
    pub fn items_of(&self, resource: u64) -> impl Iterator<Item = &Item> {
        // Keys of one number follow each other: `r7-` to `r7.`.
        let (from, to) = (format!("r{resource}-"), format!("r{resource}."));
        self.items.range(from..to).map(|(_, item)| item)
    }

    /// How many things of a resource serve, and how many are on their way.
    pub fn progress(&self, resource: u64) -> (u32, u32) {
        let (mut ready, mut coming) = (0, 0);
        for item in self.items_of(resource) {
            match item.phase {
                Phase::Ready => ready += 1,
                Phase::Wanted | Phase::Asking | Phase::Booting => coming += 1,
                Phase::Releasing | Phase::Gone => {}
            }
        }
        (ready, coming)
    }
}
