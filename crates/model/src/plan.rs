//! Capacity plans.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Class, SiteId, SiteKind, Units};

/// The number of a plan in the line of plans, from 1. A later plan has a higher one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Generation(u64);

impl Generation {
    /// The generation of the first plan.
    pub const FIRST: Self = Self(1);

    /// The number.
    pub fn get(self) -> u64 {
        self.0
    }

    /// Whether a plan of this generation, which is in force at a reader, gives way to one of the generation offered:
    /// `true` for a later one, and `false` for the very same plan again, which `is_same` says.
    ///
    /// # Errors
    /// For an older plan, and for another one of the same number.
    pub fn gives_way_to(self, offered: Self, is_same: bool) -> Result<bool, OutOfTurn> {
        use std::cmp::Ordering::{Equal, Greater, Less};
        match offered.cmp(&self) {
            Greater => Ok(true),
            Equal if is_same => Ok(false),
            Equal => Err(OutOfTurn::Conflict { generation: self }),
            Less => Err(OutOfTurn::Older { offered, current: self }),
        }
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a plan holds at one site: capacity per class, in units of work per second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Holding {
    /// Whose machines the site runs on.
    pub kind: SiteKind,
    /// For money and personal data; zero on a rented site.
    pub core_per_second: Units,
    /// For anything else.
    pub open_per_second: Units,
}

impl Holding {
    /// The capacity for one class, in units per second.
    pub fn of(&self, class: Class) -> Units {
        match class {
            Class::Core => self.core_per_second,
            Class::Open => self.open_per_second,
        }
    }
}

/// A plan that does not follow the one in force. A retry with the same plan never helps.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OutOfTurn {
    /// Whoever offers the plan has not seen the current one.
    #[error("plan {offered} is older than plan {current}, which is in force")]
    Older {
        /// The generation that was offered.
        offered: Generation,
        /// The generation in force.
        current: Generation,
    },
    /// Two different plans carry one number: whoever made them is at fault, and neither may be guessed to be right.
    #[error("another plan {generation} is in force already")]
    Conflict {
        /// The generation that both carry.
        generation: Generation,
    },
}

/// A plan that was refused. A retry with the same plan never helps.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// It is not the next one for whoever holds another.
    #[error(transparent)]
    OutOfTurn(#[from] OutOfTurn),
    /// Core work was placed on a rented site.
    #[error("site {site} is rented and must not hold core work")]
    CoreOnRented {
        /// The site.
        site: SiteId,
    },
    /// The generation and the parent do not fit: the first plan has no parent, and any other an older one.
    #[error("plan {generation} cannot have been made from {}", parent.map_or("nothing".to_owned(), |parent| format!("plan {parent}")))]
    Parent {
        /// The generation of the plan.
        generation: Generation,
        /// The parent that it names.
        parent: Option<Generation>,
    },
}

/// A capacity plan: what is held at each site. It never changes; a change is a new plan, made from this one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Unchecked")]
pub struct Plan {
    generation: Generation,
    parent: Option<Generation>,
    sites: BTreeMap<SiteId, Holding>,
}

/// A plan as it was read, before its rules are checked.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Unchecked {
    generation: Generation,
    parent: Option<Generation>,
    sites: BTreeMap<SiteId, Holding>,
}

impl TryFrom<Unchecked> for Plan {
    type Error = PlanError;

    fn try_from(Unchecked { generation, parent, sites }: Unchecked) -> Result<Self, PlanError> {
        let fits = match parent {
            None => generation == Generation::FIRST,
            Some(parent) => Generation::FIRST <= parent && parent < generation,
        };
        if !fits {
            return Err(PlanError::Parent { generation, parent });
        }
        for (site, holding) in &sites {
            if !Class::Core.may_run_on(holding.kind) && holding.core_per_second > Units::ZERO {
                return Err(PlanError::CoreOnRented { site: site.clone() });
            }
        }
        Ok(Self { generation, parent, sites })
    }
}

