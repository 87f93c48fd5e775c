//! The open-loop load: requests go out at their planned times, whatever became of the ones before.
//!
//! A request whose connection is refused or breaks, and one that finds the service busy, is sent again under its idempotency
//! key, as a customer's client does; it stays one operation, whose time runs from the planned moment.
//!
//! Closed-loop load slows down with its subject and so hides what users would have felt ("coordinated omission"). Here a
//! request that is due is sent; if too many are outstanding it is dropped and counted as failed, which fails the run.

use std::sync::Arc;
use std::time::Duration;

use reqwest::StatusCode;
use serde::Deserialize;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::history::{CURRENCY, Doubt, Failure, Outcome, idempotency_key, shortened, user_key};
use crate::plan::{Plan, PlannedOperation};
use crate::recorder::Recorder;
use crate::scenario::{Service, ServiceKind};

/// An answer of a service is a few hundred bytes; one that claims more breaks the contract and is not read.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;

/// The pause before a request is sent again, and how far it grows: a service is back within a second or two, and at the
/// peak's 400 requests a second the load that waits for it must not be one of its own.
const REPEAT_AFTER_MIN: Duration = Duration::from_millis(50);
const REPEAT_AFTER_MAX: Duration = Duration::from_millis(400);
/// Into how many moments the repetitions are spread.
const SPREAD: usize = 64;

/// One service as the load meets it.
#[derive(Debug, Clone)]
pub struct Target {
    /// Index into the scenario's services.
    pub index: usize,
    /// What it is, and how it is to be loaded.
    pub service: Service,
    /// Where requests go, the service itself or the edge before it: `http://127.0.0.1:1234`.
    pub url: String,
    /// Where the service itself says how it is.
    pub status_url: String,
}

#[derive(Deserialize)]
struct Answer {
    id: serde_json::Value,
    sequence: u64,
}

/// Sends every operation of the target at its time, then waits until each has an outcome. Ends early when told to stop.
///
/// # Errors
/// If the HTTP client cannot be set up.
pub async fn drive(
    target: Target,
    plan: Arc<Plan>,
    recorder: Arc<Recorder>,
    stop: CancellationToken,
) -> Result<(), reqwest::Error> {
    let client = reqwest::Client::builder()
        .no_proxy()
        .pool_max_idle_per_host(target.service.outstanding_max)
        .tcp_nodelay(true)
        .build()?;
    let outstanding = Arc::new(Semaphore::new(target.service.outstanding_max));
    let target = Arc::new(target);
    let mut requests = JoinSet::new();
    let own = plan.operations.iter().enumerate().filter(|(_, o)| usize::from(o.service) == target.index);
    for (number, operation) in own {
        let due = recorder.clock().moment(Duration::from_micros(operation.at_us));
        tokio::select! {
            () = tokio::time::sleep_until(due) => {}
            () = stop.cancelled() => break,
        }
        // Reap without waiting, so that finished requests do not pile up in the set.
        while requests.try_join_next().is_some() {}
        let Ok(permit) = Arc::clone(&outstanding).try_acquire_owned() else {
            recorder.ended(target.index, number, Outcome::Failed { why: Failure::NotSent });
            continue;
        };
        let (client, target, recorder) = (client.clone(), Arc::clone(&target), Arc::clone(&recorder));
        let (operation, seed) = (*operation, plan.seed);
        requests.spawn(async move {
            let request = Request { client: &client, target: &target, seed, number, operation: &operation };
            let outcome = repeated(
                target.service.timeout,
                number,
                || recorder.sent(target.index, number),
                |within| request.send(within),
            );
            recorder.ended(target.index, number, outcome.await);
            drop(permit);
        });
    }
    // Each request has a time-out of its own, so this ends.
    while requests.join_next().await.is_some() {
        if stop.is_cancelled() {
            requests.abort_all();
        }
    }
    Ok(())
}

/// Sends a request until it has an answer that settles it, as any client of an idempotent API does: always under the same
/// key, so that whatever became of the attempts before, the operation happens once. `attempt` is given what is left of
/// `timeout`, which bounds them all together.
async fn repeated<F: Future<Output = Outcome>>(
    timeout: Duration,
    number: usize,
    mut sent: impl FnMut(),
    attempt: impl Fn(Duration) -> F,
) -> Outcome {
    let deadline = Instant::now() + timeout;
    let mut pause = REPEAT_AFTER_MIN;
    let mut doubt = None;
    loop {
        sent();
        let outcome = attempt(deadline.saturating_duration_since(Instant::now())).await;
        let again = match (&outcome, doubt) {
            (Outcome::Failed { why: Failure::NotConnected }, _) => true,
            (Outcome::Unknown { why: why @ (Doubt::Broken | Doubt::Status(503)) }, _) => {
                doubt = Some(*why);
                true
            }
            // An earlier attempt may have got through: a refusal of this one does not say that it has not.
            (Outcome::Failed { why: Failure::Refused(status) }, Some(_)) => {
                return Outcome::Unknown { why: Doubt::Status(*status) };
            }
            _ => false,
        };
        // Spread, so that all who waited for a service do not come back in one moment.
        let next = Instant::now() + pause.mul_f64(1.0 + (number % SPREAD) as f64 / SPREAD as f64);
        if !again || next >= deadline {
            return match (outcome, doubt) {
                (Outcome::Failed { why: Failure::NotConnected }, Some(why)) => Outcome::Unknown { why },
                (outcome, _) => outcome,
            };
        }
        tokio::time::sleep_until(next).await;
        pause = (pause * 2).min(REPEAT_AFTER_MAX);
    }
}

