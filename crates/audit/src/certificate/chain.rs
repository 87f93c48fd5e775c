//! The file of a chain: only appended to, and continued where it ends.

use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use naru_runtime::durable::{AppendFile, DirectoryLock};
use naru_runtime::hex::to_hex;
use naru_runtime::keys::SigningKeys;
use naru_runtime::{AppendError, Durability};

use super::{CONTEXT, Certificate, Findings, NotCanonical, START, SignatureText, VERSION, canonical, sha256};

/// Most bytes of one certificate: all the differences that one may name, at 400 bytes each, over all its parts.
pub const CHAIN_LINE_BYTES_MAX: usize = 64 << 20;

const FILE: &str = "certificates.jsonl";

/// A chain that is being written.
#[derive(Debug)]
pub struct Chain {
    file: AppendFile,
    path: PathBuf,
    next: u64,
    head: String,
    _lock: DirectoryLock,
}

/// Why a chain could not be opened or continued.
#[derive(Debug, thiserror::Error)]
pub enum ChainError {
    /// The disk, or another process that has it. A retry helps when that is over.
    #[error("{path}: cannot be {action}")]
    Io {
        /// File or directory.
        path: PathBuf,
        /// `opened` or `read`.
        action: &'static str,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// Its last whole line is no certificate: somebody must look.
    #[error("{path}: the last line is no certificate")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
    /// The disk refused a line.
    #[error("a certificate could not be written")]
    Append(#[from] AppendError),
    /// Ours: what was to be certified has no canonical form.
    #[error("a certificate could not be made")]
    NotCanonical(#[from] NotCanonical),
    /// Ours: larger than anyone reads.
    #[error("a certificate of {0} bytes is longer than {CHAIN_LINE_BYTES_MAX}")]
    TooLong(usize),
}

impl Chain {
    /// Opens the chain in a directory, or begins one. Half a line at its end, of a process that was killed, is cut.
    ///
    /// # Errors
    /// A disk that refuses, another process that writes it, a last line that is no certificate.
    pub fn open(directory: &Path) -> Result<Self, ChainError> {
        let io = |path: &Path, action| {
            let path = path.to_owned();
            move |source| ChainError::Io { path, action, source }
        };
        let lock = DirectoryLock::take(directory).map_err(io(directory, "opened"))?;
        let path = directory.join(FILE);
        let (begins, bytes) = match tail(&path) {
            Ok(tail) => tail,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let file = AppendFile::create(&path, &[], Durability::EachAppend).map_err(io(&path, "opened"))?;
                return Ok(Self { file, path, next: 0, head: START.to_owned(), _lock: lock });
            }
            Err(source) => return Err(io(&path, "read")(source)),
        };
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let (mut next, mut head) = (0, START.to_owned());
        if let Some(line) =
            bytes[..whole].strip_suffix(b"\n").and_then(|lines| lines.rsplit(|byte| *byte == b'\n').next())
        {
            let last: Certificate =
                serde_json::from_slice(line).map_err(|source| ChainError::Damaged { path: path.clone(), source })?;
            next = last.number + 1;
            head = sha256(line);
        }
        let whole = begins + whole as u64;
        let file = AppendFile::open_cut(&path, whole, Durability::EachAppend).map_err(io(&path, "opened"))?;
        Ok(Self { file, path, next, head, _lock: lock })
    }

    /// Adds a certificate, signed; durable when this returns.
    ///
    /// # Errors
    /// A disk that refuses; the chain is then as before.
    pub fn add(&mut self, findings: Findings, made_at_ms: i64, keys: &SigningKeys) -> Result<Certificate, ChainError> {
        let verdict = findings.verdict();
        let Findings { window, sketch, parts } = findings;
        let mut certificate = Certificate {
            version: VERSION,
            number: self.next,
            previous: self.head.clone(),
            made_at_ms,
            window,
            sketch,
            parts,
            verdict,
            signature: None,
        };
        let signature = keys.sign(format!("{CONTEXT}{}", canonical(&certificate)?).as_bytes());
        certificate.signature =
            Some(SignatureText { key: signature.key_id.to_string(), ed25519: to_hex(&signature.bytes) });
        let mut line = canonical(&certificate)?;
        if line.len() > CHAIN_LINE_BYTES_MAX {
            return Err(ChainError::TooLong(line.len()));
        }
        let head = sha256(line.as_bytes());
        line.push('\n');
        self.file.append(line.as_bytes())?;
        self.next += 1;
        self.head = head;
        Ok(certificate)
    }

    /// The number of the next certificate.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// SHA-256 of the last line: keep it elsewhere, and a chain that is cut is found out.
    pub fn head(&self) -> &str {
        &self.head
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The name of the file in its directory.
    pub const fn file_name() -> &'static str {
        FILE
    }
}

/// The end of a file, in which its last whole line is, and where that end begins: years of certificates are not read.
fn tail(path: &Path) -> std::io::Result<(u64, Vec<u8>)> {
    let mut file = std::fs::File::open(path)?;
    // The last line, and half of another behind it.
    let begins = file.metadata()?.len().saturating_sub(2 * CHAIN_LINE_BYTES_MAX as u64 + 2);
    file.seek(SeekFrom::Start(begins))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok((begins, bytes))
}
