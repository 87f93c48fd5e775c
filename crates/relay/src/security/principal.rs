//! Who asks.

use std::fmt;
use std::sync::Arc;

/// Whom a connection speaks for: a user by SASL, the common name of a client certificate, or nobody known.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Principal(Arc<str>);

/// Kafka's name for who has not authenticated.
const ANONYMOUS: &str = "ANONYMOUS";

impl Principal {
    /// A principal of that name.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self(name.into())
    }

    /// Whoever connects where nobody has to authenticate.
    pub fn anonymous() -> Self {
        Self::new(ANONYMOUS)
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
