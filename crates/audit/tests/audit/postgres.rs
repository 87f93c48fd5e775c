//! A PostgreSQL server that ends with the test, and a stand-in for capture that learns from it where transactions stand.

use std::fs::File;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};
use sqlx::{ConnectOptions as _, Connection as _, Executor as _};
use tempfile::TempDir;

/// Longer than a start takes beside a compiler.
const READY_WITHIN: Duration = Duration::from_secs(60);

pub struct Postgres {
    server: Child,
    pub port: u16,
    _directory: TempDir,
}

impl Postgres {
    pub async fn start() -> Self {
        let directory = TempDir::new().unwrap();
        if let Some((uid, gid)) = other_user() {
            chown(directory.path(), Some(uid), Some(gid)).unwrap();
        }
        let (data, log) = (directory.path().join("data"), directory.path().join("log"));
        let out = File::create(&log).unwrap();
        let mut initdb = program("initdb");
        initdb.args(["--no-sync", "--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C.UTF-8", "-D"]);
        let status = initdb.arg(&data).stdout(out.try_clone().unwrap()).stderr(out.try_clone().unwrap()).status();
        assert!(status.unwrap().success(), "initdb: {}", std::fs::read_to_string(&log).unwrap());
        // Another process may take the port in between: the server then says so, and the test fails with it.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut server = program("postgres");
        server.arg("-D").arg(&data).arg("-p").arg(port.to_string()).arg("-k").arg(directory.path());
        for setting in ["wal_level=logical", "fsync=off", "listen_addresses=127.0.0.1", "shared_buffers=32MB"] {
            server.args(["-c", setting]);
        }
        let server = server.stdin(Stdio::null()).stdout(out.try_clone().unwrap()).stderr(out).spawn().unwrap();
        let postgres = Self { server, port, _directory: directory };
        let deadline = Instant::now() + READY_WITHIN;
        while postgres.options().connect().await.is_err() {
            assert!(Instant::now() < deadline, "{}", std::fs::read_to_string(&log).unwrap());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        postgres
    }

    fn options(&self) -> PgConnectOptions {
        PgConnectOptions::new_without_pgpass()
            .host("127.0.0.1")
            .port(self.port)
            .username("postgres")
            .database("postgres")
            .ssl_mode(PgSslMode::Disable)
    }

    pub async fn connect(&self) -> PgConnection {
        self.options().connect().await.unwrap()
    }

    pub async fn run(&self, sql: &str) {
        let mut session = self.connect().await;
        session.execute(sqlx::raw_sql(sql)).await.unwrap();
        session.close().await.unwrap();
    }

    /// Commit position and time (microseconds since 1970) of each transaction since the last call, by a slot `told`.
    pub async fn transactions(&self) -> Vec<(i64, i64)> {
        let mut session = self.connect().await;
        let messages: Vec<(Vec<u8>,)> = sqlx::query_as(
            "select data from pg_logical_slot_get_binary_changes('told', null, null, \
             'proto_version', '1', 'publication_names', 'changes')",
        )
        .fetch_all(&mut session)
        .await
        .unwrap();
        let long = |bytes: &[u8]| i64::from_be_bytes(bytes.try_into().unwrap());
        let begins = messages.iter().filter(|(message,)| message[0] == b'B');
        begins.map(|(message,)| (long(&message[1..9]), long(&message[9..17]) + 946_684_800_000_000)).collect()
    }

    pub fn config(&self) -> String {
        format!(
            "[source.database]\nport = {}\ndatabase = 'postgres'\nuser = 'postgres'\npublication = 'changes'\n",
            self.port
        )
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let fast = Command::new("kill").args(["-s", "QUIT", &self.server.id().to_string()]).status();
        assert!(fast.is_ok_and(|status| status.success()));
        self.server.wait().unwrap();
    }
}

/// PostgreSQL refuses to run as root: its own user then, which Debian's package makes.
fn other_user() -> Option<(u32, u32)> {
    if std::fs::metadata("/proc/self").unwrap().uid() != 0 {
        return None;
    }
    let users = std::fs::read_to_string("/etc/passwd").unwrap();
    let line = users.lines().find(|line| line.starts_with("postgres:")).expect("the user postgres");
    let mut ids = line.split(':').skip(2).map(|id| id.parse().unwrap());
    Some((ids.next().unwrap(), ids.next().unwrap()))
}

fn program(name: &str) -> Command {
    let versions = std::fs::read_dir("/usr/lib/postgresql").expect("postgresql is installed: ./x test installs it");
    let newest = versions.map(|entry| entry.unwrap().path()).max().unwrap();
    let path: PathBuf = Path::new(&newest).join("bin").join(name);
    // Ends with the test, however that ends.
    let mut command = Command::new("setpriv");
    if let Some((uid, gid)) = other_user() {
        command.args([format!("--reuid={uid}"), format!("--regid={gid}"), "--clear-groups".to_owned()]);
    }
    command.args(["--pdeathsig", "QUIT", "--"]).arg(path).current_dir("/");
    command
}
