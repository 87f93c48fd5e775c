//! Who is started, with which configuration, and where it listens: decided whole before anything runs.

use std::fmt::Write as _;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use super::access::{CONSOLE, TEAM};
use super::ports::{Ports, PortsError};

/// The console's port for browsers.
pub const PAGE: &str = "page";
/// A file beside a member's configuration that is put behind it: routes of one's own, for instance.
const OWN: &str = "own.toml";

/// Owned sites, as the edge names them.
const OWNED: [&str; 2] = ["idc-1", "idc-2"];
/// Slots of each owned site, and those of them that open traffic never takes: some dozens of requests at once, so that gentle
/// traffic shows on the meters.
const SLOTS: u32 = 24;
const CORE_RESERVE: u32 = 6;
/// Rented nodes, a slot each.
const NODES: u8 = 4;
/// What every owned site is in. The rented nodes are in 127.2.0.0/16.
const OWNED_NETWORK: &str = "127.0.0.0/15";
/// Requests of one client: the demonstration's traffic comes from one address.
const REQUESTS_PER_CLIENT: u32 = 2_000;
/// Partitions of a topic that is asked for.
const PARTITIONS: u32 = 4;
/// What the sample services publish, as tables.
const TABLES: &str = include_str!("../../../../examples/sample-tables.toml");

/// Why there is no configuration. This machine's side.
#[derive(Debug, thiserror::Error)]
pub enum ConfigureError {
    /// A port.
    #[error(transparent)]
    Ports(#[from] PortsError),
    /// What a user has put beside a configuration.
    #[error("cannot read {path}", path = path.display())]
    Own {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// An address on which a member listens.
#[derive(Debug, Clone)]
pub struct Port {
    /// As the ready line names it, behind the member's name.
    pub name: &'static str,
    /// Where.
    pub address: SocketAddr,
    /// What it is for, in the table; empty where no person needs it.
    pub meaning: &'static str,
    is_http: bool,
}

impl Port {
    /// As a person uses it.
    pub fn shown(&self) -> String {
        let Self { address, is_http, .. } = self;
        if *is_http { format!("http://{address}/") } else { address.to_string() }
    }
}

/// One process.
#[derive(Debug, Clone)]
pub struct Member {
    /// Its name, and that of its directory.
    pub name: String,
    /// Arguments behind the program's name.
    pub args: Vec<String>,
    /// The text of its configuration, for members that have one.
    pub config: Option<String>,
    /// Where it listens.
    pub ports: Vec<Port>,
}

impl Member {
    /// The address of one of its ports.
    pub fn port(&self, name: &str) -> Option<SocketAddr> {
        self.ports.iter().find(|port| port.name == name).map(|port| port.address)
    }
}

/// Takes ports and writes configurations, member by member.
struct Builder<'b> {
    data: &'b Path,
    ports: &'b mut Ports,
    members: Vec<Member>,
}

/// The ports of a member while it is put together.
struct Draft<'d, 'b> {
    builder: &'d mut Builder<'b>,
    member: Member,
}

impl<'b> Builder<'b> {
    fn draft<'d>(&'d mut self, name: impl Into<String>, args: &[&str]) -> Draft<'d, 'b> {
        let args = args.iter().map(|arg| (*arg).to_owned()).collect();
        Draft { builder: self, member: Member { name: name.into(), args, config: None, ports: Vec::new() } }
    }
}

impl Draft<'_, '_> {
    fn state(&self) -> PathBuf {
        self.builder.data.join(&self.member.name).join("state")
    }

    fn at(
        &mut self,
        ip: IpAddr,
        name: &'static str,
        is_http: bool,
        meaning: &'static str,
    ) -> Result<SocketAddr, PortsError> {
        // The console's one port is known by the member's name alone, as `--console` pins it.
        let key = if name == PAGE { self.member.name.clone() } else { format!("{}.{name}", self.member.name) };
        let address = self.builder.ports.take_at(ip, &key)?;
        self.member.ports.push(Port { name, address, meaning, is_http });
        Ok(address)
    }

    fn http(&mut self, name: &'static str, meaning: &'static str) -> Result<SocketAddr, PortsError> {
        self.at(Ipv4Addr::LOCALHOST.into(), name, true, meaning)
    }

    fn tcp(&mut self, name: &'static str, meaning: &'static str) -> Result<SocketAddr, PortsError> {
        self.at(Ipv4Addr::LOCALHOST.into(), name, false, meaning)
    }

