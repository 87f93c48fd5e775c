//! Detectors: small machines that are told what was read, in the order in which it was, and say what they see now. Each is
//! causal by type: it is given a [`Past`](crate::series::Past), or one reading after another.

mod away;
mod burn;
mod exhaust;
mod level;

pub use away::Away;
pub use burn::{Burn, PAIRS, Pair};
pub use exhaust::{Exhaustion, Fit, Forecast, fit};
pub use level::Level;
