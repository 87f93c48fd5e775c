//! SASL PLAIN (RFC 4616): one message.

use super::SaslError;

/// `authorization-id NUL user NUL password`, the first left empty: act as the user that authenticates.
pub fn message(username: &str, password: &str) -> Result<Vec<u8>, SaslError> {
    if username.contains('\0') || password.contains('\0') {
        return Err(SaslError::Forbidden("PLAIN"));
    }
    Ok([b"\0", username.as_bytes(), b"\0", password.as_bytes()].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_are_separated_by_nul() {
        assert_eq!(message("tim", "tanstaaf").expect("plain"), b"\0tim\0tanstaaf");
        assert_eq!(message("t\0im", "x"), Err(SaslError::Forbidden("PLAIN")));
        assert_eq!(message("tim", "\0"), Err(SaslError::Forbidden("PLAIN")));
    }
}
