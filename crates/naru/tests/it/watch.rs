//! `naru watch` over two real brokers and a relay: a broker is killed, and comes back.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use naru_rehearsal::service_process::{ServiceOptions, ServiceProcess};
use naru_runtime::clocks::{SystemClock, WallClock as _};
use naru_runtime::http::serve_until;
use naru_runtime::keys::SigningKeys;
use naru_runtime::segments::Expect;
use naru_runtime::tasks::Tasks;
use naru_watch::api::{Incidents, Overview, Summary};
use naru_watch::event::Event;
use naru_watch::incident::Phase;
use naru_watch::ledger;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::relay::process::{PATIENCE, Pair};

const NARU: &str = env!("CARGO_BIN_EXE_naru");
const POLL: Duration = Duration::from_millis(20);
/// What is promised from a fault to its incident with the right cause.
const NAMED_WITHIN_MS: i64 = 10_000;

type Pages = Arc<Mutex<Vec<Value>>>;

/// Takes pages, as somebody's telephone would.
async fn telephone(tasks: &Tasks) -> (SocketAddr, Pages) {
    let pages = Pages::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let take = async |State(pages): State<Pages>, Json(page): Json<Value>| pages.lock().unwrap().push(page);
    let router = Router::new().route("/page", post(take)).with_state(pages.clone());
    tasks.spawn_fallible("telephone", serve_until(listener, router, tasks.stop_token()));
    (address, pages)
}

async fn start(dir: &Path, config: &str) -> ServiceProcess {
    let file = dir.join("watch.toml");
    std::fs::write(&file, config).unwrap();
    let args = ["watch", "--config", file.to_str().unwrap()].map(str::to_owned).to_vec();
    let options = ServiceOptions { name: "watch".to_owned(), program: NARU.into(), args, dir: dir.join("own") };
    ServiceProcess::start(options).await.unwrap()
}

fn ask(watch: &ServiceProcess, words: &[&str]) -> Output {
    Command::new(NARU).arg("watch").args(words).arg("--address").arg(watch.address().to_string()).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

async fn read<T: DeserializeOwned>(watch: &ServiceProcess, path: &str) -> T {
    reqwest::get(format!("http://{}{path}", watch.address())).await.unwrap().json().await.unwrap()
}

/// Waits until a look gives something.
async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(POLL).await;
    }
}

