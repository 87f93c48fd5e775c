//! Demand by the minute of something that has been watched for weeks and that a calendar of events drives: the day ahead,
//! and the next minutes.
//!
//! A forecast is the product of a seasonal baseline (a profile by the minute of the day, one for working days and one for
//! weekends, at the level of the last day) and of what events add, taken from how earlier events went. Everything is
//! done on the logarithm of demand, since events multiply it. The decomposition is the classical one (Cleveland et al.,
//! "STL", Journal of Official Statistics 6, 1990) with two seasons and masked events; what events have in common is
//! pooled by weights (Nadaraya and Watson's kernel regression, 1964).

mod ahead;
mod calendar;
mod keeper;
mod minutes;
mod smooth;

pub use ahead::{AheadKnobs, DayAhead};
pub use calendar::{Calendar, Phase};
pub use keeper::{HOURS, Keeper, KeeperKnobs, UnitPrices};
pub use minutes::{MINUTES_PER_DAY, Minutes, day_of, is_weekend, minute_of_day};
pub use smooth::smoothed;
pub use soon::{Soon, SoonKnobs};
mod soon;
