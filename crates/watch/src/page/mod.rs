//! Pages: somebody is told, by webhook or mail, and the desk is told whether it worked.

mod smtp;
mod webhook;

use std::time::Duration;

use tokio::sync::mpsc::{Receiver, Sender};
use tokio_util::sync::CancellationToken;

use crate::config::PageConfig;
use crate::desk::{PageJob, PageOutcome};

pub use smtp::{MailError, send as mail};
pub use webhook::{Posted, WebhookError};

/// Pages that wait: a storm of incidents is one page a few seconds, and each ends within [`PAGE_MAX`].
pub const WAITING_MAX: usize = 64;
/// Longest attempt.
const ATTEMPT_MAX: Duration = Duration::from_secs(5);
/// Attempts until the next contact is woken: the third comes three seconds after the first.
const ATTEMPTS_MAX: u32 = 4;
/// Wait before the second attempt; each next one is twice as long.
const WAIT: Duration = Duration::from_secs(1);

/// Why an attempt failed. Theirs; a retry may help.
#[derive(Debug, thiserror::Error)]
enum PageError {
    #[error("webhook")]
    Webhook(#[from] WebhookError),
    #[error("mail")]
    Mail(#[from] MailError),
    #[error("no answer within {ATTEMPT_MAX:?}")]
    Late,
}

/// Sends pages one after another until told to stop.
pub async fn run(
    contacts: Vec<PageConfig>,
    http: reqwest::Client,
    mut jobs: Receiver<PageJob>,
    outcomes: Sender<PageOutcome>,
    stop: CancellationToken,
) {
    loop {
        let job = tokio::select! {
            () = stop.cancelled() => return,
            job = jobs.recv() => job,
        };
        let Some(job) = job else { return };
        let Some(contact) = contacts.get(job.contact) else { continue };
        let outcome = tokio::select! {
            () = stop.cancelled() => return,
            outcome = page(contact, &http, job) => outcome,
        };
        // The engine has ended with the process.
        if outcomes.send(outcome).await.is_err() {
            return;
        }
    }
}

async fn page(contact: &PageConfig, http: &reqwest::Client, job: PageJob) -> PageOutcome {
    let mut wait = WAIT;
    for attempt in 1..=ATTEMPTS_MAX {
        let sent = tokio::time::timeout(ATTEMPT_MAX, attempt_all(contact, http, &job)).await;
        match sent.unwrap_or(Err(PageError::Late)) {
            Ok(()) => return PageOutcome { job, delivered: true, attempts: attempt },
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(contact = contact.name, incident = job.incident, attempt, error, "page not delivered");
            }
        }
        if attempt < ATTEMPTS_MAX {
            tokio::time::sleep(wait).await;
            wait *= 2;
        }
    }
    tracing::error!(contact = contact.name, incident = job.incident, "page given up");
    PageOutcome { job, delivered: false, attempts: ATTEMPTS_MAX }
}

/// By every way that the contact has; one that works is enough.
async fn attempt_all(contact: &PageConfig, http: &reqwest::Client, job: &PageJob) -> Result<(), PageError> {
    let posted = match &contact.webhook {
        Some(url) => Some(webhook::post(http, url, &contact.name, job).await.map_err(PageError::from)),
        None => None,
    };
    let mailed = match &contact.mail {
        Some(to) => Some(smtp::send(to, &job.text, job.incident).await.map_err(PageError::from)),
        None => None,
    };
    match (posted, mailed) {
        (Some(Ok(())), _) | (_, Some(Ok(()))) | (None, None) => Ok(()),
        (Some(Err(error)), _) | (_, Some(Err(error))) => Err(error),
    }
}
