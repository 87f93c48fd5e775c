//! The owned sites, the rented nodes, and the edge in front of them.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::Mutex;

use super::services::Services;
use super::{DRAIN_WITHIN, Options, RehearsalError, role};
use crate::children::{self, Ended};
use crate::crowd::judge::{Audit, NodeLog};
use crate::crowd::{GIFT, PROMOTION, planted};
use crate::load::Target;
use crate::scenario::{Edge, GiftClass, OWNED_SITES, SERVICES_AT};
use crate::service_process::{Listen, ServiceError, ServiceOptions, ServiceProcess, free_address};
use crate::state::State;

/// As the report names it.
const EDGE: &str = "edge";
/// A rented node, as errors name it.
pub(super) const NODE: &str = "rented node";
/// Slots of a gift's server in the cloud, which only the control has: what one gift costs.
const GIFT_NODE_SLOTS: u32 = 3;
/// What every owned site is in; rented nodes are in 127.2.0.0/16.
const OWNED_NETWORK: &str = "127.1.0.0/16";
/// The directory of the decision log in the edge's state.
const DECISIONS: &str = "decisions";
/// Cost of a payment, a transfer or a gift beside a page of the promotion.
const CORE_COST: u32 = 3;

/// The address of an owned site.
pub(super) fn owned_ip(site: usize) -> IpAddr {
    Ipv4Addr::new(127, 1, u8::try_from(site + 1).unwrap_or(u8::MAX), 1).into()
}

/// The address of a rented node.
fn rented_ip(node: u32) -> IpAddr {
    Ipv4Addr::from_bits(Ipv4Addr::new(127, 2, 0, 0).to_bits() + node + 1).into()
}

/// The pages of one owned site.
pub(super) type Pages = Arc<Vec<Vec<Mutex<ServiceProcess>>>>;

/// Everything behind the edge but the services, and the edge.
pub(super) struct Sites {
    /// By index of the owned site.
    pub(super) pages: Pages,
    /// The nodes, with the names and access logs.
    nodes: Vec<(String, PathBuf, ServiceProcess)>,
    edge: ServiceProcess,
    /// The edge's own directory.
    dir: PathBuf,
    exe: PathBuf,
}

/// Starts the pages of each site and the nodes, then the edge, and points the load at it.
pub(super) async fn start(
    options: &Options,
    state: &State,
    services: &Services,
    targets: &mut [Target],
    edge: &Edge,
    seed: u64,
) -> Result<Sites, RehearsalError> {
    let planted = planted(seed);
    let page = async |page: &str, site: &str, ip: IpAddr, slots: u32| {
        let name = format!("{page}-{site}");
        let dir = state.child(&name);
        let log = dir.join("access.jsonl");
        let (slots, path) = (slots.to_string(), log.display().to_string());
        let args = ["sample", page, "--name", &name, "--slots", &slots, "--access-log", &path, "--planted", &planted];
        let args = args.map(str::to_owned).to_vec();
        let child = ServiceOptions { name: name.clone(), program: options.exe.clone(), args, dir };
        let process = ServiceProcess::start_at(child, Listen::Flag(ip)).await;
        process.map(|process| (log, process)).map_err(|source| RehearsalError::Service { name, source })
    };
    let mut pages = Vec::new();
    for (index, site) in OWNED_SITES.iter().enumerate() {
        let (_, promotion) = page("promotion", site, owned_ip(index), edge.slots).await?;
        let (_, gift) = page("gift", site, owned_ip(index), edge.slots).await?;
        pages.push(vec![Mutex::new(promotion), Mutex::new(gift)]);
    }
    let mut nodes = Vec::new();
    for node in 0..edge.nodes {
        let site = format!("cloud-{}", node + 1);
        let (log, process) = page("promotion", &site, rented_ip(node), 1).await?;
        nodes.push((format!("promotion-{site}"), log, process));
    }
    if edge.gift == GiftClass::Open {
        let (log, process) = page("gift", "cloud", rented_ip(edge.nodes), GIFT_NODE_SLOTS).await?;
        nodes.push(("gift-cloud".to_owned(), log, process));
    }

    let listen = free_address(Ipv4Addr::LOCALHOST.into()).map_err(role::error(EDGE))?;
    let dir = state.child(EDGE);
    let mut peers =
        Peers { promotion: Vec::new(), gift: Vec::new(), rented: Vec::new(), gift_rented: None, services: Vec::new() };
    for site in &pages {
        peers.promotion.push(site[0].lock().await.address());
        peers.gift.push(site[1].lock().await.address());
    }
    for (name, _, process) in &nodes {
        match name.starts_with("gift") {
            true => peers.gift_rented = Some(process.address()),
            false => peers.rented.push(process.address()),
        }
    }
    for (service, process) in options.scenario.services.iter().zip(services.iter()) {
        peers.services.push((service.kind.name(), service.kind.path(), process.lock().await.address()));
    }
    let text = configuration(edge, &dir, listen, &peers);
    let process = role::start(options, EDGE, (dir.clone(), Listen::Configured(listen)), &text).await?;
    for target in targets {
        target.url = format!("http://{}", process.address());
    }
    Ok(Sites { pages: Arc::new(pages), nodes, edge: process, dir, exe: options.exe.clone() })
}