    fn metrics(&mut self) -> Result<SocketAddr, PortsError> {
        self.http("metrics", "")
    }

    fn flag(&mut self, name: &str, value: impl ToString) {
        self.member.args.extend([name.to_owned(), value.to_string()]);
    }

    /// Puts what its user has written behind the configuration, and adds it to the members.
    fn configured(mut self, mut text: String) -> Result<(), ConfigureError> {
        let path = self.builder.data.join(&self.member.name).join(OWN);
        match std::fs::read_to_string(&path) {
            Ok(own) => write!(text, "\n# {OWN}\n{own}").expect("a text takes every line"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(ConfigureError::Own { path, source }),
        }
        self.member.config = Some(text);
        self.done();
        Ok(())
    }

    fn done(self) {
        self.builder.members.push(self.member);
    }
}

/// Everybody, in the order of their start.
///
/// # Errors
/// Every [`ConfigureError`].
pub fn members(data: &Path, ports: &mut Ports, demo: bool) -> Result<Vec<Member>, ConfigureError> {
    let mut builder = Builder { data, ports, members: Vec::new() };
    let mut clusters = Vec::new();
    for side in ["a", "b"] {
        let mut broker = builder.draft(format!("broker-{side}"), &["broker"]);
        let listen =
            broker.tcp("listen", if side == "a" { "cluster A, behind the relay" } else { "cluster B, likewise" })?;
        let text =
            format!("data = {:?}\nlisten = \"{listen}\"\ngroup_initial_rebalance_delay = \"100ms\"\n", broker.state());
        broker.configured(text)?;
        clusters.push(listen);
    }
    let mut relay = builder.draft("relay", &["relay"]);
    let (relay_listen, relay_status) = (relay.tcp("listen", "the log, for Kafka clients")?, relay.http("status", "")?);
    let (relay_state, relay_metrics) = (relay.state(), relay.metrics()?);
    let text = format!(
        "listen = \"{relay_listen}\"\nstate = {relay_state:?}\nstatus_listen = \"{relay_status}\"\n\
         auto_create_topics = true\ndefault_partitions = {PARTITIONS}\n\
         [telemetry]\nmetrics = \"{relay_metrics}\"\n\n\
         [a]\nbootstrap = [\"{}\"]\n[b]\nbootstrap = [\"{}\"]\n\
         [[group]]\nname = \"pay\"\ntopics = [\"*\"]\nconsumers = [\"*\"]\n",
        clusters[0], clusters[1],
    );
    relay.configured(text)?;

    let (lake_sql, lake_metrics) = lake(&mut builder, relay_listen)?;
    let (control, cloud) = control(&mut builder, relay_listen)?;
    let behind = if demo { samples(&mut builder, relay_listen)? } else { String::new() };
    let (admin, edge_metrics) = gateway(&mut builder, &behind)?;
    let courier = courier(&mut builder, relay_listen, admin)?;
    let watch = watch(&mut builder)?;

    let mut console = builder.draft("console", &["console"]);
    let page = console.http(PAGE, "the console, for a browser")?;
    let token = data.join("tokens").join(CONSOLE);
    let text = format!(
        "listen = \"{page}\"\n\n[relay]\nstatus = \"{relay_status}\"\nmetrics = \"{relay_metrics}\"\n\n\
         [lake]\nsql = \"{lake_sql}\"\nmetrics = \"{lake_metrics}\"\n\n\
         [control]\naddress = \"{control}\"\ntoken = {{ file = {token:?} }}\n\n\
         [cloud]\naddress = \"{cloud}\"\n\n[courier]\naddress = \"{courier}\"\n\n[watch]\naddress = \"{watch}\"\n\n\
         [[edge]]\nname = \"edge\"\nadmin = \"{admin}\"\nmetrics = \"{edge_metrics}\"\n"
    );
    console.configured(text)?;
    Ok(builder.members)
}

fn lake(builder: &mut Builder<'_>, log: SocketAddr) -> Result<(SocketAddr, SocketAddr), ConfigureError> {
    let mut lake = builder.draft("lake", &["lake"]);
    let (sql, metrics) = (lake.tcp("sql", "SQL, for clients of PostgreSQL (database naru)")?, lake.metrics()?);
    let text = format!(
        "listen = \"{sql}\"\nwarehouse = {:?}\n\n[log]\nbootstrap = [\"{log}\"]\n\n[telemetry]\nmetrics = \"{metrics}\"\n\n{TABLES}",
        lake.state()
    );
    lake.configured(text)?;
    Ok((sql, metrics))
}

/// Control and the cloud that it rents from.
fn control(builder: &mut Builder<'_>, log: SocketAddr) -> Result<(SocketAddr, SocketAddr), ConfigureError> {
    let mut cloud = builder.draft("cloud-sim", &["cloud-sim"]);
    let rented = cloud.http("listen", "a simulated cloud")?;
    let text = format!(
        "listen = \"{rented}\"\nstate = {:?}\n\n[[flavor]]\nname = \"small\"\nboot_p50 = \"8s\"\n",
        cloud.state()
    );
    cloud.configured(text)?;
    let mut control = builder.draft("control", &["control"]);
    let listen = control.http("listen", "control: NARU_CLIENT_AT, for naru plan, apply, get")?;
    let text = format!(
        "listen = \"{listen}\"\nstate = {:?}\n\n[cloud]\naddress = \"{rented}\"\n\n[relay]\nbootstrap = [\"{log}\"]\n\n\
         [[flavor]]\nname = \"small\"\n\n[[template]]\nname = \"web-1\"\ncommand = [\"sleep\", \"600\"]\n\n\
         [[team]]\nname = {TEAM:?}\napproval_above_krw = 50000\n",
        control.state()
    );
    control.configured(text)?;
    Ok((listen, rented))
}

/// The sample services: pages at each owned site and on rented nodes, payments and transfers at the second site. Gives what
/// the edge has to know of them.
fn samples(builder: &mut Builder<'_>, log: SocketAddr) -> Result<String, ConfigureError> {
    let mut pools = String::from("\n[[pool]]\nname = \"promotion\"\n");
    let mut page = |site: &str, ip: Ipv4Addr, name: String, slots: u32| -> Result<SocketAddr, ConfigureError> {
        let mut draft = builder.draft(name.clone(), &["sample", "promotion"]);
        let listen = draft.at(ip.into(), "listen", true, "")?;
        let log = draft.builder.data.join(&name).join("access.jsonl");
        draft.flag("--listen", listen);
        draft.flag("--name", &name);
        draft.flag("--slots", slots);
        draft.flag("--access-log", log.display());
        draft.done();
        write!(pools, "[[pool.members]]\nsite = {site:?}\npeers = [\"{listen}\"]\nslots_each = {slots}\n")
            .expect("a text takes every line");
        Ok(listen)
    };
    for (site, last) in OWNED.iter().zip(1..) {
        page(site, Ipv4Addr::new(127, 1, last, 1), format!("promotion-{site}"), SLOTS)?;
    }
    page("cloud", Ipv4Addr::new(127, 2, 0, 1), "promotion-cloud".to_owned(), u32::from(NODES))?;
    let mut routes = String::from("\n[[route]]\npath = \"/promotion\"\nclass = \"open\"\npool = \"promotion\"\n");
    for (kind, path) in [("payment", "/payments"), ("transfer", "/transfers")] {
        let mut service = builder.draft(kind, &["sample", kind]);
        let listen = service.at(Ipv4Addr::new(127, 1, 2, 1).into(), "listen", true, "")?;
        let state = service.state();
        let text = format!("listen = \"{listen}\"\ndata = {state:?}\nbrokers = [\"{log}\"]\n");
        service.configured(text)?;
        write!(
            pools,
            "\n[[pool]]\nname = {kind:?}\n[[pool.members]]\nsite = {:?}\npeers = [\"{listen}\"]\nslots_each = {SLOTS}\n",
            OWNED[1],
        )
        .expect("a text takes every line");
        write!(routes, "\n[[route]]\npath = {path:?}\nclass = \"core\"\npool = {kind:?}\ncost = 3\n")
            .expect("a text takes every line");
    }
    Ok(pools + &routes)
}

/// The edge, in front of these pools and routes.
fn gateway(builder: &mut Builder<'_>, behind: &str) -> Result<(SocketAddr, SocketAddr), ConfigureError> {
    let mut edge = builder.draft("edge", &["edge"]);
    let listen = edge.http("listen", "the gateway, for clients")?;
    let (admin, metrics) = (edge.http("admin", "its state and drains")?, edge.metrics()?);
    let state = edge.state();
    let mut text = format!(
        "listen = \"{listen}\"\nadmin_listen = \"{admin}\"\nstate = {state:?}\nowned_networks = [{OWNED_NETWORK:?}]\n\n\
         [keys]\ntokens = {:?}\ndecisions = {:?}\npseudonyms = {:?}\n\n\
         [limits]\nrequests_per_client_s = {REQUESTS_PER_CLIENT}\n\n[telemetry]\nmetrics = \"{metrics}\"\n",
        state.with_file_name("tokens.key"),
        state.with_file_name("decisions.key"),
        state.with_file_name("pseudonyms.key"),
    );
    for site in OWNED {
        write!(
            text,
            "\n[[site]]\nname = {site:?}\nkind = \"owned\"\nslots = {SLOTS}\nfloor = {SLOTS}\ncore_reserve = {CORE_RESERVE}\n"
        )
        .expect("a text takes every line");
    }
    write!(text, "\n[[site]]\nname = \"cloud\"\nkind = \"rented\"\nslots = {NODES}\n{behind}")
        .expect("a text takes every line");
    edge.configured(text)?;
    Ok((admin, metrics))
}

/// The courier and a simulated provider.
fn courier(builder: &mut Builder<'_>, log: SocketAddr, edge: SocketAddr) -> Result<SocketAddr, ConfigureError> {
    let mut provider = builder.draft("provider-sim", &["courier", "provider-sim"]);
    let takes = provider.http("listen", "a simulated provider of messages")?;
    let delivered = provider.state().with_file_name("delivered.jsonl");
    provider.flag("--listen", takes);
    provider.flag("--log", delivered.display());
    let receipts = provider.builder.ports.take("courier.receipts")?;
    provider.flag("--callback", format_args!("http://{receipts}/v1/receipts"));
    provider.done();
    let mut courier = builder.draft("courier", &["courier"]);
    let listen = courier.http("listen", "the courier: naru courier send, status, stop")?;
    let text = format!(
        "listen = \"{listen}\"\nreceipts_listen = \"{receipts}\"\nstate = {:?}\n\n\
         [provider]\naddress = \"{takes}\"\n\n[[edge]]\naddress = \"{edge}\"\n\n\
         [usage]\nbootstrap = [\"{log}\"]\ntopics = [\"payments\"]\n",
        courier.state()
    );
    courier.configured(text)?;
    Ok(listen)
}

/// The watch over everybody who is there before it, and over the disk.
fn watch(builder: &mut Builder<'_>) -> Result<SocketAddr, ConfigureError> {
    // Who needs whom: what began with a cluster is not blamed on the relay.
    const NEEDS: [(&str, &[&str]); 6] = [
        ("lake", &["relay"]),
        ("payment", &["relay"]),
        ("transfer", &["relay"]),
        ("control", &["relay", "cloud-sim"]),
        ("courier", &["relay", "provider-sim"]),
        ("edge", &[]),
    ];
    let mut targets = String::new();
    for member in &builder.members {
        let (Some(first), metrics) = (member.ports.first(), member.port("metrics")) else { continue };
        write!(targets, "\n[[target]]\nname = {:?}\nprobe = \"{}\"\n", member.name, first.address)
            .expect("a text takes every line");
        if let Some(metrics) = metrics {
            writeln!(targets, "metrics = \"{metrics}\"").expect("a text takes every line");
        }
        let needs = NEEDS.iter().find(|(name, _)| *name == member.name).map_or(&[][..], |(_, needs)| needs);
        writeln!(targets, "needs = {needs:?}").expect("a text takes every line");
    }
    let data = builder.data.to_owned();
    let mut watch = builder.draft("watch", &["watch"]);
    let listen = watch.http("listen", "the watch: naru watch status, incidents")?;
    let text = format!(
        "listen = \"{listen}\"\nstate = {:?}\n{targets}\n\
         [[limit]]\nname = \"disk\"\nkind = \"disk\"\npath = {data:?}\n\n\
         [[objective]]\nname = \"core\"\n\
         bad = \"naru_edge_requests_total{{class=core,status=5xx}}\"\nall = \"naru_edge_requests_total{{class=core}}\"\n\
         on = [\"edge\"]\n",
        watch.state()
    );
    watch.configured(text)?;
    Ok(listen)
}
