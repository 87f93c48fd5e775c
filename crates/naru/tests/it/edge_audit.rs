//! `naru edge audit`: what a log proves, as exit code and words.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use naru_edge::decision::{Closed, DecisionLog, LogOptions, Place, Record, Recorded};
use naru_edge::policy::Reason;
use naru_model::{Class, SiteId, SiteKind};
use naru_runtime::keys::SigningKeys;

/// A log of an edge with its keys.
struct Bench {
    directory: tempfile::TempDir,
    keys: Arc<SigningKeys>,
    closed: Closed,
}

fn record(id: u128, class: Class, site: &str, kind: SiteKind, address: &str) -> Record {
    let site = SiteId::new(site).unwrap();
    let place = Place { site: (&site).into(), kind, address: address.parse().unwrap() };
    let unix_ms = 1_762_822_800_000 + id as u64;
    Record { request_id: id, unix_ms, class: Some(class), place: Some(place), plan: 1, reason: Reason::First }
}

impl Bench {
    /// An edge that sent core requests to this address of an owned site, and open ones to a cloud.
    fn with_core_at(address: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let keys = Arc::new(SigningKeys::generate(&directory.path().join("keys"), 1).unwrap());
        let log = DecisionLog::open(&directory.path().join("log"), keys.clone(), LogOptions::default(), 1).unwrap();
        for id in 0..1_000 {
            let core = record(id, Class::Core, "idc-1", SiteKind::Owned, address);
            let open = record(id, Class::Open, "cloud-1", SiteKind::Rented, "203.0.113.1:80");
            assert_eq!((log.record(core), log.record(open)), (Recorded::Queued, Recorded::Queued));
        }
        let closed = log.close().unwrap().unwrap();
        Self { directory, keys, closed }
    }

    fn log(&self) -> PathBuf {
        self.directory.path().join("log")
    }

    fn public(&self) -> String {
        let public = self.keys.verifying().public().next().unwrap();
        public.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The exit code, and everything that was said.
    fn audit(&self, key: &str, more: &[&str]) -> (i32, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_naru"));
        let output = command.args(["edge", "audit"]).arg(self.log()).args(["--key", key]).args(more).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        (output.status.code().unwrap(), said)
    }
}

fn check((code, said): (i32, String), expect: i32, words: &[&str]) {
    assert_eq!(code, expect, "{said}");
    words.iter().for_each(|word| assert!(said.contains(word), "{word:?} is not in: {said}"));
}

#[test]
fn a_sound_log_proves_that_no_core_request_left() {
    let bench = Bench::with_core_at("10.1.0.1:80");
    let head = bench.closed.head.to_string();
    let key = bench.public();
    let counted = ["core     owned   first        1000", "open     rented  first        1000", "PROVED: no core"];
    check(bench.audit(&key, &["--owned", "10.1.0.0/16", "--head", &head]), 0, &counted);
    check(bench.audit(&key, &["--json"]), 0, &["\"proves\": true", "\"idc-1 10.1.0.1:80\"", &head]);
    let keys = bench.directory.path().join("keys");
    check(bench.audit(&key, &["--keys", keys.to_str().unwrap()]), 0, &["PROVED"]);
}

#[test]
fn what_proves_nothing_is_told_apart() {
    let bench = Bench::with_core_at("10.1.0.1:80");
    let key = bench.public();
    check(
        bench.audit(&key, &["--owned", "10.2.0.0/16"]),
        1,
        &["NOT PROVED", "1000 breaches in all", "idc-1 10.1.0.1:80"],
    );
    check(bench.audit(&"0".repeat(64), &[]), 1, &["which is not known"]);
    check(bench.audit(&key, &["--head", &"0".repeat(64)]), 1, &["the chain ends in head"]);
    check(bench.audit("12", &[]), 2, &["must be 64 hexadecimal digits"]);
    check(bench.audit(&key, &["--keys", "/nowhere"]), 2, &["/nowhere"]);
    let segment = bench.log().join("00000000000000000000.segment");
    let mut bytes = fs::read(&segment).unwrap();
    bytes[20_000] ^= 4;
    fs::write(&segment, bytes).unwrap();
    check(bench.audit(&key, &[]), 1, &["00000000000000000000.segment", "was altered or cut"]);
    fs::remove_dir_all(bench.log()).unwrap();
    check(bench.audit(&key, &[]), 3, &["cannot be read"]);
}
