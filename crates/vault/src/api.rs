//! What is asked of a vault over HTTP, and what it answers: docs/api/vault.json.

use serde::{Deserialize, Serialize};

use crate::token::Kind;

/// The document of the API.
pub const OPENAPI: &str = include_str!("../../../docs/api/vault.json");

/// Most parts of one request.
pub const PARTS_MAX: usize = 64;
/// Most values of one request, over all its parts: what is recorded as one use stays one that a person can judge.
pub const VALUES_MAX: usize = 20_000;
/// Longest purpose.
pub const PURPOSE_BYTES_MAX: usize = 200;

/// `POST /v1/tokenise`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokeniseRequest {
    /// Why, for the record.
    pub purpose: String,
    /// Values by field.
    pub parts: Vec<TokenisePart>,
}

/// Values of one field.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenisePart {
    /// The field whose key makes them.
    pub field: String,
    /// How.
    pub kind: Kind,
    /// The version of the key; without it the newest.
    #[serde(default)]
    pub version: Option<u32>,
    /// What tokens are wanted of.
    pub values: Vec<String>,
}

/// The answer: parts in the order asked.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TokeniseAnswer {
    /// One per part asked.
    pub parts: Vec<TokensPart>,
}

/// Tokens of one part.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TokensPart {
    /// The version of the key that made them.
    pub version: u32,
    /// In the order of the values.
    pub tokens: Vec<String>,
}

/// `POST /v1/resolve`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResolveRequest {
    /// Why, for the record.
    pub purpose: String,
    /// Tokens by field.
    pub parts: Vec<ResolvePart>,
}

/// Tokens of one field.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResolvePart {
    /// The field whose key made them.
    pub field: String,
    /// How.
    pub kind: Kind,
    /// The version of the key, where a token does not say it: of FF1.
    #[serde(default)]
    pub version: Option<u32>,
    /// What values are wanted of.
    pub tokens: Vec<String>,
}

/// The answer: parts in the order asked.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ResolveAnswer {
    /// One per part asked.
    pub parts: Vec<ValuesPart>,
}

/// Values of one part.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ValuesPart {
    /// In the order of the tokens.
    pub values: Vec<String>,
}

/// Why a request was refused. Never says a value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// In words.
    pub error: String,
    /// The part that is at fault, from 0.
    pub part: Option<usize>,
    /// The value or token within it, from 0.
    pub index: Option<usize>,
}
