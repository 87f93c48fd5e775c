//! Addresses of people: resolved by the vault at the last step, and shown nowhere.

use std::fmt;
use std::time::Duration;

use naru_runtime::config::HostPort;
use naru_runtime::mtls::{MtlsError, MtlsFiles, client_config, role_name};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// The courier's own role, which its certificate names, and the vault's.
const ROLE: &str = "courier";
const VAULT: &str = "vault";
/// For the record of the vault.
const PURPOSE: &str = "sending of messages";
/// The largest answer: 1,000 addresses of at most 400 bytes, and room.
const ANSWER_BYTES_MAX: usize = 2 << 20;
/// The head of an answer.
const HEAD_BYTES_MAX: usize = 16 << 10;
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
pub enum Addresses {
    /// There is no vault: the provider is handed tokens, which it, or what stands before it, resolves.
    Tokens,
    /// By a vault.
    Vault(Box<Vault>),
}

/// A client of the vault, with one connection that is kept.
pub struct Vault {
    address: HostPort,
    field: String,
    connector: TlsConnector,
    connection: Mutex<Option<TlsStream<TcpStream>>>,
}

impl fmt::Debug for Addresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tokens => f.write_str("Tokens"),
            Self::Vault(vault) => write!(f, "Vault({}:{})", vault.address.host, vault.address.port),
        }
    }
}

impl Addresses {
    /// Reads the certificates. Connects to nothing yet.
    ///
    /// # Errors
    /// When the files do not fit.
    pub fn open(config: Option<&VaultClientConfig>) -> Result<Self, MtlsError> {
        let Some(config) = config else { return Ok(Self::Tokens) };
        let connector = TlsConnector::from(client_config(&config.tls, ROLE)?);
        let (address, field) = (config.address.clone(), config.field.clone());
        Ok(Self::Vault(Box::new(Vault { address, field, connector, connection: Mutex::new(None) })))
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
        let mut connection = self.connection.lock().await;
        let mut stream = match connection.take() {
            Some(stream) => stream,
            None => self.connect().await.map_err(ResolveError::Away)?,
        };
        let head = format!(
            "POST /v1/resolve HTTP/1.1\r\nhost: {VAULT}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let asked = async {
            stream.write_all(head.as_bytes()).await?;
            stream.write_all(&body).await?;
            stream.flush().await?;
            answer(&mut stream).await
        };
        let (status, said) = asked.await.map_err(ResolveError::Away)?;
        // The stream stands behind an answer that was read whole.
        *connection = Some(stream);
        drop(connection);
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

    async fn connect(&self) -> std::io::Result<TlsStream<TcpStream>> {
        let tcp = TcpStream::connect((self.address.host.as_str(), self.address.port)).await?;
        tcp.set_nodelay(true)?;
        let name = role_name(VAULT).map_err(std::io::Error::other)?;
        self.connector.connect(name, tcp).await
    }
}

/// Reads one answer of HTTP/1.1 with a length: its status and body.
async fn answer(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> std::io::Result<(u16, Vec<u8>)> {
    let broken = |what| std::io::Error::new(std::io::ErrorKind::InvalidData, what);
    let mut read = Vec::with_capacity(4096);
    let end = loop {
        if let Some(end) = read.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        if read.len() > HEAD_BYTES_MAX {
            return Err(broken("the head of an answer does not end"));
        }
        if stream.read_buf(&mut read).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    };
    let head = std::str::from_utf8(&read[..end]).map_err(|_| broken("the head of an answer is no text"))?;
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
    let status = status.ok_or_else(|| broken("an answer has no status"))?;
    let length = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        if name.eq_ignore_ascii_case("content-length") { value.trim().parse::<usize>().ok() } else { None }
    });
    let length = length.filter(|length| *length <= ANSWER_BYTES_MAX);
    let length = length.ok_or_else(|| broken("an answer has no length, or is too long"))?;
    let mut body = read.split_off(end + 4);
    let before = body.len();
    if before > length {
        return Err(broken("an answer is longer than it says"));
    }
    body.resize(length, 0);
    stream.read_exact(&mut body[before..]).await?;
    Ok((status, body))
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
