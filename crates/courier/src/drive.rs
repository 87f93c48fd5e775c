//! One batch on its way to the provider, and the settling of those that are there.

use std::sync::Arc;
use std::time::Duration;

use naru_runtime::clocks::millis;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

use crate::batch::{Batch, Lane, Next, Outcome, Phase};
use crate::courier::Shared;
use crate::log::{Closed, Receipt, Record};
use crate::provider::{Known, Submission};

/// Between two attempts, or two questions, while there is no news: doubled from the first to the last.
const AGAIN_FIRST: Duration = Duration::from_millis(50);
const AGAIN_MAX: Duration = Duration::from_secs(5);
/// How often a batch that may not be sent looks whether it may: a resumed campaign, a stop that is over.
const LOOK: Duration = Duration::from_millis(100);
/// Questions at once while settling, and batches looked at in one round.
const QUESTIONS_MAX: usize = 8;
const ROUND_MAX: usize = 512;
/// Doublings of the wait between questions: the last is 64 times the first.
const DOUBLINGS_MAX: u32 = 6;
/// In front of every advertisement, and in front of the number by which people want no more (Network Act, article 50,
/// paragraph 4).
const ADVERT_MARK: &str = "(광고)";
const OPT_OUT_MARK: &str = "무료수신거부";

/// What a batch came to in one step.
enum Stepped {
    /// Something was learned.
    On,
    /// Nothing: come again later.
    Again,
}

/// A place among the attempts of a lane.
pub(crate) async fn slot(slots: &Arc<Semaphore>) -> OwnedSemaphorePermit {
    slots.clone().acquire_owned().await.expect("slots are never closed")
}

/// Lets a durable batch go; it holds its slot until the provider has it, or nobody knows.
pub(crate) fn spawn(shared: &Arc<Shared>, name: &'static str, id: u64, slot: OwnedSemaphorePermit) {
    let on = shared.clone();
    shared.spawn(name, async move {
        let driven = drive(&on, id).await;
        drop(slot);
        driven
    });
}

/// Brings a batch to the provider, or to doubt.
pub(crate) async fn drive(shared: &Arc<Shared>, id: u64) -> Result<(), Closed> {
    let mut wait = AGAIN_FIRST;
    loop {
        let Some(next) = next(shared, id) else { return Ok(()) };
        let stepped = match next {
            Next::Leave => return Ok(()),
            Next::Wait => {
                tokio::time::sleep(LOOK).await;
                continue;
            }
            Next::Submit => submit(shared, id).await?,
            Next::Ask => ask(shared, id).await?,
            Next::Renew => renew(shared, id).await?,
            Next::Doubt => {
                shared.record(Record::InDoubt { batch: id, at_ms: shared.now_ms() }).await?;
                Stepped::On
            }
        };
        match stepped {
            Stepped::On => wait = AGAIN_FIRST,
            Stepped::Again => {
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(AGAIN_MAX);
            }
        }
    }
}

/// What is to be done now; none when the batch is settled.
fn next(shared: &Shared, id: u64) -> Option<Next> {
    let now = shared.now_ms();
    let state = shared.state();
    let batch = state.batches.get(&id)?;
    let stopped = match batch.lane {
        Lane::Campaign(number) => state.campaigns.get(&number).is_some_and(|campaign| campaign.stopped),
        Lane::Usage(_) => false,
    };
    let open = !stopped && batch.within_hours(now, shared.config.hours_margin_ms());
    Some(batch.next(now, shared.life, open))
}

