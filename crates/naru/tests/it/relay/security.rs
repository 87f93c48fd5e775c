//! Encryption, authentication, permissions and quotas end at the relay; the clusters behind it ask for none.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use naru_kafka::client::admin::NewTopic;
use naru_kafka::client::fetch::{FetchFrom, FetchOptions};
use naru_kafka::client::groups::GroupOffset;
use naru_kafka::client::produce::ProduceOptions;
use naru_kafka::client::{
    Client, ClientConfig, ClientError, Identity, Sasl, ScramMechanism, Secret, Tls, TopicPartition,
};
use naru_kafka::node::{Node, NodeKind, NodeOptions};
use naru_kafka::wire::{BatchBuilder, Compression, ErrorCode};
use naru_rehearsal::service_process::{ServiceOptions, ServiceProcess};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::CertificateDer;
use tempfile::TempDir;

use super::process::{Pair, cluster_id};
use crate::outside::kcat::kcat_itself;
use crate::outside::peer;

/// Longer than anything here takes beside a compiler.
const PATIENCE: Duration = Duration::from_secs(60);

const NARU: &str = env!("CARGO_BIN_EXE_naru");

/// Who may do what with the topics `pay` and `secret`.
const RULES: &str = "
[[security.acl]]
principals = ['alice', 'service']
topics = ['pay']
groups = ['ledger*']
allow = ['read', 'write']

[[security.acl]]
principals = ['slow']
topics = ['*']
allow = ['all']

[[security.quota]]
principals = ['slow']
produce_per_second = '2KiB'
";

struct Secured {
    relay: ServiceProcess,
    authority: CertifiedIssuer<'static, KeyPair>,
    _nodes: [Node; 2],
    dir: TempDir,
}

/// Who signs a test's certificates.
pub(super) fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut authority = CertificateParams::default();
    // A name of its own: a certificate of the same name as its issuer's is one that signed itself.
    authority.distinguished_name.push(DnType::CommonName, "authority of the test");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap()
}

