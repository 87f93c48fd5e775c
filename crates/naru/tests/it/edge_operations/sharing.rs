//! Several gateways in front of one site: together they never take more than it has.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use nix::sys::signal::Signal;
use tempfile::TempDir;

use super::process::{Edge, Place, Server};
use crate::edge::process::until;

/// Of the site, in requests of cost 1.
const SLOTS: u32 = 40;
const CLIENTS: usize = 60;

/// A server that holds every request until it is told to let go, and counts them.
struct Holding {
    address: SocketAddr,
    state: Arc<(Mutex<Held>, Condvar)>,
}

#[derive(Default)]
struct Held {
    now: u32,
    most: u32,
    let_go: bool,
    ends: bool,
}

impl Holding {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state: Arc<(Mutex<Held>, Condvar)> = Arc::default();
        let shared = state.clone();
        #[expect(
            clippy::disallowed_methods,
            reason = "it ends with the server, and those that answer with their connections"
        )]
        std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                if shared.0.lock().unwrap().ends {
                    return;
                }
                let shared = shared.clone();
                std::thread::spawn(move || hold(stream, &shared));
            }
        });
        Self { address, state }
    }

    fn now(&self) -> u32 {
        self.state.0.lock().unwrap().now
    }

    /// The most at once since this was asked last.
    fn take_most(&self) -> u32 {
        let mut held = self.state.0.lock().unwrap();
        let now = held.now;
        std::mem::replace(&mut held.most, now)
    }

    fn let_go(&self, let_go: bool) {
        self.state.0.lock().unwrap().let_go = let_go;
        self.state.1.notify_all();
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        self.state.0.lock().unwrap().ends = true;
        self.let_go(true);
        // Wakes it; if it is gone already, there is nobody to wake.
        drop(TcpStream::connect(self.address));
    }
}

fn hold(stream: TcpStream, state: &(Mutex<Held>, Condvar)) {
    let mut reader = BufReader::new(stream);
    loop {
        let (mut line, mut is_check) = (String::new(), false);
        loop {
            line.clear();
            if !reader.read_line(&mut line).is_ok_and(|bytes| bytes > 0) {
                return;
            }
            is_check |= line.starts_with("GET /health ");
            if line == "\r\n" {
                break;
            }
        }
        if !is_check {
            let mut held = state.0.lock().unwrap();
            held.now += 1;
            held.most = held.most.max(held.now);
            let mut held = state.1.wait_while(held, |held| !held.let_go).unwrap();
            held.now -= 1;
        }
        if reader.get_mut().write_all(b"HTTP/1.1 200 X\r\ncontent-length: 5\r\n\r\nhello").is_err() {
            return;
        }
    }
}

/// Clients of one gateway that want more than there is, again and again.
struct Crowd {
    ends: Arc<AtomicBool>,
    asked: Arc<AtomicU64>,
    clients: Vec<std::thread::JoinHandle<()>>,
}

impl Crowd {
    fn start(address: SocketAddr, clients: usize) -> Self {
        let (ends, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        #[expect(clippy::disallowed_methods, reason = "`drop` joins them")]
        let client = |_| {
            let (ends, asked) = (ends.clone(), asked.clone());
            std::thread::spawn(move || {
                while !ends.load(Ordering::Relaxed) {
                    asked.fetch_add(1, Ordering::Relaxed);
                    // Refused, held, reset with its gateway: each is a part of the test.
                    drop(once(address, &ends));
                    std::thread::sleep(Duration::from_millis(20));
                }
            })
        };
        let clients = (0..clients).map(client).collect();
        Self { ends, asked, clients }
    }

    fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        // A client that panicked has been told already.
        self.clients.drain(..).for_each(|client| drop(client.join()));
    }
}

fn once(address: SocketAddr, ends: &AtomicBool) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_millis(50)))?;
    stream.write_all(b"GET /pay HTTP/1.1\r\nhost: edge\r\nconnection: close\r\n\r\n")?;
    let mut answer = [0; 512];
    loop {
        match stream.read(&mut answer) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock && !ends.load(Ordering::Relaxed) => {}
            Err(error) => return Err(error),
        }
    }
}

