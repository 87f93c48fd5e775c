//! Residency of live traffic: requests of every kind, disguised ones among them, while servers come and go. What the rented
//! servers saw, what the clients were told and the signed log must agree that nothing of core was there.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::http1::Wire;
use super::process::{RENTED, Setup};

/// In `./x test`; `./x soak edge` asks for a million.
const REQUESTS: u64 = 20_000;
const CLIENTS: u64 = 12;
/// What no rented server may ever see, wherever a client wrote it.
const PLANTED: &str = "0101234567890";
/// How often a client comes as somebody new.
const NEW_VISITOR: f64 = 0.02;
/// How long a request is at a server: with few slots, much of the load has to spill.
const HELD: Duration = Duration::from_millis(2);
/// Between two faults.
const FAULT_EVERY: Duration = Duration::from_millis(150);

fn requests() -> u64 {
    crate::variables::number("NARU_SOAK_REQUESTS").unwrap_or(REQUESTS)
}

/// What a site's server saw.
#[derive(Default)]
struct Seen {
    requests: AtomicU64,
    /// Heads and bodies that should not have come.
    wrong: Mutex<Vec<String>>,
}

/// A server that says where it stands.
struct Server {
    address: SocketAddr,
    is_ending: Arc<AtomicBool>,
    accepting: JoinHandle<()>,
}

impl Server {
    fn start(address: SocketAddr, is_rented: bool, seen: &Arc<Seen>) -> Self {
        let listener = bind(address);
        let address = listener.local_addr().unwrap();
        let is_ending = Arc::new(AtomicBool::new(false));
        let (ending, seen) = (is_ending.clone(), seen.clone());
        #[expect(clippy::disallowed_methods, reason = "`end` joins it; those that serve end with their connections")]
        let accepting = std::thread::spawn(move || {
            let mut open: Vec<(TcpStream, JoinHandle<()>)> = Vec::new();
            for stream in listener.incoming() {
                if ending.load(Ordering::Relaxed) {
                    break;
                }
                let (stream, seen) = (stream.unwrap(), seen.clone());
                let serving = stream.try_clone().unwrap();
                open.push((stream, std::thread::spawn(move || serve(serving, is_rented, &seen))));
            }
            for (stream, serving) in open {
                // It may have ended by itself.
                if stream.shutdown(std::net::Shutdown::Both).is_ok() {
                    serving.join().unwrap();
                }
            }
        });
        Self { address, is_ending, accepting }
    }

    fn end(self) -> SocketAddr {
        self.is_ending.store(true, Ordering::Relaxed);
        TcpStream::connect(self.address).unwrap();
        self.accepting.join().unwrap();
        self.address
    }
}

/// The same address again, as soon as the system gives it back.
fn bind(address: SocketAddr) -> TcpListener {
    super::process::until("an address is free again", || TcpListener::bind(address).ok())
}

fn serve(mut stream: TcpStream, is_rented: bool, seen: &Seen) {
    let mut held = Vec::new();
    let mut buffer = [0; 8192];
    loop {
        while let Some(at) = held.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&held[..at]).into_owned();
            let length =
                head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
            let whole = at + 4 + length.unwrap_or(0);
            if held.len() < whole {
                break;
            }
            let text = String::from_utf8_lossy(&held[..whole]).into_owned();
            held.drain(..whole);
            if !head.starts_with("GET /health ") {
                seen.requests.fetch_add(1, Ordering::Relaxed);
                let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
                let is_open = path == "/open" || path.starts_with("/open/") || path.starts_with("/open?");
                if is_rented && (!is_open || text.contains(PLANTED)) {
                    seen.wrong.lock().unwrap().push(text);
                }
                std::thread::sleep(HELD);
            }
            let site = if is_rented { "rented" } else { "owned" };
            let answer = format!("HTTP/1.1 200 OK\r\nX-Site: {site}\r\nContent-Length: 2\r\n\r\nok");
            if stream.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
        match stream.read(&mut buffer) {
            Ok(read) if read > 0 => held.extend_from_slice(&buffer[..read]),
            _ => return,
        }
    }
}

/// What a client asks for.
struct Asked {
    text: String,
    /// Whether a rented server may answer.
    may_leave: bool,
    is_open: bool,
}

