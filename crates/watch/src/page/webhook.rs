//! A page by HTTP.

use serde::{Deserialize, Serialize};

use crate::desk::PageJob;

/// Why a webhook did not take a page. Theirs; a retry may help.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// It could not be asked, or refused.
    #[error("the webhook did not take it")]
    Http(#[from] reqwest::Error),
}

/// What is posted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Posted {
    /// The same for every attempt of one page: by incident, contact and what it is about.
    pub key: String,
    /// Whom it is for, as the configuration names them.
    pub contact: String,
    /// The incident.
    pub incident: u64,
    /// Its cause, or that it is over.
    pub about: String,
    /// For people.
    pub text: String,
}

pub(super) async fn post(http: &reqwest::Client, url: &str, contact: &str, job: &PageJob) -> Result<(), WebhookError> {
    let posted = Posted {
        key: format!("{}/{contact}/{}", job.incident, job.about),
        contact: contact.to_owned(),
        incident: job.incident,
        about: job.about.clone(),
        text: job.text.clone(),
    };
    http.post(url).json(&posted).send().await?.error_for_status()?;
    Ok(())
}
