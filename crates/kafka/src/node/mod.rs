//! A node of the log as a child process: the stand-in, or Apache Kafka from a directory of jars.
//!
//! Owns starting, probing, killing and measuring such a process, so that a rehearsal, a test and a benchmark treat both
//! kinds alike. Invariant: a child never outlives this process, however this process ends.

mod apache;
mod port;
mod probe;
mod proc;
mod spawn;
mod stand_in;

use std::ffi::OsString;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

pub use nix::sys::signal::Signal;
use nix::unistd::Pid;

pub use self::port::free as free_port;
pub use self::spawn::{signal_child, tie};

/// How long the loops below rest between two looks at a child: short beside the stand-in's start (tens of milliseconds).
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// How much of the end of a child's log goes into an error: enough for a Java stack trace's cause.
const LOG_TAIL_BYTES_MAX: usize = 4096;

/// Which program plays the node.
#[derive(Debug, Clone)]
pub enum NodeKind {
    /// `naru broker`.
    StandIn {
        /// The `naru` executable.
        exe: PathBuf,
    },
    /// `kafka.Kafka` in KRaft mode, broker and controller in one JVM.
    Apache {
        /// The directory that holds Kafka's jars.
        libs: PathBuf,
        /// The `java` executable, 17 or newer; a bare name is looked up in `PATH`.
        java: PathBuf,
    },
}

/// What to start, and where.
#[derive(Debug, Clone)]
pub struct NodeOptions {
    /// Which program plays the node.
    pub kind: NodeKind,
    /// The node's own directory: data in `data/`, its output in `node.log`. Made if missing; never removed.
    pub dir: PathBuf,
    /// The cluster's identifier. Kafka wants 16 bytes in unpadded URL-safe base64: 22 characters.
    pub cluster_id: String,
    /// The broker's number in its cluster.
    pub node_id: i32,
    /// The port of the client listener on 127.0.0.1; none: a free one is chosen and kept over restarts.
    pub port: Option<u16>,
    /// How long a start may take, formatting not included.
    pub ready_within: Duration,
    /// Kafka: lines added to `server.properties`, replacing the default of the same name. The stand-in: not read.
    pub properties: Vec<(String, String)>,
    /// The stand-in: arguments added to `naru broker`. Kafka: options of the JVM, before the class name.
    pub args: Vec<OsString>,
}

impl NodeOptions {
    /// Options with a start-up bound that fits the kind on a loaded two-core machine.
    #[must_use]
    pub fn new(kind: NodeKind, dir: impl Into<PathBuf>) -> Self {
        let ready_within = match kind {
            NodeKind::StandIn { .. } => Duration::from_secs(20),
            // 7 s on two idle cores (measured); the machine may be compiling at the same time.
            NodeKind::Apache { .. } => Duration::from_secs(120),
        };
        Self {
            kind,
            dir: dir.into(),
            cluster_id: "naru-cluster-000000001".to_owned(),
            node_id: 1,
            port: None,
            ready_within,
            properties: Vec::new(),
            args: Vec::new(),
        }
    }

    /// Adds or replaces one line of Kafka's `server.properties`.
    #[must_use]
    pub fn property(mut self, name: &str, value: impl ToString) -> Self {
        self.properties.push((name.to_owned(), value.to_string()));
        self
    }

    /// Adds one argument, see [`NodeOptions::args`].
    #[must_use]
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }
}

