//! Providers in the manner of NHN Cloud's Notification Hub: 1,000 recipients a request, an idempotency key in the head that
//! fails when it is repeated within its lifetime, references of the client's own in receipts.
//!
//! The shape follows the public guide of its API (free-form SMS, version 1.0). What is asked by key is the simulated provider's
//! own, since the guide knows no such question; an account of the real one needs that checked first.

use std::time::Duration;

use naru_runtime::config::{HostPort, Secret};
use serde::{Deserialize, Serialize};

use super::{Known, Submission};
use crate::batch::Outcome;

/// Most recipients of a request.
pub const RECIPIENTS_MAX: usize = 1000;
/// The head that carries the key.
pub const KEY_HEAD: &str = "x-nc-api-idempotency-key";
/// The result code of a key that was repeated.
pub const DUPLICATE_CODE: i64 = -4090;

/// Connections that are kept open: as many as there are attempts at once.
const IDLE_MAX: usize = 64;

/// What is sent.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SendBody {
    /// Who gets it.
    pub recipients: Vec<RecipientBody>,
    /// What they get.
    pub content: ContentBody,
}

/// One recipient.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RecipientBody {
    /// Always one.
    pub contacts: Vec<ContactBody>,
}

/// Where a message goes. Prints nothing: it holds an address.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContactBody {
    /// `PHONE_NUMBER`.
    pub contact_type: String,
    /// The address.
    pub contact: String,
    /// The courier's reference.
    pub client_reference: String,
}

/// What is said.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContentBody {
    /// `SMS`.
    pub message_type: String,
    /// The text.
    pub body: String,
}

/// The head of every answer.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AnswerHead {
    /// Whether it was done.
    pub is_successful: bool,
    /// 0, or what was wrong.
    pub result_code: i64,
    /// In words.
    pub result_message: String,
}

/// An answer.
#[derive(Debug, Serialize, Deserialize)]
pub struct Answer {
    /// How it went.
    pub header: AnswerHead,
    /// What became of messages, where that was asked.
    #[serde(default)]
    pub deliveries: Vec<Delivery>,
}

/// What became of a message: in answers, and in what the provider calls back with.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Delivery {
    /// The courier's reference.
    pub client_reference: String,
    /// `DELIVERED`, `FAILED`, or anything else that is not final.
    pub status: String,
}

impl Delivery {
    /// Its reference and whether it arrived, once that is final.
    pub fn last(self) -> Option<(String, bool)> {
        self.arrived().map(|arrived| (self.client_reference, arrived))
    }

    /// Whether it arrived, once that is final.
    pub fn arrived(&self) -> Option<bool> {
        match self.status.as_str() {
            "DELIVERED" => Some(true),
            "FAILED" => Some(false),
            _ => None,
        }
    }
}

/// A client of such a provider; clones share its connections.
#[derive(Debug, Clone)]
pub struct Nhn {
    http: reqwest::Client,
    base: String,
    app_key: String,
    secret: Option<Secret>,
}

impl Nhn {
    /// Prepares a client; `timeout` bounds every request.
    ///
    /// # Errors
    /// When the system lacks what connections need.
    pub fn new(
        address: &HostPort,
        app_key: &str,
        secret: Option<Secret>,
        timeout: Duration,
    ) -> Result<Self, reqwest::Error> {
        let http = reqwest::Client::builder().timeout(timeout).pool_max_idle_per_host(IDLE_MAX).no_proxy().build()?;
        let base = format!("http://{address}");
        Ok(Self { http, base, app_key: app_key.to_owned(), secret })
    }

    fn headed(&self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        let request = request.header("x-nc-app-key", &self.app_key);
        match &self.secret {
            Some(secret) => request.header("x-nhn-authorization", format!("Bearer {}", secret.reveal())),
            None => request,
        }
    }

    /// Hands a batch over, once. What went wrong without an answer is unknown, whatever the reason.
    pub async fn submit(&self, submission: &Submission<'_>) -> Outcome {
        let recipients = submission.messages.iter().map(|(reference, address)| {
            let contact = ContactBody {
                contact_type: "PHONE_NUMBER".to_owned(),
                contact: address.reveal().to_owned(),
                client_reference: reference.clone(),
            };
            RecipientBody { contacts: vec![contact] }
        });
        let content = ContentBody { message_type: "SMS".to_owned(), body: submission.text.to_owned() };
        let body = SendBody { recipients: recipients.collect(), content };
        let purpose = if submission.advert { "AD" } else { "NORMAL" };
        let url = format!("{}/message/v1.0/SMS/free-form-messages/{purpose}", self.base);
        let request = self.headed(self.http.post(url)).header(KEY_HEAD, submission.key).json(&body);
        match request.send().await {
            Ok(response) => {
                let status = response.status().as_u16();
                outcome(status, response.json::<Answer>().await.ok().as_ref())
            }
            // Not a byte of it has left.
            Err(error) if error.is_connect() => Outcome::NotTaken,
            Err(_) => Outcome::Unknown,
        }
    }

    /// Asks what became of a key.
    pub async fn ask(&self, key: &str) -> Known {
        let url = format!("{}/message/v1.0/deliveries/{key}", self.base);
        let Ok(response) = self.headed(self.http.get(url)).send().await else { return Known::Unclear };
        match response.status().as_u16() {
            404 => match response.json::<Answer>().await {
                // A proxy's 404 is not the provider's word.
                Ok(answer) if !answer.header.is_successful => Known::NotFound,
                _ => Known::Unclear,
            },
            200 => match response.json::<Answer>().await {
                Ok(answer) => Known::Found(answer.deliveries.into_iter().filter_map(Delivery::last).collect()),
                Err(_) => Known::Unclear,
            },
            _ => Known::Unclear,
        }
    }
}

/// What an answer to a submission means. Only what the provider itself says in the answer's head is certain: a status
/// alone may come from whatever stands in between.
fn outcome(status: u16, answer: Option<&Answer>) -> Outcome {
    match (status, answer.map(|answer| &answer.header)) {
        (200, Some(head)) if head.is_successful => Outcome::Accepted,
        (200 | 409, Some(head)) if head.result_code == DUPLICATE_CODE => Outcome::Duplicate,
        (401 | 403 | 404 | 429, Some(head)) if !head.is_successful => Outcome::NotTaken,
        (400 | 413 | 422, Some(head)) if !head.is_successful => Outcome::Refused,
        _ => Outcome::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_providers_own_word_is_certain() {
        let answer = |is_successful, result_code| {
            let header = AnswerHead { is_successful, result_code, result_message: String::new() };
            Some(Answer { header, deliveries: Vec::new() })
        };
        let check = |status, answer: Option<Answer>, expect| assert_eq!(outcome(status, answer.as_ref()), expect);
        check(200, answer(true, 0), Outcome::Accepted);
        check(200, None, Outcome::Unknown);
        check(409, answer(false, DUPLICATE_CODE), Outcome::Duplicate);
        check(409, None, Outcome::Unknown);
        check(429, answer(false, -4290), Outcome::NotTaken);
        check(429, None, Outcome::Unknown);
        check(400, answer(false, -4000), Outcome::Refused);
        check(500, answer(false, -5000), Outcome::Unknown);
        check(503, None, Outcome::Unknown);
    }
}
