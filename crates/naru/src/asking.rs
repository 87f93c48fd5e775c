//! Asking a role that runs, over HTTP: what it says, or why not, in its own words where it refuses.

use std::process::ExitCode;

use naru_runtime::causes::with_causes;
use reqwest::{RequestBuilder, Response};
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// It could not be asked, or refused.
const EXIT_REFUSED: u8 = 1;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// A file or a thread of this machine.
    #[error("the system refused")]
    System(#[from] std::io::Error),
    /// Nobody answers there, or not as the role does.
    #[error("the {role} cannot be asked")]
    Http {
        /// Who.
        role: &'static str,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// It said no.
    #[error("refused: {0}")]
    Refused(String),
}

/// How every role says no.
#[derive(Deserialize)]
struct Refused {
    error: String,
}

/// A role at an address.
#[derive(Debug, Clone, Copy)]
pub struct Role<'a> {
    /// What it is called.
    pub name: &'static str,
    /// `HOST:PORT`.
    pub address: &'a str,
}

impl Role<'_> {
    /// Runs one question to its end; why there is no answer is said on stderr, for `naru NAME VERB`.
    pub fn ask<T>(self, verb: &str, question: impl Future<Output = Result<T, AskError>>) -> Result<T, ExitCode> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.map_err(AskError::from).and_then(|runtime| runtime.block_on(question)).map_err(|error| {
            eprintln!("naru {} {verb}: {}", self.name, with_causes(&error));
            ExitCode::from(EXIT_REFUSED)
        })
    }

    fn url(self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn unanswered(self) -> impl Fn(reqwest::Error) -> AskError {
        move |source| AskError::Http { role: self.name, source }
    }

    async fn accepted(self, request: RequestBuilder) -> Result<Response, AskError> {
        let answer = request.send().await.map_err(self.unanswered())?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let refused = answer.json::<Refused>().await.map(|refused| refused.error);
        Err(AskError::Refused(refused.unwrap_or_else(|_| status.to_string())))
    }

    /// Reads text.
    #[cfg(feature = "watch")]
    pub async fn text(self, path: &str) -> Result<String, AskError> {
        let answer = self.accepted(reqwest::Client::new().get(self.url(path))).await?;
        answer.text().await.map_err(self.unanswered())
    }

    /// Reads JSON.
    pub async fn get<T: DeserializeOwned>(self, path: &str) -> Result<T, AskError> {
        let answer = self.accepted(reqwest::Client::new().get(self.url(path))).await?;
        answer.json().await.map_err(self.unanswered())
    }

    /// Hands JSON over, with a token where one is needed; gives the answer, whatever it holds.
    #[cfg(any(feature = "courier", feature = "watch"))]
    pub async fn post(self, path: &str, body: Vec<u8>, token: Option<&str>) -> Result<Response, AskError> {
        let request = reqwest::Client::new().post(self.url(path)).header("content-type", "application/json");
        let request = match token {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        self.accepted(request.body(body)).await
    }

    /// What an answer to [`Self::post`] holds.
    #[cfg(feature = "watch")]
    pub async fn json<T: DeserializeOwned>(self, answer: Response) -> Result<T, AskError> {
        answer.json().await.map_err(self.unanswered())
    }
}