/// What one attempt is made of.
#[derive(Clone, Copy)]
struct Request<'a> {
    client: &'a reqwest::Client,
    target: &'a Target,
    seed: u64,
    number: usize,
    operation: &'a PlannedOperation,
}

impl Request<'_> {
    async fn send(self, within: Duration) -> Outcome {
        let Self { client, target, seed, number, operation } = self;
        let amount = serde_json::json!({ "currency": CURRENCY, "minor": operation.amount_minor });
        let (user, peer) = (user_key(operation.user), peer(target.service.kind, operation.peer));
        let body = match target.service.kind {
            ServiceKind::Payment => serde_json::json!({ "user": user, "merchant": peer, "amount": amount }),
            ServiceKind::Transfer => serde_json::json!({ "user": user, "to": peer, "amount": amount }),
        };
        let request = client
            .post(format!("{}{}", target.url, target.service.kind.path()))
            .header("idempotency-key", idempotency_key(seed, number))
            .timeout(within)
            .json(&body);
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) if error.is_connect() => return Outcome::Failed { why: Failure::NotConnected },
            Err(error) if error.is_timeout() => return Outcome::Unknown { why: Doubt::TimedOut },
            Err(_) => return Outcome::Unknown { why: Doubt::Broken },
        };
        let status = response.status();
        if status.is_client_error() {
            return Outcome::Failed { why: Failure::Refused(status.as_u16()) };
        }
        // A repeat of the same key may be answered 200; the contract knows no other success.
        if status != StatusCode::CREATED && status != StatusCode::OK {
            return Outcome::Unknown { why: Doubt::Status(status.as_u16()) };
        }
        if response.content_length().is_some_and(|length| length > ANSWER_BYTES_MAX) {
            return Outcome::Unknown { why: Doubt::BadAnswer };
        }
        match response.json::<Answer>().await {
            Ok(answer) => Outcome::Acknowledged { id: text(&answer.id), sequence: answer.sequence },
            Err(error) if error.is_timeout() => Outcome::Unknown { why: Doubt::TimedOut },
            Err(error) if error.is_decode() => Outcome::Unknown { why: Doubt::BadAnswer },
            Err(_) => Outcome::Unknown { why: Doubt::Broken },
        }
    }
}

/// The other side of an operation, as requests and records name it.
pub fn peer(kind: ServiceKind, peer: u32) -> String {
    match kind {
        // A hundred shops are enough: the load is about the payers.
        ServiceKind::Payment => format!("m{}", peer % 100),
        ServiceKind::Transfer => user_key(peer),
    }
}

/// An identifier as text, whether the service writes it as a string or as a number.
pub fn text(id: &serde_json::Value) -> Box<str> {
    match id {
        serde_json::Value::String(text) => shortened(text),
        other => shortened(&other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test panics on failure")]

    use std::cell::{Cell, RefCell};

    use super::*;

    const NOT_CONNECTED: Outcome = Outcome::Failed { why: Failure::NotConnected };
    const REFUSED: Outcome = Outcome::Failed { why: Failure::Refused(422) };
    const BROKEN: Outcome = Outcome::Unknown { why: Doubt::Broken };
    const BUSY: Outcome = Outcome::Unknown { why: Doubt::Status(503) };
    const TIMED_OUT: Outcome = Outcome::Unknown { why: Doubt::TimedOut };

    fn acknowledged() -> Outcome {
        Outcome::Acknowledged { id: "x".into(), sequence: 1 }
    }

    #[tokio::test]
    async fn a_request_is_sent_again_until_an_answer_settles_it() {
        let check = async |answers: &[Outcome], expect: Outcome, sent: usize| {
            let left = RefCell::new(answers.iter().cloned());
            let count = Cell::new(0);
            let answer = |_within| {
                let answer = left.borrow_mut().next().unwrap();
                async { answer }
            };
            let outcome = repeated(Duration::from_secs(5), 7, || count.set(count.get() + 1), answer).await;
            assert_eq!((outcome, count.get()), (expect, sent), "{answers:?}");
        };
        check(&[acknowledged()], acknowledged(), 1).await;
        check(&[NOT_CONNECTED, BROKEN, BUSY, acknowledged()], acknowledged(), 4).await;
        check(&[REFUSED], REFUSED, 1).await;
        check(&[NOT_CONNECTED, REFUSED], REFUSED, 2).await;
        // The broken attempt may have got through.
        check(&[BROKEN, REFUSED], Outcome::Unknown { why: Doubt::Status(422) }, 2).await;
        check(&[TIMED_OUT], TIMED_OUT, 1).await;
    }

    #[tokio::test]
    async fn repeating_ends_with_the_time_of_the_request() {
        let check = async |answers: [Outcome; 2], expect: Outcome| {
            let timeout = Duration::from_millis(400);
            let mut sent = 0;
            let first = Cell::new(true);
            let answer = |within| {
                assert!(within <= timeout);
                let answer = answers[usize::from(!first.replace(false))].clone();
                async { answer }
            };
            let outcome = repeated(timeout, 7, || sent += 1, answer).await;
            assert_eq!(outcome, expect);
            assert!((2..6).contains(&sent), "{sent} attempts");
        };
        check([NOT_CONNECTED, NOT_CONNECTED], NOT_CONNECTED).await;
        check([BROKEN, NOT_CONNECTED], BROKEN).await;
    }
}
