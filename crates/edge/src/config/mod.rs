//! The settings of an edge.
//!
//! What is wrong in one table is told by its type; what does not fit between tables (a core route to a pool with rented
//! servers, a peer outside of the owned networks) is told by the policy that would be made from it, each with the line
//! where it was written. The blueprint goes through the same doors as in production: there is no second set of rules.

mod scalar;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use naru_runtime::config::{ByteSize, Located, Mistake, Problem};
use naru_runtime::telemetry::TelemetryConfig;

pub use scalar::{ClassName, KindName, RoutePath, SiteName};

use crate::policy::blueprint::{MembersDraft, PeerDraft, PoolDraft, RouteDraft, Sharing, SiteDraft};
use crate::policy::limit::Bounds;
use crate::policy::share::WHOLE;
use crate::policy::{Blueprint, Network, OwnedNetworks, Part, Pattern, Policy, Refusal, Room, Slots, Tier};

naru_runtime::config! {
    /// A place that runs capacity.
    pub struct SiteConfig {
        /// Name, as in the decision log and in plans.
        pub name: Located<SiteName>,
        /// Whose machines it runs on, and when it is used.
        pub kind: KindName,
        /// What it can have in flight, as the load test showed: a request of cost 1 that takes 100 ms holds one slot for
        /// that long. The limit begins here and never rises above.
        pub slots: Slots,
        /// Where the limit of an owned site stops falling; without it, half of the slots, and never below the reserve.
        pub floor: Option<Slots>,
        /// What of an owned site open requests never get: core's mean use and five standard deviations of it.
        pub core_reserve: Slots = "0",
    }
}

naru_runtime::config! {
    /// Servers of a pool at one site.
    pub struct MembersConfig {
        /// The site.
        pub site: Located<SiteName>,
        /// Addresses with ports. Names are not taken: what a name resolves to is somebody else's decision.
        pub peers: Vec<Located<SocketAddr>>,
        /// What each of them can hold, at a rented site; among servers of ours it is only their share.
        pub slots_each: Slots = "1",
    }
}

naru_runtime::config! {
    /// How servers are asked whether they are up.
    pub struct HealthConfig {
        /// Path that answers 2xx while the server is up.
        pub path: RoutePath = "/health",
        /// How often each is asked; three failures in a row take it out, two successes bring it back.
        #[range("100ms", "10m")]
        pub interval: Duration = "1s",
        /// Longest wait for the answer.
        #[range("50ms", "1m")]
        pub timeout: Duration = "500ms",
    }
}

naru_runtime::config! {
    /// TLS to the servers of a pool.
    pub struct PeerTls {
        /// Authority of their certificates, PEM.
        pub authority: PathBuf,
        /// Name that their certificates must have.
        pub server_name: String,
    }
}

naru_runtime::config! {
    /// Servers that do the same, at any number of sites.
    pub struct PoolConfig {
        /// Name, as routes and plans have it.
        pub name: Located<String>,
        /// Its servers, once per site.
        pub members: Vec<Located<MembersConfig>>,
        /// How servers are asked whether they are up.
        pub health: HealthConfig,
        /// TLS to them; without it, connections are not encrypted.
        pub tls: Option<PeerTls>,
        /// Speak HTTP/2 with them, as gRPC needs; otherwise HTTP/1.1.
        pub http2: bool = "false",
    }
}

naru_runtime::config! {
    /// Requests that belong together.
    pub struct RouteConfig {
        /// Path; what lies below it belongs to it. The longest that matches has a request.
        pub path: Located<RoutePath>,
        /// Host; without it, any.
        pub host: Option<String>,
        /// What it carries: core stays on owned sites, open may burst.
        pub class: ClassName,
        /// Pool that serves it.
        pub pool: Located<String>,
        /// Slots that one request holds, relative to a view of a promotion page.
        pub cost: Slots = "1",
        /// Longest wait for the beginning of an answer.
        #[range("50ms", "10m")]
        pub timeout: Duration = "10s",
        /// Largest body of a request.
        #[range("0B", "1GiB")]
        pub body_bytes_max: ByteSize = "1MiB",
        /// Headers of a request that go along to a rented site, besides those of the protocol.
        pub headers_away: Vec<String>,
        /// Cookies of a request that go along to a rented site; the session's never does.
        pub cookies_away: Vec<String>,
        /// Query parameters of a request that go along to a rented site; the others are taken off there.
        pub query_away: Vec<String>,
        /// Fields of a JSON body, one flat object, that may go to a rented site. A request with any other body, or with
        /// any body where this is empty, stays on sites of ours.
        pub body_fields_away: Vec<String>,
    }
}

naru_runtime::config! {
    /// The waiting room.
    pub struct WaitingRoomConfig {
        /// Units of work of one visit: how many requests somebody makes who was let in, times their cost.
        #[range("0.001", "1000000")]
        pub visit_units: f64 = "8",
        /// Number of the line; each gateway of a service has its own.
        pub line: u64 = "1",
    }
}

