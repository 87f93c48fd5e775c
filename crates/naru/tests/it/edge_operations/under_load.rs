//! Changes while requests go on: none of them may fail.

use std::path::Path;
use std::sync::Arc;

use nix::sys::signal::Signal;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{ClientConfig, RootCertStore};

use super::load::Load;
use super::process::{Place, Server, until};

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
