//! A `naru up` that ends with its test, and all that it started.

use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Longer than anything here takes beside a compiler.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);
const POLL: Duration = Duration::from_millis(50);

/// Waits until something is so.
pub(crate) async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < deadline, "waited for: {what}");
        tokio::time::sleep(POLL).await;
    }
}

/// A `naru up` whose members are ready.
pub(crate) struct Up {
    child: Child,
    data: PathBuf,
    ready: String,
}

impl Drop for Up {
    fn drop(&mut self) {
        // Its members end with it, by the kernel.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn spawn(data: &Path, args: &[&str]) -> Child {
    std::fs::create_dir_all(data).unwrap();
    let log = |name: &str| File::create(data.with_extension(name)).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_naru"));
    command.arg("up").arg("--data").arg(data).args(args);
    command.stdin(Stdio::null()).stdout(log("out")).stderr(log("err")).process_group(0);
    command.spawn().unwrap()
}

fn said(data: &Path) -> String {
    ["out", "err"].map(|name| std::fs::read_to_string(data.with_extension(name)).unwrap_or_default()).concat()
}

impl Up {
    /// Starts it, and waits for its ready line.
    pub(crate) async fn start(data: &Path, args: &[&str]) -> Self {
        let mut up = Self { child: spawn(data, args), data: data.to_owned(), ready: String::new() };
        let deadline = Instant::now() + PATIENCE;
        loop {
            let text = std::fs::read_to_string(data.with_extension("out")).unwrap();
            if let Some(line) =
                text.split_inclusive('\n').find(|line| line.starts_with("ready ") && line.ends_with('\n'))
            {
                up.ready = line.trim_end().to_owned();
                return up;
            }
            let over = up.child.try_wait().unwrap().is_some() || Instant::now() > deadline;
            assert!(!over, "not ready: {}", said(data));
            tokio::time::sleep(POLL).await;
        }
    }

    /// Starts one that does not come up, and says how it ended.
    pub(crate) async fn fails(data: &Path) -> (ExitStatus, String) {
        let mut child = spawn(data, &[]);
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = child.try_wait().unwrap() {
                return (status, said(data));
            }
            if Instant::now() > deadline {
                child.kill().ok();
                panic!("it did not end: {}", said(data));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Every port of its ready line with its address.
    pub(crate) fn addresses(&self) -> Vec<(String, String)> {
        let fields = self.ready.split_ascii_whitespace().filter_map(|field| field.split_once('='));
        fields.map(|(name, address)| (name.to_owned(), address.to_owned())).collect()
    }

    /// One of them.
    pub(crate) fn address(&self, name: &str) -> String {
        let found = self.addresses().into_iter().find(|(field, _)| field == name);
        found.unwrap_or_else(|| panic!("no {name} in {}", self.ready)).1
    }

    /// The address of a page.
    pub(crate) fn url(&self, port: &str, path: &str) -> String {
        format!("http://{}{path}", self.address(port))
    }

    /// SIGKILL to the process of a member, if it has one now.
    pub(crate) fn kill_member(&self, name: &str) {
        let config = self.data.join(name).join("role.toml").display().to_string();
        for (pid, _) in processes().into_iter().filter(|(_, arguments)| arguments.contains(&config)) {
            // It may have ended in between.
            kill(Pid::from_raw(pid), Signal::SIGKILL).ok();
        }
    }

    /// Ctrl-C, and its end: it drains within its own bound.
    pub(crate) fn stop(mut self) -> (ExitStatus, String) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), Signal::SIGINT).unwrap();
        (self.child.wait().unwrap(), said(&self.data))
    }
}

/// Processes of members of a data directory: their arguments.
pub(crate) fn members_of(data: &Path) -> Vec<String> {
    let data = data.display().to_string();
    let ours = |(_, arguments): (i32, String)| arguments.contains(&data).then_some(arguments);
    processes().into_iter().filter_map(ours).collect()
}

fn processes() -> Vec<(i32, String)> {
    let read = |entry: std::io::Result<std::fs::DirEntry>| {
        let entry = entry.ok()?;
        let pid = entry.file_name().to_str()?.parse().ok()?;
        // One that has ended meanwhile has no arguments.
        let arguments = std::fs::read_to_string(entry.path().join("cmdline")).ok()?.replace('\0', " ");
        Some((pid, arguments))
    };
    std::fs::read_dir("/proc").unwrap().filter_map(read).collect()
}
