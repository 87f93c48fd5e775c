//! What is asked of control over HTTP, and what it answers: docs/api/control.json.

use serde::{Deserialize, Serialize};

use crate::book::Book;
use crate::config::Catalogue;
use crate::plan::{Impossible, booked_krw};
use crate::resource::{Item, Life, Phase, Resource, Spec};

/// The document of the API.
pub const OPENAPI: &str = include_str!("../../../docs/api/control.json");

/// `POST /v1/plans`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanAsked {
    /// Requests by name; all of the token's team without it.
    #[serde(default)]
    pub names: Vec<String>,
}

/// `POST /v1/resources/{name}/renew`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RenewAsked {
    /// How much longer.
    pub hours: u32,
}

/// `POST /v1/campaigns`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CampaignAsked {
    /// The hash that was shown.
    pub hash: String,
    /// The plan's canonical bytes.
    pub plan: String,
    /// Who pays.
    pub team: String,
    /// On what.
    pub flavor: String,
}

/// A lease that was made longer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Renewed {
    /// When it ends now.
    pub until_unix_ms: i64,
}

/// Nothing more to say.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Done {}

/// A resource, as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceView {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: String,
    /// Whose it is.
    pub team: String,
    /// Where it is in its life.
    pub life: Life,
    /// How many things it wants.
    pub wanted: u32,
    /// How many serve.
    pub ready: u32,
    /// How many are on their way.
    pub coming: u32,
    /// From when it must be ready.
    pub from_unix_ms: i64,
    /// When its lease ends.
    pub until_unix_ms: i64,
    /// What its lease costs.
    pub booked_krw: u64,
    /// Why it is as it is.
    pub reason: String,
    /// Its things that are not gone.
    pub items: Vec<ItemView>,
}

/// A thing, as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ItemView {
    /// Its name to the provider.
    pub key: String,
    /// Where it is.
    pub phase: Phase,
    /// What the provider calls it.
    pub id: Option<String>,
    /// What the provider said last, where that was no success.
    pub note: String,
}

/// A request that waits for a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DraftView {
    /// As it was asked for.
    pub spec: Spec,
    /// By whom.
    pub by: String,
}

/// Everything that is held, and what waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overview {
    /// What is held.
    pub resources: Vec<ResourceView>,
    /// What waits for a plan.
    pub requests: Vec<DraftView>,
}

/// Why something was not done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// In words.
    pub error: String,
    /// Field by field, and what to do.
    #[serde(default)]
    pub faults: Vec<Impossible>,
    /// Whether the same may succeed later.
    pub retry_helps: bool,
}

/// A resource as it is shown.
pub fn view(book: &Book, catalogue: &Catalogue, resource: &Resource) -> ResourceView {
    let (ready, coming) = book.progress(resource.id);
    let item = |item: &Item| ItemView {
        key: item.key.clone(),
        phase: item.phase,
        id: item.id.clone(),
        note: item.note.clone(),
    };
    ResourceView {
        name: resource.spec.name().to_owned(),
        kind: resource.spec.kind().to_owned(),
        team: resource.spec.team().to_owned(),
        life: resource.life,
        wanted: if resource.life == Life::Held { resource.spec.count() } else { 0 },
        ready,
        coming,
        from_unix_ms: resource.from_unix_ms,
        until_unix_ms: resource.until_unix_ms,
        booked_krw: booked_krw(resource, catalogue),
        reason: resource.reason.clone(),
        items: book.items_of(resource.id).filter(|one| one.phase != Phase::Gone).map(item).collect(),
    }
}