/// Where everything listens.
struct Peers {
    promotion: Vec<SocketAddr>,
    gift: Vec<SocketAddr>,
    rented: Vec<SocketAddr>,
    gift_rented: Option<SocketAddr>,
    services: Vec<(&'static str, &'static str, SocketAddr)>,
}

/// The edge's configuration. The rehearsal is one client with many requests, so what one client may ask is lifted.
fn configuration(edge: &Edge, dir: &Path, listen: SocketAddr, peers: &Peers) -> String {
    let Edge { slots, core_reserve, nodes, visit_requests, .. } = edge;
    let mut text = format!(
        "listen = \"{listen}\"\nstate = {:?}\nowned_networks = [\"{OWNED_NETWORK}\"]\nthreads = 1\n\n\
         [keys]\ntokens = {:?}\ndecisions = {:?}\npseudonyms = {:?}\n\n\
         [limits]\nconnections_per_client_max = 50000\nrequests_per_client_s = 1000000\n\n\
         [waiting_room]\nvisit_units = {visit_requests}\n",
        dir.join("state"),
        dir.join("tokens.key"),
        decision_keys(dir),
        dir.join("pseudonyms.key"),
    );
    let mut put = |line: std::fmt::Arguments<'_>| {
        text.write_fmt(line).expect("writing to a string cannot fail");
        text.push('\n');
    };
    for site in OWNED_SITES {
        put(format_args!(
            "\n[[site]]\nname = {site:?}\nkind = \"owned\"\nslots = {slots}\nfloor = {slots}\ncore_reserve = {core_reserve}"
        ));
    }
    let rented = nodes + if edge.gift == GiftClass::Open { GIFT_NODE_SLOTS } else { 0 };
    put(format_args!("\n[[site]]\nname = \"cloud\"\nkind = \"rented\"\nslots = {rented}"));
    let pool = |name: &str, members: &[(&str, Vec<SocketAddr>, u32)]| {
        let mut text =
            format!("\n[[pool]]\nname = {name:?}\n[pool.health]\ninterval = \"100ms\"\ntimeout = \"500ms\"\n");
        for (site, peers, slots) in members {
            let peers: Vec<String> = peers.iter().map(SocketAddr::to_string).collect();
            write!(text, "[[pool.members]]\nsite = {site:?}\npeers = {peers:?}\nslots_each = {slots}\n")
                .expect("writing to a string cannot fail");
        }
        text
    };
    let owned = |peers: &[SocketAddr]| -> Vec<(&str, Vec<SocketAddr>, u32)> {
        OWNED_SITES.iter().zip(peers).map(|(site, peer)| (*site, vec![*peer], *slots)).collect()
    };
    let mut promotion = owned(&peers.promotion);
    promotion.push(("cloud", peers.rented.clone(), 1));
    let mut gift = owned(&peers.gift);
    gift.extend(peers.gift_rented.map(|peer| ("cloud", vec![peer], GIFT_NODE_SLOTS)));
    put(format_args!("{}{}", pool("promotion", &promotion), pool("gift", &gift)));
    for (name, _, address) in &peers.services {
        put(format_args!("{}", pool(name, &[(OWNED_SITES[SERVICES_AT], vec![*address], *slots)])));
    }
    let mut route = |path: &str, class: &str, pool: &str, cost: u32, more: &str| {
        put(format_args!("\n[[route]]\npath = {path:?}\nclass = {class:?}\npool = {pool:?}\ncost = {cost}\n{more}"));
    };
    route(PROMOTION, "open", "promotion", 1, "");
    match edge.gift {
        GiftClass::Core => route(GIFT, "core", "gift", CORE_COST, ""),
        // Nobody makes one mistake alone: with the class goes a header that carries a name.
        GiftClass::Open => route(GIFT, "open", "gift", CORE_COST, "headers_away = [\"x-user-name\"]\n"),
    }
    for (name, path, _) in &peers.services {
        route(path, "core", name, CORE_COST, "");
    }
    text
}

