//! What the planner is compared with: the rule of Kubernetes' horizontal autoscaler, alone and over a reserved floor.

use std::collections::VecDeque;

use crate::play::Policy;

/// Within this share of its target the rule leaves things as they are.
const TOLERANCE: f64 = 0.1;
/// For so many minutes the rule keeps to the highest wish.
const CALM_MINUTES: usize = 15;
/// The quantile of the day before that is the reserved floor.
const FLOOR: f64 = 0.3;

/// The rule.
pub struct Autoscaler {
    target: f64,
    with_floor: bool,
    day: Vec<f64>,
    floor: u64,
    last: f64,
    wishes: VecDeque<u64>,
}

impl Autoscaler {
    /// The rule for a target of demand per unit, with what was seen until now.
    pub fn new(target: f64, with_floor: bool, seen: impl Iterator<Item = f64>) -> Self {
        let mut rule = Self { target, with_floor, day: Vec::new(), floor: 0, last: 0.0, wishes: VecDeque::new() };
        seen.for_each(|demand| rule.observe(demand));
        rule
    }
}

impl Policy for Autoscaler {
    fn observe(&mut self, demand: f64) {
        self.last = demand;
        self.day.push(demand);
        if self.day.len() == 1440 {
            if self.with_floor {
                self.day.sort_by(f64::total_cmp);
                self.floor = self.day[(1439.0 * FLOOR) as usize].ceil() as u64;
            }
            self.day.clear();
        }
    }

    fn reserved(&self, _minute: i64) -> u64 {
        self.floor
    }

    fn standing(&mut self, existing: u64) -> u64 {
        let current = existing + self.floor;
        let ratio = self.last / self.target / current.max(1) as f64;
        let wish = if (ratio - 1.0).abs() <= TOLERANCE { current } else { (self.last / self.target).ceil() as u64 };
        self.wishes.push_back(wish);
        if self.wishes.len() > CALM_MINUTES {
            self.wishes.pop_front();
        }
        let total = if wish > current {
            wish.min((2 * current).max(current + 4))
        } else {
            current.min(self.wishes.iter().copied().max().unwrap_or(wish))
        };
        total.saturating_sub(self.floor)
    }

    fn forecast(&self, _minute: i64) -> Option<f64> {
        None
    }
}
