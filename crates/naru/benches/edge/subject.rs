//! The gateways that are compared, each with the settings of its documentation for one thread and no access log.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::BARE;
use crate::world::{Failure, GATEWAY_PROCESSOR, Process, World, await_listener, free_address, pinned};

/// A gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    Naru,
    /// The edge on an open route: beside the rest, a visit is verified.
    NaruOpen,
    Pingora,
    Envoy,
    HaProxy,
    Nginx,
}

pub const SUBJECTS: [Subject; 6] =
    [Subject::Naru, Subject::NaruOpen, Subject::Pingora, Subject::Envoy, Subject::HaProxy, Subject::Nginx];

/// One that serves.
pub struct Running {
    pub name: &'static str,
    pub process: Process,
    pub port: u16,
    pub path: &'static str,
    pub cookie: Option<String>,
}

impl Running {
    pub fn start(world: &World, subject: Subject, tls: bool) -> Result<Self, Failure> {
        let (name, path) = match subject {
            Subject::Naru => ("naru", "/pay"),
            Subject::NaruOpen => ("naru, open", "/promo"),
            Subject::Pingora => ("pingora", "/pay"),
            Subject::Envoy => ("envoy", "/pay"),
            Subject::HaProxy => ("haproxy", "/pay"),
            Subject::Nginx => ("nginx", "/pay"),
        };
        let listen = free_address()?;
        let folder = world.dir.path().join(format!("{name}-{}", listen.port()));
        std::fs::create_dir(&folder)?;
        let command = match subject {
            Subject::Naru | Subject::NaruOpen => naru(world, &folder, listen, tls)?,
            Subject::Pingora => pingora(world, listen, tls)?,
            Subject::Envoy => envoy(world, &folder, listen, tls)?,
            Subject::HaProxy => haproxy(world, &folder, listen, tls)?,
            Subject::Nginx => nginx(world, &folder, listen, tls)?,
        };
        let process = Process::start(command, &folder.join("log"))?;
        await_listener(listen)?;
        // Over TLS the visit would be the same one: it is not asked for there, and each answer brings a new one.
        let cookie = if subject == Subject::NaruOpen && !tls { visit(listen, path)? } else { None };
        Ok(Self { name, process, port: listen.port(), path, cookie })
    }
}

/// The cookies that a first request is given.
fn visit(gateway: SocketAddr, path: &str) -> Result<Option<String>, Failure> {
    let mut stream = TcpStream::connect(gateway)?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let lines = BufReader::new(stream).lines().collect::<Result<Vec<String>, _>>()?;
    let cookies: Vec<&str> = lines
        .iter()
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_once(": "))
        .filter(|(name, _)| name.eq_ignore_ascii_case("set-cookie"))
        .filter_map(|(_, value)| value.split(';').next())
        .collect();
    Ok((!cookies.is_empty()).then(|| cookies.join("; ")))
}

fn written(folder: &Path, name: &str, text: &str) -> Result<PathBuf, Failure> {
    let path = folder.join(name);
    std::fs::write(&path, text)?;
    Ok(path)
}

fn naru(world: &World, folder: &Path, listen: SocketAddr, tls: bool) -> Result<Command, Failure> {
    let at = |name: &str| folder.join(name).display().to_string();
    let certificate = match tls {
        true => format!("[tls]\ncertificate = '{}'\nkey = '{}'\n", world.certificate.display(), world.key.display()),
        false => String::new(),
    };
    let config = format!(
        "listen = '{listen}'\nstate = '{}'\nowned_networks = ['127.0.0.0/8']\nthreads = 1\n\
         keys = {{ tokens = '{}', decisions = '{}', pseudonyms = '{}' }}\n{certificate}\
         [limits]\nrequests_per_client_s = 1000000\nrequests_per_connection_max = 1000000\n\
         [[site]]\nname = 'idc-1'\nkind = 'owned'\nslots = 2000\ncore_reserve = 500\n\
         [[pool]]\nname = 'all'\nmembers = [{{ site = 'idc-1', peers = ['{}'] }}]\n\
         [[route]]\npath = '/pay'\nclass = 'core'\npool = 'all'\n\
         [[route]]\npath = '/promo'\nclass = 'open'\npool = 'all'\n",
        at("state"),
        at("tokens"),
        at("decisions"),
        at("pseudonyms"),
        world.back_end,
    );
    let file = written(folder, "edge.toml", &config)?;
    let mut command = pinned(GATEWAY_PROCESSOR, env!("CARGO_BIN_EXE_naru"));
    command.args(["edge", "--config"]).arg(file);
    Ok(command)
}

