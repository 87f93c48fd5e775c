//! The planner: decisions as pure functions over values. It forecasts demand, says how much capacity to rent and how much
//! must be ready, and at what pace a campaign may be sent; executors choose nothing.
//!
//! It never does input or output, reads a clock or draws randomness that it was not given the seed of; it depends on
//! [`naru_model`] and on nothing else of ours.

pub mod campaign;
pub mod day_time;
pub mod demand;
pub mod normal;
pub mod pacing;
pub mod plan;
pub mod rent;
