//! Servers behind the edge that reset, hang, answer nonsense or too much, or are gone.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::http1::{Answer, Wire, get, is_closed, try_get};
use super::process::{Edge, RENTED, Setup, until};

/// Of both routes.
const TIMEOUT: &str = "timeout = '1s'";
/// Where no server is left, the answer does not wait for one.
const AT_ONCE: Duration = Duration::from_millis(500);
/// A fault that is waited for takes the route's timeout, beside a compiler.
const SOON: Duration = Duration::from_secs(10);

/// A server that misbehaves as the last part of the path says.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    is_ending: Arc<AtomicBool>,
    /// Request lines that came, those of health checks left out.
    lines: Arc<Mutex<Vec<String>>>,
    accepting: Option<JoinHandle<()>>,
}

impl Server {
    fn start(at: IpAddr) -> Self {
        let listener = TcpListener::bind((at, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let (is_ending, lines) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let (ending, record) = (is_ending.clone(), lines.clone());
        #[expect(clippy::disallowed_methods, reason = "`end` joins it, and it joins those that serve")]
        let accepting = std::thread::spawn(move || {
            let mut open = Vec::new();
            for stream in listener.incoming() {
                if ending.load(Ordering::Relaxed) {
                    break;
                }
                let (stream, record) = (stream.unwrap(), record.clone());
                open.push((stream.try_clone().unwrap(), std::thread::spawn(move || serve(stream, &record))));
            }
            // Who is connected sees the end as well.
            for (stream, serving) in open {
                if let Err(error) = stream.shutdown(Shutdown::Both) {
                    assert_eq!(error.kind(), ErrorKind::NotConnected, "{error}");
                }
                serving.join().unwrap();
            }
        });
        Self { address, is_ending, lines, accepting: Some(accepting) }
    }

    pub(super) fn owned() -> Self {
        Self::start(IpAddr::from([127, 0, 0, 1]))
    }

    fn rented() -> Self {
        Self::start(RENTED.into())
    }

    /// Closes the listener and every connection.
    fn end(&mut self) {
        if let Some(accepting) = self.accepting.take() {
            self.is_ending.store(true, Ordering::Relaxed);
            TcpStream::connect(self.address).unwrap();
            accepting.join().unwrap();
        }
    }

    fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

const GOOD: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// Answers requests without a body until one says otherwise.
fn serve(mut stream: TcpStream, record: &Mutex<Vec<String>>) {
    let mut held = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        while let Some(at) = held.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&held[..at]).into_owned();
            held.drain(..at + 4);
            let line = head.lines().next().unwrap_or_default().to_owned();
            let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
            if path != "/health" {
                record.lock().unwrap().push(line);
            }
            if !answer(&mut stream, path.rsplit('/').next().unwrap_or_default()) {
                return;
            }
        }
        match stream.read(&mut buffer) {
            Ok(read) if read > 0 => held.extend_from_slice(&buffer[..read]),
            _ => return,
        }
    }
}

/// Answers in the way that is asked for; whether the connection goes on.
fn answer(stream: &mut TcpStream, fault: &str) -> bool {
    let last: &[u8] = match fault {
        "close" => b"",
        "hang" => {
            // Until the edge closes.
            while stream.read(&mut [0; 64]).is_ok_and(|read| read > 0) {}
            b""
        }
        "garbage" => b"\x16\x03\x01 no answer at all\r\n\r\n",
        "half-head" => b"HTTP/1.1 200 OK\r\nContent-Le",
        "endless-head" => {
            let field = [b"X-More: ", &*vec![b'h'; 100], b"\r\n"].concat();
            endless(stream, b"HTTP/1.1 200 OK\r\n", &field);
            b""
        }
        "two-lengths" => b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 40\r\n\r\nok",
        "length-and-chunks" => {
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
        }
        "less" => b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nok",
        "bad-chunk" => b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\nzz\r\n",
        "endless-body" => {
            let chunk = [b"10000\r\n", &*vec![b'e'; 0x1_0000], b"\r\n"].concat();
            endless(stream, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", &chunk);
            b""
        }
        "more" => {
            let not_asked = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nnot asked".repeat(100);
            return stream.write_all(&[GOOD, &not_asked].concat()).is_ok();
        }
        "large" => {
            let head = b"HTTP/1.1 200 OK\r\nContent-Length: 4194304\r\n\r\n";
            let part = [b'l'; 64 << 10];
            return stream.write_all(head).is_ok() && (0..64).all(|_| stream.write_all(&part).is_ok());
        }
        "slow" => {
            return stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n").is_ok()
                && (0..10).all(|_| {
                    std::thread::sleep(Duration::from_millis(50));
                    stream.write_all(b"s").is_ok()
                });
        }
        _ => return stream.write_all(GOOD).is_ok(),
    };
    if let Err(error) = stream.write_all(last) {
        assert!(is_closed(&error), "{error}");
    }
    false
}

/// Writes the beginning, and then the same until the edge closes.
fn endless(stream: &mut TcpStream, beginning: &[u8], again: &[u8]) {
    let mut written = stream.write_all(beginning);
    while written.is_ok() {
        written = stream.write_all(again);
    }
}

fn edge(owned: &Server, rented: Option<&Server>) -> Edge {
    Setup {
        owned: vec![owned.address],
        rented: rented.iter().map(|server| server.address).collect(),
        route: TIMEOUT.to_owned(),
        ..Setup::default()
    }
    .start()
}

/// Asks in time.
fn ask(edge: &Edge, path: &str) -> Answer {
    let began = Instant::now();
    let answer = get(edge.address, path);
    assert!(began.elapsed() < SOON, "{path} took {:?}", began.elapsed());
    answer
}

/// What a core request came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Came {
    Whole(u16),
    /// The connection ended before the end of the answer.
    Cut,
}

