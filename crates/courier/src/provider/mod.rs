//! Providers that carry messages to people; one file per kind of interface.

pub mod nhn;

use crate::address::Address;

/// A batch as it is handed over.
#[derive(Debug)]
pub struct Submission<'s> {
    /// The idempotency key.
    pub key: &'s str,
    /// Whether it is an advertisement.
    pub advert: bool,
    /// What is said.
    pub text: &'s str,
    /// Each message: the reference that its receipt will carry, and where it goes.
    pub messages: Vec<(String, Address)>,
}

/// What a provider knows of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Known {
    /// It has it: references with a final receipt, and whether they arrived.
    Found(Vec<(String, bool)>),
    /// It does not know the key.
    NotFound,
    /// It did not say; ask again.
    Unclear,
}
