//! `naru broker` as a process: its command line, its admin port, and what it does with bad input.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use naru_kafka::node::{Node, NodeKind, NodeOptions};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tempfile::TempDir;

const NARU: &str = env!("CARGO_BIN_EXE_naru");
/// Longer than the broker takes for anything here, also beside a compiler.
const PATIENCE: Duration = Duration::from_secs(60);
/// What the broker may grow by while it is fed nonsense: far below what the nonsense announces.
const GROWTH_BYTES_MAX: u64 = 64 << 20;

fn naru(args: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(NARU);
    command.arg("broker").args(args).envs(environment.iter().copied()).stdin(Stdio::null());
    command.output().unwrap()
}

#[test]
fn a_wrong_configuration_names_every_mistake_and_exits_with_2() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("broker.toml");
    std::fs::write(&file, "listen = 'nowhere'\nflush = 'sometimes'\nretention = 3\n").unwrap();
    let check = |args: &[&str], environment: &[(&str, &str)], expect: &[&str]| {
        let output = naru(args, environment);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{args:?}: {said}");
        for expect in expect {
            assert!(said.contains(expect), "{args:?}: {expect:?} is not in {said}");
        }
        assert!(output.stdout.is_empty());
    };
    let path = file.to_str().unwrap();
    check(&["--config", path], &[], &["broker.toml", "listen", "flush", "fsync", "retention", "data"]);
    check(&[], &[], &["data"]);
    check(&["--data", "d", "--listen", "x"], &[("NARU_BROKER_FLUSH", "y")], &["--listen", "NARU_BROKER_FLUSH"]);
    check(&["--data", "d", "--connections-max", "0"], &[], &["connections"]);
}

#[test]
fn a_directory_that_cannot_be_used_is_named_and_is_no_configuration_error() {
    let dir = TempDir::new().unwrap();
    let taken = dir.path().join("file");
    std::fs::write(&taken, "").unwrap();
    let output = naru(&["--data", taken.to_str().unwrap(), "--listen", "127.0.0.1:0"], &[]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("cannot be used as a data directory"), "{said}");
}

struct Broker {
    node: Node,
    _dir: TempDir,
}

impl Broker {
    async fn start(args: &[&str]) -> Self {
        let dir = TempDir::new().unwrap();
        let mut options = NodeOptions::new(NodeKind::StandIn { exe: NARU.into() }, dir.path().join("node"));
        options.ready_within = PATIENCE;
        for arg in args {
            options = options.arg(*arg);
        }
        Self { node: Node::start(options).await.unwrap(), _dir: dir }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.node.address()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }
}

/// ApiVersions, version 0: the smallest request there is.
const HELLO: &[u8] = &[0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 9, 0xff, 0xff];

/// Whether the connection still answers.
fn answers(stream: &mut TcpStream) -> bool {
    let mut length = [0; 4];
    if stream.write_all(HELLO).is_err() || stream.read_exact(&mut length).is_err() {
        return false;
    }
    let mut body = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut body).is_ok() && body[..4] == [0, 0, 0, 9]
}

/// Sends what is given and says whether the broker closed the connection, after however many bytes of answer.
fn closes(broker: &Broker, bytes: &[u8]) -> bool {
    let mut stream = broker.connect();
    // The broker may close before everything is sent.
    if stream.write_all(bytes).is_err() {
        return true;
    }
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => true,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    }
}

fn frame(body: &[u8]) -> Vec<u8> {
    [&(body.len() as u32).to_be_bytes()[..], body].concat()
}