fn core(edge: &Edge, fault: &str) -> Came {
    let began = Instant::now();
    let answer = try_get(edge.address, &format!("/pay/{fault}"));
    assert!(began.elapsed() < SOON, "{fault} took {:?}", began.elapsed());
    answer.filter(|answer| answer.is_whole).map_or(Came::Cut, |answer| Came::Whole(answer.status))
}

#[test]
fn a_server_that_does_wrong_is_answered_for_and_harms_nobody_else() {
    let server = Server::owned();
    let edge = edge(&server, None);
    let check = |fault: &str, expect: &[Came]| {
        let came = core(&edge, fault);
        assert!(expect.contains(&came), "{fault}: {came:?}");
        // A server that failed may be left alone for a moment; then the next request gets its own answer.
        let next = until(&format!("an answer behind {fault}"), || {
            let answer = ask(&edge, "/pay/good");
            (answer.status < 500).then_some(answer)
        });
        assert_eq!((next.status, next.text()), (200, "ok".to_owned()), "behind {fault}");
    };
    let good = Came::Whole(200);
    let failed = [Came::Whole(502), Came::Whole(503), Came::Whole(504)];
    check("good", &[good]);
    check("close", &failed);
    check("hang", &failed);
    check("garbage", &failed);
    check("half-head", &failed);
    check("endless-head", &failed);
    check("two-lengths", &failed);
    check("length-and-chunks", &[good, failed[0], failed[1], failed[2], Came::Cut]);
    check("less", &[Came::Cut, failed[0], failed[1]]);
    check("more", &[good]);
    check("bad-chunk", &[Came::Cut, failed[0], failed[1]]);
    check("slow", &[good]);
}

#[test]
fn an_open_request_never_sees_an_error_of_ours() {
    let server = Server::owned();
    let edge = edge(&server, None);
    for fault in ["close", "hang", "garbage", "half-head", "endless-head", "two-lengths"] {
        let answer = ask(&edge, &format!("/open/{fault}"));
        assert!(answer.status < 500, "{fault}: {answer:?}");
    }
}

#[test]
fn an_answer_without_an_end_is_held_back_by_a_client_that_does_not_read() {
    let server = Server::owned();
    let edge = edge(&server, None);
    let (before, _) = edge.resident_mib();
    let mut wires: Vec<Wire> = (0..20).map(|_| Wire::connect(edge.address)).collect();
    wires.iter_mut().for_each(|wire| wire.send(b"GET /pay/endless-body HTTP/1.1\r\nHost: a\r\n\r\n"));
    until("all of them are asked for", || {
        let asked = server.lines().iter().filter(|line| line.contains("endless-body")).count();
        (asked == wires.len()).then_some(())
    });
    for _ in 0..100 {
        assert_eq!(ask(&edge, "/pay/good").status, 200);
    }
    let (_, most) = edge.resident_mib();
    println!("resident: {before} MiB before, {most} MiB at most");
    assert!(most <= before + 64, "{before} MiB before, {most} MiB at most");
}

#[test]
fn without_owned_servers_core_is_told_at_once_and_open_goes_to_the_cloud() {
    let (mut owned, rented) = (Server::owned(), Server::rented());
    let edge = edge(&owned, Some(&rented));
    assert_eq!(core(&edge, "good"), Came::Whole(200));
    owned.end();
    until("core is told that the server is gone", || (core(&edge, "good") == Came::Whole(503)).then_some(()));
    // Before that is known, the first ones may be asked to come again: retries have a budget.
    until("open goes to the cloud", || {
        let answers = [(); 20].map(|()| ask(&edge, "/open/good").status);
        assert!(answers.iter().all(|status| *status < 500), "{answers:?}");
        (answers == [200; 20]).then_some(())
    });
    for _ in 0..20 {
        let began = Instant::now();
        let answer = get(edge.address, "/pay/good");
        assert_eq!(answer.status, 503);
        assert!(answer.field("retry-after").is_some_and(|after| after.parse::<u32>().is_ok()), "{answer:?}");
        assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
    }
    let away = rented.lines();
    assert!(away.iter().any(|line| line.contains("/open/good")), "{away:?}");
    assert!(!away.iter().any(|line| line.contains("/pay")), "core in the cloud: {away:?}");
}

#[test]
fn without_the_cloud_everything_is_served_at_home() {
    let (owned, mut rented) = (Server::owned(), Server::rented());
    let edge = edge(&owned, Some(&rented));
    rented.end();
    for _ in 0..100 {
        assert_eq!(core(&edge, "good"), Came::Whole(200));
        assert_eq!(ask(&edge, "/open/good").status, 200);
    }
}

#[test]
fn without_any_server_an_open_request_is_asked_to_wait() {
    let (mut owned, mut rented) = (Server::owned(), Server::rented());
    let edge = edge(&owned, Some(&rented));
    owned.end();
    rented.end();
    for _ in 0..20 {
        let answer = ask(&edge, "/open/good");
        assert!(answer.status < 500, "{answer:?}");
    }
}
