//! examples/verify_certificate.py, which has nothing of Naru, agrees with our verifier on chains whole and tampered with.

use std::path::{Path, PathBuf};
use std::process::Command;

use naru_audit::certificate::{Expected, verify};
use naru_runtime::hex::to_hex;
use naru_runtime::keys::VerifyingKeys;
use tempfile::TempDir;

use crate::lake::Table;
use crate::world::{Change, Clusters, World};

fn python() -> PathBuf {
    #[allow(clippy::disallowed_methods)] // the tests' configuration is read here
    let peers = std::env::var("NARU_PEERS").expect("NARU_PEERS is not set: run `./x test`, which fetches them");
    Path::new(&peers).join("venv/bin/python")
}

fn python_says(chain: &str, key: &str, head: Option<&str>) -> bool {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("certificates.jsonl");
    std::fs::write(&file, chain).unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/verify_certificate.py");
    let out = Command::new(python()).arg(script).arg(&file).arg(key).args(head).output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success() || said.contains("refused") || said.contains("head"), "{said}");
    out.status.success()
}

#[tokio::test(flavor = "multi_thread")]
async fn another_verifier_agrees() {
    let clusters = Clusters::start().await;
    let world = World::new(&clusters, "py").await;
    let mut table = Table::create(&world.warehouse, &world.name).await;
    let mut auditor = world.auditor("").await;
    let change = |position: i64, note: &str| Change {
        partition: 0,
        position,
        sequence: 0,
        at: Change::AT,
        op: "insert",
        key: "[\"ключ\"]".to_owned(),
        id: position,
        cents: Some(position),
        note: Some(note.to_owned()),
    };
    for position in 1..=3 {
        let note = if position == 2 { "other" } else { "same" };
        world.write(0, &[change(position, "same")]).await;
        world.write(1, &[change(position, note)]).await;
        table.append(&[change(position, "same")]);
        table.commit(position).await;
        world.mark(position).await;
        auditor.window(0).await.unwrap().unwrap();
    }
    let (public, chain) = (auditor.public_key(), std::fs::read_to_string(auditor.certificates()).unwrap());
    let (keys, key) = (VerifyingKeys::from_public([public]), to_hex(&public));
    let summary = verify(&chain, &keys, &Expected::default()).unwrap();
    assert_eq!(summary.verdicts, [2, 0, 1, 0]);
    let check = |chain: &str, head: Option<&str>, expect: bool| {
        let expected = Expected { previous: None, head: head.map(str::to_owned) };
        assert_eq!(verify(chain, &keys, &expected).is_ok(), expect, "ours: {chain}");
        assert_eq!(python_says(chain, &key, head), expect, "python: {chain}");
    };
    let lines: Vec<&str> = chain.split_inclusive('\n').collect();
    check(&chain, None, true);
    check(&chain, Some(&summary.head), true);
    check(&lines[..2].concat(), None, true);
    check(&lines[..2].concat(), Some(&summary.head), false);
    check(&lines[1..].concat(), None, false);
    check(&[lines[0], lines[2]].concat(), None, false);
    check(&[lines[1], lines[0], lines[2]].concat(), None, false);
    check(&chain[..chain.len() - 1], None, false);
    for (from, to) in [
        ("\"verdict\":\"equal\"", "\"verdict\":\"incomplete\""),
        ("\"rows\":1", "\"rows\":2"),
        ("\"after\":0", "\"after\":1"),
        ("\"made_at_ms\":", "\"made_at_ms\":1"),
        ("\"unnamed\":false", "\"unnamed\":true"),
        (",\"version\":1", ", \"version\":1"),
        ("\"py.payments\"", "\"py.other\""),
    ] {
        let altered = chain.replacen(from, to, 1);
        assert_ne!(altered, chain, "{from}");
        check(&altered, None, false);
    }
}
