//! `naru edge check` and `naru edge explain`: what a configuration is, as exit code and words.

use std::process::Command;

const SOUND: &str = r#"state = "state"
owned_networks = ["10.1.0.0/16", "10.2.0.0/16"]
keys = { tokens = "t", decisions = "d", pseudonyms = "p" }
site = [
    { name = "idc-1", kind = "owned", slots = 200, core_reserve = 90 },
    { name = "idc-2", kind = "owned", slots = 200, core_reserve = 90 },
    { name = "cloud-1", kind = "rented", slots = 40 },
]

[[pool]]
name = "pay"
members = [{ site = "idc-1", peers = ["10.1.1.1:80"] }, { site = "idc-2", peers = ["10.2.1.1:80"] }]

[[pool]]
name = "promotion"
members = [{ site = "idc-1", peers = ["10.1.2.1:80"] }, { site = "cloud-1", peers = ["198.51.100.1:80"] }]

[[route]]
path = "/gift"
class = "core"
pool = "pay"
cost = 3

[[route]]
path = "/promo"
class = "open"
pool = "promotion"
"#;

/// The exit code, and everything that was said, with the file's own path left out.
fn edge(config: &str, words: &[&str]) -> (i32, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("edge.toml");
    std::fs::write(&file, config).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_naru"));
    let output = command.arg("edge").args(words).arg("--config").arg(&file).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code().unwrap(), said.replace(&*folder.path().to_string_lossy(), ""))
}

fn check((code, said): (i32, String), expect: i32, words: &[&str]) {
    assert_eq!(code, expect, "{said}");
    words.iter().for_each(|words| assert!(said.contains(words), "{words:?}\n{said}"));
}

#[test]
fn a_core_route_to_a_rented_pool_is_refused_with_its_line_beside_every_other_mistake() {
    check(edge(SOUND, &["check"]), 0, &["2 owned and 1 rented sites, 1 core and 1 open routes"]);
    let bad = SOUND.replace("\"pay\"\ncost = 3", "\"promotion\"\ncots = 3").replace("10.1.1.1", "198.51.100.7");
    check(
        edge(&bad, &["check"]),
        2,
        &[
            "edge.toml:12:39: `pool[1].members[1].peers[1]` 198.51.100.7:80 is in none of the owned networks",
            "edge.toml:21:8: `route[1].pool` is core, and its pool \"promotion\" has servers at the rented site cloud-1",
            "edge.toml:22:1: `route[1].cots` is not a known key",
            "3 mistakes",
        ],
    );
}

#[test]
fn where_a_request_would_go_is_explained() {
    let core = ["route    /gift: core, pool pay", "<- goes here", "never    cloud-1:", "503 with Retry-After"];
    check(edge(SOUND, &["explain", "--route", "/gift", "--user", "123"]), 0, &core);
    let open = ["110 of 200 slots free (90 are kept for core)", "cloud-1 (rented ahead)", "else     the waiting room"];
    check(edge(SOUND, &["explain", "--route", "/promo/9?x"]), 0, &open);
    check(edge(SOUND, &["explain", "--route", "/promo/../gift"]), 0, &["refused", "dot segment"]);
    check(edge(SOUND, &["explain", "--route", "/x"]), 0, &["refused", "no route matches"]);
}
