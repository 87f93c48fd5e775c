//! The sample services and the log: whatever is killed, each operation stands in the log once and in its user's order.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use naru_kafka::node;
use naru_kafka::node::Signal;
use nix::unistd::Pid;
use tokio::task::JoinSet;

use super::{NARU, PATIENCE, Subject, read_all};

/// A sample service as a child process. Dropping it kills the process.
struct Service {
    child: Child,
    api: Api,
}

/// What a client knows of a service.
#[derive(Clone)]
struct Api {
    kind: &'static str,
    address: String,
    client: reqwest::Client,
}

impl Service {
    fn start(kind: &'static str, subject: &Subject) -> Self {
        let log = OpenOptions::new().create(true).append(true).open(subject.path("sample.log")).unwrap();
        let mut command = Command::new(NARU);
        command
            .args(["sample", kind, "--listen", "127.0.0.1:0", "--brokers", &subject.bootstrap(), "--data"])
            .arg(subject.path("sample"))
            .stdout(Stdio::piped())
            .stderr(log);
        let mut child = node::tie(&mut command).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("ready listen=").unwrap_or_else(|| panic!("not ready: {line:?}"));
        let api = Api { kind, address: address.to_owned(), client: reqwest::Client::new() };
        Self { child, api }
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn terminate(&mut self) {
        nix::sys::signal::kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGTERM).unwrap();
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            self.kill();
        }
    }
}

impl Api {
    async fn post(&self, key: &str, user: &str) -> Result<u16, reqwest::Error> {
        let counterparty = if self.kind == "payment" { "merchant" } else { "to" };
        let body = format!(r#"{{"user":"{user}","{counterparty}":"another","amount":{{"currency":"KRW","minor":1}}}}"#);
        let request = self.client.post(format!("http://{}/{}s", self.address, self.kind));
        let request = request.header("Idempotency-Key", key).header("Content-Type", "application/json").body(body);
        Ok(request.send().await?.status().as_u16())
    }

    async fn outbox_pending(&self) -> u64 {
        let response = self.client.get(format!("http://{}/status", self.address)).send().await.unwrap();
        let status: serde_json::Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
        status["outbox_pending"].as_u64().unwrap()
    }

    async fn outbox_is_empty(&self) {
        let deadline = Instant::now() + PATIENCE;
        while self.outbox_pending().await > 0 {
            assert!(Instant::now() < deadline, "{} rows are still waiting", self.outbox_pending().await);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// Users of the load.
const USERS: usize = 20;

/// Clients that send one request after another.
struct Load {
    clients: JoinSet<BTreeSet<String>>,
    created: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
}

impl Load {
    fn start(api: &Api, name: &str) -> Self {
        let (created, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let mut clients = JoinSet::new();
        for client in 0..8 {
            let (api, name) = (api.clone(), name.to_owned());
            let (created, stop) = (Arc::clone(&created), Arc::clone(&stop));
            clients.spawn(async move {
                let mut keys = BTreeSet::new();
                for n in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let key = format!("{name}-{client}-{n}");
                    // An error: the service was killed, and what it had done is unknown.
                    let Ok(status) = api.post(&key, &format!("u{}", (client + n) % USERS)).await else { break };
                    assert_eq!(status, 201);
                    created.fetch_add(1, Ordering::Relaxed);
                    keys.insert(key);
                }
                keys
            });
        }
        Self { clients, created, stop }
    }

    /// Waits for that many more answers.
    async fn answers(&self, count: u64) {
        let (until, deadline) = (self.created.load(Ordering::Relaxed) + count, Instant::now() + PATIENCE);
        while self.created.load(Ordering::Relaxed) < until {
            assert!(Instant::now() < deadline, "only {} requests were answered", self.created.load(Ordering::Relaxed));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// The keys that were answered 201.
    async fn end(self) -> BTreeSet<String> {
        self.stop.store(true, Ordering::Relaxed);
        self.clients.join_all().await.into_iter().flatten().collect()
    }
}

/// What the service's operator would have been woken for.
fn check_no_errors(subject: &Subject) {
    let log = fs::read_to_string(subject.path("sample.log")).unwrap();
    let errors: Vec<_> = log.lines().filter(|line| line.contains("ERROR")).collect();
    assert!(errors.is_empty(), "{errors:#?}");
}

/// Every operation that was acknowledged stands in the log; none twice; each user's sequence without gap and in order.
fn check_log(subject: &Subject, topic: &str, acknowledged: &BTreeSet<String>) {
    let mut keys = BTreeSet::new();
    let mut last: BTreeMap<String, i64> = BTreeMap::new();
    for seen in read_all(&subject.bootstrap(), topic) {
        let value: serde_json::Value = serde_json::from_str(&seen.value.unwrap()).unwrap();
        assert_eq!(value["user"].as_str(), seen.key.as_deref());
        let key = value["idempotency_key"].as_str().unwrap();
        assert!(keys.insert(key.to_owned()), "{key} is doubled, at {}@{}", seen.partition, seen.offset);
        let last = last.entry(seen.key.unwrap()).or_default();
        assert_eq!(value["sequence"], *last + 1, "{key} at {}@{}", seen.partition, seen.offset);
        *last += 1;
    }
    let lost: Vec<_> = acknowledged.difference(&keys).collect();
    assert!(lost.is_empty(), "{} of {} are lost: {lost:?}", lost.len(), acknowledged.len());
    check_no_errors(subject);
}

#[tokio::test(flavor = "multi_thread")]
async fn payments_wait_for_a_log_that_is_away() {
    let mut subject = Subject::start().await;
    subject.kill();
    let mut service = Service::start("payment", &subject);
    let load = Load::start(&service.api, "k");
    load.answers(500).await;
    let acknowledged = load.end().await;
    assert_eq!(service.api.outbox_pending().await, acknowledged.len() as u64);
    subject.restart().await;
    service.api.outbox_is_empty().await;
    check_log(&subject, "payments", &acknowledged);
    service.terminate();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_killed_under_load_gets_each_transfer_once() {
    let mut subject = Subject::start().await;
    let service = Service::start("transfer", &subject);
    let load = Load::start(&service.api, "k");
    for _ in 0..3 {
        load.answers(300).await;
        subject.kill();
        load.answers(300).await;
        subject.restart().await;
    }
    let acknowledged = load.end().await;
    service.api.outbox_is_empty().await;
    check_log(&subject, "transfers", &acknowledged);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_killed_under_load_publishes_each_payment_once() {
    let subject = Subject::start().await;
    let mut acknowledged = BTreeSet::new();
    for round in 0..4 {
        let mut service = Service::start("payment", &subject);
        let load = Load::start(&service.api, &format!("k{round}"));
        load.answers(if round == 0 { 600 } else { 200 }).await;
        service.kill();
        acknowledged.append(&mut load.end().await);
    }
    let mut service = Service::start("payment", &subject);
    service.api.outbox_is_empty().await;
    check_log(&subject, "payments", &acknowledged);
    service.terminate();
}