async fn submit(shared: &Arc<Shared>, id: u64) -> Result<Stepped, Closed> {
    let Some((batch, text, origin)) = ({
        let state = shared.state();
        state.batches.get(&id).map(|batch| {
            let text = match &batch.lane {
                Lane::Usage(text) => text.clone(),
                Lane::Campaign(number) => {
                    state.campaigns.get(number).map(|campaign| advert(&campaign.spec)).unwrap_or_default()
                }
            };
            (batch.clone(), text, state.origin.clone())
        })
    }) else {
        return Ok(Stepped::On);
    };
    let wanted: Vec<(usize, &str)> = { batch.members.iter().enumerate() }
        .filter(|(index, _)| !batch.receipted[*index])
        .map(|(index, member)| (index, member.token.as_str()))
        .collect();
    let tokens: Vec<&str> = wanted.iter().map(|(_, token)| *token).collect();
    let addresses = match shared.addresses.resolve(&tokens).await {
        Ok(addresses) => {
            shared.alarm("vault", None);
            addresses
        }
        Err(error) => {
            if let Some((index, _)) = error.hopeless().and_then(|at| wanted.get(at)) {
                let index = u32::try_from(*index).unwrap_or(u32::MAX);
                shared.record(Record::Unresolved { batch: id, index }).await?;
                return Ok(Stepped::On);
            }
            let said = format!("nothing is sent: {}", naru_runtime::causes::with_causes(&error));
            shared.alarm("vault", Some(said));
            return Ok(Stepped::Again);
        }
    };
    // The vault took its time: a stop, the end of the hours or of the key may have come.
    if next(shared, id) != Some(Next::Submit) {
        return Ok(Stepped::On);
    }
    let now = shared.now_ms();
    let before = {
        let mut state = shared.state();
        let Some(batch) = state.batches.get_mut(&id) else { return Ok(Stepped::On) };
        naru_model::invariant!(COURIER_2, !batch.key_is_old(now, shared.life), "batch {id}");
        naru_model::invariant!(COURIER_3, batch.within_hours(now, 0), "batch {id}");
        batch.attempt()
    };
    let reference = |index: usize| format!("{origin}.{id}.{index}");
    let messages = wanted.iter().map(|(index, _)| reference(*index)).zip(addresses).collect();
    let advert = matches!(batch.lane, Lane::Campaign(_));
    let outcome = shared.provider.submit(&Submission { key: &batch.key, advert, text: &text, messages }).await;
    let taken = match shared.state().batches.get_mut(&id) {
        Some(batch) => batch.answered(before, outcome),
        None => false,
    };
    if taken {
        shared.record(Record::Accepted { batch: id, at_ms: shared.now_ms() }).await?;
        shared.alarm("refused", None);
        return Ok(Stepped::On);
    }
    if outcome == Outcome::Refused && before == Phase::Ready {
        refused(shared, id, &batch).await?;
        return Ok(Stepped::On);
    }
    Ok(Stepped::Again)
}

/// The provider will never take it. A campaign is stopped then: its other batches would fare the same.
async fn refused(shared: &Arc<Shared>, id: u64, batch: &Batch) -> Result<(), Closed> {
    let said = "the provider refuses a request for good: look at its answers to the account, the text and the sender";
    shared.alarm("refused", Some(said.to_owned()));
    shared.record(Record::Dead { batch: id, reason: "refused by the provider".to_owned() }).await?;
    if let Lane::Campaign(campaign) = batch.lane {
        shared.record(Record::Stopped { campaign, stopped: true }).await?;
    }
    Ok(())
}

/// What people read.
fn advert(spec: &crate::log::CampaignSpec) -> String {
    let text = spec.text.trim_start_matches(ADVERT_MARK).trim();
    format!("{ADVERT_MARK} {text}\n{OPT_OUT_MARK} {}", spec.opt_out)
}

/// Asks before anything is sent again.
async fn ask(shared: &Arc<Shared>, id: u64) -> Result<Stepped, Closed> {
    let Some(key) = shared.state().batches.get(&id).map(|batch| batch.key.clone()) else { return Ok(Stepped::On) };
    match shared.provider.ask(&key).await {
        Known::Found(deliveries) => {
            shared.record(Record::Accepted { batch: id, at_ms: shared.now_ms() }).await?;
            take_in(shared, deliveries).await?;
            Ok(Stepped::On)
        }
        Known::NotFound => {
            if let Some(batch) = shared.state().batches.get_mut(&id) {
                batch.not_found();
            }
            Ok(Stepped::On)
        }
        Known::Unclear => Ok(Stepped::Again),
    }
}

async fn renew(shared: &Arc<Shared>, id: u64) -> Result<Stepped, Closed> {
    let found = shared.state().batches.get(&id).map(|batch| (batch.key.clone(), batch.renewals));
    let Some((key, renewals)) = found else { return Ok(Stepped::On) };
    let stem = key.split('~').next().unwrap_or_default();
    let key = format!("{stem}~{}", renewals + 1);
    shared.record(Record::Renewed { batch: id, key, at_ms: shared.now_ms() }).await?;
    Ok(Stepped::On)
}

