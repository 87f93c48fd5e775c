//! The crowd in motion.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::browser::{Browser, Shown};
use super::{Answer, CrowdPlan, CrowdRecorder, Gift, View, planted};
use crate::scenario::Edge;

/// The pause before a gift is claimed again, and how far it grows.
const REPEAT_AFTER_MIN: Duration = Duration::from_millis(50);
const REPEAT_AFTER_MAX: Duration = Duration::from_millis(400);
/// How long a gift is claimed again and again: as long as a takeover may last.
const GIFT_MAX: Duration = Duration::from_secs(10);
/// When somebody who has got an error comes back.
const ERROR_PAUSE: Duration = Duration::from_secs(1);

/// Who comes, where to, and who takes it down.
#[derive(Debug, Clone)]
struct Stage {
    url: Arc<str>,
    edge: Arc<Edge>,
    planted: Arc<str>,
    recorder: Arc<CrowdRecorder>,
}

/// Sends everybody at his time, and waits until the last has gone, at most until `patience` after the plan's `end`. Whoever
/// is still there then is cut off.
///
/// # Errors
/// If an HTTP client cannot be set up.
pub async fn drive(
    (url, seed): (String, u64),
    edge: Edge,
    plan: CrowdPlan,
    recorder: Arc<CrowdRecorder>,
    (end, patience): (Duration, Duration),
    stop: CancellationToken,
) -> Result<(), reqwest::Error> {
    let stage = Stage { url: url.into(), edge: Arc::new(edge), planted: planted(seed).into(), recorder };
    let clock = stage.recorder.clock();
    let mut people: JoinSet<Result<(), reqwest::Error>> = JoinSet::new();
    let mut due: Vec<(u64, bool, usize)> = Vec::new();
    due.extend(plan.visitors_us.iter().enumerate().map(|(number, at_us)| (*at_us, true, number)));
    due.extend(plan.gifts_us.iter().enumerate().map(|(number, at_us)| (*at_us, false, number)));
    due.sort_unstable();
    for (at_us, is_visitor, number) in due {
        tokio::select! {
            () = sleep_until(clock.moment(Duration::from_micros(at_us))) => {}
            () = stop.cancelled() => return Ok(()),
        }
        while let Some(gone) = people.try_join_next() {
            finish(gone)?;
        }
        let stage = stage.clone();
        match is_visitor {
            true => people.spawn(stage.visit(number)),
            false => people.spawn(stage.claim(number, at_us)),
        };
    }
    let late = sleep_until(clock.moment(end + patience));
    tokio::pin!(late);
    loop {
        tokio::select! {
            gone = people.join_next() => match gone {
                Some(gone) => finish(gone)?,
                None => return Ok(()),
            },
            () = &mut late => return Ok(()),
            () = stop.cancelled() => return Ok(()),
        }
    }
}

/// A task that panicked goes on panicking; none is cancelled before the set is dropped.
fn finish(gone: Result<Result<(), reqwest::Error>, tokio::task::JoinError>) -> Result<(), reqwest::Error> {
    match gone {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_cancelled) => Ok(()),
        },
    }
}

impl Stage {
    /// A visitor looks at one page after the other; on a waiting page he waits as it says, on an error he comes back.
    async fn visit(self, visitor: usize) -> Result<(), reqwest::Error> {
        let mut browser = Browser::new(visitor, &self.planted)?;
        self.recorder.came(visitor);
        let between = self.edge.visit_lasts / self.edge.visit_requests.max(1);
        for page in 0..self.edge.visit_requests {
            let opened = Instant::now();
            loop {
                let sent_us = self.recorder.clock().now_us();
                let mut view = View { visitor, page, sent_us, ended_us: 0, answer: Answer::Waiting };
                let Shown { answer, again, .. } = browser.open(&format!("{}{}", self.url, view.path())).await;
                let pause = match answer {
                    Answer::Served(_) => None,
                    _ => Some(again.unwrap_or(ERROR_PAUSE)),
                };
                (view.ended_us, view.answer) = (self.recorder.clock().now_us(), answer);
                self.recorder.view(view);
                match pause {
                    None => break,
                    Some(pause) => sleep(pause).await,
                }
            }
            if page + 1 < self.edge.visit_requests {
                sleep_until(opened + between).await;
            }
        }
        self.recorder.done(visitor);
        Ok(())
    }

    /// A user claims a gift, again if he got no answer.
    async fn claim(self, number: usize, planned_us: u64) -> Result<(), reqwest::Error> {
        // Beside the visitors' addresses.
        let mut browser = Browser::new((1 << 19) + number, &self.planted)?;
        let url = format!("{}{}", self.url, Gift::path(number));
        let deadline = Instant::now() + GIFT_MAX;
        let (mut pause, mut attempts, mut served_by) = (REPEAT_AFTER_MIN, 0, Vec::new());
        let answer = loop {
            attempts += 1;
            let Shown { answer, by, .. } = browser.open(&url).await;
            served_by.extend(by);
            let settled = matches!(answer, Answer::Served(_) | Answer::Status(400..=499));
            if settled || Instant::now() + pause >= deadline {
                break answer;
            }
            sleep(pause).await;
            pause = (pause * 2).min(REPEAT_AFTER_MAX);
        };
        let ended_us = self.recorder.clock().now_us();
        self.recorder.gift(Gift { number, planned_us, ended_us, attempts, answer, served_by });
        Ok(())
    }
}
