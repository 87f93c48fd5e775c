//! Sites, and which class of work may run where.

use serde::{Deserialize, Serialize};

use crate::SiteId;

/// What a route, a topic or a service carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Money and personal data: stays on sites of our own.
    Core,
    /// Anything else: may burst to rented sites.
    Open,
}

impl Class {
    /// Whether work of this class may run on a site of that kind.
    pub fn may_run_on(self, kind: SiteKind) -> bool {
        match (self, kind) {
            (Self::Core, SiteKind::Rented) => false,
            (Self::Core, SiteKind::Owned) | (Self::Open, _) => true,
        }
    }
}

/// Whose machines a site runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SiteKind {
    /// Our own data centre.
    Owned,
    /// A cloud that is paid by use.
    Rented,
}

/// A place that runs capacity.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Site {
    /// Its name.
    pub id: SiteId,
    /// Whose machines it runs on.
    pub kind: SiteKind,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn core_work_stays_on_owned_sites() {
        let check = |class: Class, kind, expect| assert_eq!(class.may_run_on(kind), expect, "{class:?} {kind:?}");
        check(Class::Core, SiteKind::Owned, true);
        check(Class::Core, SiteKind::Rented, false);
        check(Class::Open, SiteKind::Owned, true);
        check(Class::Open, SiteKind::Rented, true);
    }
}
