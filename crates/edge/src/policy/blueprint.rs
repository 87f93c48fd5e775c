//! What a policy is made from, and what is refused: all of it at once, each with its place.

use std::net::SocketAddr;

use naru_model::{Class, SiteId};

use super::limit::Bounds;
use super::residency::{NotAPeer, OwnedNetworks};
use super::route::Pattern;
use super::share::WHOLE;
use super::site::Tier;
use super::slots::Slots;

/// Most sites of a tier in one pool: the order of preference is sorted for each request, on the stack.
pub const SITES_MAX: usize = 16;

/// A configuration and the plan in force, as values.
#[derive(Debug, Clone, Default)]
pub struct Blueprint {
    /// The networks of our own sites.
    pub networks: OwnedNetworks,
    /// Every site.
    pub sites: Vec<SiteDraft>,
    /// Every pool.
    pub pools: Vec<PoolDraft>,
    /// Every route.
    pub routes: Vec<RouteDraft>,
    /// Slots that autoscaled sites may hold together: the budget in money, as the plan counted it.
    pub autoscaled_slots_max: Slots,
    /// Units of work of one visit, all its requests together.
    pub visit_units: f64,
    /// Other gateways that send to the same sites; none when there is no other.
    pub sharing: Option<Sharing>,
}

/// How sites are shared among gateways.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sharing {
    /// How many there are.
    pub gateways: u32,
    /// What part of each site this one has without a lease.
    pub safe: u32,
}

impl Blueprint {
    /// What part of each site this gateway has without a lease.
    pub fn safe(&self) -> u32 {
        self.sharing.map_or(WHOLE, |sharing| sharing.safe)
    }
}

/// A site to be.
#[derive(Debug, Clone)]
pub struct SiteDraft {
    /// Its name.
    pub id: SiteId,
    /// Which sites it is tried with.
    pub tier: Tier,
    /// Between what its limit moves; a rented site stays at the ceiling.
    pub bounds: Bounds,
    /// What of it is for core requests only; none on a rented site.
    pub reserve: Slots,
}

/// A pool to be.
#[derive(Debug, Clone)]
pub struct PoolDraft {
    /// Its name.
    pub name: String,
    /// Its servers, site by site.
    pub members: Vec<MembersDraft>,
}

/// Servers at a site.
#[derive(Debug, Clone)]
pub struct MembersDraft {
    /// The site.
    pub site: SiteId,
    /// The servers.
    pub peers: Vec<PeerDraft>,
}

/// A server to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerDraft {
    /// Its address.
    pub address: SocketAddr,
    /// Its share; at a rented site also the most that it holds.
    pub slots: Slots,
}

/// A route to be.
#[derive(Debug, Clone)]
pub struct RouteDraft {
    /// What it matches.
    pub pattern: Pattern,
    /// What it carries.
    pub class: Class,
    /// Where it is served.
    pub pool: String,
    /// Slots that one request holds.
    pub cost: Slots,
}

/// What a refusal is about, by position in the blueprint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// A site.
    Site(usize),
    /// A pool.
    Pool(usize),
    /// A pool's servers at one site.
    Members(usize, usize),
    /// One server of them.
    Peer(usize, usize, usize),
    /// A route.
    Route(usize),
}

/// Why a blueprint is refused. Whoever wrote it is at fault; a retry with the same never helps.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// EDGE-1: a core route whose pool reaches into a rented site.
    #[error("is core, and its pool {pool:?} has servers at the rented site {site}")]
    CoreOnRented {
        /// The pool.
        pool: String,
        /// The rented site.
        site: SiteId,
    },
    /// A core route whose pool has no server at an owned site.
    #[error("is core, and its pool {pool:?} has no server at an owned site")]
    CoreNowhere {
        /// The pool.
        pool: String,
    },
    /// A route to a pool that is not there.
    #[error("names the pool {pool:?}, which is not there")]
    NoPool {
        /// The pool.
        pool: String,
    },
    /// Servers at a site that is not there.
    #[error("names the site {site}, which is not there")]
    NoSite {
        /// The site.
        site: SiteId,
    },
    /// Two of one name.
    #[error("is the second {name:?}")]
    Twice {
        /// The name.
        name: String,
    },
    /// Two routes that match the same requests.
    #[error("matches what an earlier route matches")]
    SameRoute,
    /// A server whose address does not fit its site.
    #[error("{0}")]
    Address(#[source] NotAPeer),
    /// One address at two sites of different kinds: whose it is, is then anybody's guess.
    #[error("{address} is there already, at another site")]
    TwoSites {
        /// The address.
        address: SocketAddr,
    },
    /// A floor above the ceiling, or a ceiling of nothing.
    #[error("has a floor of {floor} slots and a ceiling of {ceiling}")]
    Bounds {
        /// The floor.
        floor: Slots,
        /// The ceiling.
        ceiling: Slots,
    },
    /// EDGE-2: a limit could sink below what is kept for core.
    #[error("keeps {reserve} slots for core, more than its floor of {floor}")]
    ReserveAboveFloor {
        /// The reserve.
        reserve: Slots,
        /// The floor.
        floor: Slots,
    },
    /// A reserve for core where no core request may go.
    #[error("is rented and keeps slots for core requests, which never go there")]
    ReserveOnRented,
    /// A request that no owned site of its pool could ever take.
    #[error("holds {cost} slots per request, more than any of its sites lets in")]
    Cost {
        /// What a request holds.
        cost: Slots,
    },
    /// More sites than are sorted.
    #[error("has servers at more than {SITES_MAX} sites of one kind")]
    TooManySites,
}

impl Flaw {
    /// What to do about it.
    pub fn fix(&self) -> String {
        match self {
            Self::CoreOnRented { site, .. } => {
                format!(
                    "give the route a pool without {site}, or make it open if it carries neither money nor personal data"
                )
            }
            Self::CoreNowhere { .. } => "add servers at an owned site to the pool".to_owned(),
            Self::NoPool { .. } => "name one of the pools".to_owned(),
            Self::NoSite { .. } => "name one of the sites".to_owned(),
            Self::Twice { .. } => "give each a name of its own".to_owned(),
            Self::SameRoute => "remove one of the two, or give one a host or a longer path".to_owned(),
            Self::Address(NotAPeer::NotOwned(_)) => {
                "use an address of the owned networks, or add its network if the machine is yours".to_owned()
            }
            Self::Address(NotAPeer::Owned(_)) => {
                "use the address of a rented machine, or make the site owned".to_owned()
            }
            Self::Address(NotAPeer::Nowhere(_)) => "use the address and port of a server".to_owned(),
            Self::TwoSites { .. } => "name each server at the one site where it stands".to_owned(),
            Self::Bounds { .. } => "use a ceiling above zero and a floor up to it".to_owned(),
            Self::ReserveAboveFloor { .. } => "raise the floor, or keep less for core".to_owned(),
            Self::ReserveOnRented => "leave the reserve out".to_owned(),
            Self::Cost { .. } => "lower the cost, or raise the sites' floors".to_owned(),
            Self::TooManySites => "split the pool".to_owned(),
        }
    }
}

/// One flaw with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What it is about.
    pub part: Part,
    /// What is wrong.
    pub flaw: Flaw,
}
