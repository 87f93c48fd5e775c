//! A campaign's capacity plan: made from a request and from what is remembered of earlier campaigns, read, priced, hashed,
//! and scored afterwards.

mod decide;
mod document;
mod forecast;
mod history;
mod impossible;
mod make;
mod request;
mod score;
mod text;

pub use decide::{HourDecision, HourNeed, Prices, Resource, decide, fleet};
pub use document::{CampaignPlan, Cost, HourRow, Line, LineKind, PlanBody, PlanHash};
pub use history::{History, Known};
pub use impossible::{Alternative, Impossible};
pub use make::{PlanFailed, make};
pub use request::{BaseLoad, BoughtSupply, Delay, Fault, OfferPart, Price, RentedSupply, Request, Send};
pub use score::{HourScore, Memory, Outcome, Score, score};
pub use text::{plan_text, score_text};

#[cfg(test)]
mod tests;