/// A request of any kind, with something personal wherever there is a place for it. `cookies` are those of the edge.
fn any(rng: &mut ChaCha8Rng, cookies: &BTreeMap<String, String>) -> Asked {
    const CORE: [&str; 7] = ["/", "/pay", "/pay/1", "/openly", "/Open", "/OPEN/gift", "/transfer/open"];
    const DISGUISED: [&str; 8] = [
        "/open/../pay",
        "/open/%2e%2e/pay",
        "/open//pay",
        "/open/..;/pay",
        "/%6fpen/../pay",
        "/open%2f..%2fpay",
        "/open/.%2e/pay",
        "/pay/../open",
    ];
    let is_open = rng.random_bool(0.6);
    let is_disguised = !is_open && rng.random_bool(0.2);
    let path = match (is_open, is_disguised) {
        (true, _) => ["/open", "/open/gift", "/open/event/9"][rng.random_range(0..3)],
        (_, true) => DISGUISED[rng.random_range(0..DISGUISED.len())],
        _ => CORE[rng.random_range(0..CORE.len())],
    };
    let query = if rng.random_bool(0.3) { format!("?phone={PLANTED}&offer=1") } else { String::new() };
    let mut text = String::new();
    let has_body = rng.random_bool(0.2);
    text.push_str(&format!(
        "{} {path}{query} HTTP/1.1\r\nHost: wallet.example\r\n",
        if has_body { "POST" } else { "GET" }
    ));
    let mut cookies: Vec<String> = cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
    if rng.random_bool(0.5) {
        cookies.insert(0, format!("session={PLANTED}"));
    }
    if !cookies.is_empty() {
        text.push_str(&format!("Cookie: {}\r\n", cookies.join("; ")));
    }
    for field in
        ["Authorization: Bearer ", "X-Phone: ", "X-Forwarded-For: ", "X-Naru-Visitor: ", "Referer: /", "User-Agent: "]
    {
        if rng.random_bool(0.3) {
            text.push_str(&format!("{field}{PLANTED}\r\n"));
        }
    }
    if has_body {
        let body = format!("{{\"phone\": \"{PLANTED}\"}}");
        text.push_str(&format!("Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
    } else {
        text.push_str("\r\n");
    }
    Asked { text, may_leave: is_open && !has_body, is_open }
}

/// What became of the requests of one client.
#[derive(Debug, Default)]
struct Outcomes {
    owned: u64,
    rented: u64,
    waited: u64,
    refused: u64,
    unavailable: u64,
    lost: u64,
}

fn client(to: SocketAddr, count: u64, seed: u64) -> Outcomes {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut outcomes = Outcomes::default();
    let mut cookies = BTreeMap::new();
    let mut wire = Wire::connect(to);
    for _ in 0..count {
        if rng.random_bool(NEW_VISITOR) {
            cookies.clear();
        }
        let asked = any(&mut rng, &cookies);
        wire.send(asked.text.as_bytes());
        let Some(answer) = wire.answer(false) else {
            // A refusal ends its connection, and so does a server that was killed in the middle of its answer.
            outcomes.lost += 1;
            wire = Wire::connect(to);
            continue;
        };
        for set in answer.fields("set-cookie") {
            let (name, value) = set.split(';').next().and_then(|pair| pair.split_once('=')).unwrap();
            cookies.insert(name.to_owned(), value.to_owned());
        }
        match (answer.status, answer.field("x-site")) {
            (200, Some("rented")) => {
                assert!(asked.may_leave, "answered by a rented server: {}", asked.text);
                outcomes.rented += 1;
            }
            (200, Some(_)) => outcomes.owned += 1,
            (200 | 429, None) => {
                assert!(asked.is_open, "{} for {}", answer.status, asked.text);
                outcomes.waited += 1;
            }
            (400, _) => outcomes.refused += 1,
            (503, _) => {
                assert!(!asked.is_open, "an error of ours for {}", asked.text);
                outcomes.unavailable += 1;
            }
            other => panic!("{other:?} for {}", asked.text),
        }
        if answer.field("connection").is_some_and(|connection| connection.eq_ignore_ascii_case("close")) {
            wire = Wire::connect(to);
        }
    }
    outcomes
}

#[test]
fn nothing_of_core_is_ever_at_a_rented_site() {
    let (own, away) = (Arc::new(Seen::default()), Arc::new(Seen::default()));
    let free = |ip: Ipv4Addr| SocketAddr::from((IpAddr::from(ip), 0));
    let mut servers: Vec<(Server, bool)> = [false, false, true, true]
        .into_iter()
        .map(|is_rented| match is_rented {
            false => (Server::start(free(Ipv4Addr::LOCALHOST), false, &own), false),
            true => (Server::start(free(RENTED), true, &away), true),
        })
        .collect();
    let at = |rented: bool| servers.iter().filter(|(_, is)| *is == rented).map(|(server, _)| server.address).collect();
    let setup = Setup { owned: at(false), rented: at(true), slots: Some(10), ..Setup::default() };
    let edge = setup.start();
    let to = edge.address;
    let each = requests() / CLIENTS;
    let is_done = AtomicBool::new(false);
    let outcomes = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|seed| scope.spawn(move || client(to, each, seed))).collect();
        scope.spawn(|| {
            let mut rng = ChaCha8Rng::seed_from_u64(CLIENTS);
            while !is_done.load(Ordering::Relaxed) {
                std::thread::sleep(FAULT_EVERY);
                let (server, is_rented) = servers.remove(rng.random_range(0..servers.len()));
                let address = server.end();
                std::thread::sleep(FAULT_EVERY);
                let seen = if is_rented { &away } else { &own };
                servers.push((Server::start(address, is_rented, seen), is_rented));
            }
        });
        let outcomes: Vec<Outcomes> = clients.into_iter().map(|client| client.join().unwrap()).collect();
        is_done.store(true, Ordering::Relaxed);
        outcomes
    });
    let sum = |of: fn(&Outcomes) -> u64| outcomes.iter().map(of).sum::<u64>();
    let (owned, rented) = (sum(|of| of.owned), sum(|of| of.rented));
    println!(
        "{owned} answered by owned servers, {rented} by rented ones, {} waited, {} refused, {} told to come again, {} without an answer",
        sum(|of| of.waited),
        sum(|of| of.refused),
        sum(|of| of.unavailable),
        sum(|of| of.lost),
    );
    assert_eq!(*away.wrong.lock().unwrap(), Vec::<String>::new());
    assert!(
        rented * 20 > requests() && owned * 20 > requests() && sum(|of| of.refused) > 0,
        "a part of the traffic did not happen"
    );
    let (code, said) = edge.end_and_audit();
    println!("{said}");
    assert_eq!(code, 0, "{said}");
    for (server, _) in servers {
        server.end();
    }
}
