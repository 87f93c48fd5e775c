//! A value that is never shown.

use std::fmt;
use std::path::{Path, PathBuf};

use super::error::Mistake;
use super::field::{Field, Form, Given, OptionSpec, Place, Problems, Shape};
use super::scalar::Literal;
use super::source::Value;

/// Most bytes of a secret's file: above any password or token, below a file named by mistake.
const SECRET_BYTES_MAX: u64 = 64 << 10;

/// What stands in place of a secret wherever one would be shown.
const REDACTED: &str = "<redacted>";

/// A password, token or key: shown nowhere, read only by [`Secret::reveal`].
///
/// In a file either `key = "..."` or `key = { file = "PATH" }`; in the environment `..._KEY` or `..._KEY_FILE`; on the
/// command line only `--key-file PATH`, since every process of a machine can read another's arguments.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    /// The secret itself, for the one call that needs it.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    fn from_file(path: &Path) -> Result<Self, Mistake> {
        let shown = path.display();
        let readable = format!("check that {shown} exists and that this user may read it");
        let length = match std::fs::metadata(path) {
            Ok(metadata) => metadata.len(),
            Err(error) => return Err(Mistake::new(format!("names {shown}, which cannot be read: {error}"), readable)),
        };
        if length > SECRET_BYTES_MAX {
            return Err(Mistake::new(
                format!("names {shown}, which has {length} bytes, more than {SECRET_BYTES_MAX}"),
                "name the file that holds only the secret",
            ));
        }
        let text = std::fs::read_to_string(path)
            .map_err(|error| Mistake::new(format!("names {shown}, which cannot be read: {error}"), readable))?;
        Self::checked(text.strip_suffix('\n').map(|line| line.strip_suffix('\r').unwrap_or(line)).unwrap_or(&text))
    }

    fn checked(secret: &str) -> Result<Self, Mistake> {
        if secret.is_empty() {
            return Err(Mistake::new("is empty", "give the secret, or leave the key out"));
        }
        Ok(Self::new(secret))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl serde::Serialize for Secret {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(REDACTED)
    }
}

impl Field for Secret {
    const REQUIRED: bool = true;

    fn shape() -> Shape {
        Shape::Leaf { kind: "a secret, or `{ file = \"PATH\" }`".to_owned(), placeholder: "PATH", form: Form::Secret }
    }

    fn read(given: Given<'_>, at: &Place, problems: &mut Problems) -> Option<Self> {
        let node = match given {
            Given::Present(node) => node,
            Given::Absent(origin) => {
                problems.add_missing(origin, at, "a secret");
                return None;
            }
        };
        let read = match &node.value {
            Value::Literal(Literal::Text(secret) | Literal::Str(secret)) => Self::checked(secret),
            Value::Table(_) => {
                let options = [OptionSpec {
                    key: "file",
                    doc: String::new(),
                    default: None,
                    range: None,
                    required: true,
                    shape: PathBuf::shape(),
                }];
                let table = problems.table(given, at, &options)?;
                let path = table.field::<PathBuf>("file", None, |_| Ok(()), problems)?;
                Self::from_file(&path)
            }
            other => Err(Mistake::new(
                format!("is {}", other.type_name()),
                "write the secret in quotes, or { file = \"PATH\" }",
            )),
        };
        read.map_err(|mistake| problems.add(&node.origin, at, mistake)).ok()
    }
}
