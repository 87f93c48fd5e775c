//! The nouns of Naru: identifiers, units, sites, plans, ledger entries, and the catalogue of invariants.
//!
//! Every other crate may depend on this one; it depends on none of them. It does no input or output, starts no task
//! and reads no clock: a value that carries a time is given the time.
//!
//! A value that exists is valid. Constructors and deserialisation refuse what the type does not allow, so that code
//! which holds a [`TopicName`] or a [`Plan`] need not look again.

pub mod id;
pub mod invariant;
pub mod ledger;
pub mod money;
pub mod plan;
pub mod site;
pub mod units;
pub mod written;

pub use id::{CampaignId, InvalidId, LeaseId, PartitionId, ServiceGroup, SiteId, TopicName, TopicPartition};
pub use ledger::{InvalidEntry, LedgerEntry, LedgerId};
pub use money::{Currency, Money, MoneyError};
pub use plan::{Generation, Holding, OutOfTurn, Plan, PlanError};
pub use site::{Class, Site, SiteKind};
pub use units::{Units, UnitsError};
