#![allow(clippy::unwrap_used)] // a test panics on failure

use naru_runtime::config::Sources;

use super::*;

const SOUND: &str = r#"state = 's'
owned_networks = ['10.1.0.0/16', '10.2.0.0/16']
[keys]
tokens = 't'
decisions = 'd'
pseudonyms = 'p'
[[site]]
name = 'idc-1'
kind = 'owned'
slots = 200
core_reserve = 90.5
[[site]]
name = 'cloud-1'
kind = 'rented'
slots = 40
[[pool]]
name = 'pay'
[[pool.members]]
site = 'idc-1'
peers = ['10.1.1.1:80', '10.1.1.2:80']
[[pool]]
name = 'promotion'
[[pool.members]]
site = 'idc-1'
peers = ['10.1.2.1:80']
[[pool.members]]
site = 'cloud-1'
peers = ['198.51.100.1:80']
slots_each = 40
[[route]]
path = '/pay'
class = 'core'
pool = 'pay'
cost = 3
[[route]]
path = '/gift'
host = 'app.example'
class = 'open'
pool = 'promotion'
"#;

fn load(text: &str) -> Result<EdgeConfig, String> {
    Sources::default().document("edge.toml", text).load().map_err(|errors| errors.to_string())
}

#[test]
fn a_sound_file_makes_a_policy() {
    let config = load(SOUND).unwrap();
    let blueprint = config.blueprint();
    assert_eq!(blueprint.sites[0].bounds, Bounds { floor: Slots::whole(100), ceiling: Slots::whole(200) });
    assert_eq!(blueprint.sites[0].reserve, Slots::from_thousandths(90_500));
    assert_eq!(blueprint.sites[1].bounds.floor, Slots::whole(40));
    assert!(Policy::new(&blueprint, Room::new(1)).is_ok());
}

#[test]
fn what_does_not_fit_is_told_with_its_line_and_fix() {
    let check = |from: &str, to: &str, expect: &[&str]| {
        assert!(SOUND.contains(from), "{from}");
        let said = load(&SOUND.replacen(from, to, 1)).unwrap_err();
        expect.iter().for_each(|part| assert!(said.contains(part), "{part}\n{said}"));
    };
    check(
        "class = 'core'\npool = 'pay'",
        "class = 'core'\npool = 'promotion'",
        &[
            "edge.toml:33:8: `route[1].pool` is core, and its pool \"promotion\" has servers at the rented site cloud-1\n  fix: ",
        ],
    );
    check(
        "'10.1.1.2:80'",
        "'198.51.100.9:80'",
        &["edge.toml:20:25: `pool[1].members[1].peers[2]` 198.51.100.9:80 is in none of the owned networks"],
    );
    check("'198.51.100.1:80'", "'10.2.0.1:80'", &["edge.toml:28:10: ", "cannot be rented"]);
    check("'198.51.100.1:80'", "'cloud.example:80'", &["edge.toml:28:10: ", "not an IP address"]);
    check("site = 'cloud-1'", "site = 'cloud-2'", &["edge.toml:27:8: ", "cloud-2, which is not there"]);
    check("core_reserve = 90.5", "core_reserve = 90.5\nfloor = 80", &["edge.toml:8:8: ", "more than its floor of 80"]);
    check("pool = 'pay'", "pool = 'paid'", &["edge.toml:33:8: ", "which is not there"]);
    check("cost = 3", "cost = 300", &["edge.toml:31:8: ", "300 slots per request"]);
    check("path = '/gift'", "path = '/a/../b'", &["edge.toml:36:8: ", "dot segment"]);
    check("'10.1.0.0/16'", "'0.0.0.0/0'", &["edge.toml:2:19: ", "wider"]);
    check("state = 's'", "state = 's'\nadmin_listen = '0.0.0.0:1'", &["edge.toml:2:16: ", "others can reach"]);
    check("slots = 200", "slots = 'many'", &["edge.toml:10:9: ", "no number of slots"]);
}

#[test]
fn every_mistake_is_told_at_once() {
    let text = SOUND
        .replacen("class = 'core'\npool = 'pay'", "class = 'core'\npool = 'promotion'", 1)
        .replacen("'10.1.1.2:80'", "'198.51.100.9:80'", 1)
        .replacen("site = 'cloud-1'\npeers", "site = 'cloud-2'\npeers", 1)
        .replacen("cost = 3", "cots = 3", 1);
    let said = load(&text).unwrap_err();
    for part in ["edge.toml:20:25", "edge.toml:27:8", "edge.toml:34:1: `route[1].cots`", "3 mistakes"] {
        assert!(said.contains(part), "{part}\n{said}");
    }
}
