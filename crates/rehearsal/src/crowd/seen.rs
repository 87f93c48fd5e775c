//! What the crowd saw.

use std::sync::Mutex;

use serde::Serialize;

use crate::clock::RunClock;

/// Views that are kept; the rest is counted as a finding. Some hundred bytes each.
const VIEWS_MAX: usize = 500_000;

/// How a request was answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// By a process of the customer, named in the answer.
    Served(String),
    /// By the waiting room.
    Waiting,
    /// By this status, and not by what the contract says.
    Status(u16),
    /// Not at all.
    Nothing(String),
}

/// One request for a page of the promotion.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct View {
    /// The visitor, by his place in the plan.
    pub visitor: usize,
    /// Which of his pages, from 0; after a waiting page he asks for the same again.
    pub page: u32,
    /// When it was sent.
    pub sent_us: u64,
    /// When it was answered.
    pub ended_us: u64,
    /// How.
    pub answer: Answer,
}

impl View {
    /// The path that was asked for.
    pub fn path(&self) -> String {
        format!("{}/v{}-{}", super::PROMOTION, self.visitor, self.page)
    }
}

/// One visitor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Visit {
    /// When he came, if he did.
    pub came_us: Option<u64>,
    /// When he saw the first page of the promotion.
    pub in_us: Option<u64>,
    /// When he had seen the last one.
    pub done_us: Option<u64>,
}

/// One gift.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Gift {
    /// Its number in the plan.
    pub number: usize,
    /// When it was due.
    pub planned_us: u64,
    /// When it had its answer.
    pub ended_us: u64,
    /// How often it was sent.
    pub attempts: u32,
    /// Its last answer.
    pub answer: Answer,
    /// Everybody who answered an attempt, the last one too.
    pub served_by: Vec<String>,
}

impl Gift {
    /// The path that was asked for.
    pub fn path(number: usize) -> String {
        format!("{}/g{number}", super::GIFT)
    }
}

/// Everything that the crowd saw.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CrowdHistory {
    /// Requests for the promotion, in the order of their ends.
    pub views: Vec<View>,
    /// Visitors, in the order of the plan.
    pub visits: Vec<Visit>,
    /// Gifts, in the order of their ends.
    pub gifts: Vec<Gift>,
    /// Gifts that were planned.
    pub gifts_planned: usize,
    /// Views that did not fit.
    pub dropped: u64,
}

/// Takes down what the crowd sees, from all of it at once.
#[derive(Debug)]
pub struct CrowdRecorder {
    clock: RunClock,
    seen: Mutex<CrowdHistory>,
}

impl CrowdRecorder {
    /// For a plan.
    pub fn new(clock: RunClock, plan: &super::CrowdPlan) -> Self {
        let visits = vec![Visit::default(); plan.visitors_us.len()];
        let seen = CrowdHistory { visits, gifts_planned: plan.gifts_us.len(), ..CrowdHistory::default() };
        Self { clock, seen: Mutex::new(seen) }
    }

    /// The run's clock.
    pub fn clock(&self) -> RunClock {
        self.clock
    }

    pub(super) fn came(&self, visitor: usize) {
        let at_us = self.clock.now_us();
        self.with(|seen| seen.visits[visitor].came_us = Some(at_us));
    }

    pub(super) fn view(&self, view: View) {
        self.with(|seen| {
            if let (Answer::Served(_), visit) = (&view.answer, &mut seen.visits[view.visitor]) {
                visit.in_us.get_or_insert(view.ended_us);
            }
            match seen.views.len() < VIEWS_MAX {
                true => seen.views.push(view),
                false => seen.dropped += 1,
            }
        });
    }

    pub(super) fn done(&self, visitor: usize) {
        let at_us = self.clock.now_us();
        self.with(|seen| seen.visits[visitor].done_us = Some(at_us));
    }

    pub(super) fn gift(&self, gift: Gift) {
        self.with(|seen| seen.gifts.push(gift));
    }

    /// Everything, leaving nothing.
    pub fn take(&self) -> CrowdHistory {
        self.with(std::mem::take)
    }

    fn with<T>(&self, change: impl FnOnce(&mut CrowdHistory) -> T) -> T {
        change(&mut self.seen.lock().unwrap_or_else(|poisoned| poisoned.into_inner()))
    }
}
