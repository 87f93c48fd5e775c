//! Two clusters of Apache Kafka 4.3.1 that ask the relay who it is: one for a password over TLS, one for a salted
//! challenge and a certificate.

use std::fs;

use naru_kafka::node::{Node, NodeKind, NodeOptions, free_port};
use naru_relay::Side;
use naru_relay::Side::{A, B};
use naru_relay::SideMap;
use naru_relay::status::{GroupStatus, Mode};
use rcgen::{CertificateParams, DnType, KeyPair};
use tempfile::TempDir;

use super::lost_side::{Load, PARTITIONS, await_group, check_everywhere};
use super::process::{Pair, RelayProcess, cluster_id};
use super::security::{authority, write_private};
use crate::outside::java::java_tool;
use crate::outside::{peer, run};

const PASSWORD: &str = "a heron's pencil";

/// As one line of a properties file.
fn line(pem: &str) -> String {
    pem.trim().replace('\n', "\\n")
}

fn duplex(group: &GroupStatus) -> bool {
    group.mode == Mode::Duplex
}

#[tokio::test(flavor = "multi_thread")]
async fn clusters_that_ask_who_the_relay_is_are_kept_equal_and_taken_over() {
    let dir = TempDir::new().unwrap();
    let path = |name: &str| dir.path().join(name);
    let authority = authority();
    let certificate = |name: &str| {
        let key = KeyPair::generate().unwrap();
        let mut asked = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        asked.distinguished_name.push(DnType::CommonName, name);
        (asked.signed_by(&key, &authority).unwrap().pem(), key.serialize_pem())
    };
    let (own, own_key) = certificate("relay");
    fs::write(path("authority.pem"), authority.pem()).unwrap();
    fs::write(path("relay.pem"), own).unwrap();
    write_private(&path("relay.key"), &own_key);

    let secured = SideMap::from_fn(|_| free_port().unwrap());
    let start = |side: Side| {
        let (plain, controller) = (free_port().unwrap(), free_port().unwrap());
        let kind = NodeKind::Apache { libs: peer("kafka-4.3.1/libs"), java: "java".into() };
        let mut options = NodeOptions::new(kind, path(&format!("side-{side}")));
        options.cluster_id = cluster_id(&side.to_string());
        options.port = Some(plain);
        let (certificate, key) = certificate("broker");
        let listeners = format!("PLAINTEXT://127.0.0.1:{plain},SECURED://127.0.0.1:{}", secured[side]);
        let (mechanism, login) = match side {
            A => ("PLAIN", format!("plain.PlainLoginModule required user_relay=\"{PASSWORD}\";")),
            B => ("SCRAM-SHA-512", "scram.ScramLoginModule required;".to_owned()),
        };
        let own = |name: &str| format!("listener.name.secured.{name}");
        options
            .property("controller.quorum.voters", format!("1@127.0.0.1:{controller}"))
            .property("listeners", format!("{listeners},CONTROLLER://127.0.0.1:{controller}"))
            .property("advertised.listeners", listeners)
            .property("listener.security.protocol.map", "PLAINTEXT:PLAINTEXT,SECURED:SASL_SSL,CONTROLLER:PLAINTEXT")
            .property(&own("sasl.enabled.mechanisms"), mechanism)
            .property(
                &own(&format!("{}.sasl.jaas.config", mechanism.to_lowercase())),
                format!("org.apache.kafka.common.security.{login}"),
            )
            .property(&own("ssl.client.auth"), if side == B { "required" } else { "none" })
            .property(&own("ssl.keystore.type"), "PEM")
            .property(&own("ssl.keystore.certificate.chain"), line(&certificate))
            .property(&own("ssl.keystore.key"), line(&key))
            .property(&own("ssl.truststore.type"), "PEM")
            .property(&own("ssl.truststore.certificates"), line(&authority.pem()))
    };
    let (a, b) = tokio::join!(Node::start(start(A)), Node::start(start(B)));
    let mut pair = Pair::made(SideMap { a: a.unwrap(), b: b.unwrap() }, dir.path());
    let user = format!(
        "--alter --entity-type users --entity-name relay --add-config SCRAM-SHA-512=[iterations=4096,password={}]",
        PASSWORD.replace(' ', "_")
    );
    run(&mut java_tool(&pair.nodes.b.bootstrap(), "kafka.admin.ConfigCommand", &user), "").await;
    pair.create_topic("payments", PARTITIONS).await;

    let config = format!(
        "state = {state:?}\ndiscovery_interval = '200ms'\n\
         [a]\nbootstrap = ['127.0.0.1:{}']\n[a.tls]\nauthority = {authority:?}\n\
         [a.sasl]\nmechanism = 'PLAIN'\nusername = 'relay'\npassword = {PASSWORD:?}\n\
         [b]\nbootstrap = ['127.0.0.1:{}']\n[b.tls]\nauthority = {authority:?}\ncertificate = {certificate:?}\nkey = {key:?}\n\
         [b.sasl]\nusername = 'relay'\npassword = {:?}\n[telemetry]\nmetrics = '127.0.0.1:0'\n",
        secured.a,
        secured.b,
        PASSWORD.replace(' ', "_"),
        state = path("relay").join("state"),
        authority = path("authority.pem"),
        certificate = path("relay.pem"),
        key = path("relay.key"),
    );
    fs::create_dir_all(path("relay")).unwrap();
    let relay = RelayProcess::start("relay", &path("relay"), &config).await;
    let client = relay.await_topic("payments", PARTITIONS as usize).await;
    let load = Load::start(relay.bootstrap());
    let active = await_group(&pair, "duplex", duplex).await.active;
    for lost in [active, active.other()] {
        pair.nodes[lost].kill().unwrap();
        let other = lost.other();
        await_group(&pair, "alone", |group| group.active == other && group.mode == Mode::Solo).await;
        pair.nodes[lost].restart().await.unwrap();
        await_group(&pair, "duplex again", duplex).await;
    }
    let acked = load.end().await;
    check_everywhere(&pair, &client, &acked).await;
    let log = relay.log();
    assert!(!log.contains("pencil") && !log.contains("PRIVATE"), "a secret is in the relay's log");
}