async fn newest(watch: &ServiceProcess) -> Option<Summary> {
    read::<Incidents>(watch, "/v1/incidents").await.incidents.into_iter().next()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_broker_is_named_somebody_is_woken_and_the_postmortem_stands_on_the_ledger() {
    let (tasks, clock) = (Tasks::new(), SystemClock::new());
    let (telephone, pages) = telephone(&tasks).await;
    let mut pair = Pair::start().await;
    let relay = pair.relay("relay", "").await;
    let state = pair.path("watch").join("state");
    std::fs::create_dir_all(pair.path("watch")).unwrap();
    let config = format!(
        "state = {state:?}\nrecovered_after = '2s'\n\
         [[target]]\nname = 'cluster-a'\nsite = 'owned-1'\nprobe = '{}'\n\
         [[target]]\nname = 'cluster-b'\nsite = 'owned-2'\nprobe = '{}'\n\
         [[target]]\nname = 'relay'\nprobe = '{}'\nneeds = ['cluster-a', 'cluster-b']\nmetrics = '{}'\n\
         [[page]]\nname = 'rota'\nwebhook = 'http://{telephone}/page'\n",
        pair.nodes.a.address(),
        pair.nodes.b.address(),
        relay.bootstrap(),
        relay.metrics_address(),
    );
    let mut watch = start(&pair.path("watch"), &config).await;
    until("everybody is looked at, and there", async || {
        let overview: Overview = read(&watch, "/v1/status").await;
        let there =
            |one: &naru_watch::engine::TargetView| one.seen_unix_ms.is_some() && one.away_since_unix_ms.is_none();
        overview.targets.iter().all(there).then_some(())
    })
    .await;
    let told = ask(&watch, &["changed", "--kind", "deploy", "--by", "ci", "--on", "relay", "relay 1.4 is in place"]);
    assert!(told.status.success(), "{}", said(&told));

    let killed_ms = clock.unix_ms();
    pair.nodes.a.kill().unwrap();
    let named = until("an incident names the broker", async || {
        newest(&watch).await.filter(|one| one.cause == "cluster-a-away")
    })
    .await;
    let took_ms = clock.unix_ms() - killed_ms;
    assert!(
        took_ms <= NAMED_WITHIN_MS,
        "named after {took_ms} ms, opened after {} ms",
        named.opened_unix_ms - killed_ms
    );
    until("somebody is woken for it", async || {
        pages.lock().unwrap().iter().any(|page| page["about"] == "cluster-a-away").then_some(())
    })
    .await;
    assert_eq!(ask(&watch, &["status"]).status.code(), Some(3));
    let taken = ask(&watch, &["acknowledge", "1", "--by", "ann"]);
    assert!(taken.status.success(), "{}", said(&taken));

    pair.nodes.a.restart().await.unwrap();
    let over = until("it is over, and drafted", async || {
        newest(&watch).await.filter(|one| one.phase == Phase::Resolved && one.drafted)
    })
    .await;
    assert_eq!(over.acknowledged_by.as_deref(), Some("ann"));
    until("somebody is told that it is over", async || {
        pages.lock().unwrap().iter().any(|page| page["about"] == "its end").then_some(())
    })
    .await;

    let action = ["act", "1", "--owner", "ann", "--rehearsal", "takeover", "watch the disk of cluster a"];
    assert!(ask(&watch, &action).status.success());
    let report = pair.path("report.json");
    let report_path = report.display().to_string();
    std::fs::write(&report, r#"{"schema":1,"passed":false,"scenario":"takeover"}"#).unwrap();
    let refused = ask(&watch, &["close", "1", "--report", &report_path]);
    assert!(!refused.status.success() && said(&refused).contains("did not pass"), "{}", said(&refused));
    std::fs::write(&report, r#"{"schema":1,"passed":true,"scenario":"takeover"}"#).unwrap();
    assert!(ask(&watch, &["close", "1", "--report", &report_path]).status.success());

    // Killed, not stopped: what was answered is in the ledger.
    watch.kill().unwrap();
    watch.restart().await.unwrap();
    assert_eq!(newest(&watch).await.map(|one| (one.id, one.phase)), Some((1, Phase::Resolved)));
    let page = said(&ask(&watch, &["postmortem", "1"]));
    watch.stop(PATIENCE).await.unwrap();
    let mut entries = Vec::new();
    let keys = SigningKeys::load(&state.join(ledger::KEY_FILE)).unwrap();
    ledger::verify(&state.join(ledger::DIRECTORY), keys.verifying(), Expect::SEALED, |entry| entries.push(entry))
        .unwrap();
    let sentences: Vec<&str> = page.lines().filter(|line| line.starts_with("- ")).collect();
    assert!(sentences.len() > 8 && page.contains("relay 1.4 is in place") && page.contains("(closed)"), "{page}");
    for sentence in sentences {
        let cites: Vec<usize> =
            sentence.split("[#").skip(1).map(|rest| rest.split_once(']').unwrap().0.parse().unwrap()).collect();
        assert!(!cites.is_empty() && cites.iter().all(|cite| (1..=entries.len()).contains(cite)), "{sentence}");
    }
    let paged = |entry: &naru_watch::event::Entry| matches!(entry.event, Event::Paged { delivered: true, .. });
    assert!(entries.iter().any(paged), "{entries:#?}");
    println!("named {took_ms} ms after the kill\n{page}");
    relay.signal(naru_kafka::node::Signal::SIGTERM);
    tasks.stop();
}
