//! Capacity plans: what is rented, as control says and signs it.
//!
//! A plan adds rented sites and servers to the pools of the edge's own configuration, and sets the budget for
//! autoscaled ones. It has no words for anything else: owned sites and their addresses, routes, classes and limits come
//! from the edge's own configuration only. A plan is taken whole or refused with everything that is wrong with it; one
//! that is older than the plan in force is refused; and the plan in force stays so until a later one comes, over
//! restarts too, however long control is silent.

mod book;
mod document;
mod signed;

pub use book::{Offered, PlanBook, PlanRefused};
pub use document::{CapacityPlan, PlanFlaw, RentedServer, RentedSite, RentedTier, SERVERS_MAX, SITES_MAX};
pub use signed::{PLAN_BYTES_MAX, sign};

#[cfg(test)]
mod tests;
