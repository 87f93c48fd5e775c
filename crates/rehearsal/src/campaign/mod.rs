//! A campaign as it is planned before the run, and as it went.
//!
//! The planner is asked as anybody asks it: a request in a file, `naru campaign plan`, a plan in JSON. It is asked at the
//! event day's real size, see [`scale`], and what it says is rented for the run.

mod figures;
mod plan;
mod request;
pub mod scale;
#[cfg(test)]
mod tests;

pub use figures::{CampaignFigures, judge};
pub use plan::{Planned, UnreadablePlan};
pub use request::request;
