//! What is possible in place of what is not.

use std::fmt;

use naru_model::written::thousands;

use super::forecast::{Forecast, obtainable};
use super::history::Known;
use super::make::{percent, safe};
use super::request::Request;

/// Halvings of the range in which the highest possible rate is looked for: finer than a thousandth.
const HALVINGS: u32 = 12;
/// Slower sending than this share of what was asked for is no campaign any more.
const RATE_LEAST: f64 = 0.01;

/// A campaign that the capacity to be had in time cannot carry, and what could be done in place of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Impossible {
    /// The load that would have to be carried, in units a second, to keep to the risk.
    pub needed: f64,
    /// What can be had in time.
    pub obtainable: f64,
    /// What is possible.
    pub alternatives: Vec<Alternative>,
}

/// Something that is possible.
#[derive(Debug, Clone, PartialEq)]
pub enum Alternative {
    /// The same campaign, sent more slowly: messages a minute of its fastest stretch, and minutes until the last.
    Slower {
        /// Messages a minute.
        per_minute: u64,
        /// Until the last message.
        minutes: u64,
    },
    /// The same campaign with a higher risk of overload.
    Riskier {
        /// The risk, as a share of 1.
        risk: f64,
    },
    /// More time: when rented nodes, or machines bought now, could be there.
    Later {
        /// What would come.
        what: &'static str,
        /// When, as people of the zone read it.
        at: String,
    },
    /// Nothing of the campaign's making: the rest of the load alone is too much.
    BaseTooHigh,
}

/// What is possible in place of a request.
pub(super) fn alternatives(request: &Request, known: Known<'_>, needed: f64, most: f64) -> Impossible {
    let level = known.memory.calibration.level(safe(request));
    let peaks = |factor: f64| {
        let forecast = Forecast::of(request, known, factor);
        let peaks = forecast.highest(0..usize::MAX);
        (forecast, peaks)
    };
    let fits = |factor: f64| {
        let (forecast, peaks) = peaks(factor);
        forecast.paths.quantile(&peaks, level) <= most
    };
    let mut found = Vec::new();
    if fits(RATE_LEAST) {
        let (mut low, mut high) = (RATE_LEAST, 1.0);
        for _ in 0..HALVINGS {
            let middle = (low + high) / 2.0;
            if fits(middle) { low = middle } else { high = middle }
        }
        let fastest = request.send.iter().map(|send| send.per_minute).max().unwrap_or(0);
        let sending = request.sending().at_rate(low);
        let per_minute = (fastest as f64 * low).floor() as u64;
        found.push(Alternative::Slower { per_minute, minutes: sending.ends().ceil() as u64 });
    } else {
        found.push(Alternative::BaseTooHigh);
    }
    let (forecast, as_asked) = peaks(1.0);
    // Half of a risk is for the peak, as `safe` has it; a hair more, for the path that lies on the bound.
    let risk = 2.0 * (1.0 - forecast.paths.share_at_most(&as_asked, most)) + 2.0 / as_asked.len() as f64;
    if risk < 1.0 {
        found.push(Alternative::Riskier { risk });
    }
    let begins = request.begins();
    let reserved = request.decided_at.plus_seconds(i64::from(request.reserved.lead_seconds));
    if reserved > begins {
        let at = reserved.in_zone(request.zone).to_string();
        found.push(Alternative::Later { what: "rented nodes", at });
    }
    let bought = request.decided_at.plus_seconds(i64::from(request.bought.lead_days) * 86_400);
    found.push(Alternative::Later { what: "machines bought now", at: bought.in_zone(request.zone).to_string() });
    debug_assert!((obtainable(request) - most).abs() < 1e-6);
    Impossible { needed, obtainable: most, alternatives: found }
}

impl fmt::Display for Impossible {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "not possible: {} units a second would have to be carried, and {} can be had in time. Possible is:",
            thousands(self.needed.ceil() as u64),
            thousands(self.obtainable.floor() as u64)
        )?;
        self.alternatives.iter().try_for_each(|alternative| write!(f, "\n  - {alternative}"))
    }
}

impl fmt::Display for Alternative {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Slower { per_minute, minutes } => {
                write!(
                    f,
                    "send at most {} a minute: the last message goes out after {minutes} minutes",
                    thousands(*per_minute)
                )
            }
            Self::Riskier { risk } => write!(f, "accept a risk of overload of {}", percent(*risk)),
            Self::Later { what, at } => write!(f, "wait: {what} are there on {at}"),
            Self::BaseTooHigh => f.write_str("no rate of sending: the load beside the campaign alone is too much"),
        }
    }
}
