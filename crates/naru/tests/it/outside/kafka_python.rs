//! kafka-python: a client that shares no code with librdkafka or the Java clients. What it does and checks is in
//! `kafka_python.py`.

use tokio::process::Command;

use super::{Subject, peer, run};

async fn check(part: &str) {
    let subject = Subject::start().await;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/outside/kafka_python.py");
    let mut python = Command::new(peer("venv/bin/python"));
    let said = run(python.args([script, part, &subject.bootstrap()]), "").await;
    assert_eq!(said, format!("{part}: ok\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn idempotent_producing_reads_back_alike_in_every_codec() {
    check("codecs").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_of_two_rebalances_commits_and_resumes() {
    check("group").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_and_groups_are_administered() {
    check("admin").await;
}
