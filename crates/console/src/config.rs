//! The settings of a console: whom it asks, and how much it keeps.

use std::net::SocketAddr;
use std::time::Duration;

use naru_runtime::config::{HostPort, Mistake, Secret};
use naru_runtime::telemetry::TelemetryConfig;

naru_runtime::config! {
    /// The relay.
    pub struct RelaySource {
        /// Its status port.
        pub status: HostPort,
        /// Its metrics.
        pub metrics: Option<HostPort>,
    }
}

naru_runtime::config! {
    /// A gateway.
    pub struct EdgeSource {
        /// Its name on the page.
        pub name: String = "edge",
        /// Its admin port.
        pub admin: HostPort,
        /// Its metrics; without them no traffic is shown.
        pub metrics: Option<HostPort>,
    }
}

naru_runtime::config! {
    /// The lake.
    pub struct LakeSource {
        /// Its SQL port; without it there is no page for questions.
        pub sql: Option<HostPort>,
        /// The user that questions are asked as. What that user sees, everybody sees who logs in here.
        pub user: String = "console",
        /// His password.
        pub password: Option<Secret>,
        /// Its metrics.
        pub metrics: Option<HostPort>,
    }
}

naru_runtime::config! {
    /// Control.
    pub struct ControlSource {
        /// Its address.
        pub address: HostPort,
        /// A token of the role viewer, by which the console reads for those who have not logged in.
        pub token: Option<Secret>,
    }
}

naru_runtime::config! {
    /// The courier.
    pub struct CourierSource {
        /// Its address.
        pub address: HostPort,
    }
}

naru_runtime::config! {
    /// The cloud, for its own bill.
    pub struct CloudSource {
        /// Its address.
        pub address: HostPort,
    }
}

naru_runtime::config! {
    /// The watch, for incidents.
    pub struct WatchSource {
        /// Its address.
        pub address: HostPort,
    }
}

naru_runtime::config! {
    /// A role of which nothing but metrics is read.
    pub struct MetricsSource {
        /// Its name on the page.
        pub name: String,
        /// Its metrics.
        pub metrics: HostPort,
    }
}

naru_runtime::config! {
    /// Shows the event day in a browser.
    #[check(names_differ)]
    pub struct ConsoleConfig for "console" {
        /// Address to serve pages on; port 0 takes a free one. Without encryption: on loopback, or behind a gateway with TLS.
        pub listen: SocketAddr = "127.0.0.1:7570",
        /// Host names by which browsers may reach it, beside IP addresses and localhost. Any other is refused: it may be a page elsewhere that has its name point here.
        pub names: Vec<String>,
        /// Whether browsers reach it by TLS, which something in front of it ends: cookies are then sent by TLS only.
        pub behind_tls: bool = "false",
        /// The relay.
        pub relay: Option<RelaySource>,
        /// Gateways.
        #[key("edge")]
        pub edges: Vec<EdgeSource>,
        /// The lake.
        pub lake: Option<LakeSource>,
        /// Control.
        pub control: Option<ControlSource>,
        /// The courier.
        pub courier: Option<CourierSource>,
        /// The cloud.
        pub cloud: Option<CloudSource>,
        /// The watch.
        pub watch: Option<WatchSource>,
        /// Other roles, such as the audit, capture, the vault and services.
        #[key("process")]
        pub processes: Vec<MetricsSource>,
        /// How often every role is asked.
        #[range("200ms", "1m")]
        pub ask_interval: Duration = "1s",
        /// Longest wait for an answer; without one by then a role is shown as away.
        #[range("50ms", "30s")]
        pub answer_max: Duration = "900ms",
        /// How much is kept for the charts.
        #[range("1m", "1d")]
        pub history: Duration = "1h",
        /// Most browsers that follow the page live at once.
        #[range("1", "10000")]
        pub viewers_max: u32 = "200",
        /// How long somebody stays logged in.
        #[range("1m", "7d")]
        pub session_max: Duration = "12h",
        /// Longest that a question by SQL may take.
        #[range("100ms", "10m")]
        pub question_max: Duration = "20s",
        /// Longest wait for requests in hand when the console is told to stop.
        pub drain_max: Duration = "3s",
        /// Logs, metrics and traces.
        pub telemetry: TelemetryConfig,
    }
}

fn names_differ(config: &ConsoleConfig) -> Result<(), Mistake> {
    let names: Vec<&str> = (config.edges.iter().map(|edge| edge.name.as_str()))
        .chain(config.processes.iter().map(|process| process.name.as_str()))
        .collect();
    for (index, name) in names.iter().enumerate() {
        if names[..index].contains(name) {
            return Err(Mistake::new(format!("has {name:?} twice"), "give each [[edge]] and [[process]] its own name"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test panics on failure

    use naru_runtime::config::Sources;

    use super::*;

    #[test]
    fn two_parts_of_one_name_are_refused() {
        let check = |second: &str, expect: bool| {
            let text = format!(
                "[[edge]]\nname = 'gate'\nadmin = '127.0.0.1:1'\n[[process]]\nname = '{second}'\nmetrics = '127.0.0.1:2'"
            );
            let loaded: Result<ConsoleConfig, _> = Sources::default().document("console.toml", text).load();
            assert_eq!(loaded.is_ok(), expect, "{second}");
        };
        check("audit", true);
        check("gate", false);
    }
}
