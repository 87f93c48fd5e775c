//! Clients of PostgreSQL that others wrote, over a password; TLS; a query that is cancelled.

use std::path::Path;

use tokio::process::Command;

use super::process::{PAYMENTS, World, payment};
use crate::outside::{peer, run};

const USERS: &str = "[sql]\nquery_time_max = '20s'\n[[sql.user]]\nname = 'analyst'\npassword = 'secret'\nrole = 'all'\n\
                     [[sql.role]]\nname = 'all'\ntables = ['*']\n";

async fn check(client: &str) {
    let world = World::start("", &format!("{PAYMENTS}{USERS}")).await;
    world.topic("payments", 1).await;
    world.write("payments", 0, &[payment(1, "shop", 10), payment(2, "shop", 20), payment(3, "shop", 30)]).await;
    let url = format!("postgresql://analyst:secret@{}/naru", world.lake.address());
    world.until_by(&url, "select count(*) from pay.payments", "3").await;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/lake/clients.py");
    let port = world.lake.address().port().to_string();
    let mut python = Command::new(peer("lake/bin/python"));
    let said = run(python.args([script, client, &port, "analyst", "secret"]), "").await;
    assert_eq!(said, format!("{client}: ok\n"));
    let log = world.log();
    assert!(log.contains("pay.payments") && !log.contains("shop"), "a query's text is in the log: {log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn psycopg_asks_in_text_and_binary_prepared_and_not() {
    check("psycopg").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlalchemy_asks() {
    check("sqlalchemy").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_and_a_connection_that_is_not_encrypted_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (certificate, key) = (dir.path().join("c.pem"), dir.path().join("k.pem"));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    only_ours(&key);
    let tls = format!("[sql.tls]\ncertificate = {certificate:?}\nkey = {key:?}\n");
    let world = World::start("", &format!("{PAYMENTS}{USERS}{tls}")).await;
    let address = world.lake.address();
    let url = |password: &str, mode: &str| format!("postgresql://analyst:{password}@{address}/naru?sslmode={mode}");
    let (told, error) = world.psql_by(&url("secret", "require"), "select 1").await;
    assert_eq!((told.as_str(), error.as_str()), ("1", ""));
    for (password, mode) in [("wrong", "require"), ("secret", "disable"), ("", "require")] {
        let (told, error) = world.psql_by(&url(password, mode), "select 1").await;
        assert!(told.is_empty() && !error.is_empty(), "{password} {mode}: {told}");
    }
}

fn only_ours(file: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600)).unwrap();
}
