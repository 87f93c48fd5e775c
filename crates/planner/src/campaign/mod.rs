//! What a campaign brings: messages go out by a sending curve, people follow them after a delay, and each who does makes
//! requests for a while.
//!
//! The delays are a kernel of the offer's class. It is known roughly before the first campaign and better after each; all
//! that is unknown is carried through as scenario paths, never as one curve with a margin.

mod class;
mod kernel;
mod nowcast;
mod paths;
mod sending;

pub use class::{Calibration, OfferClass, PastCampaign};
pub use kernel::{BINS, Kernel, bin_minutes};
pub use nowcast::{Nowcast, Observed};
pub use paths::{PATHS_LEAST, Path, Paths};
pub use sending::{Offer, Sending, SendingStep};
