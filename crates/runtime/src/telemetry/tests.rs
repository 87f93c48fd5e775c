#![allow(clippy::unwrap_used)] // a test panics on failure

use std::io::Write;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::routing::post;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::kinds::counter::Counter;
use super::*;
use crate::config::read_document;

fn config(text: &str) -> TelemetryConfig {
    read_document("telemetry.toml", text).unwrap()
}

/// Keeps what is logged.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn lines_are_written_as_configured() {
    let check = |text: &str, expect: fn(&str) -> bool| {
        let kept = Kept::default();
        let writer = kept.clone();
        let subscriber = subscriber(&config(text), None, "service", BoxMakeWriter::new(move || writer.clone()));
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(records = 3, "batch taken");
            tracing::debug!("not by default");
        });
        let lines = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
        assert!(expect(&lines), "{lines}");
    };
    check("", |lines| lines.contains("INFO") && lines.ends_with("batch taken records=3\n"));
    check("log = 'debug'", |lines| lines.contains("not by default"));
    check("log = 'warn'", str::is_empty);
    check("log_format = 'json'", |lines| {
        let line: serde_json::Value = serde_json::from_str(lines).unwrap();
        line["message"] == "batch taken" && line["records"] == 3 && line["level"] == "INFO"
    });
}

#[test]
fn a_filter_or_endpoint_that_means_nothing_is_refused() {
    let check = |text: &str, expect: &str| {
        let refused = read_document::<TelemetryConfig>("t", text).unwrap_err().to_string();
        assert!(refused.contains(expect), "{refused}");
    };
    check("log = 'a=b=c'", "t:1:7: `log` is no filter");
    check("traces = 'collector:4318'", "t:1:10: `traces` is \"collector:4318\", which is not http://");
    check("traces_share = 1.5", "t:1:16: `traces_share` is above 1");
}

#[tokio::test]
async fn prometheus_reads_the_metrics_until_the_process_stops() {
    let (metrics, tasks) = (Metrics::new(), Tasks::new());
    let records: Counter = metrics.register("records", "Records taken", Counter::default());
    records.inc_by(7);
    let labelled = || vec![Reading { labels: vec![("id", "LOG-1".into())], value: 3 }];
    metrics.observe("breaches", "Times", Observed::Counter, labelled);
    metrics.observe("waiting", "Rows", Observed::Gauge, || vec![Reading { labels: Vec::new(), value: 5 }]);
    let bound = metrics.serve(([127, 0, 0, 1], 0).into(), &tasks).await.unwrap();
    let answer = reqwest::get(format!("http://{bound}/metrics")).await.unwrap();
    assert!(answer.headers()["content-type"].to_str().unwrap().starts_with("application/openmetrics-text"));
    let text = answer.text().await.unwrap();
    assert!(text.contains("# HELP naru_records Records taken.\n") && text.contains("naru_records_total 7\n"), "{text}");
    assert!(text.contains("# HELP naru_breaches Times.\n"), "{text}");
    assert!(text.contains("naru_breaches_total{id=\"LOG-1\"} 3\n") && text.contains("naru_waiting 5\n"), "{text}");
    assert_eq!(reqwest::get(format!("http://{bound}/other")).await.unwrap().status(), 404);
    let taken = metrics.serve(bound, &tasks).await;
    assert_eq!(taken.unwrap_err().kind(), io::ErrorKind::AddrInUse);
    tasks.drained().await;
    assert!(reqwest::get(format!("http://{bound}/metrics")).await.is_err());
}

/// A collector that hands over the bodies it gets.
async fn collector(tasks: &Tasks) -> (String, mpsc::Receiver<Bytes>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}/v1/traces", listener.local_addr().unwrap());
    let (sender, receiver) = mpsc::channel(4);
    let take = move |body: Bytes| async move { sender.send(body).await.unwrap() };
    let router = Router::new().route("/v1/traces", post(take));
    let stop = tasks.stop_token();
    tasks.spawn_fallible("collector", async move {
        axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await
    });
    (endpoint, receiver)
}

#[tokio::test]
async fn the_last_traces_are_sent_when_the_process_ends() {
    let tasks = Tasks::new();
    let (endpoint, mut bodies) = collector(&tasks).await;
    let provider = traces::provider("store", &endpoint, 1.0).unwrap();
    let subscriber = subscriber(&config(""), Some(&provider), "store", BoxMakeWriter::new(io::sink));
    tracing::subscriber::with_default(subscriber, || tracing::info_span!("take batch").in_scope(|| ()));
    let telemetry = Telemetry { metrics: Metrics::new(), metrics_address: None, traces: Some(provider) };
    telemetry.shutdown().await;
    let body = bodies.recv().await.unwrap();
    for name in ["take batch", "store"] {
        assert!(body.windows(name.len()).any(|window| window == name.as_bytes()), "{name}");
    }
    tasks.drained().await;
}

#[tokio::test]
async fn a_collector_that_is_not_there_does_not_hold_up_the_end() {
    let provider = traces::provider("store", "http://127.0.0.1:1/v1/traces", 1.0).unwrap();
    let subscriber = subscriber(&config(""), Some(&provider), "store", BoxMakeWriter::new(io::sink));
    tracing::subscriber::with_default(subscriber, || tracing::info_span!("take batch").in_scope(|| ()));
    let telemetry = Telemetry { metrics: Metrics::new(), metrics_address: None, traces: Some(provider) };
    tokio::time::timeout(FLUSH_MAX * 2, telemetry.shutdown()).await.unwrap();
}
