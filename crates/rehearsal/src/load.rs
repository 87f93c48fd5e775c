//! The open-loop load: requests go out at their planned times, whatever became of the ones before.
//!
//! Closed-loop load slows down with its subject and so hides what users would have felt ("coordinated omission"). Here a
//! request that is due is sent; if too many are outstanding it is dropped and counted as failed, which fails the run.

use std::sync::Arc;
use std::time::Duration;

use reqwest::StatusCode;
use serde::Deserialize;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::history::{CURRENCY, Doubt, Failure, Outcome, idempotency_key, shortened, user_key};
use crate::plan::{Plan, PlannedOperation};
use crate::recorder::Recorder;
use crate::scenario::{Service, ServiceKind};

/// An answer of a service is a few hundred bytes; one that claims more breaks the contract and is not read.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;

/// One service as the load meets it.
#[derive(Debug, Clone)]
pub struct Target {
    /// Index into the scenario's services.
    pub index: usize,
    /// What it is, and how it is to be loaded.
    pub service: Service,
    /// `http://127.0.0.1:1234`.
    pub url: String,
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
        .timeout(target.service.timeout)
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
            recorder.sent(target.index, number);
            let outcome = send(&client, &target, seed, number, &operation).await;
            recorder.ended(target.index, number, outcome);
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

async fn send(
    client: &reqwest::Client,
    target: &Target,
    seed: u64,
    number: usize,
    operation: &PlannedOperation,
) -> Outcome {
    let amount = serde_json::json!({ "currency": CURRENCY, "minor": operation.amount_minor });
    let (user, peer) = (user_key(operation.user), peer(target.service.kind, operation.peer));
    let body = match target.service.kind {
        ServiceKind::Payment => serde_json::json!({ "user": user, "merchant": peer, "amount": amount }),
        ServiceKind::Transfer => serde_json::json!({ "user": user, "to": peer, "amount": amount }),
    };
    let request = client
        .post(format!("{}{}", target.url, target.service.kind.path()))
        .header("idempotency-key", idempotency_key(seed, number))
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
        Err(_) => Outcome::Unknown { why: Doubt::BadAnswer },
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
