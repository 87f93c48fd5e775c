//! Values that only an edge's configuration has.

use naru_model::{SiteId, Units};
use naru_runtime::config::{Literal, Mistake, Scalar};

use crate::policy::{Network, Pattern, Slots};

naru_runtime::choice! {
    /// What a route carries.
    pub enum ClassName {
        /// Money and personal data: stays on sites of our own.
        Core = "core",
        /// Anything else: may burst to rented sites.
        Open = "open",
    }
}

impl From<ClassName> for naru_model::Class {
    fn from(name: ClassName) -> Self {
        match name {
            ClassName::Core => Self::Core,
            ClassName::Open => Self::Open,
        }
    }
}

naru_runtime::choice! {
    /// Whose machines a site runs on, and when it is used.
    pub enum KindName {
        /// Our own data centre.
        Owned = "owned",
        /// Rented ahead: used as soon as ours are full.
        Rented = "rented",
        /// Rented when the forecast was too low: used when nothing else has room, within the budget.
        Autoscaled = "autoscaled",
    }
}

impl Scalar for Network {
    const PLACEHOLDER: &'static str = "NETWORK";

    fn kind() -> String {
        "a network such as 10.1.0.0/16".to_owned()
    }

    fn from_text(text: &str) -> Result<Self, Mistake> {
        let fix = "write the first address and the bits of the network, no wider than /8, such as 10.1.0.0/16";
        text.parse().map_err(|error: crate::policy::residency::NetworkError| Mistake::new(error.to_string(), fix))
    }
}

impl Scalar for Slots {
    const PLACEHOLDER: &'static str = "SLOTS";

    fn kind() -> String {
        "slots such as 20 or 0.5".to_owned()
    }

    fn from_text(text: &str) -> Result<Self, Mistake> {
        let fix = "write a number with at most three decimals, such as 20 or 0.5, up to 2000000";
        let units: Units = text.parse().map_err(|_| Mistake::new(format!("is {text:?}, no number of slots"), fix))?;
        match u32::try_from(units.thousandths()) {
            Ok(thousandths) if thousandths <= Self::MAX.thousandths() => Ok(Self::from_thousandths(thousandths)),
            _ => Err(Mistake::new(format!("is {text}, more slots than any site has"), fix)),
        }
    }

    fn from_literal(literal: &Literal) -> Result<Self, Mistake> {
        match literal {
            Literal::Text(text) | Literal::Str(text) => Self::from_text(text),
            Literal::Int(number) => Self::from_text(&number.to_string()),
            Literal::Float(number) => Self::from_text(&number.to_string()),
            other => Err(Mistake::new(format!("is {}", other.type_name()), "write a number, such as 20 or 0.5")),
        }
    }
}

/// A site's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SiteName(pub SiteId);

impl Scalar for SiteName {
    const PLACEHOLDER: &'static str = "SITE";

    fn kind() -> String {
        "a site's name".to_owned()
    }

    fn from_text(text: &str) -> Result<Self, Mistake> {
        let site =
            SiteId::new(text).map_err(|error| Mistake::new(format!("is {text:?}: {error}"), "use such as idc-1"));
        site.map(Self)
    }
}

/// The path of a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoutePath(pub String);

impl Scalar for RoutePath {
    const PLACEHOLDER: &'static str = "PATH";

    fn kind() -> String {
        "a path such as /gift".to_owned()
    }

    fn from_text(text: &str) -> Result<Self, Mistake> {
        let fix = "write a path without query, such as /gift; what lies below it belongs to it";
        match Pattern::new(None, text) {
            Ok(_) => Ok(Self(text.to_owned())),
            Err(error) => Err(Mistake::new(error.to_string(), fix)),
        }
    }
}
