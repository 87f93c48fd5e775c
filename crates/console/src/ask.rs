//! Asking the other roles over HTTP, within bounds of time and size.

use std::fmt::Display;
use std::time::Duration;

use naru_runtime::config::Secret;
use reqwest::header::AUTHORIZATION;
use reqwest::{Client, Method, RequestBuilder, Response};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Of a longer answer nothing is read: the longest here are metrics with some thousand lines, and what control holds.
const ANSWER_BYTES_MAX: usize = 8 << 20;

/// Why there is no answer. The other side's, but for a token.
#[derive(Debug, thiserror::Error)]
pub enum Unanswered {
    /// Nobody listens, or the connection broke.
    #[error("no connection")]
    Connection(#[source] reqwest::Error),
    /// It took too long.
    #[error("no answer in time")]
    Late(#[source] reqwest::Error),
    /// It refused, and said why. The client's side where the status says so.
    #[error("{said}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// In its words.
        said: String,
    },
    /// The answer is longer than anything that was agreed.
    #[error("the answer is longer than {ANSWER_BYTES_MAX} bytes")]
    Long,
    /// It is not what the contract says: another version, or another program.
    #[error("the answer is not as agreed")]
    Form(#[source] serde_json::Error),
}

/// How every role says no.
#[derive(Deserialize)]
struct Refusal {
    error: String,
    #[serde(default)]
    faults: Vec<Fault>,
}

#[derive(Deserialize)]
struct Fault {
    #[serde(default)]
    name: String,
    #[serde(default)]
    field: String,
    #[serde(default)]
    fix: String,
}

/// A client for all roles.
#[derive(Debug, Clone)]
pub struct Asker {
    http: Client,
}

impl Asker {
    /// One that waits so long for each answer.
    ///
    /// # Errors
    /// When the system gives no client.
    pub fn new(answer_max: Duration) -> Result<Self, reqwest::Error> {
        // A role that stands for another is never followed elsewhere.
        let none = reqwest::redirect::Policy::none();
        Ok(Self { http: Client::builder().no_proxy().redirect(none).timeout(answer_max).build()? })
    }

    /// Reads JSON.
    ///
    /// # Errors
    /// Every [`Unanswered`].
    pub async fn json<T: DeserializeOwned>(
        &self,
        at: impl Display,
        path: &str,
        token: Option<&Secret>,
    ) -> Result<T, Unanswered> {
        let bytes = read(self.request(Method::GET, at, path, token)).await?;
        serde_json::from_slice(&bytes).map_err(Unanswered::Form)
    }

    /// Reads text.
    ///
    /// # Errors
    /// Every [`Unanswered`].
    pub async fn text(&self, at: impl Display, path: &str) -> Result<String, Unanswered> {
        let bytes = read(self.request(Method::GET, at, path, None)).await?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Asks for a change.
    ///
    /// # Errors
    /// Every [`Unanswered`].
    pub async fn post<T: DeserializeOwned>(
        &self,
        at: impl Display,
        path: &str,
        token: &Secret,
        body: &impl Serialize,
    ) -> Result<T, Unanswered> {
        let request = self.request(Method::POST, at, path, Some(token)).json(body);
        serde_json::from_slice(&read(request).await?).map_err(Unanswered::Form)
    }

    fn request(&self, method: Method, at: impl Display, path: &str, token: Option<&Secret>) -> RequestBuilder {
        let request = self.http.request(method, format!("http://{at}{path}"));
        match token {
            Some(token) => request.header(AUTHORIZATION, format!("Bearer {}", token.reveal().trim())),
            None => request,
        }
    }
}

async fn read(request: RequestBuilder) -> Result<Vec<u8>, Unanswered> {
    let answer = request.send().await.map_err(broken)?;
    let status = answer.status();
    let bytes = body(answer).await?;
    if status.is_success() {
        return Ok(bytes);
    }
    let said = match serde_json::from_slice::<Refusal>(&bytes) {
        Ok(refusal) => in_words(&refusal),
        Err(_) => status.to_string(),
    };
    Err(Unanswered::Refused { status: status.as_u16(), said })
}

fn in_words(refusal: &Refusal) -> String {
    let mut said = refusal.error.clone();
    for Fault { name, field, fix } in &refusal.faults {
        said.push_str(&format!("; {name} {field}: {fix}"));
    }
    said
}

async fn body(mut answer: Response) -> Result<Vec<u8>, Unanswered> {
    let mut bytes = Vec::new();
    while let Some(part) = answer.chunk().await.map_err(broken)? {
        if bytes.len() + part.len() > ANSWER_BYTES_MAX {
            return Err(Unanswered::Long);
        }
        bytes.extend_from_slice(&part);
    }
    Ok(bytes)
}

fn broken(error: reqwest::Error) -> Unanswered {
    if error.is_timeout() { Unanswered::Late(error) } else { Unanswered::Connection(error) }
}