naru_runtime::config! {
    /// Gateways that send to the same sites: together they never take more than a site has.
    #[derive(PartialEq, Eq)]
    #[check(is_one_of_them)]
    pub struct SharingConfig {
        /// Where leases are given out: `coordinate` of one of the gateways, as the others reach it.
        pub coordinator: SocketAddr,
        /// Address on which this gateway gives them out; on one gateway only. UDP, signed by `keys.tokens`.
        pub coordinate: Option<SocketAddr>,
        /// Number of this gateway, from 1.
        #[range("1", "64")]
        pub number: u32,
        /// How many gateways there are; the same everywhere. Raise it on all before one more is started.
        #[range("1", "64")]
        pub gateways: u32,
        /// What of its even part a gateway has without a lease, percent; the same everywhere. The rest goes where requests
        /// are.
        #[range("1", "100")]
        pub safe_percent: u32 = "50",
        /// How long slots of a gateway that is not heard of any more are still counted behind the end of its lease: the
        /// longest that a request may be in hand.
        #[range("0s", "1h")]
        pub settle: Duration = "30s",
    }
}

impl SharingConfig {
    /// What part of each site a gateway has without a lease.
    pub fn safe(&self) -> u32 {
        let hundredths = u64::from(WHOLE) * u64::from(self.safe_percent) / u64::from(self.gateways.max(1));
        u32::try_from(hundredths / 100).unwrap_or(WHOLE)
    }
}

naru_runtime::config! {
    /// TLS on the listener, files in PEM, read again when they change.
    #[derive(PartialEq, Eq)]
    pub struct ListenerTls {
        /// The edge's certificate, any intermediate ones behind it.
        pub certificate: PathBuf,
        /// Its private key, readable by its owner only.
        pub key: PathBuf,
    }
}

naru_runtime::config! {
    /// What one client, and all of them, may ask of the edge.
    pub struct LimitsConfig {
        /// Most connections at once. An answer that its client does not read holds up to 0.7 MiB of each.
        #[range("1", "1000000")]
        pub connections_max: u32 = "50000",
        /// Most connections of one address.
        #[range("1", "1000000")]
        pub connections_per_client_max: u32 = "500",
        /// Most requests per second of one address.
        #[range("1", "1000000")]
        pub requests_per_client_s: u32 = "200",
        /// Largest head of a request.
        #[range("1KiB", "1MiB")]
        pub head_bytes_max: ByteSize = "32KiB",
        /// Most header fields of a request.
        #[range("1", "10000")]
        pub fields_max: u32 = "100",
        /// Longest time in which a head must be whole.
        #[range("100ms", "5m")]
        pub head_timeout: Duration = "10s",
        /// How long a connection may ask for nothing.
        #[range("1s", "1h")]
        pub idle_timeout: Duration = "60s",
        /// Requests on one connection before it is closed, so that load can move.
        #[range("1", "1000000")]
        pub requests_per_connection_max: u32 = "10000",
    }
}

naru_runtime::config! {
    /// Files of keys; made at the first start if they are missing, readable by their owner only.
    #[derive(PartialEq, Eq)]
    pub struct KeysConfig {
        /// Signs visits and tickets; gateways of one service share it.
        pub tokens: PathBuf,
        /// Signs the decision log.
        pub decisions: PathBuf,
        /// Makes the pseudonyms that rented sites see in place of sessions.
        pub pseudonyms: PathBuf,
        /// Public keys of control, 64 hexadecimal digits each: who may send plans. Without one, no plan is taken.
        pub control: Vec<String>,
    }
}

naru_runtime::config! {
    /// A gateway: owned sites first, rented ones for what they cannot take, core traffic never.
    #[flaws(flaws)]
    pub struct EdgeConfig for "edge" {
        /// Address on which clients connect; port 0 takes a free one.
        pub listen: SocketAddr = "127.0.0.1:8080",
        /// TLS on it; without it, connections are not encrypted.
        pub tls: Option<ListenerTls>,
        /// Address for state, limits, drains and plans over HTTP; port 0 takes a free one. Leave it on loopback.
        #[check(is_loopback)]
        pub admin_listen: SocketAddr = "127.0.0.1:0",
        /// Directory of what must survive the edge: the plan in force, the waiting room's line, the decision log.
        pub state: PathBuf,
        /// Networks of the owned sites. A server of ours must be in one of them, a rented one in none.
        #[check(some_network)]
        pub owned_networks: Vec<Network>,
        /// Networks of proxies in front of the edge. From there, and from nowhere else, X-Forwarded-For and
        /// X-Forwarded-Proto say who asks; without any, whoever is connected does.
        pub trusted_proxies: Vec<Network>,
        /// Sites.
        #[key("site")]
        pub sites: Vec<Located<SiteConfig>>,
        /// Pools.
        #[key("pool")]
        pub pools: Vec<Located<PoolConfig>>,
        /// Routes.
        #[key("route")]
        pub routes: Vec<Located<RouteConfig>>,
        /// Slots that autoscaled sites of this file may hold together; a plan brings its own number.
        pub autoscaled_slots_max: Slots = "0",
        /// The waiting room.
        pub waiting_room: WaitingRoomConfig,
        /// Other gateways in front of the same sites; without it, there are none.
        pub sharing: Option<SharingConfig>,
        /// What clients may ask.
        pub limits: LimitsConfig,
        /// Files of keys.
        pub keys: KeysConfig,
        /// Threads that carry requests.
        #[range("1", "1024")]
        pub threads: u32 = "2",
        /// File for one line of JSON about each request, without query strings, bodies, cookies or addresses; none without
        /// it. SIGHUP opens it again.
        pub access_log: Option<PathBuf>,
        /// Longest wait for requests in hand when the edge is told to stop.
        pub drain_max: Duration = "30s",
        /// Logs, metrics and traces.
        pub telemetry: TelemetryConfig,
    }
}

