//! `naru rehearse` as a user meets it: verdicts, exit codes, what it leaves behind.

#![allow(clippy::unwrap_used, reason = "a test panics on failure")]

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use naru_kafka::node;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Payments and transfers, a rebalance and a kill, in seven seconds.
const SHORT: &str = r#"
version = 1
name = "short"
title = "A short rehearsal with a kill"
seed = 3

[[cluster]]
name = "a"

[[service]]
name = "payment"
cluster = "a"
users = 50

[[service]]
name = "transfer"
cluster = "a"
users = 50

[consumers]
group = "settlement"
cluster = "a"
members = 2

[[phase]]
name = "steady"
seconds = 5
rate = { payment = 60, transfer = 30 }

[[phase]]
name = "settle"
seconds = 2
rate = { payment = 20, transfer = 10 }

[[fault]]
kind = "leave"
member = 1
phase = "steady"
at_seconds = 0.5
lasts_seconds = 1

[[fault]]
kind = "kill"
cluster = "a"
phase = "steady"
at_seconds = 2.5
jitter_seconds = 0.5
lasts_seconds = 1

[[fault]]
kind = "kill"
service = "payment"
phase = "steady"
at_seconds = 4.2
lasts_seconds = 0.3

[[fault]]
kind = "pause"
service = "transfer"
phase = "steady"
at_seconds = 4.2
lasts_seconds = 0.5
"#;

/// The active side killed and back, then switched to, in twelve seconds.
const TAKEOVER: &str = r#"
version = 1
name = "short-takeover"
title = "A short takeover and the way back"
seed = 5

[[cluster]]
name = "a"
lose_unflushed_tail = true

[[cluster]]
name = "b"
lose_unflushed_tail = true

[relay]
a = "a"
b = "b"
group = "pay"

[lake]

[[service]]
name = "payment"
users = 50

[[service]]
name = "transfer"
users = 50

[consumers]
group = "settlement"
members = 2

[[phase]]
name = "steady"
seconds = 12
rate = { payment = 90, transfer = 40 }

[[fault]]
kind = "kill"
cluster = "a"
phase = "steady"
at_seconds = 1.5
jitter_seconds = 0.5
lasts_seconds = 1.5

[[fault]]
kind = "kill"
lake = true
phase = "steady"
at_seconds = 8
lasts_seconds = 1

[[fault]]
kind = "switch"
to = "a"
phase = "steady"
at_seconds = 6

[expect]
# On a machine that does nothing else it is some 2 s; a test run is never alone.
takeover_ms_max = 15000
switch_stall_ms_max = 10000
rejoin_ms_max = 15000
lateness_ms_max = 2000
"#;

fn naru_rehearse(scenario: &Path, out: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_naru"));
    command.arg("rehearse").arg(scenario).arg("--out").arg(out).arg("--plain");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    node::tie(&mut command);
    command
}

fn rehearse(scenario: &str) -> (Output, tempfile::TempDir) {
    rehearse_on("stand-in", scenario)
}

fn rehearse_on(log: &str, scenario: &str) -> (Output, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("scenario.toml");
    fs::write(&file, scenario).unwrap();
    let output = naru_rehearse(&file, &dir.path().join("out")).arg("--log").arg(log).output().unwrap();
    (output, dir)
}

/// The checks of a report that do not hold.
fn failed(report: &serde_json::Value) -> Vec<&str> {
    let verdicts = report["verdicts"].as_array().unwrap().iter().filter(|verdict| verdict["passed"] == false);
    verdicts.map(|verdict| verdict["check"].as_str().unwrap()).collect()
}

