//! A courier and a simulated provider as processes that end with their test.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use naru_courier::sim::Delivered;
use naru_courier::status::Report;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tempfile::TempDir;

/// Longer than anything here takes beside a compiler.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(10);
const NARU: &str = env!("CARGO_BIN_EXE_naru");

/// A process that has said that it is ready.
pub(crate) struct Ready {
    child: Child,
    said: String,
}

impl Drop for Ready {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Ready {
    async fn start(dir: &Path, name: &str, args: &[&str]) -> Self {
        let out = dir.join(format!("{name}.out"));
        let log = File::options().create(true).append(true).open(dir.join(format!("{name}.log"))).unwrap();
        let mut command = Command::new(NARU);
        command.arg("courier").args(args).stdin(Stdio::null()).stdout(File::create(&out).unwrap()).stderr(log);
        let mut child = command.spawn().unwrap();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let said = std::fs::read_to_string(&out).unwrap_or_default();
            if said.ends_with('\n') {
                return Self { child, said };
            }
            let log = || std::fs::read_to_string(dir.join(format!("{name}.log"))).unwrap_or_default();
            assert!(child.try_wait().unwrap().is_none() && Instant::now() < deadline, "no {name}: {}", log());
            tokio::time::sleep(POLL).await;
        }
    }

    fn address(&self, name: &str) -> String {
        let found = self.said.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
        found.unwrap().to_owned()
    }

    /// SIGKILL, and its end.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM, and its end.
    pub(crate) fn stop(mut self) -> ExitStatus {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), Signal::SIGTERM).unwrap();
        self.child.wait().unwrap()
    }
}

/// A provider, and room for couriers.
pub(crate) struct World {
    pub(crate) dir: TempDir,
    provider: Ready,
    http: reqwest::Client,
}

impl World {
    pub(crate) async fn start(args: &[&str]) -> Self {
        let dir = TempDir::new().unwrap();
        let log = dir.path().join("delivered.jsonl").display().to_string();
        let mut all = vec!["provider-sim", "--log", log.as_str()];
        all.extend(args);
        let provider = Ready::start(dir.path(), "provider", &all).await;
        Self { dir, provider, http: reqwest::Client::builder().no_proxy().build().unwrap() }
    }

    /// A courier with these settings beside the provider's address, and its receipts called back to it.
    pub(crate) async fn courier(&self, provider: &str, more: &str) -> Courier {
        let config = self.dir.path().join("courier.toml");
        let text = format!(
            "state = '{}'\n{more}\n[provider]\naddress = '{}'\n{provider}\n",
            self.dir.path().join("state").display(),
            self.provider.address("listen"),
        );
        std::fs::write(&config, text).unwrap();
        let ready = Ready::start(self.dir.path(), "courier", &["--config", &config.display().to_string()]).await;
        let url = format!("http://{}/v1/receipts", ready.address("receipts"));
        let callback = format!("http://{}/sim/callback", self.provider.address("listen"));
        let asked = self.http.post(callback).json(&json!({ "url": url })).send().await.unwrap();
        assert!(asked.status().is_success());
        Courier { ready, http: self.http.clone() }
    }

    /// A file of recipients.
    pub(crate) fn recipients(&self, lines: &[String]) -> PathBuf {
        let path = self.dir.path().join("recipients.csv");
        std::fs::write(&path, format!("id,token,consent,zone\n{}\n", lines.join("\n"))).unwrap();
        path
    }

    /// What reached people.
    pub(crate) fn delivered(&self) -> Vec<Delivered> {
        let text = std::fs::read_to_string(self.dir.path().join("delivered.jsonl")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// What couriers said.
    pub(crate) fn said(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("courier.log")).unwrap_or_default()
    }
}

/// A courier that runs.
pub(crate) struct Courier {
    ready: Ready,
    http: reqwest::Client,
}

impl Courier {
    pub(crate) fn kill(self) {
        self.ready.kill();
    }

    pub(crate) fn stop(self) -> ExitStatus {
        self.ready.stop()
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.ready.address("listen"))
    }

    /// Asks for something: the status and what was said.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> (u16, String) {
        let answer = self.http.post(self.url(path)).json(body).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        self.http.get(self.url(path)).send().await.unwrap().json().await.unwrap()
    }

    pub(crate) async fn report(&self) -> Report {
        self.http.get(self.url("/v1/status")).send().await.unwrap().json().await.unwrap()
    }

    /// Waits for something to be so.
    pub(crate) async fn until(&self, what: &str, holds: impl Fn(&Report) -> bool) -> Report {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let report = self.report().await;
            if holds(&report) {
                return report;
            }
            assert!(Instant::now() < deadline, "waited for {what}: {report:#?}");
            tokio::time::sleep(POLL).await;
        }
    }
}

/// A campaign to a file, at a rate.
pub(crate) fn campaign(id: &str, file: &Path, per_minute: f64) -> Value {
    json!({
        "id": id, "recipients": file, "text": "11.11", "opt_out": "080-123-4567",
        "curve": [{ "from_minute": 0, "per_minute": per_minute }],
    })
}

/// The offset of a clock that shows this minute of the day now.
pub(crate) fn zone_at(minute_of_day: i64, now_ms: i64) -> String {
    let utc = now_ms / 60_000 % 1440;
    let ahead = (minute_of_day - utc).rem_euclid(1440);
    // The world's clocks are from 12 hours behind to 14 ahead.
    let ahead = if ahead > 720 { ahead - 1440 } else { ahead };
    let (sign, ahead) = if ahead < 0 { ('-', -ahead) } else { ('+', ahead) };
    format!("{sign}{:02}:{:02}", ahead / 60, ahead % 60)
}
