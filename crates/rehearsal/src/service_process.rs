//! A service under load as a child process, and where its output goes.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use rand::TryRng as _;
use rand::rngs::SysRng;

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
    /// No port was free.
    #[error("none of {PORTS_TRIED_MAX} ports between {} and {} is free", PORTS.start, PORTS.end)]
    NoPort,
    /// The system gave no random number.
    #[error("no random number for choosing a port")]
    Random(#[source] io::Error),
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

/// What to start.
#[derive(Debug, Clone)]
pub struct ServiceOptions {
    /// As errors and reports name it.
    pub name: String,
    /// The program.
    pub program: PathBuf,
    /// Its arguments, but for where it listens.
    pub args: Vec<String>,
    /// Its own directory; its output goes into `service.log` there.
    pub dir: PathBuf,
}

/// Where a service listens, and how it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listen {
    /// On a free port of this address, by its flag `--listen`.
    Flag(IpAddr),
    /// On an address that its configuration says.
    Configured(SocketAddr),
}

/// A running service. Dropping it kills the process; so does the end of this process, however it comes.
#[derive(Debug)]
pub struct ServiceProcess {
    options: ServiceOptions,
    listen: Listen,
    child: Child,
    address: SocketAddr,
    /// The line by which its newest start said that it is ready.
    ready: String,
}

impl ServiceProcess {
    /// Starts `program args... --listen ADDR` on a free port, and waits for its line `ready listen=ADDR`.
    ///
    /// # Errors
    /// Every [`ServiceError`].
    pub async fn start(options: ServiceOptions) -> Result<Self, ServiceError> {
        Self::start_at(options, Listen::Flag(Ipv4Addr::LOCALHOST.into())).await
    }

    /// Starts it where it is to listen, and waits for its line `ready listen=ADDR`.
    ///
    /// Must be called on a thread that lives as long as the run, such as the main thread or a worker of the runtime: the
    /// child is killed when the thread that started it ends.
    ///
    /// # Errors
    /// Every [`ServiceError`].
    pub async fn start_at(options: ServiceOptions, listen: Listen) -> Result<Self, ServiceError> {
        let dir = &options.dir;
        std::fs::create_dir_all(dir).map_err(|source| ServiceError::File { path: dir.clone(), source })?;
        let address = match listen {
            Listen::Flag(ip) => free_address(ip)?,
            Listen::Configured(address) => address,
        };
        let (child, log_from) = spawn(&options, listen, address)?;
        // From here on the guard ends the child if anything goes wrong.
        let mut process = Self { options, listen, child, address, ready: String::new() };
        process.wait_ready(log_from).await?;
        Ok(process)
    }

    /// Starts it again, where it listened before and on the same data. One that still runs is killed first.
    ///
    /// # Errors
    /// Every [`ServiceError`].
    pub async fn restart(&mut self) -> Result<(), ServiceError> {
        self.kill()?;
        let (child, log_from) = spawn(&self.options, self.listen, self.address)?;
        self.child = child;
        self.wait_ready(log_from).await
    }

    /// Looks for the ready line behind what earlier processes left in the log.
    async fn wait_ready(&mut self, log_from: u64) -> Result<(), ServiceError> {
        let began = Instant::now();
        loop {
            let output = self.output(log_from)?;
            if let Some(ready) = ready_line(&output).filter(|line| address_in(line) == Some(self.address)) {
                self.ready = ready.to_owned();
                return Ok(());
            }
            let name = self.options.name.clone();
            if let Some(status) = self.ended()? {
                return Err(ServiceError::Ended { name, status, output: tail(&output) });
            }
            if began.elapsed() > READY_WITHIN {
                return Err(ServiceError::TimedOut { name, output: tail(&output) });
            }
            tokio::time::sleep(POLL).await;
        }
    }

    fn output(&self, from: u64) -> Result<String, ServiceError> {
        let path = self.log_path();
        let read = || {
            let mut file = File::open(&path)?;
            file.seek(SeekFrom::Start(from))?;
            let mut output = String::new();
            file.read_to_string(&mut output)?;
            Ok(output)
        };
        read().map_err(|source| ServiceError::File { path, source })
    }

    fn process_error(&self, what: &'static str, source: io::Error) -> ServiceError {
        ServiceError::Process { what, program: self.options.program.clone(), source }
    }

    /// Another part of the line by which it said that it is ready: `metrics=ADDR` is the field "metrics".
    pub fn ready_field(&self, name: &str) -> Option<&str> {
        field(&self.ready, name)
    }