fn free_udp() -> SocketAddr {
    UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Two gateways with the same keys; the first gives out leases.
fn two(server: SocketAddr) -> (Vec<Place>, Vec<Edge>, TempDir) {
    let coordinator = free_udp();
    let keys = tempfile::tempdir().unwrap();
    let tokens = keys.path().join("tokens");
    let places: Vec<Place> = (1..=2)
        .map(|number| {
            let place = Place::at(vec![server]);
            let coordinate = if number == 1 { format!("coordinate = '{coordinator}', ") } else { String::new() };
            let sharing = format!(
                "sharing = {{ coordinator = '{coordinator}', {coordinate}number = {number}, gateways = 2, settle = '1s' }}\n\
                 limits = {{ requests_per_client_s = 1000000 }}"
            );
            place.configure_with(&sharing, "timeout = '60s'\n", SLOTS, Some(&tokens));
            place
        })
        .collect();
    let edges = places.iter().map(|place| place.start(&[])).collect();
    (places, edges, keys)
}

fn part(edge: &Edge) -> u64 {
    edge.state()["sites"][0]["part"].as_u64().unwrap()
}

#[test]
fn two_gateways_never_take_more_than_the_site_has_when_one_is_stopped_killed_or_alone() {
    let server = Holding::start();
    let (places, mut edges, _keys) = two(server.address);
    until("both have a lease", || edges.iter().all(|edge| part(edge) >= 250_000).then_some(()));
    until("all is dealt out", || (part(&edges[0]) + part(&edges[1]) > 990_000).then_some(()));
    let crowds: Vec<Crowd> = edges.iter().map(|edge| Crowd::start(edge.address("listen"), CLIENTS)).collect();
    let slots = SLOTS;
    until("nearly all slots are taken", || (server.now() >= slots - 2).then_some(()));
    let asked = |crowd: &Crowd, more: u64| {
        let before = crowd.asked();
        until("the crowd asks on", || (crowd.asked() > before + more).then_some(()));
    };
    asked(&crowds[0], 100);
    assert!(server.take_most() <= slots);

    // Stopped: the server ends its requests, and it comes back with a lease that has long ended.
    edges[1].signal(Signal::SIGSTOP);
    server.let_go(true);
    let all_but_safe = 700_000;
    until("the other gets its part", || (part(&edges[0]) > all_but_safe).then_some(()));
    assert!(server.take_most() <= slots);
    server.let_go(false);
    until("the other fills its part", || (server.now() >= slots * 3 / 4 - 2).then_some(()));
    edges[1].signal(Signal::SIGCONT);
    until("it is back", || (part(&edges[1]) >= 250_000).then_some(()));
    asked(&crowds[1], 200);
    let most = server.take_most();
    assert!(most <= slots, "{most} of {slots}");

    // Killed with the coordinator in it: the other falls to its safe part, and has that.
    server.let_go(true);
    edges[0].signal(Signal::SIGKILL);
    edges[0].ended();
    until("the safe part is left", || (part(&edges[1]) == 250_000).then_some(()));
    server.let_go(false);
    until("the safe part is used", || (server.now() == slots / 4).then_some(()));
    asked(&crowds[1], 200);
    assert!(server.now() <= slots / 4, "{}", server.now());
    assert!(edges[1].log().contains("the safe part is left"), "{}", edges[1].log());

    // A new coordinator finds out who has what.
    edges[0] = places[0].start(&[]);
    until("leases are given again", || (part(&edges[0]) + part(&edges[1]) > 990_000).then_some(()));
    assert!(server.take_most() <= slots);
    server.let_go(true);
}

#[test]
fn a_gateway_alone_has_its_safe_part() {
    let server = Server::start();
    let place = Place::new(&[&server]);
    let nobody = free_udp();
    place.configure(
        &format!("sharing = {{ coordinator = '{nobody}', number = 3, gateways = 4, safe_percent = 100 }}"),
        "",
    );
    let edge = place.start(&[]);
    let state = edge.state();
    assert_eq!(state["sites"][0]["part"], 250_000);
    assert_eq!((&state["sites"][0]["limit"], &state["sites"][0]["reserve"]), (&250_000.into(), &50_000.into()));
    assert_eq!(edge.ask("listen", "GET /pay", "").0, 200);
}

#[test]
fn two_processes_of_a_takeover_never_take_more_than_the_site_has() {
    let server = Holding::start();
    let place = Place::at(vec![server.address]);
    place.configure_with("limits = { requests_per_client_s = 1000000 }", "timeout = '60s'\n", SLOTS, None);
    let mut edge = place.start(&[]);
    let crowd = Crowd::start(edge.address("listen"), CLIENTS);
    until("all slots are taken", || (server.now() == SLOTS).then_some(()));
    let next = place.start(&["--takeover"]);
    // The one before still holds everything, so there is nothing for those who come.
    let before = crowd.asked();
    until("the crowd asks on", || (crowd.asked() > before + 200).then_some(()));
    assert_eq!(server.take_most(), SLOTS);
    server.let_go(true);
    assert!(edge.ended().success(), "{}", edge.log());
    until("all of the site is the new one's", || (part(&next) == 1_000_000).then_some(()));
    assert!(server.take_most() <= SLOTS);
    server.let_go(false);
    until("all slots are taken again", || (server.now() == SLOTS).then_some(()));
    assert_eq!(server.take_most(), SLOTS);
    server.let_go(true);
}