/// Takes receipts in, durably. Those of others and those that are known change nothing.
pub(crate) async fn take_in(shared: &Shared, deliveries: Vec<(String, bool)>) -> Result<(), Closed> {
    let receipts: Vec<Receipt> = {
        let state = shared.state();
        let known = |(reference, delivered): (String, bool)| {
            let mut parts = reference.splitn(3, '.');
            if parts.next() != Some(state.origin.as_str()) {
                return None;
            }
            let (batch, index) = (parts.next()?.parse().ok()?, parts.next()?.parse::<u32>().ok()?);
            let open = state.batches.get(&batch)?.receipted.get(index as usize) == Some(&false);
            open.then_some(Receipt { batch, index, delivered })
        };
        deliveries.into_iter().filter_map(known).collect()
    };
    if receipts.is_empty() {
        return Ok(());
    }
    shared.record(Record::Receipts(receipts)).await
}

/// Asks about batches whose receipts do not come, and about those in doubt, until all is settled or too old.
pub(crate) async fn settle(shared: Arc<Shared>) -> Result<(), Closed> {
    let wait = millis(shared.config.provider.receipt_wait);
    let look = (shared.config.provider.receipt_wait / 2).clamp(LOOK, Duration::from_secs(1));
    loop {
        tokio::time::sleep(look).await;
        let now = shared.now_ms();
        let due: Vec<u64> = {
            let state = shared.state();
            let waits = |batch: &Batch| wait.saturating_mul(1 << batch.asked.min(DOUBLINGS_MAX));
            let is_due = |batch: &&Batch| {
                matches!(batch.phase, Phase::Accepted | Phase::InDoubt)
                    && now >= batch.ask_at_ms.saturating_add(waits(batch))
            };
            state.batches.values().filter(is_due).map(|batch| batch.id).take(ROUND_MAX).collect()
        };
        let mut asking = JoinSet::new();
        for id in due {
            if asking.len() >= QUESTIONS_MAX {
                joined(asking.join_next().await)?;
            }
            let shared = shared.clone();
            asking.spawn(async move { settle_one(&shared, id).await });
        }
        while !asking.is_empty() {
            joined(asking.join_next().await)?;
        }
    }
}

fn joined(one: Option<Result<Result<(), Closed>, tokio::task::JoinError>>) -> Result<(), Closed> {
    match one {
        Some(Ok(done)) => done,
        // Its panic is this task's own.
        Some(Err(error)) => std::panic::resume_unwind(error.into_panic()),
        None => Ok(()),
    }
}

async fn settle_one(shared: &Shared, id: u64) -> Result<(), Closed> {
    let found = shared.state().batches.get(&id).map(|batch| (batch.key.clone(), batch.since_ms, batch.phase));
    let Some((key, since_ms, phase)) = found else { return Ok(()) };
    let known = shared.provider.ask(&key).await;
    // Who is too old after a silence was not looked for: a provider that gives no answer makes nobody dead.
    let answered = !matches!(known, Known::Unclear);
    if let Known::Found(deliveries) = known {
        if phase == Phase::InDoubt {
            shared.record(Record::Accepted { batch: id, at_ms: shared.now_ms() }).await?;
        }
        take_in(shared, deliveries).await?;
    }
    let now = shared.now_ms();
    let too_old = {
        let mut state = shared.state();
        let Some(batch) = state.batches.get_mut(&id) else { return Ok(()) };
        (batch.ask_at_ms, batch.asked) = (now, batch.asked + 1);
        let most = millis(shared.config.provider.settle_max);
        answered && now.saturating_sub(since_ms) >= most
    };
    if too_old {
        let reason = match phase {
            Phase::InDoubt => "outcome unknown, and never to be sent again",
            _ => "accepted, and its receipts never came",
        };
        shared.record(Record::Dead { batch: id, reason: reason.to_owned() }).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_advertisement_says_that_it_is_one_and_how_to_want_no_more() {
        let check = |text: &str| {
            let spec = crate::log::CampaignSpec {
                id: "a".to_owned(),
                recipients: String::new(),
                text: text.to_owned(),
                opt_out: "080-1-2".to_owned(),
                curve: Vec::new(),
                forecast: None,
            };
            assert_eq!(advert(&spec), "(광고) 11.11 sale\n무료수신거부 080-1-2");
        };
        check("11.11 sale");
        check("(광고)11.11 sale ");
    }
}
