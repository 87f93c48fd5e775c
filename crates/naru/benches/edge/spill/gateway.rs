//! The gateways, set to keep requests at home while there is room.

use std::net::SocketAddr;

use super::site::Sites;
use super::{OWNED_SITES, SLOTS};
use crate::world::{Failure, GATEWAY_PROCESSOR, Process, World, await_listener, free_address, pinned};

/// A gateway that can spill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gateway {
    Naru,
    Envoy,
    HaProxy,
}

pub const GATEWAYS: [Gateway; 3] = [Gateway::Naru, Gateway::Envoy, Gateway::HaProxy];

impl Gateway {
    pub fn name(self) -> &'static str {
        match self {
            Self::Naru => "naru",
            Self::Envoy => "envoy",
            Self::HaProxy => "haproxy",
        }
    }

    pub fn start(self, world: &World, sites: &Sites) -> Result<(Process, SocketAddr), Failure> {
        let listen = free_address()?;
        let folder = world.dir.path().join(format!("spill-{}", self.name()));
        std::fs::create_dir(&folder)?;
        // Envoy tells what it reads by the name.
        let file = folder.join("config.yaml");
        let mut command = match self {
            Self::Naru => {
                std::fs::write(&file, naru(&folder.display().to_string(), listen, sites))?;
                let mut command = pinned(GATEWAY_PROCESSOR, env!("CARGO_BIN_EXE_naru"));
                command.args(["edge", "--config"]);
                command
            }
            Self::Envoy => {
                std::fs::write(&file, envoy(listen, sites))?;
                let mut command = pinned(GATEWAY_PROCESSOR, &world.envoy);
                command.args(["--concurrency", "1", "--use-dynamic-base-id", "--log-level", "warning"]);
                command.args(["--config-path"]);
                command
            }
            Self::HaProxy => {
                std::fs::write(&file, haproxy(listen, sites))?;
                let mut command = pinned(GATEWAY_PROCESSOR, "haproxy");
                command.args(["-db", "-f"]);
                command
            }
        };
        command.arg(file);
        let process = Process::start(command, &folder.join("log"))?;
        await_listener(listen)?;
        Ok((process, listen))
    }
}

fn naru(folder: &str, listen: SocketAddr, sites: &Sites) -> String {
    let site = |name: usize| format!("[[site]]\nname = 'idc-{name}'\nkind = 'owned'\nslots = {SLOTS}\n");
    let owned_sites: String = (0..OWNED_SITES).map(site).collect();
    let members = sites.owned.iter().enumerate();
    let owned: String =
        members.map(|(name, peer)| format!("{{ site = 'idc-{name}', peers = ['{peer}'] }}, ")).collect();
    format!(
        "listen = '{listen}'\nstate = '{folder}/state'\nowned_networks = ['127.0.0.0/16']\nthreads = 1\n\
         keys = {{ tokens = '{folder}/t', decisions = '{folder}/d', pseudonyms = '{folder}/p' }}\n\
         [limits]\nrequests_per_client_s = 1000000\n\
         {owned_sites}[[site]]\nname = 'cloud-1'\nkind = 'rented'\nslots = 100\n\
         [[pool]]\nname = 'promotion'\n\
         members = [{owned}{{ site = 'cloud-1', peers = ['{}'], slots_each = 100 }}]\n\
         [[route]]\npath = '/promo'\nclass = 'open'\npool = 'promotion'\n",
        sites.rented
    )
}

fn envoy(listen: SocketAddr, sites: &Sites) -> String {
    let endpoint = |peer: &SocketAddr| {
        format!(
            "{{ endpoint: {{ address: {{ socket_address: {{ address: {}, port_value: {} }} }} }} }}, ",
            peer.ip(),
            peer.port()
        )
    };
    let owned: String = sites.owned.iter().map(endpoint).collect();
    let rented = endpoint(&sites.rented);
    // Without these it would retry three requests at once at most, and wait 25 ms before.
    let plenty = "{ max_connections: 10000, max_pending_requests: 10000, max_requests: 10000, max_retries: 10000 }";
    let retry = "{ retry_on: retriable-status-codes, retriable_status_codes: [503], num_retries: 1, \
                 retry_back_off: { base_interval: 0.001s, max_interval: 0.001s }, \
                 retry_priority: { name: envoy.retry_priorities.previous_priorities, typed_config: { \"@type\": \
                 type.googleapis.com/envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig, \
                 update_frequency: 1 } } }";
    format!(
        "static_resources:
  listeners:
  - name: in
    address: {{ socket_address: {{ address: 127.0.0.1, port_value: {} }} }}
    filter_chains:
    - filters:
      - name: http
        typed_config:
          \"@type\": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: in
          route_config: {{ virtual_hosts: [ {{ name: all, domains: ['*'], routes: [ {{ match: {{ prefix: / }}, route: \
          {{ cluster: sites, retry_policy: {retry} }} }} ] }} ] }}
          http_filters:
          - {{ name: router, typed_config: {{ \"@type\": \
          type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }} }}
  clusters:
  - name: sites
    type: STATIC
    connect_timeout: 1s
    lb_policy: LEAST_REQUEST
    circuit_breakers: {{ thresholds: [ {plenty} ] }}
    load_assignment: {{ cluster_name: sites, endpoints: [ {{ priority: 0, lb_endpoints: [ {owned} ] }}, \
    {{ priority: 1, lb_endpoints: [ {rented} ] }} ] }}
",
        listen.port()
    )
}

fn haproxy(listen: SocketAddr, sites: &Sites) -> String {
    let server = |(name, peer): (usize, &SocketAddr)| format!("    server idc-{name} {peer} maxconn {SLOTS}\n");
    let owned: String = sites.owned.iter().enumerate().map(server).collect();
    format!(
        "global\n    nbthread 1\n    maxconn 4096\n\
         defaults\n    mode http\n    timeout connect 1s\n    timeout client 60s\n    timeout server 60s\n    \
         http-reuse always\n\
         frontend in\n    bind {listen}\n    use_backend rented if {{ be_conn(owned) ge {} }}\n    default_backend owned\n\
         backend owned\n    balance leastconn\n{owned}\
         backend rented\n    server cloud-1 {}\n",
        OWNED_SITES * SLOTS,
        sites.rented
    )
}
