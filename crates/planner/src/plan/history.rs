//! What is known when a plan is made, beside the request.

use super::score::Memory;
use crate::day_time::{DayTime, Zone};
use crate::demand::Minutes;

/// What is known.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// Of earlier campaigns.
    pub memory: &'a Memory,
    /// Of the load beside the campaign, on days before; what the request says of it is added.
    pub history: Option<&'a History>,
}

/// The load of days before, by the minute.
#[derive(Debug, Clone, PartialEq)]
pub struct History {
    from: DayTime,
    loads: Vec<f64>,
}

impl History {
    /// Loads in units a second from a time on, a minute each; `NaN` where nothing was observed.
    pub fn new(from: DayTime, loads: Vec<f64>) -> Self {
        Self { from, loads }
    }

    /// The history in minutes of a zone, whose days people keep to.
    pub(super) fn local(&self, zone: Zone) -> Minutes {
        Minutes::new(self.from.in_zone(zone).minute(), self.loads.clone())
    }
}
