//! Changes while requests go on: none of them may fail.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use nix::sys::signal::Signal;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{ClientConfig, RootCertStore};

use super::load::Load;
use super::process::{Place, Server};
use crate::edge::process::until;

/// Changes in one run.
const CHANGES: u64 = 50;
const CLIENTS: usize = 8;

/// An authority that makes certificates of `localhost`.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    client: Arc<ClientConfig>,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let own = params.self_signed(&key).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(own.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let client = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let client = Arc::new(client.with_root_certificates(roots).with_no_client_auth());
        Self { issuer: Issuer::new(params, key), client }
    }

    fn renew(&self, dir: &Path) {
        let key = KeyPair::generate().unwrap();
        let made = CertificateParams::new(["localhost".to_owned()]).unwrap().signed_by(&key, &self.issuer).unwrap();
        let secret = dir.join("key.pem");
        std::fs::write(&secret, key.serialize_pem()).unwrap();
        let owner_only = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&secret, owner_only).unwrap();
        std::fs::write(dir.join("certificate.pem"), made.pem()).unwrap();
    }
}

#[test]
fn configuration_and_certificate_change_fifty_times_and_no_request_fails() {
    let server = Server::start();
    let place = Place::new(&[&server]);
    let authority = Authority::new();
    let dir = place.dir.path();
    let tls = format!(
        "tls = {{ certificate = '{}', key = '{}' }}\nlimits = {{ requests_per_client_s = 1000000 }}",
        dir.join("certificate.pem").display(),
        dir.join("key.pem").display()
    );
    authority.renew(dir);
    place.configure(&tls, "");
    let edge = place.start(&[]);
    let load = Load::start(CLIENTS, edge.address("listen"), Some(&authority.client));
    for change in 0..CHANGES {
        let before = edge.state()["reloads"]["taken"].as_u64().unwrap();
        let answered = load.answered();
        authority.renew(dir);
        place.configure(&tls, &format!("cost = {}\n", 1 + change % 3));
        edge.signal(Signal::SIGHUP);
        until("the change is in force", || (edge.state()["reloads"]["taken"].as_u64().unwrap() > before).then_some(()));
        until("requests went on", || (load.answered() > answered + CLIENTS as u64).then_some(()));
    }
    let (answered, failed) = load.stop();
    assert_eq!(failed, Vec::<String>::new(), "of {answered}");
    println!("{answered} requests answered during {CHANGES} changes, 0 failed");
}

/// Handovers in one run: the second goes back to the chain of decisions that the first has left.
const HANDOVERS: u64 = 3;

#[test]
fn another_process_takes_over_again_and_again_and_no_request_fails() {
    let server = Server::start();
    let place = Place::new(&[&server]);
    place.configure("limits = { requests_per_client_s = 1000000 }", "");
    let mut edge = place.start(&[]);
    let load = Load::start(CLIENTS, edge.address("listen"), None);
    for _ in 0..HANDOVERS {
        let answered = load.answered();
        until("requests go on", || (load.answered() > answered + 20 * CLIENTS as u64).then_some(()));
        let next = place.start(&["--takeover"]);
        assert!(edge.ended().success(), "{}", edge.log());
        edge = next;
    }
    let answered = load.answered();
    until("requests go on", || (load.answered() > answered + 20 * CLIENTS as u64).then_some(()));
    let (answered, failed) = load.stop();
    assert_eq!(failed, Vec::<String>::new(), "of {answered}");
    println!("{answered} requests answered during {HANDOVERS} handovers, 0 failed");
    edge.signal(Signal::SIGTERM);
    assert!(edge.ended().success(), "{}", edge.log());
    for chain in ["decisions", "decisions-2"] {
        let mut audit = Command::new(env!("CARGO_BIN_EXE_naru"));
        audit.args(["edge", "audit", "--owned", "127.0.0.0/16", "--keys"]).arg(place.dir.path().join("decisions"));
        let output = audit.arg(place.dir.path().join("state").join(chain)).output().unwrap();
        assert!(output.status.success(), "{chain}: {}", String::from_utf8_lossy(&output.stdout));
    }
}

#[test]
fn a_process_that_gives_up_a_takeover_changes_nothing() {
    let server = Server::start();
    let place = Place::new(&[&server]);
    place.configure("", "");
    let edge = place.start(&[]);
    let socket = place.dir.path().join("state/handover.sock");
    for said in ["take 2\n", "take 1\n", ""] {
        let mut other = until("the edge can be asked", || UnixStream::connect(&socket).ok());
        other.write_all(said.as_bytes()).unwrap();
        other.shutdown(Shutdown::Write).unwrap();
        // Ends when the edge has heard that nobody serves.
        other.read_to_end(&mut Vec::new()).unwrap();
    }
    until("the edge goes on", || edge.log().contains("going on").then_some(()));
    let refused = || edge.log().matches("going on").count() == 3;
    until("each was told", || refused().then_some(()));
    assert_eq!(edge.ask("listen", "GET /pay", "").0, 200);
    until("the state is shown again", || TcpStream::connect(edge.address("admin")).ok());
    assert_eq!(edge.state()["sites"][0]["name"], "idc-1");
    let next = place.start(&["--takeover"]);
    assert_eq!(next.ask("listen", "GET /pay", "").0, 200);
}
