//! The settings of control: what can be had, who may have how much, and who makes it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use naru_runtime::config::{HostPort, Mistake, Secret};
use naru_runtime::telemetry::TelemetryConfig;

naru_runtime::choice! {
    /// Who makes machines of a flavor.
    pub enum Placement {
        /// Processes of this machine, which stand for machines of ours.
        Local = "local",
        /// The cloud: rented.
        Cloud = "cloud",
    }
}

naru_runtime::config! {
    /// A kind of machine.
    pub struct FlavorConfig {
        /// Its name, as the provider has it.
        pub name: String,
        /// Who makes it.
        pub provider: Placement = "cloud",
        /// Processors.
        pub cpus: u32 = "2",
        /// Memory in MiB.
        pub memory_mib: u64 = "4096",
        /// Storage in GiB.
        pub storage_gib: u64 = "20",
        /// What one takes within its latency target, in units a second, as measured.
        pub units_per_second: u32 = "10",
        /// Price in won for each hour begun, rented ahead.
        pub reserved_krw_per_hour: u64 = "600",
        /// Price in won for each hour begun, on demand.
        pub on_demand_krw_per_hour: u64 = "1000",
        /// How long before it is needed one is asked for.
        pub lead: Duration = "4m",
    }
}

naru_runtime::config! {
    /// What runs on machines, with what operating it has taught.
    pub struct TemplateConfig {
        /// Its name, with its version.
        pub name: String,
        /// Whether it carries money or personal data: never on rented machines.
        pub core: bool = "false",
        /// The program and its arguments, where processes stand for machines.
        pub command: Vec<String>,
        /// What it promises, for people.
        pub slo: String = "none",
        /// Where its dashboard is.
        pub dashboard: String = "none",
    }
}

naru_runtime::config! {
    /// Who may have how much.
    pub struct TeamConfig {
        /// Its name.
        pub name: String,
        /// Most machines at once.
        pub machines_max: u32 = "20",
        /// Most topics at once.
        pub topics_max: u32 = "20",
        /// Most won of all leases that are held, to their ends.
        pub budget_krw: u64 = "1000000",
        /// A plan above this many won needs somebody else's approval.
        pub approval_above_krw: u64 = "100000",
    }
}

naru_runtime::config! {
    /// The cloud that machines are rented from.
    pub struct CloudConfig {
        /// Its address: docs/api/cloud-sim.json.
        pub address: SocketAddr,
        /// How long its lists may be wrong about what was done.
        pub settle: Duration = "5s",
        /// Longest wait for an answer; then it is asked again.
        #[range("100ms", "5m")]
        pub answer_max: Duration = "10s",
    }
}

naru_runtime::config! {
    /// Who asks control from the command line or from CI.
    pub struct ClientConfig for "client" {
        /// Where control listens.
        pub at: HostPort = "127.0.0.1:7560",
        /// The token, as `naru control token add` showed it.
        pub token: Secret,
    }
}

naru_runtime::config! {
    /// The relay that topics are made through.
    pub struct RelayConfig {
        /// Where it takes clients; one that answers is enough.
        pub bootstrap: Vec<HostPort>,
        /// Longest wait for an answer.
        #[range("1s", "5m")]
        pub request_timeout: Duration = "30s",
    }
}

naru_runtime::config! {
    /// Plans, applies and keeps what teams ask for: machines, topics, capacity.
    #[check(names_differ)]
    pub struct ControlConfig for "control" {
        /// Address to listen on; port 0 takes a free one. Without encryption: on loopback, or behind a gateway with TLS.
        pub listen: SocketAddr = "127.0.0.1:7560",
        /// Directory of the book, the ledger and its key; made if missing, for one process at a time.
        pub state: PathBuf,
        /// In whose name things are made at providers; two controls never share one.
        pub owner: String = "naru",
        /// Kinds of machines.
        #[key("flavor")]
        pub flavors: Vec<FlavorConfig>,
        /// What runs on them.
        #[key("template")]
        pub templates: Vec<TemplateConfig>,
        /// Who may have how much.
        #[key("team")]
        pub teams: Vec<TeamConfig>,
        /// The cloud; without it nothing is rented.
        pub cloud: Option<CloudConfig>,
        /// The relay; without it no topic is made.
        pub relay: Option<RelayConfig>,
        /// How often what is held is compared with what there is.
        #[range("10ms", "1h")]
        pub reconcile_interval: Duration = "2s",
        /// How long a request may take until it has what it needs at least; then all of it is given back.
        pub obtain_max: Duration = "10m",
        /// How long a topic that was released keeps its records.
        pub topic_grace: Duration = "1d",
        /// Longest wait for requests in hand when control is told to stop.
        pub drain_max: Duration = "5s",
        /// For tests of crashes: the step at which the process kills itself, such as `created:3` for the third time.
        pub crash_at: Option<String>,
        /// Logs, metrics and traces.
        pub telemetry: TelemetryConfig,
    }
}

fn names_differ(config: &ControlConfig) -> Result<(), Mistake> {
    let twice = |names: Vec<&str>| {
        let again = |(index, name): (usize, &&str)| names[..index].contains(name).then(|| (*name).to_owned());
        names.iter().enumerate().find_map(again)
    };
    let flavor = twice(config.flavors.iter().map(|flavor| flavor.name.as_str()).collect());
    let template = twice(config.templates.iter().map(|template| template.name.as_str()).collect());
    let team = twice(config.teams.iter().map(|team| team.name.as_str()).collect());
    for (what, name) in [("flavor", flavor), ("template", template), ("team", team)] {
        if let Some(name) = name {
            return Err(Mistake::new(format!("has the {what} {name:?} twice"), "give each its own name"));
        }
    }
    if config.owner.is_empty() || config.owner.len() > 24 || config.owner.contains('/') {
        return Err(Mistake::new("has an owner that cannot be one", "give it 1 to 24 characters without a slash"));
    }
    Ok(())
}

/// What can be had, and who may have how much.
#[derive(Debug, Clone)]
pub struct Catalogue {
    /// Kinds of machines.
    pub flavors: Vec<FlavorConfig>,
    /// What runs on them.
    pub templates: Vec<TemplateConfig>,
    /// Who may have how much.
    pub teams: Vec<TeamConfig>,
}

impl Catalogue {
    /// That of a configuration.
    pub fn of(config: &ControlConfig) -> Self {
        Self { flavors: config.flavors.clone(), templates: config.templates.clone(), teams: config.teams.clone() }
    }

    /// A flavor by name.
    pub fn flavor(&self, name: &str) -> Option<&FlavorConfig> {
        self.flavors.iter().find(|flavor| flavor.name == name)
    }

    /// A template by name.
    pub fn template(&self, name: &str) -> Option<&TemplateConfig> {
        self.templates.iter().find(|template| template.name == name)
    }

    /// A team by name.
    pub fn team(&self, name: &str) -> Option<&TeamConfig> {
        self.teams.iter().find(|team| team.name == name)
    }
}