fn shown(output: &Output) -> String {
    format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn report(dir: &Path) -> serde_json::Value {
    serde_json::from_slice(&fs::read(dir.join("out/report.json")).unwrap()).unwrap()
}

#[test]
fn a_broker_and_a_service_that_are_killed_and_come_back_lose_nothing() {
    let (output, dir) = rehearse(SHORT);
    assert_eq!(output.status.code(), Some(0), "{}", shown(&output));
    let report = report(dir.path());
    assert_eq!(report["schema"], 1);
    assert_eq!(report["passed"], true);
    assert_eq!(report["marks"].as_array().unwrap().len(), 8);
    let checks: Vec<&str> =
        report["verdicts"].as_array().unwrap().iter().map(|verdict| verdict["check"].as_str().unwrap()).collect();
    assert_eq!(
        checks,
        ["LOG-1", "LOG-2", "LOG-3", "LOG-4", "LOG-5", "load", "answers", "faults", "settled", "children"]
    );
    for verdict in report["verdicts"].as_array().unwrap() {
        assert!(verdict["examined"].as_u64().unwrap() > 0, "a check that looks at nothing: {verdict}");
    }
    assert!(fs::read_to_string(dir.path().join("out/report.html")).unwrap().contains("cluster a killed"));
    let operations = fs::read_to_string(dir.path().join("out/operations.jsonl")).unwrap();
    assert!(operations.contains("\"attempts\":2"), "nobody noticed that the service was killed");
    assert_eq!(operations.lines().count() as u64, report["log_records"].as_u64().unwrap());
    let first: serde_json::Value = serde_json::from_str(operations.lines().next().unwrap()).unwrap();
    assert_eq!(first["outcome"], "acknowledged");
    assert!(first["place"].is_string());
}

#[test]
fn a_broker_that_answers_too_early_is_found_out_and_the_lost_records_are_named() {
    let (output, dir) = rehearse(include_str!("../../../../scenarios/lossy.toml"));
    assert_eq!(output.status.code(), Some(1), "{}", shown(&output));
    let report = report(dir.path());
    let lost = report["verdicts"].as_array().unwrap().iter().find(|verdict| verdict["check"] == "LOG-1").unwrap();
    assert_eq!(lost["passed"], false);
    assert!(lost["findings_total"].as_u64().unwrap() > 0);
    // Named: the operation stands in the operations file as acknowledged, and without a place in the log.
    let name = lost["named"][0]["record"].as_str().unwrap();
    let number: usize = name.strip_prefix("operation ").unwrap().split(' ').next().unwrap().parse().unwrap();
    let operations = fs::read_to_string(dir.path().join("out/operations.jsonl")).unwrap();
    let line: serde_json::Value = serde_json::from_str(operations.lines().nth(number).unwrap()).unwrap();
    assert_eq!((&line["outcome"], &line["place"]), (&"acknowledged".into(), &serde_json::Value::Null));
    assert!(shown(&output).contains(name), "the terminal names it too");
}

#[test]
fn a_takeover_and_a_planned_switch_lose_nothing() {
    let (output, dir) = rehearse(TAKEOVER);
    assert_eq!(output.status.code(), Some(0), "{}", shown(&output));
    let report = report(dir.path());
    let checks: Vec<&str> =
        report["verdicts"].as_array().unwrap().iter().map(|verdict| verdict["check"].as_str().unwrap()).collect();
    for check in [
        "RELAY-1",
        "RELAY-4",
        "sends",
        "in-sync",
        "takeover",
        "switch-stall",
        "rejoin",
        "lake-rows",
        "lake-money",
        "lake-steady",
    ] {
        assert!(checks.contains(&check), "{check} is not among {checks:?}");
    }
    let away = report["away"].as_array().unwrap();
    assert_eq!(away.iter().map(|away| away["kind"].as_str().unwrap()).collect::<Vec<_>>(), ["loss", "switch"]);
    assert!(away.iter().all(|away| away["producers"]["lasts_us"].as_u64() > Some(0)), "{away:?}");
    let active: Vec<&str> =
        report["standings"].as_array().unwrap().iter().filter_map(|s| s["standing"]["active"].as_str()).collect();
    let mut turns = active.clone();
    turns.dedup();
    assert_eq!(turns, ["a", "b", "a"], "the sides took turns");
    assert_eq!(report["tables"]["rows"], report["log_records"], "every record is a row");
    let page = fs::read_to_string(dir.path().join("out/report.html")).unwrap();
    assert!(page.contains("The two sides") && page.contains("Asked by SQL"));
}

#[test]
fn without_the_relay_the_same_loss_is_seen_to_lose_records() {
    let (output, dir) = rehearse_on("direct", TAKEOVER);
    assert_eq!(output.status.code(), Some(1), "{}", shown(&output));
    let report = report(dir.path());
    let failed = failed(&report);
    assert!(failed.contains(&"LOG-1"), "{failed:?}");
    assert!(shown(&output).contains("not in the log"), "the terminal names what is gone");
    assert!(!failed.contains(&"faults"), "{}", shown(&output));
}

/// The control of the edge's rehearsal; on a machine that does nothing else, requests are not that late.
fn misrouted() -> String {
    include_str!("../../../../scenarios/misrouted.toml").to_owned() + "\n[expect]\nlateness_ms_max = 2000\n"
}

#[test]
fn a_core_route_that_is_declared_open_is_found_out_by_those_who_do_not_ask_the_edge() {
    let (output, dir) = rehearse(&misrouted());
    assert_eq!(output.status.code(), Some(1), "{}", shown(&output));
    let report = report(dir.path());
    let failed = failed(&report);
    for check in ["EDGE-1-cloud", "EDGE-1-client", "planted"] {
        assert!(failed.contains(&check), "{check} is not among {failed:?}");
    }
    assert!(!failed.contains(&"EDGE-1-log"), "the decision log knows what the edge was told, and no more: {failed:?}");
    assert!(shown(&output).contains("was given /gift/g"), "the terminal names what came to the cloud");
}

#[test]
fn core_stays_at_home_while_a_promotion_overflows() {
    let (output, dir) = rehearse(&misrouted().replacen("gift = \"open\"", "gift = \"core\"", 1));
    assert_eq!(output.status.code(), Some(0), "{}", shown(&output));
    let report = report(dir.path());
    for verdict in report["verdicts"].as_array().unwrap().iter().filter(|verdict| verdict["check"] != "faults") {
        assert!(verdict["examined"].as_u64().unwrap() > 0, "a check that looks at nothing: {verdict}");
    }
    let whole = &report["edge"]["whole"];
    assert!(["owned", "rented", "waiting"].iter().all(|who| whole[who].as_u64() > Some(0)), "{whole}");
    assert!(fs::read_to_string(dir.path().join("out/report.html")).unwrap().contains("The edge"));
    let crowd = fs::read_to_string(dir.path().join("out/crowd.jsonl")).unwrap();
    assert!(crowd.contains("promotion-cloud-1"), "nobody was served by a rented node");
}

#[test]
fn a_log_that_needs_a_relay_is_refused_for_a_scenario_without_one() {
    for log in ["direct", "mixed"] {
        let (output, _dir) = rehearse_on(log, SHORT);
        assert_eq!(output.status.code(), Some(2), "{}", shown(&output));
        assert!(shown(&output).contains("for a scenario with a [relay]"), "{}", shown(&output));
    }
}

#[test]
fn a_broken_scenario_is_refused_with_every_mistake_at_once() {
    let broken = SHORT
        .replacen("version = 1", "version = 9", 1)
        .replacen("members = 2", "members = 99", 1)
        .replacen("kind = \"kill\"", "kind = \"kil\"", 1)
        .replacen("jitter_seconds", "jiter_seconds", 1);
    let (output, dir) = rehearse(&broken);
    assert_eq!(output.status.code(), Some(2), "{}", shown(&output));
    let text = String::from_utf8_lossy(&output.stderr);
    for expect in
        ["4 mistakes", ":2:11:", "`members` is out of bounds", "use one of `kill`", "did you mean `jitter_seconds`?"]
    {
        assert!(text.contains(expect), "{expect:?} is missing in\n{text}");
    }
    assert!(!dir.path().join("out").exists(), "nothing was started or written");
}

#[test]
fn a_scenario_that_is_not_there_is_bad_input() {
    let dir = tempfile::tempdir().unwrap();
    let output = naru_rehearse(&dir.path().join("none.toml"), dir.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", shown(&output));
}

#[test]
fn a_rehearsal_that_is_interrupted_leaves_no_child_behind() {
    ends_without_children(Signal::SIGINT, Some(3));
}

#[test]
fn a_rehearsal_that_is_told_to_stop_leaves_no_child_behind() {
    ends_without_children(Signal::SIGTERM, Some(3));
}

#[test]
fn a_rehearsal_that_is_killed_leaves_no_child_behind() {
    ends_without_children(Signal::SIGKILL, None);
}

#[track_caller]
fn ends_without_children(signal: Signal, code: Option<i32>) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("scenario.toml");
    fs::write(&file, SHORT).unwrap();
    let mut command = naru_rehearse(&file, &dir.path().join("out"));
    let mut rehearsal = KillOnDrop(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    let pid = rehearsal.0.id();
    let mut children = Vec::new();
    // One broker and two services.
    until(|| {
        children = children_of(pid);
        assert!(rehearsal.0.try_wait().unwrap().is_none(), "the rehearsal ended early");
        children.len() >= 3
    });
    kill(Pid::from_raw(pid as i32), signal).unwrap();
    assert_eq!(rehearsal.0.wait().unwrap().code(), code);
    until(|| children.iter().all(|child| !is_running(*child)));
}

struct KillOnDrop(Child);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        // Fails only if it has ended, which is wanted.
        if self.0.kill().is_ok() {
            self.0.wait().unwrap();
        }
    }
}

#[track_caller]
fn until(mut condition: impl FnMut() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < Duration::from_secs(60), "the condition did not come true");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// State and parent of a process, from `/proc/PID/stat`; the command's name may hold anything but ends with `)`.
fn stat(pid: u32) -> Option<(char, u32)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = text.rsplit_once(')')?.1.split_ascii_whitespace();
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

fn children_of(parent: u32) -> Vec<u32> {
    let pids = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter(|pid| stat(*pid).is_some_and(|(_, of)| of == parent)).collect()
}

fn is_running(pid: u32) -> bool {
    // Whoever inherits the orphan reaps it in its own time: a zombie runs no more.
    stat(pid).is_some_and(|(state, _)| state != 'Z')
}
