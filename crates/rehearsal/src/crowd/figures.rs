//! From what was seen to what a report shows.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::judge::{Evidence, gift_latency};
use super::{Answer, View, Visit};
use crate::measure::Percentiles;

/// Longest picture: a day of seconds. What comes later is counted in the last one.
const SECONDS_MAX: usize = 86_400;

/// One second of the edge.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EdgeSecond {
    /// Pages of the promotion from owned sites.
    pub owned: u64,
    /// Pages of the promotion from rented nodes.
    pub rented: u64,
    /// Waiting pages.
    pub waiting: u64,
    /// Errors, and no answers.
    pub errors: u64,
    /// Gifts claimed.
    pub gifts: u64,
}

/// The edge over the run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EdgeFigures {
    /// Answers by the second in which they came.
    pub seconds: Vec<EdgeSecond>,
    /// Over the run.
    pub whole: EdgeSecond,
    /// Visitors of the promotion.
    pub visitors: u64,
    /// Visitors who were shown the waiting room before they were let in.
    pub waited: u64,
    /// How long they waited, from their first request to their first page.
    pub wait: Option<Percentiles>,
    /// Pages that were shown to visitors inside, from request to answer.
    pub view: Option<Percentiles>,
    /// Gifts, from their planned times.
    pub gift: Option<Percentiles>,
    /// Attempts of gifts beyond the first.
    pub gifts_repeated: u64,
    /// Requests that rented nodes received, by their own logs.
    pub received_by_rented: u64,
}

impl EdgeFigures {
    /// What the evidence adds up to.
    pub fn of(evidence: &Evidence<'_>) -> Self {
        let crowd = evidence.crowd;
        let rented: HashSet<&str> = evidence.nodes.iter().map(|node| node.node.as_str()).collect();
        let mut seconds: Vec<EdgeSecond> = Vec::new();
        let mut whole = EdgeSecond::default();
        let mut count = |at_us: u64, add: fn(&mut EdgeSecond)| {
            let second = usize::try_from(at_us / 1_000_000).unwrap_or(usize::MAX).min(SECONDS_MAX - 1);
            if seconds.len() <= second {
                seconds.resize(second + 1, EdgeSecond::default());
            }
            add(&mut seconds[second]);
            add(&mut whole);
        };
        for view in &crowd.views {
            let add: fn(&mut EdgeSecond) = match &view.answer {
                Answer::Served(by) if rented.contains(by.as_str()) => |second| second.rented += 1,
                Answer::Served(_) => |second| second.owned += 1,
                Answer::Waiting => |second| second.waiting += 1,
                Answer::Status(_) | Answer::Nothing(_) => |second| second.errors += 1,
            };
            count(view.ended_us, add);
        }
        let claimed = crowd.gifts.iter().filter(|gift| matches!(gift.answer, Answer::Served(_)));
        claimed.for_each(|gift| count(gift.ended_us, |second| second.gifts += 1));
        let held: HashSet<usize> =
            crowd.views.iter().filter(|v| v.page == 0 && v.answer == Answer::Waiting).map(|v| v.visitor).collect();
        let waited = |visit: &Visit| Some(visit.in_us?.saturating_sub(visit.came_us?));
        let waits = crowd.visits.iter().enumerate().filter(|(number, _)| held.contains(number));
        let served = |view: &&View| matches!(view.answer, Answer::Served(_));
        Self {
            visitors: crowd.visits.len() as u64,
            waited: held.len() as u64,
            wait: Percentiles::of(waits.filter_map(|(_, visit)| waited(visit))),
            view: Percentiles::of(crowd.views.iter().filter(served).map(|v| v.ended_us.saturating_sub(v.sent_us))),
            gift: gift_latency(crowd, |_| true),
            gifts_repeated: crowd.gifts.iter().map(|gift| u64::from(gift.attempts.saturating_sub(1))).sum(),
            received_by_rented: evidence.nodes.iter().map(|node| node.received.len() as u64).sum(),
            seconds,
            whole,
        }
    }
}
