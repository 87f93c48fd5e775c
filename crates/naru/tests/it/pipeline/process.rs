//! One role as a process that ends with its test, can be killed, and started again as it was.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Longer than anything here takes beside a compiler.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at what is waited for.
pub(super) const POLL: Duration = Duration::from_millis(25);
/// Of a log, where a test failed.
const SHOWN_LINES: usize = 60;

pub(super) const NARU: &str = env!("CARGO_BIN_EXE_naru");

/// A running (or killed) role.
pub(super) struct Process {
    name: String,
    args: Vec<String>,
    dir: PathBuf,
    child: Option<Child>,
    ready: String,
}

impl Process {
    /// Starts `naru args...` and waits until it says that it is ready.
    pub(super) async fn start(name: &str, dir: &Path, args: &[&str]) -> Self {
        std::fs::create_dir_all(dir).unwrap();
        let args = args.iter().map(|arg| (*arg).to_owned()).collect();
        let mut process = Self { name: name.to_owned(), args, dir: dir.to_owned(), child: None, ready: String::new() };
        process.restart().await;
        process
    }

    /// The same with a configuration in TOML.
    pub(super) async fn with_config(role: &str, dir: &Path, config: &str, more: &[&str]) -> Self {
        std::fs::create_dir_all(dir).unwrap();
        let file = dir.join(format!("{role}.toml"));
        std::fs::write(&file, config).unwrap();
        let args = [&[role, "--config", file.to_str().unwrap()], more].concat();
        Self::start(role, dir, &args).await
    }

    /// Starts it again as it was; one that still runs is killed first.
    pub(super) async fn restart(&mut self) {
        self.kill();
        let out = self.dir.join(format!("{}.out", self.name));
        let log = File::options().create(true).append(true).open(self.log_path()).unwrap();
        let mut command = Command::new(NARU);
        command.args(&self.args).stdin(Stdio::null()).stdout(File::create(&out).unwrap()).stderr(log);
        naru_kafka::node::tie(&mut command);
        self.child = Some(command.spawn().unwrap());
        let deadline = Instant::now() + PATIENCE;
        loop {
            let said = std::fs::read_to_string(&out).unwrap_or_default();
            let whole = said.split_inclusive('\n').filter(|line| line.ends_with('\n'));
            if let Some(line) = { whole }.find_map(|line| line.strip_prefix("ready ")) {
                self.ready = line.to_owned();
                return;
            }
            self.is_alive();
            assert!(Instant::now() < deadline, "{} is not ready: {}", self.name, self.log());
            tokio::time::sleep(POLL).await;
        }
    }

    /// It must not have ended by itself.
    pub(super) fn is_alive(&mut self) {
        let ended = self.child.as_mut().and_then(|child| child.try_wait().unwrap());
        assert!(ended.is_none(), "{} ended by itself, {ended:?}: {}", self.name, self.log());
    }

    /// Ends it as `kill -9` does.
    pub(super) fn kill(&mut self) {
        self.is_alive();
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Sends a signal.
    pub(super) fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.as_ref().expect("it runs").id()).unwrap())
    }

    /// A part of the line by which it said that it is ready.
    pub(super) fn field(&self, name: &str) -> &str {
        let mut fields = self.ready.split_ascii_whitespace().filter_map(|field| field.split_once('='));
        fields.find(|(key, _)| *key == name).unwrap_or_else(|| panic!("{}: no {name}", self.ready)).1
    }

    fn log_path(&self) -> PathBuf {
        self.dir.join(format!("{}.log", self.name))
    }

    /// The end of what it said.
    pub(super) fn log(&self) -> String {
        let text = std::fs::read_to_string(self.log_path()).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("the end of {}'s log:\n{}", self.name, self.log());
        }
        if let Some(mut child) = self.child.take() {
            // It may have ended.
            child.kill().ok();
            child.wait().ok();
        }
    }
}
