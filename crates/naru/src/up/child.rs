//! One member as a child process of this binary.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child as Process, Command, ExitStatus, Stdio};
use std::time::Duration;

use naru_kafka::node::{Signal, signal_child, tie};
use tokio::time::Instant;

use super::configure::Member;

/// Between two looks at a child that starts or ends.
const POLL: Duration = Duration::from_millis(20);
/// A start opens files and ports; the machine may be compiling at the same time.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// What of the end of a child's log an error shows: enough for a configuration's mistakes.
const LOG_SHOWN_BYTES_MAX: usize = 2_048;

/// Why a child could not be run. This machine's side; the log in its directory says more.
#[derive(Debug, thiserror::Error)]
pub enum ChildError {
    /// Its directory, configuration or log.
    #[error("{name}: cannot use {path}", path = path.display())]
    File {
        /// The member.
        name: String,
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It could not be started, signalled or awaited.
    #[error("{name}: the process cannot be {what}")]
    Process {
        /// The member.
        name: String,
        /// What was tried.
        what: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It ended before it was ready.
    #[error("{name} ended with {status} before it was ready; the end of {log}:\n{tail}", log = log.display())]
    Ended {
        /// The member.
        name: String,
        /// How.
        status: ExitStatus,
        /// Its log.
        log: PathBuf,
        /// The end of it.
        tail: String,
    },
    /// It runs and did not say that it is ready.
    #[error("{name} was not ready within {READY_WITHIN:?}; the end of {log}:\n{tail}", log = log.display())]
    Late {
        /// The member.
        name: String,
        /// Its log.
        log: PathBuf,
        /// The end of it.
        tail: String,
    },
}

/// A running member. Dropping it kills the process; so does the end of this process, however it comes.
#[derive(Debug)]
pub struct Child {
    name: String,
    log: PathBuf,
    process: Process,
}

impl Child {
    /// Writes its configuration, starts it, and waits until it has said that it is ready.
    ///
    /// # Errors
    /// Every [`ChildError`].
    pub async fn start(program: &Path, data: &Path, member: &Member) -> Result<Self, ChildError> {
        let dir = data.join(&member.name);
        let log = dir.join("role.log");
        let name = member.name.clone();
        let file = |path: &Path| {
            let (name, path) = (name.clone(), path.to_owned());
            move |source| ChildError::File { name, path, source }
        };
        std::fs::create_dir_all(&dir).map_err(file(&dir))?;
        let mut command = Command::new(program);
        command.args(&member.args);
        if let Some(text) = &member.config {
            let path = dir.join("role.toml");
            std::fs::write(&path, text).map_err(file(&path))?;
            command.arg("--config").arg(path);
        }
        let output = OpenOptions::new().create(true).append(true).open(&log).map_err(file(&log))?;
        let from = output.metadata().map_err(file(&log))?.len();
        let errors = output.try_clone().map_err(file(&log))?;
        // A process group of its own: Ctrl-C on a terminal reaches `naru up` alone, which ends its members in order.
        command.stdin(Stdio::null()).stdout(output).stderr(errors).process_group(0);
        let failed = |source| ChildError::Process { name: member.name.clone(), what: "started", source };
        let process = tie(&mut command).spawn().map_err(failed)?;
        let mut child = Self { name: member.name.clone(), log, process };
        child.until_ready(from).await?;
        Ok(child)
    }

    async fn until_ready(&mut self, from: u64) -> Result<(), ChildError> {
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            let ended = self.ended()?;
            let said = self.said(from)?;
            if said.split_inclusive('\n').any(|line| line.starts_with("ready ") && line.ends_with('\n')) {
                return Ok(());
            }
            let (name, log) = (self.name.clone(), self.log.clone());
            let tail = || said[said.ceil_char_boundary(said.len().saturating_sub(LOG_SHOWN_BYTES_MAX))..].to_owned();
            if let Some(status) = ended {
                return Err(ChildError::Ended { name, status, log, tail: tail() });
            }
            if Instant::now() > deadline {
                return Err(ChildError::Late { name, log, tail: tail() });
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// What it has written since its start, which is little until it is ready.
    fn said(&self, from: u64) -> Result<String, ChildError> {
        let read = || {
            let mut file = File::open(&self.log)?;
            file.seek(SeekFrom::Start(from))?;
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        read().map_err(|source| ChildError::File { name: self.name.clone(), path: self.log.clone(), source })
    }

    fn error(&self, what: &'static str, source: io::Error) -> ChildError {
        ChildError::Process { name: self.name.clone(), what, source }
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// If it is out of reach.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>, ChildError> {
        self.process.try_wait().map_err(|source| self.error("awaited", source))
    }

    /// Asks it to drain, and waits up to `within`; then it is killed. Gives how it ended, or nothing if it was killed.
    ///
    /// # Errors
    /// If it is out of reach.
    pub async fn stop(&mut self, within: Duration) -> Result<Option<ExitStatus>, ChildError> {
        if let Some(status) = self.ended()? {
            return Ok(Some(status));
        }
        signal_child(self.process.id(), Signal::SIGTERM).map_err(|source| self.error("signalled", source))?;
        let deadline = Instant::now() + within;
        while Instant::now() < deadline {
            if let Some(status) = self.ended()? {
                return Ok(Some(status));
            }
            tokio::time::sleep(POLL).await;
        }
        self.kill().map_err(|source| self.error("killed", source))?;
        Ok(None)
    }

    fn kill(&mut self) -> io::Result<()> {
        if self.process.try_wait()?.is_none() {
            self.process.kill()?;
            self.process.wait()?;
        }
        Ok(())
    }

    /// Its log.
    pub fn log(&self) -> &Path {
        &self.log
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if let Err(error) = self.kill() {
            eprintln!("naru up: {} outlives its owner: {error}", self.name);
        }
    }
}
