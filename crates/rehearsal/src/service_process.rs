//! A service under load as a child process, and where its output goes.

use std::fs::OpenOptions;
use std::io;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::children::Ending;

/// Pause between two looks at a child that starts or ends.
const POLL: Duration = Duration::from_millis(10);
/// A service opens a SQLite file and a port; the machine may be compiling at the same time.
const READY_WITHIN: Duration = Duration::from_secs(20);
/// Output that is searched for the ready line, and shown when there is none.
const OUTPUT_SHOWN_BYTES_MAX: usize = 4_096;

/// Why a service could not be run. All of them are on this machine's side; a retry does not help.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// A file or directory of the service could not be used.
    #[error("cannot use {path}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The program could not be started, signalled or awaited.
    #[error("cannot {what} {program}", program = program.display())]
    Process {
        /// What was tried.
        what: &'static str,
        /// The program.
        program: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It ended before it was ready.
    #[error("{name} ended with {status} before it was ready; the end of its output:\n{output}")]
    Ended {
        /// The service.
        name: String,
        /// Its exit status.
        status: ExitStatus,
        /// The end of its output.
        output: String,
    },
    /// It runs but did not say that it is ready.
    #[error("{name} was not ready within {READY_WITHIN:?}; the end of its output:\n{output}")]
    TimedOut {
        /// The service.
        name: String,
        /// The end of its output.
        output: String,
    },
}

/// A running service. Dropping it kills the process; so does the end of this process, however it comes.
#[derive(Debug)]
pub struct ServiceProcess {
    name: String,
    program: PathBuf,
    log: PathBuf,
    child: Child,
    address: SocketAddr,
}

impl ServiceProcess {
    /// Starts `program args...` with its output in `dir/service.log`, and waits for its line `ready listen=ADDR`.
    ///
    /// Must be called on the main thread: the child is killed when the thread that started it ends.
    ///
    /// # Errors
    /// Every [`ServiceError`].
    pub async fn start(name: &str, program: &Path, args: &[String], dir: &Path) -> Result<Self, ServiceError> {
        let file_error = |path: &Path| {
            let path = path.to_owned();
            move |source| ServiceError::File { path, source }
        };
        std::fs::create_dir_all(dir).map_err(file_error(dir))?;
        let log = dir.join("service.log");
        let output = OpenOptions::new().create(true).append(true).open(&log).map_err(file_error(&log))?;
        let errors = output.try_clone().map_err(file_error(&log))?;
        let mut command = Command::new(program);
        // A process group of its own: Ctrl-C on a terminal reaches the rehearsal alone, which then stops its children.
        command.args(args).stdin(Stdio::null()).stdout(output).stderr(errors).process_group(0);
        let owner = nix::unistd::getpid();
        // SAFETY: between fork and exec only the async-signal-safe calls prctl and getppid are made.
        unsafe {
            command.pre_exec(move || {
                nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
                if nix::unistd::getppid() == owner { Ok(()) } else { Err(io::ErrorKind::BrokenPipe.into()) }
            });
        }
        let child = command.spawn().map_err(|source| ServiceError::Process {
            what: "start",
            program: program.to_owned(),
            source,
        })?;
        // From here on the guard ends the child if anything goes wrong.
        let unknown = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut process = Self { name: name.to_owned(), program: program.to_owned(), log, child, address: unknown };
        process.address = process.wait_ready().await?;
        Ok(process)
    }

    async fn wait_ready(&mut self) -> Result<SocketAddr, ServiceError> {
        let began = Instant::now();
        loop {
            let output = std::fs::read_to_string(&self.log)
                .map_err(|source| ServiceError::File { path: self.log.clone(), source })?;
            if let Some(address) = ready_address(&output) {
                return Ok(address);
            }
            let name = self.name.clone();
            if let Some(status) = self.ended()? {
                return Err(ServiceError::Ended { name, status, output: tail(&output) });
            }
            if began.elapsed() > READY_WITHIN {
                return Err(ServiceError::TimedOut { name, output: tail(&output) });
            }
            tokio::time::sleep(POLL).await;
        }
    }

    fn process_error(&self, what: &'static str, source: io::Error) -> ServiceError {
        ServiceError::Process { what, program: self.program.clone(), source }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How it ended, if it has.
    fn ended(&mut self) -> Result<Option<ExitStatus>, ServiceError> {
        self.child.try_wait().map_err(|source| self.process_error("await", source))
    }

    /// Where its output goes.
    pub fn log_path(&self) -> &Path {
        &self.log
    }

    /// Asks it to drain (SIGTERM) and waits up to `within`; then it is killed.
    ///
    /// # Errors
    /// If it cannot be signalled or awaited.
    pub async fn stop(mut self, within: Duration) -> Result<Ending, ServiceError> {
        let deadline = Instant::now() + within;
        let pid = Pid::from_raw(i32::try_from(self.child.id()).expect("Linux process ids fit an i32"));
        if let Some(status) = self.ended()? {
            return Ok(Ending::Early(Some(status)));
        }
        nix::sys::signal::kill(pid, Signal::SIGTERM).map_err(|errno| self.process_error("signal", errno.into()))?;
        loop {
            if let Some(status) = self.ended()? {
                return Ok(Ending::Asked(status));
            }
            if Instant::now() >= deadline {
                return Ok(Ending::Forced);
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

impl Drop for ServiceProcess {
    fn drop(&mut self) {
        // Both fail only if the process has been reaped already, which is what they are for.
        if self.child.kill().is_ok() && self.child.wait().is_err() {
            tracing::warn!(service = self.name, "could not be reaped");
        }
    }
}

fn ready_address(output: &str) -> Option<SocketAddr> {
    let whole_lines = output.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    let fields = whole_lines.filter_map(|line| line.strip_prefix("ready ")).next()?;
    fields.split_ascii_whitespace().find_map(|field| field.strip_prefix("listen="))?.parse().ok()
}

fn tail(output: &str) -> String {
    let mut start = output.len().saturating_sub(OUTPUT_SHOWN_BYTES_MAX);
    while !output.is_char_boundary(start) {
        start += 1;
    }
    output[start..].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_ready_line_counts() {
        let check = |output: &str, expect: Option<&str>| {
            assert_eq!(ready_address(output), expect.map(|address| address.parse().expect("an address")), "{output:?}");
        };
        check("", None);
        check("ready listen=127.0.0.1:80", None);
        check("log line\nready listen=127.0.0.1:8080\n", Some("127.0.0.1:8080"));
        check("ready listen=127.0.0.1:8080 admin=127.0.0.1:9\nmore\n", Some("127.0.0.1:8080"));
        check("already listen=127.0.0.1:1\n", None);
    }
}
