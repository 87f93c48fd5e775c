//! The keys that a signed log is checked with, as flags give them.

use std::path::Path;

use naru_runtime::hex::from_hex;
use naru_runtime::keys::{KeyError, SigningKeys, VerifyingKeys};

/// 32 bytes of a flag.
pub fn hex32(text: &str) -> Result<[u8; 32], String> {
    from_hex(text).ok_or_else(|| "must be 64 hexadecimal digits".to_owned())
}

/// The public halves of a key file, if one is named, and further public keys.
///
/// # Errors
/// A key file that cannot be read.
pub fn verifying(file: Option<&Path>, public: &[[u8; 32]]) -> Result<VerifyingKeys, KeyError> {
    let own = file.map(SigningKeys::load).transpose()?;
    let own = own.iter().flat_map(|keys| keys.verifying().public());
    Ok(VerifyingKeys::from_public(own.chain(public.iter().copied())))
}
