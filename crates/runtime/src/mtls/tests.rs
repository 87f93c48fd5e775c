#![allow(clippy::unwrap_used)] // a test panics on failure

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::*;

struct Authority {
    directory: tempfile::TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("authority"), issuer.pem()).unwrap();
        Self { directory, issuer }
    }

    /// Files of a certificate for these DNS names.
    fn issue(&self, names: &[String]) -> MtlsFiles {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &self.issuer).unwrap();
        let path = |what: &str| self.directory.path().join(format!("{}.{what}", names.join("+")));
        fs::write(path("certificate"), certificate.pem()).unwrap();
        fs::write(path("key"), key.serialize_pem()).unwrap();
        fs::set_permissions(path("key"), fs::Permissions::from_mode(0o600)).unwrap();
        let authority = self.directory.path().join("authority");
        MtlsFiles { authority, certificate: path("certificate"), key: path("key") }
    }

    fn role(&self, role: &str) -> MtlsFiles {
        self.issue(&[dns_name(role)])
    }
}

/// Connects over an in-memory pipe; answers with what each side saw of the other's role, or its refusal.
async fn handshake(
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
    asked: &str,
) -> (Result<Option<&'static str>, String>, Result<(), String>) {
    let (near, far) = tokio::io::duplex(1 << 16);
    let accept = async {
        let mut stream = TlsAcceptor::from(server).accept(near).await.map_err(|error| error.to_string())?;
        stream.write_all(b"welcome").await.map_err(|error| error.to_string())?;
        stream.shutdown().await.map_err(|error| error.to_string())?;
        Ok(peer_role(stream.get_ref().1.peer_certificates(), &["north", "south"]))
    };
    let connect = async {
        let name = role_name(asked).unwrap();
        let mut stream = TlsConnector::from(client).connect(name, far).await.map_err(|error| error.to_string())?;
        // In TLS 1.3 a client learns on its first read whether its certificate was taken.
        stream.read_to_end(&mut Vec::new()).await.map_err(|error| error.to_string())?;
        Ok(())
    };
    tokio::join!(accept, connect)
}

#[tokio::test]
async fn a_connection_stands_only_between_the_roles_that_were_meant() {
    let house = Authority::new("house");
    let stranger = Authority::new("stranger");
    let both = house.issue(&[dns_name("south"), "south-1.example".to_owned()]);
    let server = || server_config(&house.role("store"), "store", &["north", "south"]).unwrap();
    let check = async |client: Arc<ClientConfig>, asked: &str, expect: Result<&str, (&str, &str)>| {
        let (accepted, connected) = handshake(server(), client, asked).await;
        match expect {
            Ok(role) => assert_eq!((accepted, connected), (Ok(Some(role)), Ok(()))),
            Err((server_says, client_says)) => {
                let (server_said, client_said) = (accepted.unwrap_err(), connected.unwrap_err());
                assert!(server_said.contains(server_says), "{server_said}");
                assert!(client_said.contains(client_says), "{client_said}");
            }
        }
    };
    let client = |files: &MtlsFiles, role| client_config(files, role).unwrap();
    check(client(&house.role("north"), "north"), "store", Ok("north")).await;
    check(client(&both, "south"), "store", Ok("south")).await;
    let wrong_role = client(&house.role("west"), "west");
    check(wrong_role, "store", Err(("not valid for name", "BadCertificate"))).await;
    let wrong_server = client(&house.role("north"), "north");
    check(wrong_server, "vault", Err(("BadCertificate", "not valid for name \"vault.role.naru.internal\""))).await;
    let mut strange = stranger.role("north");
    strange.authority = house.role("north").authority;
    check(client(&strange, "north"), "store", Err(("invalid peer certificate", "received fatal alert"))).await;
    let distrusting = client(&stranger.role("north"), "north");
    check(distrusting, "store", Err(("UnknownCA", "UnknownIssuer"))).await;
    let roots = Arc::new(RootCertStore::from_iter(
        CertificateDer::pem_file_iter(house.role("north").authority)
            .unwrap()
            .map(|certificate| webpki_anchor(&certificate.unwrap())),
    ));
    let nobody = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    check(Arc::new(nobody), "store", Err(("peer sent no certificates", "CertificateRequired"))).await;
}

fn webpki_anchor(certificate: &CertificateDer<'static>) -> rustls::pki_types::TrustAnchor<'static> {
    let mut store = RootCertStore::empty();
    store.add(certificate.clone()).unwrap();
    store.roots.remove(0)
}

#[test]
fn files_that_do_not_fit_are_refused_by_name() {
    let house = Authority::new("house");
    let good = house.role("north");
    let check = |files: MtlsFiles, role: &str, expect: &str| {
        let error = client_config(&files, role).unwrap_err();
        let message = match std::error::Error::source(&error) {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        };
        assert!(message.contains(expect), "{message}");
    };
    check(good.clone(), "south", "does not name this role; it needs the DNS name south.role.naru.internal");
    check(good.clone(), "So uth", "use 1 to 63 of a-z");
    check(MtlsFiles { key: house.role("south").key, ..good.clone() }, "north", "cannot be used with its key");
    check(MtlsFiles { key: good.certificate.clone(), ..good.clone() }, "north", "run: chmod 600");
    check(MtlsFiles { authority: good.key.clone(), ..good.clone() }, "north", "holds no certificate");
    check(
        MtlsFiles { certificate: "/nowhere".into(), ..good.clone() },
        "north",
        "certificate /nowhere: cannot be read",
    );
    fs::set_permissions(&good.key, fs::Permissions::from_mode(0o644)).unwrap();
    check(good, "north", "mode 0644 lets others read it");
}