fn is_loopback(address: &SocketAddr) -> Result<(), Mistake> {
    if address.ip().is_loopback() {
        return Ok(());
    }
    let what = format!("is {address}, which others can reach, and it has no authentication");
    Err(Mistake::new(what, format!("use 127.0.0.1:{}", address.port())))
}

fn is_one_of_them(sharing: &SharingConfig) -> Result<(), Mistake> {
    let SharingConfig { number, gateways, .. } = sharing;
    if number <= gateways {
        return Ok(());
    }
    let what = format!("has `number` {number} of {gateways} gateways");
    Err(Mistake::new(what, "number them from 1, each with its own"))
}

// The configuration hands a check the field as it is declared.
#[allow(clippy::ptr_arg)]
fn some_network(networks: &Vec<Network>) -> Result<(), Mistake> {
    if networks.is_empty() {
        return Err(Mistake::new(
            "is required and missing",
            "give the networks of the owned sites, such as 10.1.0.0/16",
        ));
    }
    Ok(())
}

impl EdgeConfig {
    /// What the policy is made from. A host or path that is none is left to the checks that told it.
    pub fn blueprint(&self) -> Blueprint {
        let tier = |kind: KindName| match kind {
            KindName::Owned => Tier::Owned,
            KindName::Rented => Tier::PreRented,
            KindName::Autoscaled => Tier::Autoscaled,
        };
        let site = |site: &Located<SiteConfig>| {
            let half = Slots::from_thousandths(site.slots.thousandths() / 2);
            let floor = match site.kind {
                KindName::Owned => site.floor.unwrap_or(half.max(site.core_reserve)),
                KindName::Rented | KindName::Autoscaled => site.floor.unwrap_or(site.slots),
            };
            SiteDraft {
                id: site.name.0.clone(),
                tier: tier(site.kind),
                bounds: Bounds { floor, ceiling: site.slots },
                reserve: site.core_reserve,
            }
        };
        let members = |members: &Located<MembersConfig>| MembersDraft {
            site: members.site.0.clone(),
            peers: members
                .peers
                .iter()
                .map(|address| PeerDraft { address: **address, slots: members.slots_each })
                .collect(),
        };
        let pool = |pool: &Located<PoolConfig>| PoolDraft {
            name: (*pool.name).clone(),
            members: pool.members.iter().map(members).collect(),
        };
        let route = |route: &Located<RouteConfig>| {
            let pattern =
                Pattern::new(route.host.as_deref(), &route.path.0).expect("the path was checked as it was read");
            RouteDraft { pattern, class: route.class.into(), pool: (*route.pool).clone(), cost: route.cost }
        };
        Blueprint {
            networks: OwnedNetworks::new(self.owned_networks.iter().copied()),
            sites: self.sites.iter().map(site).collect(),
            pools: self.pools.iter().map(pool).collect(),
            routes: self.routes.iter().map(route).collect(),
            autoscaled_slots_max: self.autoscaled_slots_max,
            visit_units: self.waiting_room.visit_units,
            sharing: self.sharing.as_ref().map(|sharing| Sharing { gateways: sharing.gateways, safe: sharing.safe() }),
        }
    }

    /// Where something that the policy refuses was written, and what to do about it.
    pub fn problem(&self, refusal: &Refusal) -> Problem {
        let mistake = Mistake::new(refusal.flaw.to_string(), refusal.flaw.fix());
        use crate::policy::Flaw::{CoreNowhere, CoreOnRented, NoPool};
        match (refusal.part, &refusal.flaw) {
            (Part::Site(site), _) => self.sites[site].name.problem(mistake),
            (Part::Pool(pool), _) => self.pools[pool].name.problem(mistake),
            (Part::Members(pool, at), _) => self.pools[pool].members[at].site.problem(mistake),
            (Part::Peer(pool, at, peer), _) => self.pools[pool].members[at].peers[peer].problem(mistake),
            (Part::Route(route), CoreOnRented { .. } | CoreNowhere { .. } | NoPool { .. }) => {
                self.routes[route].pool.problem(mistake)
            }
            (Part::Route(route), _) => self.routes[route].path.problem(mistake),
        }
    }
}

/// Everything that does not fit between the tables.
fn flaws(config: &EdgeConfig) -> Vec<Problem> {
    let room = Room::new(config.waiting_room.line);
    match Policy::new(&config.blueprint(), room) {
        Ok(_) => Vec::new(),
        Err(refusals) => refusals.iter().map(|refusal| config.problem(refusal)).collect(),
    }
}