/// Why a node could not be started, stopped or measured. All of them are on this machine's side.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// A file or directory of the node could not be used; retrying does not help.
    #[error("cannot use {path}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The program could not be started; retrying does not help.
    #[error("cannot start {program}", program = program.display())]
    Spawn {
        /// The program.
        program: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// No free port below the ephemeral range was found; retrying may help.
    #[error("no free port found between {low} and {high}")]
    NoPort {
        /// The lowest port tried.
        low: u16,
        /// The port after the highest tried.
        high: u16,
    },
    /// The system gave no random number; retrying does not help.
    #[error("no random number for choosing a port")]
    Random(#[source] io::Error),
    /// The process ended before it was ready: a wrong option, or its port was taken. A retry helps only for the latter.
    #[error("{what} ended with {status} before it was ready; the end of its output:\n{log_tail}")]
    Ended {
        /// Which step: the storage tool or the broker.
        what: &'static str,
        /// Its exit status.
        status: ExitStatus,
        /// The end of its output.
        log_tail: String,
    },
    /// The process runs but did not answer in time; a retry may help on a loaded machine.
    #[error("{what} not done within {within:?}; the end of its output:\n{log_tail}")]
    TimedOut {
        /// Which step was waited for.
        what: &'static str,
        /// The bound.
        within: Duration,
        /// The end of its output.
        log_tail: String,
    },
    /// The system refused a signal or has no such process; retrying does not help.
    #[error("process {pid} cannot be {what}")]
    Process {
        /// The process.
        pid: u32,
        /// What was tried.
        what: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The node is not running; start it first.
    #[error("the node is not running")]
    Down,
}

impl NodeError {
    /// Whether trying the same again can succeed.
    #[must_use]
    pub fn is_retriable(&self) -> bool {
        matches!(self, Self::NoPort { .. } | Self::TimedOut { .. })
    }
}

/// A child process that is one node of the log. Dropping it kills the process.
#[derive(Debug)]
pub struct Node {
    options: NodeOptions,
    port: u16,
    /// Kafka's controller listener; taken for the stand-in as well so that a node has one shape.
    controller_port: u16,
    child: Option<Child>,
    admin: Option<SocketAddr>,
    /// Starting the process until it answered, formatting not included.
    start_took: Duration,
}

impl Node {
    /// Starts a node and waits until it answers ApiVersions and lists itself in Metadata.
    ///
    /// # Errors
    /// Every [`NodeError`] but `Down`.
    pub async fn start(options: NodeOptions) -> Result<Self, NodeError> {
        make_dir(&options.dir)?;
        make_dir(&options.dir.join("data"))?;
        let port = match options.port {
            Some(port) => port,
            None => port::free()?,
        };
        let controller_port = port::free()?;
        let mut node = Self { options, port, controller_port, child: None, admin: None, start_took: Duration::ZERO };
        if let NodeKind::Apache { libs, java } = &node.options.kind {
            let properties = node.options.dir.join("server.properties");
            let lines = apache::properties(&node.options, node.port, node.controller_port);
            fs::write(&properties, lines).map_err(|source| NodeError::File { path: properties, source })?;
            if !node.data_dir().join("meta.properties").exists() {
                apache::format(java, libs, &node.options, &node.log_path()).await?;
            }
        }
        node.launch().await?;
        Ok(node)
    }

    /// Starts the node again on the same port and data. One that still runs is killed first.
    ///
    /// # Errors
    /// Every [`NodeError`] but `Down`.
    pub async fn restart(&mut self) -> Result<(), NodeError> {
        if self.child.is_some() {
            self.kill()?;
        }
        self.launch().await
    }

    async fn launch(&mut self) -> Result<(), NodeError> {
        let began = Instant::now();
        // The stand-in's `ready` line is looked for after what earlier runs left in the log.
        let log_start = fs::metadata(self.log_path()).map_or(0, |meta| meta.len());
        let command = match &self.options.kind {
            NodeKind::StandIn { exe } => stand_in::command(exe, &self.options, &self.data_dir(), self.port),
            NodeKind::Apache { libs, java } => apache::command(java, libs, &self.options),
        };
        self.child = Some(spawn::spawn(command, &self.log_path())?);
        let within = self.options.ready_within;
        let ready = tokio::time::timeout(within, self.wait_ready(log_start)).await;
        let outcome = match ready {
            Ok(outcome) => outcome,
            Err(_elapsed) => {
                Err(NodeError::TimedOut { what: "start of the node", within, log_tail: log_tail(&self.log_path()) })
            }
        };
        if outcome.is_err() && self.child.is_some() {
            self.kill()?;
        }
        outcome?;
        self.start_took = began.elapsed();
        Ok(())
    }

    async fn wait_ready(&mut self, log_start: u64) -> Result<(), NodeError> {
        let stand_in = matches!(self.options.kind, NodeKind::StandIn { .. });
        let mut announced = !stand_in;
        loop {
            let child = self.child.as_mut().ok_or(NodeError::Down)?;
            let pid = child.id();
            let ended = child.try_wait().map_err(|source| NodeError::Process { pid, what: "awaited", source })?;
            if let Some(status) = ended {
                self.child = None;
                return Err(NodeError::Ended { what: "the broker", status, log_tail: log_tail(&self.log_path()) });
            }
            if !announced && let Some(ready) = stand_in::ready_line(&self.log_path(), log_start)? {
                self.admin = ready.admin;
                announced = true;
            }
            if announced && probe::answers(self.address()).await {
                return Ok(());
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// The client listener.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    /// The client listener as clients write it: `host:port`.
    #[must_use]
    pub fn bootstrap(&self) -> String {
        self.address().to_string()
    }

    /// The stand-in's admin listener, if its arguments asked for one.
    #[must_use]
    pub fn admin(&self) -> Option<SocketAddr> {
        self.admin
    }

    /// What it was started with.
    #[must_use]
    pub fn options(&self) -> &NodeOptions {
        &self.options
    }

    /// Changes what the next [`Node::restart`] uses. Kafka's `server.properties` is written at the first start only.
    pub fn options_mut(&mut self) -> &mut NodeOptions {
        &mut self.options
    }

    /// Where the node keeps its partitions.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.options.dir.join("data")
    }

    /// The file that takes the output of every run of this node.
    #[must_use]
    pub fn log_path(&self) -> PathBuf {
        self.options.dir.join("node.log")
    }

    /// How long the last start took until the node answered, formatting not included.
    #[must_use]
    pub fn start_took(&self) -> Duration {
        self.start_took
    }

    /// The process, if the node was not killed or stopped.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Whether the process is still there; false also after it ended by itself.
    ///
    /// # Errors
    /// [`NodeError::Process`] if the system cannot tell.
    pub fn is_running(&mut self) -> Result<bool, NodeError> {
        let Some(child) = self.child.as_mut() else { return Ok(false) };
        let pid = child.id();
        let ended = child.try_wait().map_err(|source| NodeError::Process { pid, what: "awaited", source })?;
        if ended.is_some() {
            self.child = None;
        }
        Ok(ended.is_none())
    }

    /// Sends SIGKILL and reaps the process; blocks for the milliseconds that this takes. Nothing happens if it is down.
    ///
    /// # Errors
    /// [`NodeError::Process`] if the process is out of reach.
    pub fn kill(&mut self) -> Result<(), NodeError> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        let pid = child.id();
        child.kill().map_err(|source| NodeError::Process { pid, what: "killed", source })?;
        child.wait().map_err(|source| NodeError::Process { pid, what: "reaped", source })?;
        Ok(())
    }

    /// Sends a signal, such as SIGSTOP and SIGCONT. For SIGKILL use [`Node::kill`], which also reaps. After SIGSTOP it
    /// returns when the process stands still.
    ///
    /// # Errors
    /// [`NodeError::Down`], or [`NodeError::Process`] if the process is gone.
    pub fn signal(&self, signal: Signal) -> Result<(), NodeError> {
        let pid = self.pid().ok_or(NodeError::Down)?;
        signal_child(pid, signal).map_err(|source| NodeError::Process { pid, what: "signalled", source })
    }

    /// Asks the node to end (SIGTERM) and waits for it; past `within` it is killed and the call fails.
    ///
    /// # Errors
    /// [`NodeError::Down`], [`NodeError::TimedOut`], [`NodeError::Process`].
    pub async fn stop(&mut self, within: Duration) -> Result<ExitStatus, NodeError> {
        self.signal(Signal::SIGTERM)?;
        let deadline = Instant::now() + within;
        loop {
            let child = self.child.as_mut().ok_or(NodeError::Down)?;
            let pid = child.id();
            let ended = child.try_wait().map_err(|source| NodeError::Process { pid, what: "awaited", source })?;
            if let Some(status) = ended {
                self.child = None;
                return Ok(status);
            }
            if Instant::now() >= deadline {
                self.kill()?;
                return Err(NodeError::TimedOut {
                    what: "stop of the node",
                    within,
                    log_tail: log_tail(&self.log_path()),
                });
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// Memory that is resident now, in bytes.
    ///
    /// # Errors
    /// [`NodeError::Down`], or [`NodeError::Process`] if the process is gone.
    pub fn resident_bytes(&self) -> Result<u64, NodeError> {
        let pid = self.pid().ok_or(NodeError::Down)?;
        proc::resident_bytes(pid).map_err(|source| NodeError::Process { pid, what: "measured", source })
    }

    /// Processor time used by this run of the node, in user and system mode; a restart counts from zero.
    ///
    /// # Errors
    /// [`NodeError::Down`], or [`NodeError::Process`] if the process is gone.
    pub fn cpu_time(&self) -> Result<Duration, NodeError> {
        let pid = self.pid().ok_or(NodeError::Down)?;
        proc::cpu_time(pid).map_err(|source| NodeError::Process { pid, what: "measured", source })
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Err(error) = self.kill() {
            tracing::warn!(error = &error as &dyn std::error::Error, "a node outlives its owner");
        }
    }
}

fn nix_pid(pid: u32) -> Pid {
    Pid::from_raw(i32::try_from(pid).expect("Linux process numbers stay below 2^22"))
}

fn make_dir(path: &Path) -> Result<(), NodeError> {
    fs::create_dir_all(path).map_err(|source| NodeError::File { path: path.to_owned(), source })
}

/// The end of a log for an error message; a log that cannot be read gives the reason instead.
fn log_tail(path: &Path) -> String {
    match fs::read(path) {
        Ok(log) => String::from_utf8_lossy(&log[log.len().saturating_sub(LOG_TAIL_BYTES_MAX)..]).into_owned(),
        Err(error) => format!("({} cannot be read: {error})", path.display()),
    }
}

#[cfg(test)]
mod tests;
