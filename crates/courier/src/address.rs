//! Addresses of people: resolved by the vault at the last step, and shown nowhere.

use std::fmt;
use std::time::Duration;

use naru_runtime::config::HostPort;
use naru_runtime::mtls::{MtlsError, MtlsFiles, RoleClient};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

/// The courier's own role, which its certificate names, and the vault's.
const ROLE: &str = "courier";
const VAULT: &str = "vault";
/// For the record of the vault.
const PURPOSE: &str = "sending of messages";
/// The largest answer: 1,000 addresses of at most 400 bytes, and room.
const ANSWER_BYTES_MAX: usize = 2 << 20;
/// A session with the vault, and an answer, take at most this.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// A person's address. It prints as nothing of itself; only a provider's adapter takes it out.
#[derive(Clone)]
pub struct Address(String);

impl Address {
    /// Wraps an address.
    pub fn new(address: String) -> Self {
        Self(address)
    }

    /// The address itself, for the one call that hands it to the provider.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<address>")
    }
}

naru_runtime::config! {
    /// The vault that resolves tokens of addresses.
    pub struct VaultClientConfig {
        /// Where it listens.
        pub address: HostPort,
        /// The field whose key made the tokens, as the vault calls it; the role courier must be allowed to resolve it.
        pub field: String = "phone",
        /// The courier's own certificate, for the role courier, and the authority of the vault's.
        pub tls: MtlsFiles,
    }
}

/// Why there are no addresses.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// It cannot be reached, or broke off. A retry helps.
    #[error("the vault is away")]
    Away(#[source] std::io::Error),
    /// It refuses: the one who runs it must allow the role courier, or the tokens are of another key.
    #[error("the vault answers {status}: {said}")]
    Refused {
        /// Its status.
        status: u16,
        /// Its words, which say no value.
        said: String,
        /// The token that is at fault, from 0.
        index: Option<usize>,
    },
}

impl ResolveError {
    /// The token that no repetition resolves, from 0.
    pub fn hopeless(&self) -> Option<usize> {
        match self {
            Self::Refused { status: 422, index, .. } => *index,
            _ => None,
        }
    }
}

#[derive(Serialize)]
struct Request<'r> {
    purpose: &'static str,
    parts: [Part<'r>; 1],
}

#[derive(Serialize)]
struct Part<'r> {
    field: &'r str,
    kind: &'static str,
    version: Option<u32>,
    tokens: &'r [&'r str],
}

#[derive(Deserialize)]
struct Answer {
    parts: Vec<AnswerPart>,
}

#[derive(Deserialize)]
struct AnswerPart {
    values: Vec<String>,
}

#[derive(Deserialize)]
struct Refusal {
    error: String,
    index: Option<usize>,
}

/// From tokens to addresses.
#[derive(Debug)]
pub enum Addresses {
    /// There is no vault: the provider is handed tokens, which it, or what stands before it, resolves.
    Tokens,
    /// By a vault.
    Vault(Box<Vault>),
}

/// A client of the vault, with one connection that is kept.
#[derive(Debug)]
pub struct Vault {
    field: String,
    client: Mutex<RoleClient>,
}

impl Addresses {
    /// Reads the certificates. Connects to nothing yet.
    ///
    /// # Errors
    /// When the files do not fit.
    pub fn open(config: Option<&VaultClientConfig>) -> Result<Self, MtlsError> {
        let Some(config) = config else { return Ok(Self::Tokens) };
        let client = RoleClient::open(&config.tls, ROLE, (VAULT, config.address.clone()), ANSWER_BYTES_MAX)?;
        Ok(Self::Vault(Box::new(Vault { field: config.field.clone(), client: Mutex::new(client) })))
    }

    /// Addresses of tokens, in their order.
    ///
    /// # Errors
    /// When the vault is away or refuses.
    pub async fn resolve(&self, tokens: &[&str]) -> Result<Vec<Address>, ResolveError> {
        match self {
            Self::Tokens => Ok(tokens.iter().map(|token| Address((*token).to_owned())).collect()),
            Self::Vault(vault) => {
                let late =
                    |_| ResolveError::Away(std::io::Error::new(std::io::ErrorKind::TimedOut, "no answer in time"));
                tokio::time::timeout(ANSWER_WITHIN, vault.resolve(tokens)).await.map_err(late)?
            }
        }
    }
}

impl Vault {
    async fn resolve(&self, tokens: &[&str]) -> Result<Vec<Address>, ResolveError> {
        let part = Part { field: &self.field, kind: "siv", version: None, tokens };
        let body = serde_json::to_vec(&Request { purpose: PURPOSE, parts: [part] }).expect("tokens are text");
        let asked = self.client.lock().await.post("/v1/resolve", &body).await;
        let (status, said) = asked.map_err(ResolveError::Away)?;
        if status != 200 {
            let refusal: Option<Refusal> = serde_json::from_slice(&said).ok();
            let (said, index) = refusal.map_or((String::new(), None), |refusal| (refusal.error, refusal.index));
            return Err(ResolveError::Refused { status, said, index });
        }
        let values = serde_json::from_slice::<Answer>(&said).ok().and_then(|answer| answer.parts.into_iter().next());
        match values {
            Some(part) if part.values.len() == tokens.len() => Ok(part.values.into_iter().map(Address).collect()),
            _ => {
                let said = "the answer has another number of values".to_owned();
                Err(ResolveError::Refused { status, said, index: None })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_prints_nothing_of_itself() {
        let address = Address::new("01012345678".to_owned());
        assert_eq!(format!("{address:?} {:?}", Some(&address)), "<address> Some(<address>)");
        assert_eq!(address.reveal().len(), 11);
    }
}
