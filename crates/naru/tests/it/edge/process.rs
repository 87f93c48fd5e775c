//! An edge as a process that ends with the test.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use naru_kafka::node;
use tempfile::TempDir;

/// Longer than anything here takes beside a compiler.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(10);
/// Of an edge's log, where a test failed.
const SHOWN_LINES: usize = 60;

/// Where rented servers of a test are: in none of the owned networks.
pub(super) const RENTED: Ipv4Addr = Ipv4Addr::new(127, 1, 0, 1);

/// An address on which nothing listens.
pub(super) fn free_address() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}

/// Looks again and again until there is something.
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "after {PATIENCE:?} not yet: {what}");
        std::thread::sleep(LOOK);
    }
}

/// Servers and settings of an edge: `/open` may burst, all else is core.
#[derive(Default)]
pub(super) struct Setup {
    pub(super) owned: Vec<SocketAddr>,
    pub(super) rented: Vec<SocketAddr>,
    /// Of the owned site; a fifth of them is core's alone. 1,000 unless it is said.
    pub(super) slots: Option<u32>,
    /// Of the table `limits`.
    pub(super) limits: String,
    /// Of both routes.
    pub(super) route: String,
    pub(super) tls: bool,
}

impl Setup {
    fn config(&self, dir: &Path) -> String {
        let at = |name: &str| dir.join(name).display().to_string();
        let tls = if self.tls {
            let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
            std::fs::write(dir.join("cert.pem"), made.cert.pem()).unwrap();
            std::fs::write(dir.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
            let owner_only = std::os::unix::fs::PermissionsExt::from_mode(0o600);
            std::fs::set_permissions(dir.join("key.pem"), owner_only).unwrap();
            format!("[tls]\ncertificate = '{}'\nkey = '{}'\n", at("cert.pem"), at("key.pem"))
        } else {
            String::new()
        };
        let list = |peers: &[SocketAddr]| peers.iter().map(|peer| format!("'{peer}', ")).collect::<String>();
        let (owned, rented) = (list(&self.owned), list(&self.rented));
        let (rented_site, rented_members) = if self.rented.is_empty() {
            (String::new(), String::new())
        } else {
            (
                "[[site]]\nname = 'cloud-1'\nkind = 'rented'\nslots = 100\n".to_owned(),
                format!(", {{ site = 'cloud-1', peers = [{rented}], slots_each = 100 }}"),
            )
        };
        let slots = self.slots.unwrap_or(1000);
        let reserve = slots / 5;
        let health = "health = { interval = '100ms', timeout = '500ms' }";
        format!(
            "state = '{}'\nowned_networks = ['127.0.0.0/16']\n\
             keys = {{ tokens = '{}', decisions = '{}', pseudonyms = '{}' }}\n{tls}\
             [limits]\nrequests_per_client_s = 1000000\nconnections_per_client_max = 5000\n{}\n\
             [[site]]\nname = 'idc-1'\nkind = 'owned'\nslots = {slots}\ncore_reserve = {reserve}\n{rented_site}\
             [[pool]]\nname = 'pay'\nmembers = [{{ site = 'idc-1', peers = [{owned}] }}]\n{health}\n\
             [[pool]]\nname = 'promotion'\nmembers = [{{ site = 'idc-1', peers = [{owned}] }}{rented_members}]\n{health}\n\
             [[route]]\npath = '/'\nclass = 'core'\npool = 'pay'\n{}\n\
             [[route]]\npath = '/open'\nclass = 'open'\npool = 'promotion'\n{}\n",
            at("state"),
            at("tokens"),
            at("decisions"),
            at("pseudonyms"),
            self.limits,
            self.route,
            self.route,
        )
    }

    /// Starts it, and waits until it is ready.
    pub(super) fn start(&self) -> Edge {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("edge.toml");
        std::fs::write(&file, self.config(dir.path())).unwrap();
        let log = dir.path().join("log");
        let (out, errors) = (std::fs::File::create(&log).unwrap(), std::fs::File::options().append(true).open(&log));
        let mut command = Command::new(env!("CARGO_BIN_EXE_naru"));
        command.args(["edge", "--listen", "127.0.0.1:0", "--config"]).arg(&file);
        node::tie(command.stdin(Stdio::null()).stdout(out).stderr(errors.unwrap()));
        let mut edge = Edge { child: command.spawn().unwrap(), address: free_address(), log, dir };
        edge.address = until("the edge is ready", || {
            assert_eq!(edge.child.try_wait().unwrap(), None, "the edge ended: {}", edge.log());
            let log = edge.log();
            let ready = log.split_inclusive('\n').find_map(|line| line.strip_suffix('\n')?.strip_prefix("ready "))?;
            ready.split(' ').find_map(|word| word.strip_prefix("listen="))?.parse().ok()
        });
        edge
    }
}

/// A running edge.
pub(super) struct Edge {
    child: Child,
    pub(super) address: SocketAddr,
    log: PathBuf,
    dir: TempDir,
}

impl Edge {
    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// Tells it to stop, and asks what its log of decisions proves: the exit code, and what was said.
    pub(super) fn end_and_audit(mut self) -> (i32, String) {
        let pid = nix::unistd::Pid::from_raw(self.child.id().cast_signed());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        let status = self.child.wait().unwrap();
        assert!(status.success(), "the edge ended with {status}: {}", self.log());
        let mut audit = Command::new(env!("CARGO_BIN_EXE_naru"));
        audit.args(["edge", "audit", "--owned", "127.0.0.0/16"]).arg(self.dir.path().join("state/decisions"));
        let output = audit.arg("--keys").arg(self.dir.path().join("decisions")).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        (output.status.code().unwrap(), said)
    }

    /// Resident memory, MiB: now, and the most that ever was.
    pub(super) fn resident_mib(&self) -> (u64, u64) {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let of = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() >> 10
        };
        (of("VmRSS:"), of("VmHWM:"))
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read_to_string(&self.log).unwrap_or_default();
            let tail: Vec<&str> = log.lines().rev().take(SHOWN_LINES).collect();
            println!("the end of the edge's log:");
            tail.into_iter().rev().for_each(|line| println!("{line}"));
        }
        // Killing one that has ended does nothing.
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}
