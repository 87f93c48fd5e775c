//! Personal columns leave as tokens of a vault, or not at all.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use super::process::{PATIENCE, World};

const NARU: &str = env!("CARGO_BIN_EXE_naru");

/// Certificates of roles by one authority.
pub(crate) fn certificates(dir: &Path, roles: &[&str]) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    std::fs::write(dir.join("authority.pem"), authority.pem()).unwrap();
    for role in roles {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![format!("{role}.role.naru.internal")]).unwrap();
        let certificate = params.signed_by(&key, &authority).unwrap();
        std::fs::write(dir.join(format!("{role}.pem")), certificate.pem()).unwrap();
        let file = dir.join(format!("{role}.key"));
        std::fs::write(&file, key.serialize_pem()).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
}

/// The table `[tls]` of a role.
pub(crate) fn tls(dir: &Path, role: &str) -> String {
    let file = |name: String| dir.join(name).display().to_string();
    format!(
        "authority = '{}'\ncertificate = '{}'\nkey = '{}'\n",
        file("authority.pem".to_owned()),
        file(format!("{role}.pem")),
        file(format!("{role}.key"))
    )
}

/// A vault that ends with its test, and where it listens.
pub(crate) struct Vault(Child, pub(crate) String);

impl Drop for Vault {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Makes a key of a field, for these kinds of tokens.
pub(crate) fn add_key(dir: &Path, field: &str, kinds: &[&str]) {
    let keys = dir.join("keys");
    let mut command = Command::new(NARU);
    command.args(["vault", "key", "add", "--field", field, "--keys"]).arg(&keys);
    kinds.iter().for_each(|kind| {
        command.args(["--kind", kind]);
    });
    assert!(command.output().unwrap().status.success());
}

/// A vault from what [`certificates`] and [`add_key`] put into a directory.
pub(crate) async fn vault(dir: &Path, listen: &str) -> Vault {
    let file = dir.join("vault.toml");
    let path = |name: &str| dir.join(name).display().to_string();
    let config = format!(
        "listen = '{listen}'\nkeys = '{}'\nuses = '{}'\nsigning_key = '{}'\n[tls]\n{}\
         [[caller]]\nrole = 'capture'\ntokenise = ['phone', 'name', 'card']\n",
        path("keys"),
        path("uses"),
        path("uses.key"),
        tls(dir, "vault")
    );
    std::fs::write(&file, config).unwrap();
    let out = std::fs::File::create(dir.join("vault.out")).unwrap();
    let log = std::fs::File::create(dir.join("vault.log")).unwrap();
    let child =
        Command::new(NARU).args(["vault", "--config"]).arg(&file).stdin(Stdio::null()).stdout(out).stderr(log).spawn();
    let mut vault = Vault(child.unwrap(), String::new());
    let deadline = Instant::now() + PATIENCE;
    loop {
        let said = std::fs::read_to_string(dir.join("vault.out")).unwrap_or_default();
        if let Some(address) = said.split_whitespace().find_map(|word| word.strip_prefix("listen=")) {
            vault.1 = address.to_owned();
            return vault;
        }
        let log = std::fs::read_to_string(dir.join("vault.log")).unwrap_or_default();
        assert!(vault.0.try_wait().unwrap().is_none() && Instant::now() < deadline, "no vault: {log}");
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}

#[tokio::test]
async fn personal_values_are_nowhere_and_an_absent_vault_holds_them_back() {
    let dir = tempfile::tempdir().unwrap();
    certificates(dir.path(), &["vault", "capture"]);
    add_key(dir.path(), "phone", &["siv", "hmac"]);
    add_key(dir.path(), "name", &["hmac"]);
    add_key(dir.path(), "card", &["ff1"]);
    let first = vault(dir.path(), "127.0.0.1:0").await;
    let address = first.1.clone();
    let world = World::start().await;
    world
        .postgres
        .run("create table users (phone text primary key, name text, card text); insert into users values ('010-1111-2222', '홍길동', '9410-1234-5678-9012'), ('010-3333-4444', null, null)")
        .await;
    let column = |name: &str, policy: &str| {
        format!("[[table.column]]\nname = '{name}'\npolicy = '{policy}'\nfield = '{name}'\nversion = 1\n")
    };
    let tables = format!(
        "[vault]\naddress = '{address}'\n[vault.tls]\n{}[[table]]\nname = 'users'\n{}{}{}",
        tls(dir.path(), "capture"),
        column("phone", "siv"),
        column("name", "hmac"),
        column("card", "ff1")
    );
    let mut capture = world.capture(&world.config("", &tables)).await;
    capture.until("a copy", |report| report.tables["pay.users"].copied.is_some()).await;
    world.postgres.run("update users set name = '임꺽정' where phone = '010-3333-4444'").await;
    capture.until("an update", |report| report.tables["pay.users"].records == 5).await;
    drop(first);
    world.postgres.run("insert into users values ('010-5555-6666', '성춘향', '9410-0000-1111-2222')").await;
    capture.until("an alarm", |report| report.alarms.iter().any(|alarm| alarm.contains("no tokens"))).await;
    assert_eq!(capture.report().await.tables["pay.users"].records, 5, "nothing is written without tokens");
    let _second = vault(dir.path(), &address).await;
    capture.until("the insert", |report| report.tables["pay.users"].records == 6 && report.alarms.is_empty()).await;
    world.postgres.run("delete from users where phone = '010-1111-2222'").await;
    capture.until("the delete", |report| report.tables["pay.users"].records == 7).await;
    // One value that is more than the vault takes stops its table, and nothing else.
    world.postgres.run("insert into users values ('010-7777-8888', repeat('성춘향', 600000), null)").await;
    let stopped = |report: &naru_capture::status::Report| report.tables["pay.users"].stopped.is_some();
    let report = capture.until("a stopped table", stopped).await;
    assert!(report.tables["pay.users"].stopped.as_ref().unwrap().contains("413"), "{report:?}");
    assert!(capture.stop().await.success());
    let log = world.log().await;
    let rows = log.rows("pay.users");
    assert_eq!(rows.len(), 2, "{rows:?}");
    for (key, row) in &rows {
        assert!(key.starts_with("[\"s1_") && row.contains("|h1_"), "{key} {row}");
    }
    let planted = ["010-1111", "3333-4444", "5555", "홍길동", "임꺽정", "성춘향", "1234-5678", "0000-1111"];
    let mut places: Vec<Vec<u8>> = log.bytes.iter().map(|bytes| bytes.to_vec()).collect();
    places.push(world.said().into_bytes());
    places.push(std::fs::read(dir.path().join("vault.log")).unwrap());
    for segment in std::fs::read_dir(dir.path().join("uses")).unwrap() {
        places.push(std::fs::read(segment.unwrap().path()).unwrap_or_default());
    }
    for value in planted {
        let is_in = |place: &Vec<u8>| place.windows(value.len()).any(|window| window == value.as_bytes());
        assert!(!places.iter().any(is_in), "{value} is somewhere");
    }
}