pub(super) fn write_private(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// The lines of a user, as an operator gets them.
fn user_lines(name: &str, password: &Path) -> String {
    let password = fs::File::open(password).unwrap();
    let output = Command::new(NARU).args(["relay", "user", name]).stdin(Stdio::from(password)).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

impl Secured {
    /// Two stand-ins with two topics, and a relay with these settings of `[security]` and RULES.
    async fn start(client_certificates: &str) -> Self {
        let dir = TempDir::new().unwrap();
        let path = |name: &str| dir.path().join(name);
        let authority = authority();
        let key = KeyPair::generate().unwrap();
        let own = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
        fs::write(path("authority.pem"), authority.pem()).unwrap();
        fs::write(path("relay.pem"), own.pem()).unwrap();
        write_private(&path("relay.key"), &key.serialize_pem());
        let mut users = String::new();
        for name in ["alice", "slow"] {
            let password = path("password");
            fs::write(&password, format!("{name}'s pencil\n")).unwrap();
            users += &user_lines(name, &password);
        }
        assert!(!users.contains("pencil"));
        write_private(&path("users"), &users);

        let node = |name: &str| {
            let mut options = NodeOptions::new(NodeKind::StandIn { exe: NARU.into() }, path(name));
            // A relay refuses one cluster as both sides.
            options.cluster_id = cluster_id(name);
            options.ready_within = PATIENCE;
            Node::start(options)
        };
        let nodes = [node("a").await.unwrap(), node("b").await.unwrap()];
        for node in &nodes {
            let client = Client::new(ClientConfig::new([node.address().to_string()])).unwrap();
            for topic in ["pay", "secret"] {
                client.create_topic(&NewTopic::new(topic, 1), false).await.unwrap();
            }
        }
        let [a, b] = nodes.each_ref().map(Node::address);
        let config = format!(
            "state = {state:?}\ndiscovery_interval = '200ms'\n[a]\nbootstrap = ['{a}']\n[b]\nbootstrap = ['{b}']\n\
             [security]\nusers = {users:?}\n[security.tls]\ncertificate = {certificate:?}\nkey = {key:?}\n\
             client_authority = {authority:?}\nclient_certificates = '{client_certificates}'\n{RULES}",
            state = path("state"),
            users = path("users"),
            certificate = path("relay.pem"),
            key = path("relay.key"),
            authority = path("authority.pem"),
        );
        fs::write(path("relay.toml"), config).unwrap();
        let args = ["relay", "--config", path("relay.toml").to_str().unwrap()].map(str::to_owned).to_vec();
        let options = ServiceOptions { name: "relay".into(), program: PathBuf::from(NARU), args, dir: path("relay") };
        fs::create_dir_all(&options.dir).unwrap();
        let relay = ServiceProcess::start(options).await.unwrap();
        let this = Self { relay, authority, _nodes: nodes, dir };
        // The partitions are served once the relay has found the topics.
        let ready = async {
            let slow = this.named("slow");
            while produced(&slow, "pay", 1).await.is_err() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(PATIENCE, ready).await.unwrap();
        this
    }

    fn client(&self, identity: Option<Identity>, sasl: Option<Sasl>) -> Client {
        let root: CertificateDer<'static> = self.authority.der().clone();
        let mut config = ClientConfig::new([self.relay.address().to_string()]);
        config.connection.tls = Some(Tls::new([root], identity).unwrap());
        config.connection.sasl = sasl;
        // A refusal is to be seen at once.
        config.attempts_max = 1;
        Client::new(config).unwrap()
    }

    fn named(&self, name: &str) -> Client {
        self.client(Some(self.certificate(Some(name))), None)
    }

    fn user(&self, name: &str) -> Client {
        self.client(None, Some(scram(ScramMechanism::Sha512, name, &format!("{name}'s pencil"))))
    }

    fn certificate(&self, name: Option<&str>) -> Identity {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "Acme");
        if let Some(name) = name {
            params.distinguished_name.push(DnType::CommonName, name);
        }
        let certificate = params.signed_by(&key, &self.authority).unwrap();
        Identity { chain: vec![certificate.der().clone()], key: key.into() }
    }
}

fn scram(mechanism: ScramMechanism, username: &str, password: &str) -> Sasl {
    Sasl::Scram { mechanism, username: username.to_owned(), password: Secret::new(password) }
}

/// Writes one record of about so many bytes.
async fn produced(client: &Client, topic: &str, bytes: usize) -> Result<i64, ClientError> {
    let mut batch = BatchBuilder::new(Compression::None);
    batch.push(1_795_000_000_000, None, Some(&vec![b'x'; bytes]), &[]).unwrap();
    let options = ProduceOptions::default();
    let at = TopicPartition::new(topic, 0);
    Ok(client.produce(&at, batch.build().unwrap(), &options).await?.base_offset)
}

async fn fetched(client: &Client, topic: &str) -> Result<usize, ClientError> {
    let from = FetchFrom::new(TopicPartition::new(topic, 0), 0);
    Ok(client.fetch_one(&from, &FetchOptions::default()).await?.batches.len())
}

async fn committed(client: &Client, group: &str, topic: &str) -> Result<(), ClientError> {
    let at = TopicPartition::new(topic, 0);
    client.commit_offsets(group, &[GroupOffset { at, offset: 1, leader_epoch: None, metadata: None }], None).await
}

fn code<T: std::fmt::Debug>(result: Result<T, ClientError>) -> ErrorCode {
    let error = result.unwrap_err();
    error.code().unwrap_or_else(|| panic!("no code: {error:?}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_is_who_it_proves_to_be_and_may_what_its_rules_say() {
    const TOPIC: ErrorCode = ErrorCode::TOPIC_AUTHORIZATION_FAILED;
    const GROUP: ErrorCode = ErrorCode::GROUP_AUTHORIZATION_FAILED;
    let secured = Secured::start("wanted").await;
    let password = "alice's pencil";
    let plain = |password: &str| Sasl::Plain { username: "alice".into(), password: Secret::new(password) };
    for (how, client) in [
        ("SHA-256", secured.client(None, Some(scram(ScramMechanism::Sha256, "alice", password)))),
        ("SHA-512", secured.client(None, Some(scram(ScramMechanism::Sha512, "alice", password)))),
        ("PLAIN", secured.client(None, Some(plain(password)))),
        ("a certificate", secured.named("service")),
        ("both", secured.client(Some(secured.certificate(Some("other"))), Some(plain(password)))),
    ] {
        assert!(produced(&client, "pay", 10).await.unwrap() > 0, "{how}");
        assert!(fetched(&client, "pay").await.unwrap() > 0, "{how}");
        let names = client.metadata(None).await.unwrap().topics.into_iter().map(|topic| topic.name.to_string());
        assert_eq!(names.collect::<Vec<_>>(), ["pay"], "{how}: what may not be seen is not listed");
        let named = client.metadata(Some(&["secret", "pay"])).await.unwrap().topics;
        let error = |name: &str| named.iter().find(|topic| *topic.name == *name).unwrap().error;
        assert_eq!((error("pay"), error("secret")), (ErrorCode::NONE, TOPIC), "{how}");
        assert_eq!(code(client.init_producer_id().await.map(|_| ()).and(client.coordinator("other").await)), GROUP);
        client.coordinator("ledger-1").await.unwrap();
        client.shutdown(PATIENCE).await;
    }
    let alice = secured.user("alice");
    let committing = async {
        // The coordinator answers once it has read what is committed.
        while committed(&alice, "ledger-1", "pay").await.is_err_and(|error| error.retry_can_help()) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, committing).await.unwrap();
    assert_eq!(code(committed(&alice, "ledger-1", "secret").await), TOPIC);
    assert_eq!(alice.committed_offsets("ledger-1", None).await.unwrap().len(), 1);
    assert_eq!(code(alice.delete_records(&TopicPartition::new("pay", 0), None).await), TOPIC);
    // Nobody's rules name it: known, and allowed nothing.
    let other = secured.named("other");
    assert!(other.metadata(None).await.unwrap().topics.is_empty());
    assert_eq!(code(other.init_producer_id().await), ErrorCode::CLUSTER_AUTHORIZATION_FAILED);

    let refused = async |client: Client| client.metadata(None).await.unwrap_err();
    for sasl in [
        plain("Alice's pencil"),
        scram(ScramMechanism::Sha512, "alice", "Alice's pencil"),
        scram(ScramMechanism::Sha256, "nobody", password),
    ] {
        let how = format!("{sasl:?}");
        let error = refused(secured.client(None, Some(sasl))).await;
        assert!(matches!(error, ClientError::Authentication { .. }), "{how}: {error:?}");
    }
    // Without a certificate and without SASL nothing but the versions is answered.
    let error = refused(secured.client(None, None)).await;
    assert!(matches!(error, ClientError::Closed { .. }), "{error:?}");
    let error = refused(secured.client(Some(secured.certificate(None)), None)).await;
    assert!(error.retry_can_help(), "a certificate without a name is cut off: {error:?}");
    // And without TLS nothing at all.
    let mut bare = ClientConfig::new([secured.relay.address().to_string()]);
    bare.attempts_max = 1;
    refused(Client::new(bare).unwrap()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_certificates_are_required_strangers_are_cut_off_and_a_quota_is_kept() {
    let secured = Secured::start("required").await;
    assert!(secured.user("alice").metadata(None).await.is_err(), "a password alone is not enough");
    let stranger = {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::default().signed_by(&key, &authority).unwrap();
        Identity { chain: vec![certificate.der().clone()], key: key.into() }
    };
    assert!(secured.client(Some(stranger), None).metadata(None).await.is_err());
    let slow = secured.named("slow");
    // Within the burst, beyond it, and what follows waits until the rate is kept again.
    produced(&slow, "pay", 3_000).await.unwrap();
    let began = Instant::now();
    produced(&slow, "pay", 3_000).await.unwrap();
    produced(&slow, "pay", 1).await.unwrap();
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(1_000), "not throttled: {took:?}");
    // Others are not held up by it.
    produced(&secured.named("service"), "pay", 3_000).await.unwrap();
}

/// A client that shares no code with ours.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kafka_python_authenticates_by_every_mechanism() {
    let secured = Secured::start("wanted").await;
    let python = peer("venv/bin/python");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/relay/secured.py");
    for mechanism in ["SCRAM-SHA-256", "SCRAM-SHA-512", "PLAIN"] {
        let mut python = tokio::process::Command::new(&python);
        python.arg(script).arg(secured.relay.address().to_string()).arg(secured.dir.path().join("authority.pem"));
        python.args([mechanism, "alice", "alice's pencil"]).kill_on_drop(true);
        let said = tokio::time::timeout(2 * PATIENCE, python.output()).await.unwrap().unwrap();
        assert_eq!(String::from_utf8_lossy(&said.stdout), "ok\n", "{}", String::from_utf8_lossy(&said.stderr));
    }
}

/// Its librdkafka is of before 2.6.1 and writes its SCRAM nonce twice, as that of many services does that Kafka 3.9 still
/// takes; and it has no TLS.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kcat_authenticates_by_every_mechanism() {
    let pair = Pair::start().await;
    pair.create_topic("pay", 1).await;
    let (password, users) = (pair.path("password"), pair.path("users"));
    fs::write(&password, "alice's pencil\n").unwrap();
    write_private(&users, &user_lines("alice", &password));
    let settings = format!(
        "[security]\nusers = {users:?}\nplain = 'always'\n\
         [[security.acl]]\nprincipals = ['alice']\ntopics = ['*']\nallow = ['read']"
    );
    let relay = pair.relay("relay", &settings).await;
    for mechanism in ["SCRAM-SHA-256", "SCRAM-SHA-512", "PLAIN"] {
        let list = async || {
            let mut kcat = kcat_itself();
            kcat.args(["-L", "-m", "20", "-b", &relay.bootstrap(), "-X", "security.protocol=SASL_PLAINTEXT"]);
            kcat.args(["-X", &format!("sasl.mechanism={mechanism}"), "-X", "sasl.username=alice"]);
            kcat.args(["-X", "sasl.password=alice's pencil"]).kill_on_drop(true);
            let said = kcat.output().await.unwrap();
            assert!(said.status.success(), "{mechanism}: {}", String::from_utf8_lossy(&said.stderr));
            String::from_utf8(said.stdout).unwrap()
        };
        // The topic is there once the relay has found it.
        let listed = async {
            while !list().await.contains("topic \"pay\"") {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::time::timeout(PATIENCE, listed).await.unwrap();
    }
}