/// A request's header with a null client id, then the body.
fn request(api: i16, version: i16, flexible: bool, body: &[u8]) -> Vec<u8> {
    let mut bytes = [&api.to_be_bytes()[..], &version.to_be_bytes(), &[0, 0, 0, 9, 0xff, 0xff]].concat();
    if flexible {
        bytes.push(0);
    }
    bytes.extend_from_slice(body);
    frame(&bytes)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nonsense_closes_its_own_connection_and_no_other() {
    let broker = Broker::start(&["--transfer-timeout", "2s"]).await;
    let mut bystander = broker.connect();
    assert!(answers(&mut bystander));
    let before = broker.node.resident_bytes().unwrap();
    let many = [0x7f, 0xff, 0xff, 0xff];
    let cases: &[(&str, Vec<u8>)] = &[
        ("a TLS hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec()),
        ("an HTTP request", b"GET / HTTP/1.1\r\n\r\n".to_vec()),
        ("a negative length", vec![0xff; 64]),
        ("a length over the bound", [&[0x06, 0x40, 0, 1][..], &[0; 64]].concat()),
        ("a frame too short for a header", frame(&[0, 3])),
        ("an unknown API", request(999, 0, false, &[])),
        ("an API that is not served", request(22 + 2, 0, false, &[])),
        ("a version too old", request(0, 2, false, &[0; 32])),
        ("a version too new", request(3, 99, true, &[0; 32])),
        (
            "a produce with an absurd count",
            request(0, 7, false, &[&[0xff, 0xff, 0, 1, 0, 0, 0, 1][..], &many].concat()),
        ),
        ("a fetch with an absurd count", request(1, 4, false, &[&[0; 17][..], &many].concat())),
        ("metadata with an absurd count", request(3, 1, false, &many)),
        (
            "an OffsetCommit with an absurd count",
            request(8, 2, false, &[&[0, 1, b'g'][..], &[0xff; 6], &[0; 8], &many].concat()),
        ),
        ("a compact count of four billion", request(3, 12, true, &[0xff, 0xff, 0xff, 0xff, 0x0f])),
        ("a body cut short", request(11, 0, false, &[0, 20, b'g'])),
    ];
    for (name, bytes) in cases {
        assert!(closes(&broker, bytes), "{name}");
        assert!(answers(&mut bystander), "{name}: another connection was hurt");
    }
    let grown = broker.node.resident_bytes().unwrap().saturating_sub(before);
    assert!(grown < GROWTH_BYTES_MAX, "grown by {grown} bytes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_bytes_cost_bounded_memory_and_hurt_nobody() {
    const SEED: u64 = 20_261_123;
    let broker = Broker::start(&["--transfer-timeout", "1s"]).await;
    let mut bystander = broker.connect();
    assert!(answers(&mut bystander));
    let before = broker.node.resident_bytes().unwrap();
    let mut random = ChaCha8Rng::seed_from_u64(SEED);
    let apis: [(i16, i16); 12] =
        [(0, 9), (1, 12), (2, 6), (3, 12), (8, 8), (9, 8), (11, 6), (14, 5), (18, 3), (19, 7), (32, 4), (36, 0)];
    for round in 0..300 {
        let mut noise = vec![0; random.random_range(1..2_000)];
        random.fill_bytes(&mut noise);
        // Half of it looks like a request, so that decoders are reached; the rest is noise from the first byte.
        let bytes = if round % 2 == 0 {
            let (api, version) = apis[random.random_range(0..apis.len())];
            request(api, random.random_range(0..=version), false, &noise)
        } else {
            noise
        };
        let mut stream = broker.connect();
        // Some of it is answered, some closed; the broker may be done before everything is sent.
        if stream.write_all(&bytes).is_ok() {
            stream.shutdown(std::net::Shutdown::Write).unwrap_or_default();
            let mut rest = Vec::new();
            if let Err(error) = stream.read_to_end(&mut rest) {
                assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "seed {SEED}, round {round}");
            }
        }
        assert!(answers(&mut bystander), "seed {SEED}, round {round}");
    }
    let grown = broker.node.resident_bytes().unwrap().saturating_sub(before);
    assert!(grown < GROWTH_BYTES_MAX, "grown by {grown} bytes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn announced_bytes_that_never_come_cost_nothing_and_are_not_waited_for() {
    let broker = Broker::start(&["--transfer-timeout", "2s"]).await;
    let before = broker.node.resident_bytes().unwrap();
    let announced = [&(90_u32 << 20).to_be_bytes()[..], &[0, 0, 0, 8, 0, 0, 0, 1]].concat();
    let mut waiting: Vec<TcpStream> = (0..8).map(|_| broker.connect()).collect();
    for stream in &mut waiting {
        stream.write_all(&announced).unwrap();
    }
    assert!(answers(&mut broker.connect()));
    for stream in &mut waiting {
        let mut rest = Vec::new();
        assert_eq!(stream.read_to_end(&mut rest).unwrap_or(0), 0);
    }
    let grown = broker.node.resident_bytes().unwrap().saturating_sub(before);
    assert!(grown < GROWTH_BYTES_MAX, "grown by {grown} bytes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_are_bounded_and_a_place_that_is_free_is_given_again() {
    let broker = Broker::start(&["--connections-max", "4"]).await;
    let mut held: Vec<TcpStream> = Vec::new();
    // The probe that waited for the broker may still hold a place for a moment.
    while held.len() < 4 {
        let mut stream = broker.connect();
        if answers(&mut stream) {
            held.push(stream);
        }
    }
    assert!(!answers(&mut broker.connect()));
    held.pop();
    while !answers(&mut broker.connect()) {}
}

async fn admin(address: SocketAddr, method: reqwest::Method, path: &str, body: &'static str) -> (u16, String) {
    let client = reqwest::Client::new();
    let sent = client.request(method, format!("http://{address}{path}")).body(body).send().await.unwrap();
    (sent.status().as_u16(), sent.text().await.unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_are_asked_for_shown_carried_out_and_cleared() {
    let broker = Broker::start(&["--admin", "127.0.0.1:0"]).await;
    let address = broker.node.admin().unwrap();
    let post = reqwest::Method::POST;
    for (body, expect) in [
        (r#"{"api":"Produce","count":3,"eror":"X"}"#, "unknown field `eror`"),
        (r#"{"api":"Porduce","error":"NOT_ENOUGH_REPLICAS"}"#, "is not known"),
        (r#"{}"#, "exactly one of"),
        ("nonsense", "expected"),
    ] {
        let (status, said) = admin(address, post.clone(), "/faults", body).await;
        assert_eq!(status, 400, "{body}: {said}");
        assert!(said.contains(expect), "{body}: {said}");
    }
    let (status, _) = admin(address, post.clone(), "/faults", r#"{"api":"ApiVersions","drop":"before-write"}"#).await;
    assert_eq!(status, 200);
    let (_, shown) = admin(address, reqwest::Method::GET, "/faults", "").await;
    assert!(shown.contains("before-write") && shown.contains("ApiVersions"), "{shown}");
    assert!(!answers(&mut broker.connect()), "the fault was not carried out");
    assert!(answers(&mut broker.connect()), "the fault was carried out twice");
    admin(address, post, "/faults", r#"{"api":"ApiVersions","count":100,"drop":"before-write"}"#).await;
    admin(address, reqwest::Method::DELETE, "/faults", "").await;
    assert!(answers(&mut broker.connect()), "a cleared fault was carried out");
    let (_, status) = admin(address, reqwest::Method::GET, "/status", "").await;
    assert!(status.contains("request_memory_bytes_max"), "{status}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_show_connections_requests_bytes_and_fsyncs() {
    let broker = Broker::start(&["--telemetry-metrics", "127.0.0.1:0"]).await;
    let said = std::fs::read_to_string(broker.node.log_path()).unwrap();
    let address = said.split_whitespace().find_map(|word| word.strip_prefix("metrics=")).unwrap().to_owned();
    let figure = async |name: &str| -> u64 {
        let text = reqwest::get(format!("http://{address}/metrics")).await.unwrap().text().await.unwrap();
        let found = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        found.unwrap_or_else(|| panic!("{name} is not in {text}")).parse().unwrap()
    };
    let hellos = "naru_broker_requests_total{api=\"ApiVersions\"}";
    // Whoever started the broker has asked, too.
    let before = figure(hellos).await;
    let mut stream = broker.connect();
    assert!(answers(&mut stream) && answers(&mut stream));
    assert_eq!(figure(hellos).await - before, 2);
    assert_eq!(figure("naru_broker_requests_total{api=\"Produce\"}").await, 0);
    assert!(figure("naru_broker_connections_open").await >= 1);
    assert_eq!(figure("naru_broker_appended_bytes_total").await, 0);
    assert!(figure("naru_broker_fsyncs_total").await < 100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_at_rest_is_small_and_ends_well_when_it_is_told_to() {
    /// What a stand-in may take at rest. More than half of it are pages of the binary, which carries every role and is
    /// little optimised in tests.
    const AT_REST_BYTES_MAX: u64 = 40 << 20;
    let mut broker = Broker::start(&[]).await;
    let resident = broker.node.resident_bytes().unwrap();
    assert!(resident <= AT_REST_BYTES_MAX, "{resident} bytes");
    let mut idle = broker.connect();
    assert!(answers(&mut idle));
    let status = broker.node.stop(PATIENCE).await.unwrap();
    assert_eq!(status.code(), Some(0), "a client that stays connected must not spoil the drain");
}