impl Plan {
    /// The first plan of a line.
    pub fn first(sites: BTreeMap<SiteId, Holding>) -> Result<Self, PlanError> {
        Unchecked { generation: Generation::FIRST, parent: None, sites }.try_into()
    }

    /// A plan made from this one.
    pub fn next(&self, sites: BTreeMap<SiteId, Holding>) -> Result<Self, PlanError> {
        let generation = Generation(self.generation.0.saturating_add(1));
        Unchecked { generation, parent: Some(self.generation), sites }.try_into()
    }

    /// Its number in the line of plans.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// The plan it was made from; `None` for the first.
    pub fn parent(&self) -> Option<Generation> {
        self.parent
    }

    /// What it holds, by site.
    pub fn sites(&self) -> &BTreeMap<SiteId, Holding> {
        &self.sites
    }

    /// The capacity for a class over all sites, in units per second.
    pub fn capacity(&self, class: Class) -> Units {
        self.sites.values().map(|holding| holding.of(class)).sum()
    }

    /// Whether this plan, which is in force at a reader, gives way to the one that is offered: `true` for a later one
    /// and `false` for the same one again. A reader may have missed plans in between, so the parent is not compared.
    pub fn gives_way_to(&self, offered: &Plan) -> Result<bool, PlanError> {
        Ok(self.generation.gives_way_to(offered.generation, offered == self)?)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test panics on failure

    use super::*;

    fn sites(kind: SiteKind, core: u64, open: u64) -> BTreeMap<SiteId, Holding> {
        let per_second = |units| Units::from_thousandths(units * 1000);
        let holding = Holding { kind, core_per_second: per_second(core), open_per_second: per_second(open) };
        BTreeMap::from([(SiteId::new("a").unwrap(), holding)])
    }

    #[test]
    fn a_rented_site_holds_no_core_work() {
        let error = Plan::first(sites(SiteKind::Rented, 1, 5)).unwrap_err();
        assert_eq!(error.to_string(), "site a is rented and must not hold core work");
        let plan = Plan::first(sites(SiteKind::Rented, 0, 5)).unwrap();
        assert_eq!(plan.capacity(Class::Open).to_string(), "5");
        assert_eq!(plan.capacity(Class::Core), Units::ZERO);
    }

    #[test]
    fn a_reader_takes_a_later_plan_and_refuses_an_older_one() {
        let first = Plan::first(sites(SiteKind::Owned, 1, 1)).unwrap();
        let second = first.next(sites(SiteKind::Owned, 2, 2)).unwrap();
        let third = second.next(sites(SiteKind::Owned, 3, 3)).unwrap();
        let rival = first.next(sites(SiteKind::Owned, 9, 9)).unwrap();
        let check = |current: &Plan, offered: &Plan, expect: Result<bool, &str>| {
            let got = current.gives_way_to(offered).map_err(|error| error.to_string());
            assert_eq!(got, expect.map_err(str::to_owned));
        };
        check(&first, &second, Ok(true));
        check(&first, &third, Ok(true));
        check(&second, &second, Ok(false));
        check(&third, &first, Err("plan 1 is older than plan 3, which is in force"));
        check(&second, &rival, Err("another plan 2 is in force already"));
    }

    #[test]
    fn what_is_read_is_checked() {
        let check = |input: &str, expect: &str| {
            let got = match serde_json::from_str::<Plan>(input) {
                Ok(plan) => serde_json::to_string(&plan).unwrap(),
                Err(error) => error.to_string(),
            };
            assert_eq!(got, expect);
        };
        let good = r#"{"generation":2,"parent":1,"sites":{"a":{"kind":"owned","core_per_second":"1.5","open_per_second":"0"}}}"#;
        check(good, good);
        check(r#"{"generation":2,"parent":2,"sites":{}}"#, "plan 2 cannot have been made from plan 2");
        check(r#"{"generation":2,"parent":null,"sites":{}}"#, "plan 2 cannot have been made from nothing");
        check(r#"{"generation":0,"parent":null,"sites":{}}"#, "plan 0 cannot have been made from nothing");
    }
}
