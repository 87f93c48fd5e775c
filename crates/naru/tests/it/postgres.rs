//! A PostgreSQL server of its own for a test: it can be killed and started again with its data, and never outlives the
//! thread that started it.

use std::fs::File;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};
use sqlx::{ConnectOptions as _, Connection as _, Executor as _};
use tempfile::TempDir;

/// Longer than a start with recovery takes beside a compiler.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// Another process may take the port between its choice and its use.
const PORT_ATTEMPTS_MAX: u32 = 5;
/// Where Debian keeps the servers, one directory per version.
const VERSIONS: &str = "/usr/lib/postgresql";

/// What a server is told beside its port: it decodes its log, and trusts the test with its data.
const SETTINGS: &[(&str, &str)] = &[
    ("wal_level", "logical"),
    ("max_wal_senders", "20"),
    ("max_replication_slots", "20"),
    ("listen_addresses", "127.0.0.1"),
    ("max_connections", "60"),
    ("shared_buffers", "32MB"),
    // A process that is killed loses nothing that it gave to the operating system.
    ("fsync", "off"),
    ("autovacuum_naptime", "1min"),
];

/// A running (or killed) server.
pub(crate) struct Postgres {
    dir: TempDir,
    server: Option<Child>,
    port: u16,
    settings: Vec<(String, String)>,
}

impl Postgres {
    /// A server whose log can be decoded.
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// The same with more settings, which win.
    pub(crate) async fn start_with(settings: &[(&str, &str)]) -> Self {
        let dir = TempDir::new().unwrap();
        if let Some((uid, gid)) = other_user() {
            chown(dir.path(), Some(uid), Some(gid)).unwrap();
        }
        let log = File::create(dir.path().join("initdb.log")).unwrap();
        let status = as_user("initdb")
            .args(["--no-sync", "--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C.UTF-8", "-D"])
            .arg(dir.path().join("data"))
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .status()
            .unwrap();
        assert!(status.success(), "initdb: {}", read(&dir.path().join("initdb.log")));
        let all = SETTINGS.iter().chain(settings).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let mut postgres = Self { dir, server: None, port: 0, settings: all.collect() };
        for attempt in 1.. {
            postgres.port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            match postgres.launch().await {
                Ok(()) => break,
                Err(log) => assert!(attempt < PORT_ATTEMPTS_MAX, "postgres does not start: {log}"),
            }
        }
        postgres
    }

    /// Starts it again, on the same port with the same data.
    pub(crate) async fn restart(&mut self) {
        self.end(Signal::SIGQUIT);
        if let Err(log) = self.launch().await {
            panic!("postgres does not start again: {log}");
        }
    }

    /// Ends it as `kill -9` does, all its processes with it.
    pub(crate) fn kill(&mut self) {
        self.end(Signal::SIGKILL);
    }

    /// Where it listens on 127.0.0.1.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The directory of its local socket.
    pub(crate) fn socket_dir(&self) -> &Path {
        self.dir.path()
    }

    /// Its superuser at the database `postgres`, which needs no password.
    pub(crate) fn options(&self) -> PgConnectOptions {
        PgConnectOptions::new_without_pgpass()
            .host("127.0.0.1")
            .port(self.port)
            .username("postgres")
            .database("postgres")
            .ssl_mode(PgSslMode::Disable)
            .disable_statement_logging()
    }

    /// A session of the superuser.
    pub(crate) async fn connect(&self) -> PgConnection {
        PgConnection::connect_with(&self.options()).await.unwrap()
    }

