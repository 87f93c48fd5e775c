#![allow(clippy::unwrap_used)] // a test panics on failure

use std::net::TcpListener;
use std::time::Duration;

use super::*;

#[test]
fn cpu_time_is_read_past_a_command_with_spaces_and_brackets() {
    let check = |stat: &str, expect: Option<Duration>| assert_eq!(proc::parse_cpu_time(stat).ok(), expect, "{stat}");
    let tail = "S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0";
    check(&format!("42 (java) {tail}"), Some(Duration::from_secs(3)));
    check(&format!("42 (a) b (c) {tail}"), Some(Duration::from_secs(3)));
    check("42 (java) S 1 2", None);
    check("", None);
}

#[test]
fn resident_bytes_are_read_from_the_status_line() {
    let check = |status: &str, expect: Option<u64>| assert_eq!(proc::parse_resident_bytes(status).ok(), expect);
    check("Name:\tx\nVmRSS:\t  512 kB\nThreads:\t1\n", Some(512 << 10));
    check("Name:\tx\n", None);
}

#[test]
fn the_ready_line_counts_only_when_whole() {
    let check = |log: &str, expect: Option<Option<&str>>| {
        let expect = expect.map(|admin| stand_in::Ready { admin: admin.map(|admin| admin.parse().unwrap()) });
        assert_eq!(stand_in::parse_ready(log), expect, "{log}");
    };
    check("", None);
    check("info starting\n", None);
    check("ready listen=127.0.0.1:9092", None);
    check("ready listen=127.0.0.1:9092\n", Some(None));
    check("info x\nready listen=127.0.0.1:9092 admin=127.0.0.1:9093\n", Some(Some("127.0.0.1:9093")));
}

#[test]
fn given_properties_replace_the_defaults() {
    let kind = NodeKind::Apache { libs: "libs".into(), java: "java".into() };
    let options = NodeOptions::new(kind, "dir").property("offsets.topic.num.partitions", 9).property("x", "y");
    let lines = apache::properties(&options, 1, 2);
    assert!(lines.contains("offsets.topic.num.partitions=9\n"), "{lines}");
    assert!(!lines.contains("offsets.topic.num.partitions=4\n"), "{lines}");
    assert!(lines.contains("\nx=y\n"), "{lines}");
}

#[test]
fn a_free_port_lies_below_the_ephemeral_range_and_can_be_bound() {
    let port = port::free().unwrap();
    assert!((10_000..32_000).contains(&port));
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
}

#[tokio::test]
async fn a_program_that_ends_or_is_missing_is_reported_with_its_output() {
    let dir = tempfile::tempdir().unwrap();
    let options = |exe: &str| NodeOptions::new(NodeKind::StandIn { exe: exe.into() }, dir.path());
    // `ls broker --data ...` complains and ends at once.
    let ended = Node::start(options("ls")).await.unwrap_err();
    let NodeError::Ended { log_tail, .. } = &ended else { panic!("{ended:?}") };
    assert!(log_tail.contains("ls"), "{log_tail}");
    let missing = Node::start(options("no-such-program")).await.unwrap_err();
    assert!(matches!(missing, NodeError::Spawn { .. }), "{missing:?}");
}

#[tokio::test]
async fn a_node_that_never_answers_is_killed_at_the_bound() {
    let dir = tempfile::tempdir().unwrap();
    let script = dir.path().join("mute");
    fs::write(&script, "#!/bin/sh\nexec sleep 600\n").unwrap();
    fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut options = NodeOptions::new(NodeKind::StandIn { exe: script }, dir.path());
    options.ready_within = Duration::from_millis(200);
    let error = Node::start(options).await.unwrap_err();
    assert!(matches!(error, NodeError::TimedOut { .. }), "{error:?}");
    assert!(error.is_retriable());
}
