//! The conformance tests of HTTP/2, written by others.

use std::process::Command;

use super::back_ends::{Author, BackEnd};
use super::process::Setup;
use crate::outside::peer;

/// With the strict ones.
const TESTS: usize = 146;

/// What cannot hold where HTTP/1.1 is spoken on the same port: bytes that are no preface of HTTP/2 are a bad request of
/// HTTP/1.1, and are answered as such before the connection is closed.
const NOT_BESIDE_HTTP1: [&str; 1] = ["Sends invalid connection preface"];

fn check(tls: bool, may_fail: &[&str]) {
    let back_end = BackEnd::start(Author::Hyper);
    let edge = Setup { owned: vec![back_end.address], tls, ..Setup::default() }.start();
    let mut h2spec = Command::new(peer("h2spec/bin/h2spec"));
    h2spec.args(["--strict", "--timeout", "10", "--host", "127.0.0.1", "--path", "/"]);
    h2spec.args(["--port", &edge.address.port().to_string()]);
    if tls {
        h2spec.args(["--tls", "--insecure"]);
    }
    let output = h2spec.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let (_, failures) = said.rsplit_once("Failures:").unwrap_or_default();
    let names = failures.lines().filter(|line| line.trim_start().starts_with('×'));
    let failed: Vec<&str> = names.filter_map(|line| line.split_once(": ")).map(|(_, name)| name).collect();
    let total = format!("{TESTS} tests, {} passed, 0 skipped, {} failed", TESTS - failed.len(), failed.len());
    assert!(said.contains(&total), "not {total:?}: {said}");
    assert!(failed.iter().all(|name| may_fail.contains(name)), "{failures}");
}

#[test]
fn http2_over_tls_is_spoken_as_its_rules_have_it() {
    check(true, &[]);
}

#[test]
fn http2_without_tls_is_spoken_as_its_rules_have_it() {
    check(false, &NOT_BESIDE_HTTP1);
}
