//! All roles around one table of payments.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Instant;

use naru_audit::certificate::Certificate;
use naru_rehearsal::service_process::free_address;
use naru_relay::Side;
use tempfile::TempDir;
use tokio::process::Command;

use super::process::{PATIENCE, POLL, Process};
use crate::capture::tokens::{self, Vault};
use crate::postgres::Postgres;
use crate::relay::process::Pair;

/// As a payment service has it, with something personal in it.
const PAYMENTS: &str = "create table payments (id bigint primary key, status text not null, amount numeric(12, 2), \
                        phone text, note text, at timestamptz not null default now())";

/// Every role but the audit.
pub(super) struct World {
    pub(super) audit: Option<Process>,
    pub(super) lake: Process,
    pub(super) capture: Process,
    pub(super) relay: Process,
    _vault: Vault,
    pub(super) pair: Pair,
    pub(super) postgres: Postgres,
    dir: TempDir,
}

impl World {
    /// With rows that were there before capture.
    pub(super) async fn start(rows: u32) -> Self {
        let dir = TempDir::new().unwrap();
        tokens::certificates(dir.path(), &["vault", "capture"]);
        // The fields that the vault's caller may use; it refuses to start without their keys.
        ["phone", "name", "card"].iter().for_each(|field| tokens::add_key(dir.path(), field, &["hmac"]));
        let (postgres, pair, vault) =
            tokio::join!(Postgres::start(), Pair::start_in(dir.path(), &[]), tokens::vault(dir.path(), "127.0.0.1:0"));
        let payments = payments(1, rows, "old");
        postgres.run(&format!("{PAYMENTS}; {payments}")).await;
        let listen = free_address(Ipv4Addr::LOCALHOST.into()).unwrap().to_string();
        let path = |name: &str| dir.path().join(name);
        let [a, b] = Side::BOTH.map(|side| pair.nodes[side].bootstrap());
        let config = format!(
            "state = {:?}\ndiscovery_interval = '200ms'\n[a]\nbootstrap = ['{a}']\n[b]\nbootstrap = ['{b}']\n",
            path("relay/state")
        );
        let relay = Process::with_config("relay", &path("relay"), &config, &["--listen", &listen]).await;
        let config = format!(
            "source = 'pay'\nmark_interval = '100ms'\n[database]\nport = {}\ndatabase = 'postgres'\nuser = 'postgres'\n\
             [log]\nbootstrap = ['{listen}']\npartitions = 3\n[vault]\naddress = '{}'\n[vault.tls]\n{}\
             [[table]]\nname = 'payments'\n[[table.column]]\nname = 'phone'\npolicy = 'hmac'\nfield = 'phone'\nversion = 1\n",
            postgres.port(),
            vault.1,
            tokens::tls(dir.path(), "capture"),
        );
        let capture = Process::with_config("capture", &path("capture"), &config, &[]).await;
        let sql = free_address(Ipv4Addr::LOCALHOST.into()).unwrap().to_string();
        let config = format!(
            "warehouse = {:?}\ncommit_interval = '200ms'\nidle_commit_interval = '500ms'\n[log]\nbootstrap = ['{listen}']\n\
             [[source]]\nname = 'pay'\nshape = 'both'\n[upkeep]\ninterval = '1s'\nsmall_files_max = 3\n",
            path("warehouse")
        );
        let lake = Process::with_config("lake", &path("lake"), &config, &["--listen", &sql]).await;
        Self { audit: None, lake, capture, relay, _vault: vault, pair, postgres, dir }
    }

    /// The audit of all of it.
    pub(super) async fn start_audit(&mut self) {
        let path = |name: &str| self.dir.path().join(name);
        let [a, b] = Side::BOTH.map(|side| self.pair.nodes[side].bootstrap());
        let config = format!(
            "state = {:?}\ninterval = '200ms'\nsettle_max = '5s'\nhold_max = '1m'\n[a]\nbootstrap = ['{a}']\n[b]\nbootstrap = ['{b}']\n\
             [lake]\ncatalogue = {:?}\n[orders]\nbootstrap = ['{}']\n[[source]]\nname = 'pay'\n\
             amounts = ['pay.payments.amount']\n[source.database]\nport = {}\ndatabase = 'postgres'\nuser = 'postgres'\n\
             publication = 'naru_pay'\n",
            path("audit/state"),
            path("warehouse/catalogue.db"),
            self.relay.field("listen"),
            self.postgres.port(),
        );
        self.audit = Some(Process::with_config("audit", &path("audit"), &config, &[]).await);
    }

    pub(super) fn warehouse(&self) -> PathBuf {
        self.dir.path().join("warehouse")
    }

    /// What the lake answers by psql, fields with | between them, and its complaints.
    pub(super) async fn ask(&self, sql: &str) -> (String, String) {
        let url = format!("postgresql://analyst@{}/naru", self.lake.field("listen"));
        let said = Command::new("psql").args(["-X", "-A", "-t", "-w", &url, "-c", sql]).output().await.unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().trim().to_owned();
        (text(said.stdout), text(said.stderr))
    }

    /// Asks until the answer is right.
    pub(super) async fn until(&self, sql: &str, expect: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (told, error) = self.ask(sql).await;
            if told == expect && error.is_empty() {
                return;
            }
            assert!(Instant::now() < deadline, "{sql}: {told:?} {error}, not {expect:?}");
            tokio::time::sleep(POLL).await;
        }
    }

    /// How far the database has written its log.
    pub(super) async fn position(&self) -> u64 {
        let sql = "select (pg_current_wal_lsn() - '0/0')::bigint";
        let position: i64 = sqlx::query_scalar(sql).fetch_one(&mut self.postgres.connect().await).await.unwrap();
        u64::try_from(position).unwrap()
    }

    /// Every certificate so far.
    pub(super) fn certificates(&self) -> Vec<Certificate> {
        let file = self.dir.path().join("audit/state/certificates.jsonl");
        let text = std::fs::read_to_string(file).unwrap_or_default();
        let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        whole.map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Waits for a certificate, from a number on.
    pub(super) async fn certificate(
        &mut self,
        from: u64,
        what: &str,
        is: impl Fn(&Certificate) -> bool,
    ) -> Certificate {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let certificates = self.certificates();
            if let Some(found) = certificates.iter().find(|one| one.number >= from && is(one)) {
                return found.clone();
            }
            self.audit.as_mut().unwrap().is_alive();
            let last = certificates.last();
            assert!(Instant::now() < deadline, "no certificate {what}; the last: {last:#?}");
            tokio::time::sleep(POLL).await;
        }
    }
}

/// Inserts payments by their numbers.
pub(super) fn payments(from: u32, to: u32, status: &str) -> String {
    format!(
        "insert into payments select n, '{status}', n * 1.25, '010-' || n, repeat('n', n % 50) \
         from generate_series({from}, {to}) n"
    )
}
