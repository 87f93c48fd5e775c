//! Which topics there are: the catalogue, its file, and what a topic may be configured to.

pub mod catalogue;
pub mod config;

use crate::wire::error_code::ErrorCode;

/// Longest topic name (Kafka's own limit).
pub const NAME_BYTES_MAX: usize = 249;

/// Why a topic operation was refused: the code for the wire and a sentence for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} ({code})")]
pub struct Refusal {
    /// Kafka's code.
    pub code: ErrorCode,
    /// What is wrong, and with what.
    pub message: String,
}

impl Refusal {
    /// A refusal in words.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// Kafka's rule for topic names.
pub fn validate_name(name: &str) -> Result<(), Refusal> {
    let refuse =
        |why: &str| Err(Refusal::new(ErrorCode::INVALID_TOPIC_EXCEPTION, format!("Topic name is invalid: {why}")));
    if name.is_empty() {
        return refuse("the empty string is not allowed");
    }
    if name == "." || name == ".." {
        return refuse("'.' or '..' is not allowed");
    }
    if name.len() > NAME_BYTES_MAX {
        return refuse("the length is longer than 249 characters");
    }
    if !name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-')) {
        return refuse("it contains characters other than ASCII alphanumerics, '.', '_' and '-'");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_held_to_kafkas_rule() {
        let check = |name: &str, fine: bool| assert_eq!(validate_name(name).is_ok(), fine, "{name:?}");
        for name in ["a", "A.b_c-9", "...", &"x".repeat(249)] {
            check(name, true);
        }
        for name in ["", ".", "..", "a/b", "ä", "a b", "a\0", &"x".repeat(250)] {
            check(name, false);
        }
    }
}