    /// Runs statements, in a session of their own.
    pub(crate) async fn run(&self, sql: &str) {
        let mut session = self.connect().await;
        session.execute(sqlx::raw_sql(sql)).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    async fn launch(&mut self) -> Result<(), String> {
        let log = self.dir.path().join("postgres.log");
        let out = File::options().create(true).append(true).open(&log).unwrap();
        let mut command = as_user("postgres");
        command.arg("-D").arg(self.dir.path().join("data"));
        command.arg("-p").arg(self.port.to_string()).arg("-k").arg(self.dir.path());
        for (name, value) in &self.settings {
            command.arg("-c").arg(format!("{name}={value}"));
        }
        command.stdin(Stdio::null()).stdout(out.try_clone().unwrap()).stderr(out);
        self.server = Some(command.spawn().unwrap());
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            if PgConnection::connect_with(&self.options()).await.is_ok() {
                return Ok(());
            }
            let ended = self.server.as_mut().is_some_and(|server| server.try_wait().unwrap().is_some());
            if ended || Instant::now() > deadline {
                self.end(Signal::SIGKILL);
                return Err(read(&log));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn end(&mut self, signal: Signal) {
        let Some(mut server) = self.server.take() else { return };
        // The processes of its sessions, which see the end of their parent only when they next look.
        let sessions = children(server.id());
        // It may have ended by itself.
        kill(pid(server.id()), signal).ok();
        server.wait().unwrap();
        let deadline = Instant::now() + READY_WITHIN;
        for session in sessions {
            kill(pid(session), Signal::SIGKILL).ok();
            // Until it is gone it holds the shared memory, which keeps a new server from starting.
            while is_running(session) {
                assert!(Instant::now() < deadline, "process {session} of a killed server does not end");
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        // A new server waits for the old ones' shared memory; ours are gone, so the lock file says nothing.
        if signal == Signal::SIGKILL {
            std::fs::remove_file(self.dir.path().join("data/postmaster.pid")).ok();
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.end(Signal::SIGQUIT);
    }
}

fn pid(id: u32) -> Pid {
    Pid::from_raw(i32::try_from(id).unwrap())
}

/// The processes that this one started.
fn children(parent: u32) -> Vec<u32> {
    let file = format!("/proc/{parent}/task/{parent}/children");
    read(Path::new(&file)).split_whitespace().filter_map(|id| id.parse().ok()).collect()
}

/// Whether a process has not ended; one whose new parent does not reap it stays as a zombie.
fn is_running(id: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat"));
    stat.is_ok_and(|stat| !stat.contains(") Z "))
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// The newest version that is installed.
fn binaries() -> PathBuf {
    let installed = std::fs::read_dir(VERSIONS).expect("postgresql is installed: ./x test installs it");
    let versions = installed.filter_map(|entry| entry.unwrap().file_name().to_str()?.parse::<u32>().ok());
    let newest = versions.max().expect("postgresql is installed: ./x test installs it");
    Path::new(VERSIONS).join(newest.to_string()).join("bin")
}

/// PostgreSQL refuses to run as root: its own user then, which Debian's package makes.
fn other_user() -> Option<(u32, u32)> {
    if std::fs::metadata("/proc/self").unwrap().uid() != 0 {
        return None;
    }
    let users = read(Path::new("/etc/passwd"));
    let line = users.lines().find(|line| line.starts_with("postgres:")).expect("the user postgres");
    let mut ids = line.split(':').skip(2).map(|id| id.parse().unwrap());
    Some((ids.next().unwrap(), ids.next().unwrap()))
}

/// One of its programs, that dies with the thread that starts it.
fn as_user(program: &str) -> Command {
    let mut command = Command::new("setpriv");
    if let Some((uid, gid)) = other_user() {
        command.args([format!("--reuid={uid}"), format!("--regid={gid}"), "--clear-groups".to_owned()]);
    }
    command.args(["--pdeathsig", "QUIT", "--"]).arg(binaries().join(program)).current_dir("/");
    command
}

#[tokio::test]
async fn a_killed_server_comes_back_with_its_data() {
    let mut postgres = Postgres::start().await;
    postgres.run("create table kept (id int primary key); insert into kept values (1)").await;
    postgres.kill();
    assert!(PgConnection::connect_with(&postgres.options()).await.is_err());
    postgres.restart().await;
    let count: i64 =
        sqlx::query_scalar("select count(*) from kept").fetch_one(&mut postgres.connect().await).await.unwrap();
    assert_eq!(count, 1);
    let level: String = sqlx::query_scalar("show wal_level").fetch_one(&mut postgres.connect().await).await.unwrap();
    assert_eq!(level, "logical");
    assert!(postgres.socket_dir().join(format!(".s.PGSQL.{}", postgres.port())).exists());
}
