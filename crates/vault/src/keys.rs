//! Key files: one per field, all its versions in it, readable by its owner only.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use naru_runtime::durable::{DirectoryLock, replace_file};
use naru_runtime::hex::to_hex;
use naru_runtime::keys::{KeyError, refuse_exposed};
use ring::rand::{SecureRandom as _, SystemRandom};
use serde::{Deserialize, Serialize};

use crate::hex::from_hex;
use crate::token::{Alphabet, Keys, Kind, SECRET_BYTES};

/// The format that this program writes and the only one it reads.
const FORMAT: u32 = 1;
/// Most versions of a field: a rotation every week for ten years.
pub const VERSIONS_MAX: usize = 520;
/// Most fields of a vault: far more than a service has kinds of personal data.
pub const FIELDS_MAX: usize = 1000;

/// Why keys could not be had. The operator's side.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// Others may read the file, or it cannot be looked at.
    #[error(transparent)]
    File(#[from] KeyError),
    /// The directory or a file could not be read or written.
    #[error("keys in {path}: cannot be {action}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// `read` or `written`.
        action: &'static str,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// What stands in the file is no field's keys.
    #[error("key file {path}: {what}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// A field's name that cannot be a file's.
    #[error("field {0:?}: use 1 to 40 of a-z, 0-9 and _")]
    Name(String),
    /// The field is there already.
    #[error("field {0} has keys already: rotate them")]
    Exists(String),
    /// There is no such field.
    #[error("there is no field {0}: naru vault key add makes one")]
    Unknown(String),
    /// Another process changes keys there. A retry helps when it has ended.
    #[error("keys in {0} are being changed by another process: run this again")]
    Busy(PathBuf),
    /// There are too many.
    #[error("{0} is the most that a vault keeps")]
    TooMany(usize),
    /// The system gives no randomness.
    #[error("the system gives no randomness")]
    Random,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FieldFile {
    format: u32,
    field: String,
    kinds: Vec<Kind>,
    alphabet: Alphabet,
    /// The first version first.
    versions: Vec<VersionEntry>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct VersionEntry {
    version: u32,
    created_unix_ms: i64,
    secret: String,
}

/// A field's keys.
pub struct Field {
    /// Its name.
    pub name: String,
    /// The kinds of token that may be made of it.
    pub kinds: Vec<Kind>,
    /// What format-preserving tokens are made of.
    pub alphabet: Alphabet,
    versions: BTreeMap<u32, Keys>,
}

impl std::fmt::Debug for Field {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let versions: Vec<_> = self.versions.keys().collect();
        f.debug_struct("Field").field("name", &self.name).field("versions", &versions).finish_non_exhaustive()
    }
}

impl Field {
    /// The newest version.
    pub fn newest(&self) -> u32 {
        self.versions.keys().next_back().copied().unwrap_or(0)
    }

    /// The keys of a version.
    pub fn keys(&self, version: u32) -> Option<&Keys> {
        self.versions.get(&version)
    }
}

fn path(directory: &Path, field: &str) -> Result<PathBuf, KeysError> {
    let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    if field.is_empty() || field.len() > 40 || !field.bytes().all(legal) {
        return Err(KeysError::Name(field.to_owned()));
    }
    Ok(directory.join(format!("{field}.json")))
}

fn read(path: &Path) -> Result<FieldFile, KeysError> {
    refuse_exposed(path)?;
    let io = |source| KeysError::Io { path: path.to_owned(), action: "read", source };
    let bytes = std::fs::read(path).map_err(io)?;
    let malformed = |what: String| KeysError::Malformed { path: path.to_owned(), what };
    // The reader's own words may quote the file; its line says enough.
    let wrong = |error: serde_json::Error| malformed(format!("is no key file, at line {}", error.line()));
    let file: FieldFile = serde_json::from_slice(&bytes).map_err(wrong)?;
    if file.format != FORMAT {
        return Err(malformed(format!("has format {}, and this program reads {FORMAT}", file.format)));
    }
    // A copy beside it would take its place, whichever the directory names last.
    if path.file_stem().is_none_or(|stem| stem != file.field.as_str()) {
        return Err(malformed(format!("has the keys of the field {}: remove it, or call it {0}.json", file.field)));
    }
    let versions: BTreeSet<u32> = file.versions.iter().map(|entry| entry.version).collect();
    if versions.len() != file.versions.len() || versions.contains(&0) {
        return Err(malformed("has a version twice, or a version 0".to_owned()));
    }
    if file.versions.is_empty() || file.versions.len() > VERSIONS_MAX {
        return Err(malformed(format!("has {} versions, and 1 to {VERSIONS_MAX} can be", file.versions.len())));
    }
    Ok(file)
}

/// Keeps others from changing the directory's keys: of two changes at once one would be lost, with tokens made by it.
fn lock(directory: &Path) -> Result<DirectoryLock, KeysError> {
    DirectoryLock::take(directory).map_err(|source| match source.kind() {
        std::io::ErrorKind::WouldBlock => KeysError::Busy(directory.to_owned()),
        _ => KeysError::Io { path: directory.to_owned(), action: "written", source },
    })
}

fn write(path: &Path, file: &FieldFile) -> Result<(), KeysError> {
    let mut bytes = serde_json::to_vec_pretty(file).expect("a key file holds only text and numbers");
    bytes.push(b'\n');
    replace_file(path, &bytes, 0o600).map_err(|source| KeysError::Io {
        path: path.to_owned(),
        action: "written",
        source,
    })
}

fn entry(version: u32, now_unix_ms: i64) -> Result<VersionEntry, KeysError> {
    let mut secret = [0; SECRET_BYTES];
    SystemRandom::new().fill(&mut secret).map_err(|_| KeysError::Random)?;
    Ok(VersionEntry { version, created_unix_ms: now_unix_ms, secret: to_hex(&secret) })
}

/// Makes the first key of a field; the directory is made if missing.
///
/// # Errors
/// When the field is there, its name is none, or the disk refuses.
pub fn add(
    directory: &Path,
    field: &str,
    kinds: &[Kind],
    alphabet: Alphabet,
    now_unix_ms: i64,
) -> Result<(), KeysError> {
    let path = path(directory, field)?;
    let _lock = lock(directory)?;
    if path.exists() {
        return Err(KeysError::Exists(field.to_owned()));
    }
    let versions = vec![entry(1, now_unix_ms)?];
    write(&path, &FieldFile { format: FORMAT, field: field.to_owned(), kinds: kinds.to_vec(), alphabet, versions })
}

/// Adds a version, which new tokens are made by; tokens of former ones still resolve. The new version's number.
///
/// # Errors
/// When there is no such field, or the disk refuses.
pub fn rotate(directory: &Path, field: &str, now_unix_ms: i64) -> Result<u32, KeysError> {
    let path = path(directory, field)?;
    if !path.exists() {
        return Err(KeysError::Unknown(field.to_owned()));
    }
    let _lock = lock(directory)?;
    let mut file = read(&path)?;
    if file.versions.len() == VERSIONS_MAX {
        return Err(KeysError::TooMany(VERSIONS_MAX));
    }
    let version = file.versions.iter().map(|entry| entry.version).max().unwrap_or(0) + 1;
    file.versions.push(entry(version, now_unix_ms)?);
    write(&path, &file)?;
    Ok(version)
}

/// Every field of a directory.
///
/// # Errors
/// When one cannot be read, or is not sound.
pub fn load(directory: &Path) -> Result<BTreeMap<String, Field>, KeysError> {
    let io = |source| KeysError::Io { path: directory.to_owned(), action: "read", source };
    let mut fields = BTreeMap::new();
    for found in std::fs::read_dir(directory).map_err(io)? {
        let path = found.map_err(io)?.path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let file = read(&path)?;
        let mut versions = BTreeMap::new();
        for entry in &file.versions {
            let secret = from_hex(&entry.secret).and_then(|secret| <[u8; SECRET_BYTES]>::try_from(secret).ok());
            let secret = secret.ok_or_else(|| KeysError::Malformed {
                path: path.clone(),
                what: format!("version {} has no secret of {SECRET_BYTES} bytes", entry.version),
            })?;
            versions.insert(entry.version, Keys::derive(&secret));
        }
        let field = Field { name: file.field.clone(), kinds: file.kinds, alphabet: file.alphabet, versions };
        fields.insert(file.field, field);
        if fields.len() > FIELDS_MAX {
            return Err(KeysError::TooMany(FIELDS_MAX));
        }
    }
    Ok(fields)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test panics on failure

    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::token::{resolve, tokenise};

    #[test]
    fn a_rotated_field_resolves_old_tokens_and_makes_new_ones() {
        let dir = tempfile::tempdir().unwrap();
        add(dir.path(), "phone", &[Kind::Siv], Alphabet::Digits, 0).unwrap();
        let token = |field: &Field, version| {
            tokenise(Kind::Siv, field.keys(version).unwrap(), "phone", version, Alphabet::Digits, "010").unwrap()
        };
        let old = token(&load(dir.path()).unwrap()["phone"], 1);
        assert_eq!(rotate(dir.path(), "phone", 1).unwrap(), 2);
        let fields = load(dir.path()).unwrap();
        let field = &fields["phone"];
        assert_eq!(field.newest(), 2);
        assert_ne!(token(field, 2), old);
        let opened = resolve(Kind::Siv, field.keys(1).unwrap(), "phone", Alphabet::Digits, &old);
        assert_eq!(opened.as_deref(), Ok("010"));
    }

    #[test]
    fn no_key_takes_the_place_of_another() {
        let dir = tempfile::tempdir().unwrap();
        add(dir.path(), "phone", &[Kind::Siv], Alphabet::Digits, 0).unwrap();
        let file = dir.path().join("phone.json");
        let spare = dir.path().join("phone-backup.json");
        std::fs::copy(&file, &spare).unwrap();
        let refused = load(dir.path()).unwrap_err().to_string();
        assert!(refused.contains("phone-backup.json") && refused.contains("phone.json"), "{refused}");
        std::fs::remove_file(spare).unwrap();
        let held = lock(dir.path()).unwrap();
        assert!(matches!(rotate(dir.path(), "phone", 1), Err(KeysError::Busy(_))));
        assert!(matches!(add(dir.path(), "name", &[Kind::Hmac], Alphabet::Digits, 1), Err(KeysError::Busy(_))));
        drop(held);
        rotate(dir.path(), "phone", 1).unwrap();
        let twice = std::fs::read_to_string(&file).unwrap().replace("\"version\": 2", "\"version\": 1");
        std::fs::write(&file, twice).unwrap();
        assert!(load(dir.path()).unwrap_err().to_string().contains("version twice"));
    }

    #[test]
    fn what_cannot_be_a_field_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let made = |field: &str| add(dir.path(), field, &[Kind::Hmac], Alphabet::Digits, 0);
        assert!(matches!(made("../x"), Err(KeysError::Name(_))));
        made("name").unwrap();
        assert!(matches!(made("name"), Err(KeysError::Exists(_))));
        assert!(matches!(rotate(dir.path(), "other", 0), Err(KeysError::Unknown(_))));
        let file = dir.path().join("name.json");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(load(dir.path()), Err(KeysError::File(KeyError::Exposed { .. }))));
    }
}
