//! An edge with servers behind it, as it is operated.

use std::io::{BufRead as _, BufReader, Read as _, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};

use naru_kafka::node;
use tempfile::TempDir;

use crate::edge::process::until;

const SHOWN_LINES: usize = 60;

/// A server that answers everything with the same status.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    status: Arc<AtomicU16>,
    ends: Arc<AtomicBool>,
}

impl Server {
    pub(super) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (status, ends) = (Arc::new(AtomicU16::new(200)), Arc::new(AtomicBool::new(false)));
        let (of_each, ended) = (status.clone(), ends.clone());
        #[expect(
            clippy::disallowed_methods,
            reason = "it ends with the server, and those that answer with their connections"
        )]
        std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                if ended.load(Ordering::Relaxed) {
                    return;
                }
                let status = of_each.clone();
                std::thread::spawn(move || answer(stream, &status));
            }
        });
        Self { address, status, ends }
    }

    pub(super) fn answer_with(&self, status: u16) {
        self.status.store(status, Ordering::Relaxed);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        // Wakes it; if it is gone already, there is nobody to wake.
        drop(TcpStream::connect(self.address));
    }
}

fn answer(stream: TcpStream, status: &AtomicU16) {
    let mut reader = BufReader::new(stream);
    loop {
        let mut line = String::new();
        // Every request of these tests is a head alone.
        loop {
            line.clear();
            if !reader.read_line(&mut line).is_ok_and(|bytes| bytes > 0) {
                return;
            }
            if line == "\r\n" {
                break;
            }
        }
        let head = format!("HTTP/1.1 {} X\r\ncontent-length: 5\r\n\r\nhello", status.load(Ordering::Relaxed));
        if reader.get_mut().write_all(head.as_bytes()).is_err() {
            return;
        }
    }
}

/// A directory with an edge's configuration and state.
pub(super) struct Place {
    pub(super) dir: TempDir,
    servers: Vec<SocketAddr>,
    listen: SocketAddr,
    admin: SocketAddr,
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

impl Place {
    pub(super) fn new(servers: &[&Server]) -> Self {
        Self::at(servers.iter().map(|server| server.address).collect())
    }

    pub(super) fn at(servers: Vec<SocketAddr>) -> Self {
        Self { dir: tempfile::tempdir().unwrap(), servers, listen: free_address(), admin: free_address() }
    }

    pub(super) fn file(&self) -> PathBuf {
        self.dir.path().join("edge.toml")
    }

    /// Writes the configuration: `top` before every table, `tables` behind.
    pub(super) fn configure(&self, top: &str, tables: &str) {
        self.configure_with(top, tables, 1000, None);
    }

    /// The same with so many slots of the site, a fifth of which is core's, and with a key of tokens that others have.
    pub(super) fn configure_with(&self, top: &str, tables: &str, slots: u32, tokens: Option<&Path>) {
        let at = |name: &str| self.dir.path().join(name).display().to_string();
        let tokens = tokens.map_or_else(|| at("tokens"), |shared| shared.display().to_string());
        let reserve = slots / 5;
        let peers: Vec<String> = self.servers.iter().map(|peer| format!("'{peer}'")).collect();
        let text = format!(
            "listen = '{}'\nadmin_listen = '{}'\nstate = '{}'\nowned_networks = ['127.0.0.0/16']\n{top}\n\
             keys = {{ tokens = '{tokens}', decisions = '{}', pseudonyms = '{}' }}\n\
             telemetry = {{ metrics = '127.0.0.1:0' }}\n\
             [[site]]\nname = 'idc-1'\nkind = 'owned'\nslots = {slots}\ncore_reserve = {reserve}\n\
             [[pool]]\nname = 'pay'\nmembers = [{{ site = 'idc-1', peers = [{}] }}]\n\
             health = {{ interval = '100ms', timeout = '2s' }}\n\
             [[route]]\npath = '/pay'\nclass = 'core'\npool = 'pay'\n{tables}\n",
            self.listen,
            self.admin,
            at("state"),
            at("decisions"),
            at("pseudonyms"),
            peers.join(", "),
        );
        // Renamed into place, as an operator's tool does it.
        let next = self.dir.path().join("edge.toml.next");
        std::fs::write(&next, text).unwrap();
        std::fs::rename(&next, self.file()).unwrap();
    }

    /// Starts an edge with more arguments, and waits until it is ready.
    pub(super) fn start(&self, args: &[&str]) -> Edge {
        let number = std::fs::read_dir(self.dir.path()).unwrap().count();
        let log = self.dir.path().join(format!("log-{number}"));
        let (out, errors) = (std::fs::File::create(&log).unwrap(), std::fs::File::options().append(true).open(&log));
        let mut command = Command::new(env!("CARGO_BIN_EXE_naru"));
        command.args(["edge", "--config"]).arg(self.file()).args(args);
        node::tie(command.stdin(Stdio::null()).stdout(out).stderr(errors.unwrap()));
        let mut edge = Edge { child: command.spawn().unwrap(), ready: String::new(), log };
        edge.ready = until("the edge is ready", || {
            assert_eq!(edge.child.try_wait().unwrap(), None, "the edge ended: {}", edge.log());
            let log = edge.log();
            log.split_inclusive('\n')
                .find_map(|line| line.strip_suffix('\n')?.strip_prefix("ready ").map(str::to_owned))
        });
        edge
    }
}

/// A running edge.
pub(super) struct Edge {
    pub(super) child: Child,
    ready: String,
    log: PathBuf,
}

impl Edge {
    pub(super) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    pub(super) fn address(&self, field: &str) -> SocketAddr {
        let field = format!("{field}=");
        self.ready.split(' ').find_map(|word| word.strip_prefix(&*field)).unwrap().parse().unwrap()
    }

    pub(super) fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = nix::unistd::Pid::from_raw(self.child.id().try_into().unwrap());
        nix::sys::signal::kill(pid, signal).unwrap();
    }

    /// Status and body of an answer.
    pub(super) fn ask(&self, field: &str, call: &str, body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.address(field)).unwrap();
        let length = body.len();
        let head = "host: edge\r\nconnection: close\r\ncontent-type: application/json";
        let length = if length > 0 { format!("\r\ncontent-length: {length}") } else { String::new() };
        stream.write_all(format!("{call} HTTP/1.1\r\n{head}{length}\r\n\r\n{body}").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    pub(super) fn state(&self) -> serde_json::Value {
        serde_json::from_str(&self.ask("admin", "GET /state", "").1).unwrap()
    }

    /// Waits until it has ended by itself.
    pub(super) fn ended(&mut self) -> std::process::ExitStatus {
        until("the edge has ended", || self.child.try_wait().unwrap())
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read_to_string(&self.log).unwrap_or_default();
            let tail: Vec<&str> = log.lines().rev().take(SHOWN_LINES).collect();
            println!("the end of the edge's log:");
            tail.into_iter().rev().for_each(|line| println!("{line}"));
        }
        // One that has ended by itself is not there to be killed.
        if self.child.try_wait().unwrap().is_none() {
            self.child.kill().unwrap();
            self.child.wait().unwrap();
        }
    }
}

/// What a file of the edge's directory holds.
pub(super) fn read(path: impl AsRef<Path>) -> String {
    std::fs::read_to_string(path).unwrap()
}
