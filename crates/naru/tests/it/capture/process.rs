//! A capture as a process that ends with its test, beside a stand-in broker and a database.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use naru_capture::status::Report;
use naru_kafka::client::{Client, ClientConfig};
use naru_kafka::node::{Node, NodeKind, NodeOptions};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::log::Log;
use crate::postgres::Postgres;

/// Longer than anything here takes beside a compiler.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(25);
const NARU: &str = env!("CARGO_BIN_EXE_naru");
/// Of a log, where a test failed.
const SHOWN_LINES: usize = 40;

/// A database, a log, and room for captures.
pub(crate) struct World {
    pub(crate) postgres: Postgres,
    pub(crate) node: Node,
    pub(crate) client: Client,
    dir: TempDir,
}

impl World {
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// With more settings of the database.
    pub(crate) async fn start_with(settings: &[(&str, &str)]) -> Self {
        let dir = TempDir::new().unwrap();
        let postgres = Postgres::start_with(settings).await;
        let options = NodeOptions::new(NodeKind::StandIn { exe: NARU.into() }, dir.path().join("node"));
        let mut options = options.arg("--flush").arg("write");
        options.ready_within = PATIENCE;
        let node = Node::start(options).await.unwrap();
        let client = Client::new(ClientConfig::new([node.address().to_string()])).unwrap();
        Self { postgres, node, client, dir }
    }

    /// The configuration of a capture of some tables, with more settings (TOML) before the first table.
    pub(crate) fn config(&self, settings: &str, tables: &str) -> String {
        format!(
            "source = 'pay'\nmark_interval = '100ms'\n{settings}\n[database]\nport = {}\ndatabase = 'postgres'\nuser = 'postgres'\n\
             [log]\nbootstrap = ['{}']\npartitions = 3\n{tables}",
            self.postgres.port(),
            self.node.address(),
        )
    }

    /// Tables by name.
    pub(crate) fn tables(names: &[&str]) -> String {
        names.iter().map(|name| format!("[[table]]\nname = '{name}'\n")).collect()
    }

    /// A capture with this configuration.
    pub(crate) async fn capture(&self, config: &str) -> Capture {
        let mut capture = self.spawn(config, &[]);
        capture.ready().await;
        capture
    }

    /// The same, not waited for.
    pub(crate) fn spawn(&self, config: &str, args: &[&str]) -> Capture {
        let file = self.dir.path().join("capture.toml");
        std::fs::write(&file, config).unwrap();
        Capture::spawn(self.dir.path(), &file, args)
    }

    /// Runs another command of the role to its end: its exit code and what it says.
    pub(crate) fn command(&self, config: &str, args: &[&str]) -> (i32, String) {
        let file = self.dir.path().join("command.toml");
        std::fs::write(&file, config).unwrap();
        let out = Command::new(NARU).arg("capture").args(args).arg("--config").arg(&file).output().unwrap();
        let said = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
        (out.status.code().unwrap_or(-1), said)
    }

    /// What the log holds.
    pub(crate) async fn log(&self) -> Log {
        Log::read(&self.client, "pay").await
    }

    /// Waits until a topic, folded, is what the database answers.
    pub(crate) async fn equal(&self, topic: &str, sql: &str) -> Log {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let expect: Vec<(String, String)> =
                sqlx::query_as(sql).fetch_all(&mut self.postgres.connect().await).await.unwrap();
            let log = self.log().await;
            let rows = log.rows(topic);
            let expect: std::collections::BTreeMap<_, _> = expect.into_iter().collect();
            if rows == expect {
                return log;
            }
            if Instant::now() > deadline {
                let missing: Vec<_> = expect.iter().filter(|(key, row)| rows.get(*key) != Some(*row)).take(5).collect();
                let spare: Vec<_> = rows.iter().filter(|(key, _)| !expect.contains_key(*key)).take(5).collect();
                panic!(
                    "{topic}: {} rows, expected {}; not as expected: {missing:?}; too many: {spare:?}; capture said: {}",
                    rows.len(),
                    expect.len(),
                    self.said()
                );
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// The end of what captures said.
    pub(crate) fn said(&self) -> String {
        tail(&self.dir.path().join("capture.log"))
    }
}

fn tail(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n")
}

/// A capture.
pub(crate) struct Capture {
    child: Child,
    out: PathBuf,
    log: PathBuf,
    status: Option<String>,
}

impl Capture {
    fn spawn(dir: &Path, config: &Path, args: &[&str]) -> Self {
        let (out, log) = (dir.join("capture.out"), dir.join("capture.log"));
        let child = Command::new(NARU)
            .args(["capture", "--config"])
            .arg(config)
            .args(args)
            .stdin(Stdio::null())
            .stdout(File::create(&out).unwrap())
            .stderr(File::options().create(true).append(true).open(&log).unwrap())
            .spawn()
            .unwrap();
        Self { child, out, log, status: None }
    }

    /// Waits until it serves its status.
    pub(crate) async fn ready(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let said = std::fs::read_to_string(&self.out).unwrap_or_default();
            if let Some(line) = said.lines().find(|line| line.starts_with("ready ")) {
                let address = line.split_whitespace().find_map(|word| word.strip_prefix("status="));
                self.status = Some(format!("http://{}/v1/status", address.unwrap()));
                return;
            }
            let ended = self.child.try_wait().unwrap();
            assert!(
                ended.is_none() && Instant::now() < deadline,
                "capture is not ready: {ended:?} {}",
                tail(&self.log)
            );
            tokio::time::sleep(POLL).await;
        }
    }

    /// What it says about itself.
    pub(crate) async fn report(&self) -> Report {
        let url = self.status.as_ref().expect("it is ready");
        reqwest::get(url).await.unwrap().json().await.unwrap()
    }

    /// Waits until what it says is as wanted.
    pub(crate) async fn until(&mut self, what: &str, is: impl Fn(&Report) -> bool) -> Report {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let report = self.report().await;
            if is(&report) {
                return report;
            }
            let ended = self.child.try_wait().unwrap();
            let well = ended.is_none() && Instant::now() < deadline;
            assert!(well, "{what} did not come: {report:?} {ended:?} {}", tail(&self.log));
            tokio::time::sleep(POLL).await;
        }
    }

    /// It must not have ended by itself.
    pub(crate) fn is_alive(&mut self) {
        let ended = self.child.try_wait().unwrap();
        assert!(ended.is_none(), "capture ended by itself: {ended:?} {}", tail(&self.log));
    }

    /// Ends it as `kill -9` does.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Tells it to stop, and waits.
    pub(crate) async fn stop(mut self) -> ExitStatus {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), Signal::SIGTERM).unwrap();
        self.ended().await
    }

    /// Waits until it ends by itself.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "capture does not end: {}", tail(&self.log));
            tokio::time::sleep(POLL).await;
        }
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        // It may have ended.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
