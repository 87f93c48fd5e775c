//! `naru relay preflight` names what stands in the way, with the command that mends it, and its exit code says how bad.

use std::process::Command;

use naru_kafka::client::admin::NewTopic;
use naru_kafka::client::produce::ProduceOptions;
use naru_kafka::client::{Client, TopicPartition};
use naru_kafka::wire::{BatchBuilder, Compression};
use naru_relay::Side;
use serde_json::Value;

use super::process::Pair;

const UNLIMITED: &str = "9223372036854775807";

/// A topic that nothing can be said against but its one replica.
fn sound(name: &str, partitions: i32) -> NewTopic {
    NewTopic::new(name, partitions)
        .config("message.timestamp.after.max.ms", UNLIMITED)
        .config("message.timestamp.before.max.ms", UNLIMITED)
}

pub(super) async fn write(client: &Client, topic: &str, values: &[&str]) {
    let mut builder = BatchBuilder::new(Compression::None).producer(77, 0, 0);
    for value in values {
        builder.push(1_795_000_000_000, None, Some(value.as_bytes()), &[]).unwrap();
    }
    let at = TopicPartition::new(topic, 0);
    client.produce(&at, builder.build().unwrap(), &ProduceOptions::default()).await.unwrap();
}

struct Said {
    code: i32,
    findings: Vec<Value>,
}

impl Said {
    /// Of one topic: severity, side, and whether the command contains this.
    #[track_caller]
    fn check(&self, topic: &str, severity: &str, side: &str, what: &str, command: &str) {
        let found = self.findings.iter().any(|finding| {
            finding["topic"] == topic
                && finding["severity"] == severity
                && finding["side"] == side
                && finding["what"].as_str().unwrap().contains(what)
                && finding["command"].as_str().unwrap_or_default().contains(command)
        });
        assert!(found, "no {severity} of {topic} about {what}: {:#?}", self.findings);
    }

    fn refused(&self, topic: &str) -> usize {
        let refused = |finding: &&Value| finding["topic"] == topic && finding["severity"] == "refusal";
        self.findings.iter().filter(refused).count()
    }
}

fn preflight(pair: &Pair, settings: &str) -> Said {
    let config = pair.path("relay.toml");
    let [a, b] = Side::BOTH.map(|side| pair.nodes[side].address());
    let state = pair.path("state");
    let text = format!("state = {state:?}\n{settings}\n[a]\nbootstrap = ['{a}']\n[b]\nbootstrap = ['{b}']\n");
    std::fs::write(&config, text).unwrap();
    let config = config.to_str().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_naru"))
        .args(["relay", "preflight", "--json", "--config", config])
        .output()
        .unwrap();
    let said: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    Said { code: output.status.code().unwrap(), findings: said["findings"].as_array().unwrap().clone() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_relay_would_refuse_is_named_with_the_command_that_mends_it() {
    let pair = Pair::of_subject().await;
    let make = async |side: Side, topic: NewTopic| pair.clients[side].create_topic(&topic, false).await.unwrap();
    for side in Side::BOTH {
        make(side, sound("sound", 2)).await;
    }
    let said = preflight(&pair, "");
    assert_eq!((said.code, said.refused("sound")), (0, 0), "{:#?}", said.findings);
    said.check("sound", "warning", "a", "one replica", "");

    make(Side::A, sound("stamped", 1)).await;
    make(Side::B, sound("stamped", 1).config("message.timestamp.type", "LogAppendTime")).await;
    make(Side::A, sound("keyed", 1).config("cleanup.policy", "compact")).await;
    make(Side::B, sound("keyed", 1).config("cleanup.policy", "compact")).await;
    make(Side::A, sound("small", 3).config("max.message.bytes", "1000")).await;
    make(Side::B, sound("small", 2)).await;
    for side in Side::BOTH {
        make(side, NewTopic::new("timed", 1).config("message.timestamp.after.max.ms", "3600000")).await;
        make(side, sound("forked", 1)).await;
        make(side, sound("behind", 1)).await;
        write(&pair.clients[side], "forked", &[["of a", "of b"][side as usize]]).await;
    }
    write(&pair.clients.a, "behind", &["one", "two"]).await;
    make(Side::A, sound("alone", 1)).await;

    let said = preflight(&pair, "");
    assert_eq!(said.code, 1);
    said.check("stamped", "refusal", "b", "LogAppendTime", "--add-config message.timestamp.type=CreateTime");
    said.check("keyed", "refusal", "a", "cleanup.policy", "--add-config cleanup.policy=delete");
    said.check("small", "refusal", "a", "max.message.bytes", "--add-config max.message.bytes=1048588");
    said.check("small", "refusal", "b", "2 partitions", "--alter --topic small --partitions 3");
    said.check("timed", "warning", "a", "message.timestamp.after.max.ms", UNLIMITED);
    said.check("forked", "refusal", "b", "two logs", "--delete --topic forked");
    said.check("forked", "refusal", "b", "1 records on a and 1 on b", "DELETES 1 records");
    said.check("behind", "warning", "b", "2 records", "");
    said.check("alone", "warning", "b", "only side a has it", "");
    assert_eq!(said.refused("sound"), 0);

    let strict = preflight(&pair, "adopt = 'both'\nadopt_mends_times = false");
    strict.check("timed", "refusal", "a", "message.timestamp.after.max.ms", UNLIMITED);
    strict.check("alone", "refusal", "b", "only side a has it", "--create --topic alone --partitions 1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_cluster_behind_both_sides_is_refused() {
    let pair = Pair::of_subject().await;
    let config = pair.path("same.toml");
    let (state, a) = (pair.path("state"), pair.nodes.a.address());
    let text = format!("state = {state:?}\n[a]\nbootstrap = ['{a}']\n[b]\nbootstrap = ['{a}']\n");
    std::fs::write(&config, text).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_naru"))
        .args(["relay", "preflight", "--config", config.to_str().unwrap()])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("both sides are the same cluster"), "{said}");

    let relay = ["relay", "--config", config.to_str().unwrap(), "--listen", "127.0.0.1:0"];
    let output = Command::new(env!("CARGO_BIN_EXE_naru")).args(relay).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "it does not serve: {said}");
    assert!(said.contains("both sides are the same cluster"), "{said}");
}
