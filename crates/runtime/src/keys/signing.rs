//! Ed25519 keys.

use std::fmt;
use std::path::{Path, PathBuf};

use ring::digest;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};

use super::file::{KeyEntry, KeyFile, malformed, random};
use super::{KEYS_MAX, KeyError, KeyId};

const KIND: &str = "ed25519";

/// A signature with the key that made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signature {
    /// The key that made it.
    pub key_id: KeyId,
    /// Ed25519, RFC 8032.
    pub bytes: [u8; 64],
}

/// The current signing key and the public halves of the former ones.
pub struct SigningKeys {
    path: PathBuf,
    pair: Ed25519KeyPair,
    file: KeyFile,
    verifying: VerifyingKeys,
}

impl fmt::Debug for SigningKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKeys").field("path", &self.path).field("keys", &self.verifying).finish()
    }
}

impl SigningKeys {
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

    /// Signs with a new key from now on and forgets the secret half of the one before. Former public halves stay, up
    /// to [`KEYS_MAX`] keys in all. One process at a time may rotate a file; others read it again.
    ///
    /// # Errors
    /// When the file cannot be written or there is no randomness; the old keys then stay in force.
    pub fn rotate(&mut self, now_unix_ms: i64) -> Result<KeyId, KeyError> {
        let mut keys = vec![new_entry(now_unix_ms)?];
        keys.extend(self.file.keys.iter().take(KEYS_MAX - 1).map(|former| KeyEntry {
            id: former.id.clone(),
            created_unix_ms: former.created_unix_ms,
            secret: None,
            public: former.public.clone(),
        }));
        let file = KeyFile::new(KIND, keys);
        file.replace(&self.path)?;
        *self = Self::from_file(&self.path, file)?;
        Ok(self.current_id())
    }

    /// Signs with the current key.
    pub fn sign(&self, message: &[u8]) -> Signature {
        let mut bytes = [0; 64];
        bytes.copy_from_slice(self.pair.sign(message).as_ref());
        Signature { key_id: self.current_id(), bytes }
    }

    /// The key that signs now.
    pub fn current_id(&self) -> KeyId {
        self.verifying.keys[0].0
    }

    /// The public halves, current and former.
    pub fn verifying(&self) -> &VerifyingKeys {
        &self.verifying
    }

    fn from_file(path: &Path, file: KeyFile) -> Result<Self, KeyError> {
        let mut keys = Vec::with_capacity(file.keys.len());
        for entry in &file.keys {
            let (id, public) = (entry.id(path)?, entry.public(path)?);
            let public = public.ok_or_else(|| malformed(path, format!("key {id} has no public half")))?;
            if id != id_of(&public) {
                return Err(malformed(path, format!("key {id} is not the id of its public half")));
            }
            keys.push((id, public));
        }
        let current = &file.keys[0];
        let seed = current.secret(path)?.ok_or_else(|| malformed(path, "the current key has no secret".to_owned()))?;
        let pair = Ed25519KeyPair::from_seed_and_public_key(&seed, &keys[0].1)
            .map_err(|_| malformed(path, format!("the halves of key {} do not belong together", current.id)))?;
        Ok(Self { path: path.to_owned(), pair, file, verifying: VerifyingKeys { keys } })
    }
}

/// Public keys by id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifyingKeys {
    keys: Vec<(KeyId, [u8; 32])>,
}

impl VerifyingKeys {
    /// Keys from their public halves; the ids follow from them.
    pub fn from_public(keys: impl IntoIterator<Item = [u8; 32]>) -> Self {
        Self { keys: keys.into_iter().map(|public| (id_of(&public), public)).collect() }
    }

    /// The ids, the current one first.
    pub fn ids(&self) -> impl Iterator<Item = KeyId> {
        self.keys.iter().map(|(id, _)| *id)
    }

    /// The public halves, the current one first.
    pub fn public(&self) -> impl Iterator<Item = [u8; 32]> {
        self.keys.iter().map(|(_, public)| *public)
    }

    /// Whether the key is known.
    pub fn knows(&self, id: KeyId) -> bool {
        self.keys.iter().any(|(known, _)| *known == id)
    }

    /// Whether the signature is one of a known key over exactly this message.
    #[must_use]
    pub fn verify(&self, message: &[u8], signature: &Signature) -> bool {
        let key = self.keys.iter().find(|(known, _)| *known == signature.key_id);
        key.is_some_and(|(_, public)| {
            UnparsedPublicKey::new(&ED25519, public).verify(message, &signature.bytes).is_ok()
        })
    }
}

/// An id is the beginning of the hash of the public half, so that an id cannot be given to another key.
fn id_of(public: &[u8; 32]) -> KeyId {
    let mut id = [0; KeyId::BYTES];
    id.copy_from_slice(&digest::digest(&digest::SHA256, public).as_ref()[..KeyId::BYTES]);
    KeyId::from_bytes(id)
}

fn new_entry(now_unix_ms: i64) -> Result<KeyEntry, KeyError> {
    let seed: [u8; 32] = random()?;
    let pair = Ed25519KeyPair::from_seed_unchecked(&seed).expect("any 32 bytes are a seed");
    let mut public = [0; 32];
    public.copy_from_slice(pair.public_key().as_ref());
    Ok(KeyEntry::new(id_of(&public), now_unix_ms, Some(seed), Some(public)))
}
