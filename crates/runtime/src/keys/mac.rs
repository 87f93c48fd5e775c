//! HMAC-SHA-256 keys.

use std::fmt;
use std::path::{Path, PathBuf};

use ring::hmac;

use super::file::{KeyEntry, KeyFile, malformed, random};
use super::{KEYS_MAX, KeyError, KeyId};

const KIND: &str = "hmac-sha256";

/// A tag with the key that made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tag {
    /// The key that made it.
    pub key_id: KeyId,
    /// HMAC-SHA-256, RFC 2104.
    pub bytes: [u8; 32],
}

/// The current tag key and the former ones.
pub struct MacKeys {
    path: PathBuf,
    file: KeyFile,
    keys: Vec<(KeyId, hmac::Key)>,
}

impl fmt::Debug for MacKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids: Vec<KeyId> = self.ids().collect();
        f.debug_struct("MacKeys").field("path", &self.path).field("ids", &ids).finish()
    }
}

impl MacKeys {
    /// Makes a key file with one new key.
    ///
    /// # Errors
    /// When the file exists, cannot be written, or there is no randomness.
    pub fn generate(path: &Path, now_unix_ms: i64) -> Result<Self, KeyError> {
        let file = KeyFile::new(KIND, vec![new_entry(now_unix_ms)?]);
        file.create(path)?;
        Self::from_file(path, file)
    }

    /// Reads a key file, or makes one where nothing is in its place.
    ///
    /// # Errors
    /// As of [`Self::load`] and [`Self::generate`].
    pub fn load_or_generate(path: &Path, now_unix_ms: i64) -> Result<Self, KeyError> {
        // A link to nowhere is something: it is the operator's to mend, and not to be written through.
        match std::fs::symlink_metadata(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Self::generate(path, now_unix_ms),
            _ => Self::load(path),
        }
    }

    /// Reads a key file.
    ///
    /// # Errors
    /// When it cannot be read, others may read it, or it is not a sound key file of this kind.
    pub fn load(path: &Path) -> Result<Self, KeyError> {
        Self::from_file(path, KeyFile::load(path, KIND)?)
    }

    /// Tags with a new key from now on; tags of former keys still verify, up to [`KEYS_MAX`] keys in all. One process
    /// at a time may rotate a file; others read it again.
    ///
    /// # Errors
    /// When the file cannot be written or there is no randomness; the old keys then stay in force.
    pub fn rotate(&mut self, now_unix_ms: i64) -> Result<KeyId, KeyError> {
        let mut keys = vec![new_entry(now_unix_ms)?];
        keys.extend(self.file.keys.iter().take(KEYS_MAX - 1).map(|former| KeyEntry {
            id: former.id.clone(),
            created_unix_ms: former.created_unix_ms,
            secret: former.secret.clone(),
            public: None,
        }));
        let file = KeyFile::new(KIND, keys);
        file.replace(&self.path)?;
        *self = Self::from_file(&self.path, file)?;
        Ok(self.keys[0].0)
    }

    /// Tags a message with the current key.
    pub fn tag(&self, message: &[u8]) -> Tag {
        let (key_id, key) = &self.keys[0];
        let mut bytes = [0; 32];
        bytes.copy_from_slice(hmac::sign(key, message).as_ref());
        Tag { key_id: *key_id, bytes }
    }

    /// Whether the tag is one of a known key over exactly this message; takes the same time for every wrong tag.
    #[must_use]
    pub fn verify(&self, message: &[u8], tag: &Tag) -> bool {
        let key = self.keys.iter().find(|(id, _)| *id == tag.key_id);
        key.is_some_and(|(_, key)| hmac::verify(key, message, &tag.bytes).is_ok())
    }

    /// The ids, the current one first.
    pub fn ids(&self) -> impl Iterator<Item = KeyId> {
        self.keys.iter().map(|(id, _)| *id)
    }

    fn from_file(path: &Path, file: KeyFile) -> Result<Self, KeyError> {
        let mut keys: Vec<(KeyId, hmac::Key)> = Vec::with_capacity(file.keys.len());
        for entry in &file.keys {
            let id = entry.id(path)?;
            let secret = entry.secret(path)?.ok_or_else(|| malformed(path, format!("key {id} has no secret")))?;
            if keys.iter().any(|(other, _)| *other == id) {
                return Err(malformed(path, format!("key {id} stands twice")));
            }
            keys.push((id, hmac::Key::new(hmac::HMAC_SHA256, &secret)));
        }
        Ok(Self { path: path.to_owned(), file, keys })
    }
}

fn new_entry(now_unix_ms: i64) -> Result<KeyEntry, KeyError> {
    Ok(KeyEntry::new(KeyId::from_bytes(random()?), now_unix_ms, Some(random()?), None))
}
