//! How a relay that runs is asked.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use naru_relay::status::{ADDRESS_FILE, Order, OrderRefused, StatusReport};
use naru_runtime::causes::with_causes;
use naru_runtime::config::ConfigErrors;

use super::verdict::configuration;

/// Longer than a relay takes to carry a command out or to refuse it.
const ANSWER_MAX: Duration = Duration::from_secs(20);

/// The relay could not be asked.
const NOT_ASKED: u8 = 1;
/// The relay refused, or says that something wants attention.
pub const REFUSED: u8 = 3;

/// Which relay.
#[derive(Debug, clap::Args)]
pub struct Target {
    /// Configuration of a relay on this machine, which names its state directory
    #[arg(long, value_name = "FILE", required_unless_present_any = ["state", "at"])]
    config: Option<PathBuf>,
    /// State directory of a relay on this machine
    #[arg(long, value_name = "DIR", conflicts_with = "config")]
    state: Option<PathBuf>,
    /// Status address of a relay, as its line "ready" shows it
    #[arg(long, value_name = "ADDR", conflicts_with_all = ["config", "state"])]
    at: Option<SocketAddr>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The relay has not run there, or was never ready.
    #[error("{path}: does not say where a relay is; is it running with this state directory?")]
    Nowhere {
        /// The file.
        path: PathBuf,
        /// Why it cannot be read.
        #[source]
        source: io::Error,
    },
    /// The configuration cannot be used.
    #[error("the configuration cannot be used\n{0}")]
    Configuration(ConfigErrors),
    /// What the file says is not an address.
    #[error("{path}: is not an address")]
    Malformed {
        /// The file.
        path: PathBuf,
    },
    /// Nobody listens there.
    #[error("no relay answers at {at}; is it running?")]
    Nobody {
        /// The address.
        at: SocketAddr,
    },
    /// Somebody listens who does not answer as a relay does, or not in time.
    #[error("the relay at {at} does not answer")]
    Unanswered {
        /// The address.
        at: SocketAddr,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// The relay says no.
    #[error("refused: {why}")]
    Refused {
        /// In its own words.
        why: String,
    },
    /// The system has no resources for asking.
    #[error("the system refused")]
    System(#[source] io::Error),
}

impl AskError {
    /// Says it and gives the exit code.
    pub fn report(&self) -> ExitCode {
        eprintln!("naru relay: {}", with_causes(self));
        ExitCode::from(if matches!(self, Self::Refused { .. }) { REFUSED } else { NOT_ASKED })
    }
}

impl Target {
    fn address(&self) -> Result<SocketAddr, AskError> {
        if let Some(at) = self.at {
            return Ok(at);
        }
        let state = match (&self.state, &self.config) {
            (Some(state), _) => state.clone(),
            (None, config) => {
                let file = config.clone().unwrap_or_default();
                configuration(&file).map_err(AskError::Configuration)?.state
            }
        };
        let path = state.join(ADDRESS_FILE);
        let text = std::fs::read_to_string(&path);
        let text = text.map_err(|source| AskError::Nowhere { path: path.clone(), source })?;
        text.trim().parse().map_err(|_| AskError::Malformed { path })
    }

    /// The relay's status.
    pub fn status(&self) -> Result<StatusReport, AskError> {
        self.ask(|client, url| client.get(format!("{url}/status")))
    }

    /// Orders something; the status behind it.
    pub fn order(&self, what: &str, order: &Order) -> Result<StatusReport, AskError> {
        self.ask(|client, url| client.post(format!("{url}/{what}")).json(order))
    }

    fn ask(
        &self,
        request: impl FnOnce(&reqwest::Client, String) -> reqwest::RequestBuilder,
    ) -> Result<StatusReport, AskError> {
        let at = self.address()?;
        let unanswered = |source: reqwest::Error| match is_refused(&source) {
            true => AskError::Nobody { at },
            false => AskError::Unanswered { at, source },
        };
        let client = reqwest::Client::builder().timeout(ANSWER_MAX).no_proxy().build().map_err(unanswered)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(AskError::System)?;
        runtime.block_on(async {
            let answer = request(&client, format!("http://{at}")).send().await.map_err(unanswered)?;
            if answer.status().is_success() {
                return answer.json().await.map_err(unanswered);
            }
            let refused: OrderRefused = answer.json().await.map_err(unanswered)?;
            Err(AskError::Refused { why: refused.error })
        })
    }
}

/// Whether the system said that nobody listens.
fn is_refused(error: &reqwest::Error) -> bool {
    let mut next: Option<&dyn std::error::Error> = Some(error);
    while let Some(cause) = next {
        if cause.downcast_ref::<std::io::Error>().is_some_and(|io| io.kind() == std::io::ErrorKind::ConnectionRefused) {
            return true;
        }
        next = cause.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_where_nobody_listens_is_said_in_a_line() {
        let at = SocketAddr::from(([127, 0, 0, 1], 1));
        let target = Target { config: None, state: None, at: Some(at) };
        let said = target.status().map(drop).map_err(|error| with_causes(&error));
        assert_eq!(said, Err("no relay answers at 127.0.0.1:1; is it running?".to_owned()));
    }
}
