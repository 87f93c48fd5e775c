//! What comes through an edge beside the services' requests: visitors of a promotion, and gifts that users claim.
//!
//! Open loop, as the rest of the load: a visitor comes at his planned time, whatever became of the others. Every request
//! carries planted personal data where browsers have it, and has a path of its own, by which it can be found again
//! wherever it went.

mod browser;
mod drive;
mod figures;
pub mod judge;
mod plan;
mod seen;
#[cfg(test)]
mod tests;

pub use drive::drive;
pub use figures::{EdgeFigures, EdgeSecond};
pub use plan::{CrowdPlan, planted};
pub use seen::{Answer, CrowdHistory, CrowdRecorder, Gift, View, Visit};

/// The path of the promotion's pages.
pub const PROMOTION: &str = "/promotion";
/// The path of the gifts.
pub const GIFT: &str = "/gift";