fn decision_keys(dir: &Path) -> PathBuf {
    dir.join("decisions.key")
}

impl Sites {
    /// How many nodes are rented.
    pub(super) fn nodes(&self) -> u32 {
        u32::try_from(self.nodes.len()).unwrap_or(u32::MAX)
    }

    /// One of them, for a sabotage.
    pub(super) fn a_node(&self) -> Result<&ServiceProcess, RehearsalError> {
        let none = || RehearsalError::Unfit("the scenario has no rented node to sabotage".to_owned());
        self.nodes.first().map(|(_, _, process)| process).ok_or_else(none)
    }

    /// Where the load goes.
    pub(super) fn url(&self) -> String {
        format!("http://{}", self.edge.address())
    }

    /// The outputs of all processes, by name.
    pub(super) async fn logs(&self) -> Vec<(String, PathBuf)> {
        let mut logs = vec![(EDGE.to_owned(), self.edge.log_path())];
        for (site, pages) in OWNED_SITES.iter().zip(self.pages.iter()) {
            for process in pages {
                logs.push((format!("site {site}"), process.lock().await.log_path()));
            }
        }
        logs.extend(self.nodes.iter().map(|(name, _, process)| (name.clone(), process.log_path())));
        logs
    }

    /// Asks the edge to end, then what stands behind it, and says how each did.
    pub(super) async fn stop(&mut self) -> Result<Vec<Ended>, RehearsalError> {
        let mut endings = Vec::new();
        let mut end = async |child: String, process: &mut ServiceProcess| {
            let ending = process.stop(DRAIN_WITHIN).await;
            let ending = ending.map_err(|source| RehearsalError::Service { name: child.clone(), source })?;
            endings.push(Ended { child, code: children::ENDS_WELL, ending });
            Ok::<_, RehearsalError>(())
        };
        end(EDGE.to_owned(), &mut self.edge).await?;
        for (site, pages) in OWNED_SITES.iter().zip(self.pages.iter()) {
            for process in pages {
                end(format!("site {site}"), &mut *process.lock().await).await?;
            }
        }
        for (name, _, process) in &mut self.nodes {
            end(name.clone(), process).await?;
        }
        Ok(endings)
    }

    /// What the rented nodes wrote down.
    pub(super) fn node_logs(&self) -> Result<Vec<NodeLog>, RehearsalError> {
        let read = |(node, path, _): &(String, PathBuf, ServiceProcess)| {
            let file = |source| ServiceError::File { path: path.clone(), source };
            let text = std::fs::read_to_string(path)
                .map_err(|source| RehearsalError::Service { name: node.clone(), source: file(source) })?;
            let mut log = NodeLog { node: node.clone(), received: Vec::new(), unreadable: 0 };
            for line in text.lines() {
                match serde_json::from_str(line) {
                    Ok(received) => log.received.push(received),
                    Err(_) => log.unreadable += 1,
                }
            }
            Ok(log)
        };
        self.nodes.iter().map(read).collect()
    }

    /// What the edge's decision log proves, by `naru edge audit`. The edge must have ended.
    pub(super) async fn audit(&self) -> Result<Audit, String> {
        let mut command = tokio::process::Command::new(&self.exe);
        command.args(["edge", "audit", "--json", "--owned", OWNED_NETWORK, "--keys"]);
        command.arg(decision_keys(&self.dir)).arg(self.dir.join("state").join(DECISIONS)).kill_on_drop(true);
        let output = command.output().await.map_err(|error| format!("naru edge audit did not run: {error}"))?;
        let said = || String::from_utf8_lossy(&output.stderr).trim().to_owned();
        serde_json::from_slice(&output.stdout)
            .map_err(|error| format!("naru edge audit ended with {}: {} ({error})", output.status, said()))
    }
}

/// The pages of a site are gone.
pub(super) async fn kill(pages: &Pages, site: usize) -> Result<Option<std::process::ExitStatus>, RehearsalError> {
    let mut early = None;
    for process in &pages[site] {
        early = early.or(process.lock().await.kill().map_err(|source| error(site, source))?);
    }
    Ok(early)
}

/// They are there again.
pub(super) async fn restart(pages: &Pages, site: usize) -> Result<(), RehearsalError> {
    for process in &pages[site] {
        process.lock().await.restart().await.map_err(|source| error(site, source))?;
    }
    Ok(())
}

fn error(site: usize, source: ServiceError) -> RehearsalError {
    RehearsalError::Service { name: format!("pages of {}", OWNED_SITES[site]), source }
}
