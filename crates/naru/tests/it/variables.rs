//! Variables of the test run; read here and nowhere else.

/// What a variable says; none where it is not set.
#[allow(clippy::disallowed_methods)] // the tests' configuration is read here
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The number that a variable holds.
pub(crate) fn number(name: &str) -> Option<u64> {
    let text = variable(name)?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text}: not a number")))
}