fn pingora(world: &World, listen: SocketAddr, tls: bool) -> Result<Command, Failure> {
    let mut command = pinned(GATEWAY_PROCESSOR, std::env::current_exe()?);
    command.arg(BARE).arg(listen.to_string()).arg(world.back_end.to_string());
    if tls {
        command.arg(&world.certificate).arg(&world.key);
    }
    Ok(command)
}

fn envoy(world: &World, folder: &Path, listen: SocketAddr, tls: bool) -> Result<Command, Failure> {
    let socket = if tls {
        format!(
            "\n      transport_socket: {{ name: tls, typed_config: {{ \"@type\": \
             type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext, common_tls_context: \
             {{ alpn_protocols: [h2, http/1.1], tls_certificates: [ {{ certificate_chain: {{ filename: '{}' }}, \
             private_key: {{ filename: '{}' }} }} ] }} }} }}",
            world.certificate.display(),
            world.key.display()
        )
    } else {
        String::new()
    };
    let config = format!(
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
          codec_type: AUTO
          route_config: {{ virtual_hosts: [ {{ name: all, domains: ['*'], routes: [ {{ match: {{ prefix: / }}, route: \
          {{ cluster: back }} }} ] }} ] }}
          http_filters:
          - {{ name: router, typed_config: {{ \"@type\": \
          type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }} }}{socket}
  clusters:
  - name: back
    type: STATIC
    connect_timeout: 5s
    load_assignment: {{ cluster_name: back, endpoints: [ {{ lb_endpoints: [ {{ endpoint: {{ address: {{ \
    socket_address: {{ address: 127.0.0.1, port_value: {} }} }} }} }} ] }} ] }}
",
        listen.port(),
        world.back_end.port()
    );
    let file = written(folder, "envoy.yaml", &config)?;
    let mut command = pinned(GATEWAY_PROCESSOR, &world.envoy);
    command.args(["--concurrency", "1", "--use-dynamic-base-id", "--log-level", "warning", "-c"]).arg(file);
    Ok(command)
}

fn haproxy(world: &World, folder: &Path, listen: SocketAddr, tls: bool) -> Result<Command, Failure> {
    let secure =
        if tls { format!(" ssl crt {} alpn h2,http/1.1", world.certificate_and_key.display()) } else { String::new() };
    let config = format!(
        "global\n    nbthread 1\n    maxconn 4096\n\
         defaults\n    mode http\n    timeout connect 5s\n    timeout client 60s\n    timeout server 60s\n    \
         http-reuse always\n\
         frontend in\n    bind {listen}{secure}\n    default_backend back\n\
         backend back\n    server one {}\n",
        world.back_end
    );
    let file = written(folder, "haproxy.cfg", &config)?;
    let mut command = pinned(GATEWAY_PROCESSOR, "haproxy");
    command.args(["-db", "-f"]).arg(file);
    Ok(command)
}

fn nginx(world: &World, folder: &Path, listen: SocketAddr, tls: bool) -> Result<Command, Failure> {
    let secure = if tls {
        format!(
            "ssl_certificate {}; ssl_certificate_key {}; ssl_protocols TLSv1.3;",
            world.certificate.display(),
            world.key.display()
        )
    } else {
        String::new()
    };
    let at = folder.display();
    let config = format!(
        "daemon off; master_process off; worker_processes 1; pid {at}/pid; error_log stderr warn;\n\
         events {{ worker_connections 4096; }}\n\
         http {{\n  access_log off; keepalive_requests 1000000000;\n  \
         client_body_temp_path {at}/b; proxy_temp_path {at}/p; fastcgi_temp_path {at}/f; uwsgi_temp_path {at}/u; \
         scgi_temp_path {at}/s;\n  \
         upstream back {{ server {}; keepalive 256; keepalive_requests 1000000000; }}\n  \
         server {{\n    listen {listen}{};\n    {secure}\n    \
         location / {{ proxy_pass http://back; proxy_http_version 1.1; proxy_set_header Connection \"\"; }}\n  }}\n}}\n",
        world.back_end,
        if tls { " ssl http2" } else { "" },
    );
    let file = written(folder, "nginx.conf", &config)?;
    let mut command = pinned(GATEWAY_PROCESSOR, "nginx");
    command.args(["-p"]).arg(folder).arg("-e").arg("stderr").arg("-c").arg(file);
    Ok(command)
}
