//! Processes, ports, certificates and CPU time.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use naru_kafka::node;
use tempfile::TempDir;

use crate::BACK_END;

pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Longest wait for anything on a loaded machine.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks at something that is awaited.
const LOOK: Duration = Duration::from_millis(10);
/// The unit of times in /proc/pid/stat.
const TICK: Duration = Duration::from_millis(10);
/// The gateway has a processor of its own; load and back end share the other one.
pub const GATEWAY_PROCESSOR: usize = 0;
pub const LOAD_PROCESSOR: usize = 1;

/// What all parts share.
pub struct World {
    pub back_end: SocketAddr,
    pub certificate: PathBuf,
    pub key: PathBuf,
    /// Certificate and key in one file, as HAProxy wants them.
    pub certificate_and_key: PathBuf,
    pub envoy: PathBuf,
    /// Dropped before the directory of its files.
    _serving: Process,
    pub dir: TempDir,
}

impl World {
    pub fn new() -> Result<Self, Failure> {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()])?;
        let (chain, secret) = (made.cert.pem(), made.signing_key.serialize_pem());
        let write = |name: &str, text: &str| -> Result<PathBuf, Failure> {
            let path = dir.path().join(name);
            std::fs::write(&path, text)?;
            std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
            Ok(path)
        };
        let back_end = free_address()?;
        let mut play = pinned(LOAD_PROCESSOR, std::env::current_exe()?);
        play.arg(BACK_END).arg(back_end.to_string());
        let serving = Process::start(play, &dir.path().join("back-end.log"))?;
        await_listener(back_end)?;
        Ok(Self {
            back_end,
            certificate: write("cert.pem", &chain)?,
            key: write("key.pem", &secret)?,
            certificate_and_key: write("both.pem", &format!("{chain}{secret}"))?,
            envoy: peers()?.join("envoy/bin/envoy"),
            _serving: serving,
            dir,
        })
    }
}

#[allow(clippy::disallowed_methods)] // the benchmark's configuration is read here and nowhere else
fn peers() -> Result<PathBuf, Failure> {
    let peers = std::env::var_os("NARU_PEERS").ok_or("NARU_PEERS is not set: run `./x bench edge`")?;
    Ok(PathBuf::from(peers))
}

/// A process that ends when this is dropped, and with this program however that ends.
pub struct Process(Child);

impl Process {
    pub fn start(mut command: Command, log: &Path) -> Result<Self, Failure> {
        let log = std::fs::File::create(log)?;
        node::tie(&mut command);
        let what = format!("{command:?}");
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        Ok(Self(command.spawn().map_err(|error| format!("{what}: {error}"))?))
    }

    /// CPU time since it was started: of user, of system.
    pub fn cpu_time(&self) -> Result<[Duration; 2], Failure> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0.id()))?;
        let after_command = stat.rsplit_once(')').ok_or("no command in stat")?.1;
        let mut fields = after_command.split_ascii_whitespace().skip(11);
        let mut ticks = || -> Result<u32, Failure> { Ok(fields.next().ok_or("no times in stat")?.parse()?) };
        Ok([TICK * ticks()?, TICK * ticks()?])
    }

    /// The most memory that was ever resident, MiB.
    pub fn resident_mib_max(&self) -> Result<u64, Failure> {
        self.memory_mib("VmHWM:")
    }

    /// The memory that is resident now, MiB.
    pub fn resident_mib(&self) -> Result<u64, Failure> {
        self.memory_mib("VmRSS:")
    }

    fn memory_mib(&self, name: &str) -> Result<u64, Failure> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix(name)).ok_or_else(|| format!("no {name}"))?;
        Ok(line.trim().trim_end_matches("kB").trim().parse::<u64>()? >> 10)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Err(error) = self.0.kill().and_then(|()| self.0.wait()) {
            eprintln!("process {} could not be ended: {error}", self.0.id());
        }
    }
}

/// A command on one processor; it keeps its process id.
pub fn pinned(processor: usize, program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("taskset");
    command.args(["--cpu-list", &processor.to_string()]).arg(program);
    command
}

/// An address on which nothing listens.
pub fn free_address() -> Result<SocketAddr, Failure> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// Waits until somebody listens there.
pub fn await_listener(address: SocketAddr) -> Result<(), Failure> {
    let began = Instant::now();
    while let Err(error) = TcpStream::connect(address) {
        if began.elapsed() > PATIENCE {
            return Err(format!("nobody listens on {address} after {PATIENCE:?}: {error}").into());
        }
        std::thread::sleep(LOOK);
    }
    Ok(())
}

/// The value in the middle.
pub fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
