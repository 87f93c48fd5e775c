//! The key file itself.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use ring::rand::{SecureRandom as _, SystemRandom};
use serde::{Deserialize, Serialize};

use super::{KEYS_MAX, KeyError, KeyId};
use crate::durable::replace_file;
use crate::hex::{from_hex, to_hex};

const VERSION: u32 = 1;
const MODE: u32 = 0o600;
/// Most bytes of a key file: [`KEYS_MAX`] keys take far less.
const FILE_BYTES_MAX: u64 = 64 << 10;

/// What stands in a key file. It holds secrets: no `Debug`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KeyFile {
    version: u32,
    kind: String,
    /// The current one first.
    pub(super) keys: Vec<KeyEntry>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KeyEntry {
    pub(super) id: String,
    pub(super) created_unix_ms: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) secret: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) public: Option<String>,
}

impl KeyEntry {
    pub(super) fn new(id: KeyId, created_unix_ms: i64, secret: Option<[u8; 32]>, public: Option<[u8; 32]>) -> Self {
        let hex = |bytes: [u8; 32]| to_hex(&bytes);
        Self { id: id.to_string(), created_unix_ms, secret: secret.map(hex), public: public.map(hex) }
    }

    pub(super) fn id(&self, path: &Path) -> Result<KeyId, KeyError> {
        let id = from_hex(&self.id).map(KeyId::from_bytes);
        id.ok_or_else(|| malformed(path, format!("the id {:?} is not 16 hexadecimal digits", self.id)))
    }

    pub(super) fn secret(&self, path: &Path) -> Result<Option<[u8; 32]>, KeyError> {
        self.half(path, "secret", self.secret.as_deref())
    }

    pub(super) fn public(&self, path: &Path) -> Result<Option<[u8; 32]>, KeyError> {
        self.half(path, "public", self.public.as_deref())
    }

    fn half(&self, path: &Path, name: &str, hex: Option<&str>) -> Result<Option<[u8; 32]>, KeyError> {
        let wrong = || malformed(path, format!("the {name} of key {} is not 64 hexadecimal digits", self.id));
        hex.map(|hex| from_hex(hex).ok_or_else(wrong)).transpose()
    }
}

impl KeyFile {
    pub(super) fn new(kind: &str, keys: Vec<KeyEntry>) -> Self {
        Self { version: VERSION, kind: kind.to_owned(), keys }
    }

    pub(super) fn load(path: &Path, kind: &str) -> Result<Self, KeyError> {
        refuse_exposed(path)?;
        let io = |source| KeyError::Io { path: path.to_owned(), action: "read", source };
        if fs::metadata(path).map_err(io)?.len() > FILE_BYTES_MAX {
            return Err(malformed(path, format!("is larger than {FILE_BYTES_MAX} bytes")));
        }
        let bytes = fs::read(path).map_err(io)?;
        // The parser's own message can quote what it met, which here may be a secret: only the place is told.
        let file: Self = serde_json::from_slice(&bytes).map_err(|error| {
            malformed(path, format!("line {}, column {}: is not a key file", error.line(), error.column()))
        })?;
        if file.version != VERSION {
            return Err(malformed(path, format!("has version {}, this program reads {VERSION}", file.version)));
        }
        if file.kind != kind {
            return Err(malformed(path, format!("holds {} keys, {kind} is needed", file.kind)));
        }
        if file.keys.is_empty() || file.keys.len() > KEYS_MAX {
            return Err(malformed(path, format!("holds {} keys, 1 to {KEYS_MAX} are allowed", file.keys.len())));
        }
        Ok(file)
    }

    pub(super) fn create(&self, path: &Path) -> Result<(), KeyError> {
        match fs::symlink_metadata(path) {
            Ok(_) => Err(KeyError::Exists { path: path.to_owned() }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.replace(path),
            Err(source) => Err(KeyError::Io { path: path.to_owned(), action: "read", source }),
        }
    }

    pub(super) fn replace(&self, path: &Path) -> Result<(), KeyError> {
        let mut bytes = serde_json::to_vec_pretty(self).expect("a key file holds only text and numbers");
        bytes.push(b'\n');
        replace_file(path, &bytes, MODE).map_err(|source| KeyError::Io {
            path: path.to_owned(),
            action: "written",
            source,
        })
    }
}

/// Refuses a file that others than its owner may read or write: for keys, and whatever else is secret.
///
/// # Errors
/// Such a file, with the command that mends it; or one that cannot be looked at.
pub fn refuse_exposed(path: &Path) -> Result<(), KeyError> {
    let metadata =
        fs::metadata(path).map_err(|source| KeyError::Io { path: path.to_owned(), action: "read", source })?;
    let mode = metadata.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(KeyError::Exposed { path: path.to_owned(), mode });
    }
    Ok(())
}

pub(super) fn malformed(path: &Path, what: String) -> KeyError {
    KeyError::Malformed { path: path.to_owned(), what }
}

pub(super) fn random<const N: usize>() -> Result<[u8; N], KeyError> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| KeyError::Random)?;
    Ok(bytes)
}
