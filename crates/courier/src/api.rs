//! What is asked of a courier over HTTP, and what it answers: docs/api/courier.json.

use serde::{Deserialize, Serialize};

use crate::provider::nhn::Delivery;

/// The document of the API.
pub const OPENAPI: &str = include_str!("../../../docs/api/courier.json");

/// `POST /v1/receipts`.
#[derive(Debug, Serialize, Deserialize)]
pub struct ReceiptsBody {
    /// Receipts, in any order, of any batch.
    pub deliveries: Vec<Delivery>,
}

/// Why a request was refused: which field, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// In words.
    pub error: String,
}