    /// What the next [`ServiceProcess::restart`] starts.
    pub fn options_mut(&mut self) -> &mut ServiceOptions {
        &mut self.options
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
    pub fn log_path(&self) -> PathBuf {
        self.options.dir.join("service.log")
    }

    /// Sends SIGKILL and reaps it. Gives how it had ended, if it had ended by itself before.
    ///
    /// # Errors
    /// If the process is out of reach.
    pub fn kill(&mut self) -> Result<Option<ExitStatus>, ServiceError> {
        let early = self.ended()?;
        if early.is_none() {
            self.child.kill().map_err(|source| self.process_error("kill", source))?;
            self.child.wait().map_err(|source| self.process_error("await", source))?;
        }
        Ok(early)
    }

    /// Sends a signal, such as SIGSTOP and SIGCONT. After SIGSTOP it returns when the process stands still.
    ///
    /// # Errors
    /// If the process is out of reach.
    pub fn signal(&self, signal: Signal) -> Result<(), ServiceError> {
        naru_kafka::node::signal_child(self.child.id(), signal).map_err(|source| self.process_error("signal", source))
    }

    /// Asks it to drain (SIGTERM) and waits up to `within`; then it is killed.
    ///
    /// # Errors
    /// If it cannot be signalled or awaited.
    pub async fn stop(&mut self, within: Duration) -> Result<Ending, ServiceError> {
        let deadline = Instant::now() + within;
        if let Some(status) = self.ended()? {
            return Ok(Ending::Early(Some(status)));
        }
        self.signal(Signal::SIGTERM)?;
        loop {
            if let Some(status) = self.ended()? {
                return Ok(Ending::Asked(status));
            }
            if Instant::now() >= deadline {
                self.kill()?;
                return Ok(Ending::Forced);
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

impl Drop for ServiceProcess {
    fn drop(&mut self) {
        if let Err(error) = self.kill() {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(service = self.options.name, error, "a service outlives its owner");
        }
    }
}

/// A port that no outgoing connection takes while the service is down: Linux takes those for itself from 32768 on, and a
/// client that is refused often enough there would in the end connect to itself.
const PORTS: std::ops::Range<u16> = 10_000..32_000;
/// How many ports are tried; a machine on which that many are taken is not fit for a rehearsal.
const PORTS_TRIED_MAX: u32 = 32;

/// An address that nobody listens on.
///
/// # Errors
/// [`ServiceError::NoPort`], [`ServiceError::Random`].
pub fn free_address(ip: IpAddr) -> Result<SocketAddr, ServiceError> {
    for _ in 0..PORTS_TRIED_MAX {
        let random = SysRng.try_next_u32().map_err(|source| ServiceError::Random(source.into()))?;
        let width = u32::from(PORTS.end - PORTS.start);
        let port = PORTS.start + u16::try_from(random % width).expect("the range is narrower than 2^16");
        let address = SocketAddr::new(ip, port);
        if TcpListener::bind(address).is_ok() {
            return Ok(address);
        }
    }
    Err(ServiceError::NoPort)
}

/// Starts the process; the second value says where its output begins in the log.
fn spawn(options: &ServiceOptions, listen: Listen, address: SocketAddr) -> Result<(Child, u64), ServiceError> {
    let log = options.dir.join("service.log");
    let file_error = |source| ServiceError::File { path: log.clone(), source };
    let output = OpenOptions::new().create(true).append(true).open(&log).map_err(file_error)?;
    let log_from = output.metadata().map_err(file_error)?.len();
    let errors = output.try_clone().map_err(file_error)?;
    let mut command = Command::new(&options.program);
    command.args(&options.args);
    if let Listen::Flag(_) = listen {
        command.arg("--listen").arg(address.to_string());
    }
    // A process group of its own: Ctrl-C on a terminal reaches the rehearsal alone, which then stops its children.
    command.stdin(Stdio::null()).stdout(output).stderr(errors).process_group(0);
    naru_kafka::node::tie(&mut command);
    let program = &options.program;
    let child =
        command.spawn().map_err(|source| ServiceError::Process { what: "start", program: program.clone(), source })?;
    Ok((child, log_from))
}

fn ready_line(output: &str) -> Option<&str> {
    let whole_lines = output.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    whole_lines.filter_map(|line| line.strip_prefix("ready ")).next()
}

fn address_in(ready: &str) -> Option<SocketAddr> {
    field(ready, "listen")?.parse().ok()
}

fn field<'l>(ready: &'l str, name: &str) -> Option<&'l str> {
    let mut fields = ready.split_ascii_whitespace().filter_map(|field| field.split_once('='));
    fields.find(|(key, _)| *key == name).map(|(_, value)| value)
}

fn tail(output: &str) -> String {
    output[output.ceil_char_boundary(output.len().saturating_sub(OUTPUT_SHOWN_BYTES_MAX))..].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_ready_line_counts() {
        let check = |output: &str, expect: Option<&str>| {
            let found = ready_line(output).and_then(address_in);
            assert_eq!(found, expect.map(|address| address.parse().expect("an address")), "{output:?}");
        };
        check("", None);
        check("ready listen=127.0.0.1:80", None);
        check("log line\nready listen=127.0.0.1:8080\n", Some("127.0.0.1:8080"));
        check("ready listen=127.0.0.1:8080 admin=127.0.0.1:9\nmore\n", Some("127.0.0.1:8080"));
        check("already listen=127.0.0.1:1\n", None);
        assert_eq!(field("listen=127.0.0.1:80 metrics=127.0.0.1:9\n", "metrics"), Some("127.0.0.1:9"));
    }
}
