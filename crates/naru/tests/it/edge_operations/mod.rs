//! An edge as its operators know it: state, plans, drains, metrics, logs, changes under load.

mod load;
mod process;
mod settings;
mod sharing;
mod under_load;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use self::process::{Place, Server, read};
use crate::edge::process::until;

#[test]
fn a_server_that_says_it_is_not_well_gets_no_requests_until_it_is() {
    let (one, other) = (Server::start(), Server::start());
    let place = Place::new(&[&one, &other]);
    place.configure("", "");
    let edge = place.start(&[]);
    let ups = || -> Vec<bool> {
        let state = edge.state();
        let servers = state["pools"][0]["servers"].as_array().unwrap();
        servers.iter().map(|server| server["up"].as_bool().unwrap()).collect()
    };
    assert_eq!(ups(), [true, true]);
    other.answer_with(500);
    until("one is down", || (ups() == [true, false]).then_some(()));
    for _ in 0..20 {
        assert_eq!(edge.ask("listen", "GET /pay", "").0, 200);
    }
    other.answer_with(204);
    until("both are up", || (ups() == [true, true]).then_some(()));
    let log = edge.log();
    assert!(log.contains("a server is down") && log.contains("answered 500"), "{log}");
    assert!(log.contains("a server is up again"), "{log}");
}

#[test]
fn a_drained_site_gets_no_requests_and_the_state_says_so() {
    let server = Server::start();
    let place = Place::new(&[&server]);
    place.configure("", "");
    let edge = place.start(&[]);
    let drain = |draining: bool| {
        let order = json!({ "site": "idc-1", "draining": draining }).to_string();
        let (status, body) = edge.ask("admin", "POST /drain", &order);
        assert_eq!(status, 200, "{body}");
        let headroom: Value = serde_json::from_str(&edge.ask("admin", "GET /headroom", "").1).unwrap();
        assert_eq!(headroom["classes"][0]["class"], "core");
        (edge.state()["sites"][0]["draining"].as_bool().unwrap(), edge.ask("listen", "GET /pay", "").0)
    };
    assert_eq!(drain(true), (true, 503));
    assert_eq!(drain(false), (false, 200));
}

#[test]
fn requests_are_counted_and_written_down_without_what_is_personal() {
    let server = Server::start();
    let place = Place::new(&[&server]);
    let log = place.dir.path().join("access.log");
    place.configure(&format!("access_log = '{}'", log.display()), "");
    let edge = place.start(&[]);
    assert_eq!(edge.ask("listen", "GET /pay?card=4111", "").0, 200);
    assert_eq!(edge.ask("listen", "GET /nowhere", "").0, 404);
    assert_eq!(edge.ask("listen", "GET /pay/../pay", "").0, 400);
    let metrics = || edge.ask("metrics", "GET /metrics", "").1;
    let expected = [
        r#"naru_edge_requests_total{class="core",site="idc-1",reason="first",status="2xx"} 1"#,
        r#"naru_edge_requests_total{class="none",site="none",reason="unrouted",status="4xx"} 1"#,
        r#"naru_edge_refused_total{reason="ambiguous-path"} 1"#,
        r#"naru_edge_slots_limit{site="idc-1"} 1000000"#,
        r#"naru_edge_connections_seen_total{outcome="taken"} 3"#,
    ];
    until("all is counted", || expected.iter().all(|line| metrics().contains(line)).then_some(()));
    let lines = until("both lines are written", || Some(read(&log)).filter(|text| text.lines().count() == 2));
    let first: Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    let kept = ["class", "site", "reason", "method", "host", "path", "status", "bytes", "http"].map(|key| &first[key]);
    assert_eq!(json!(kept), json!(["core", "idc-1", "first", "GET", "edge", "/pay", 200, 5, "1.1"]));
    assert!(!lines.contains("4111") && !lines.contains("127.0.0.1"), "{lines}");
}

#[test]
fn a_client_that_asks_too_often_is_told_to_wait_and_the_rest_is_counted() {
    let server = Server::start();
    let place = Place::new(&[&server]);
    place.configure("limits = { requests_per_client_s = 5 }", "");
    let edge = place.start(&[]);
    let statuses: Vec<u16> = (0..30).map(|_| edge.ask("listen", "GET /pay", "").0).collect();
    assert!(statuses[..5].iter().all(|status| *status == 200), "{statuses:?}");
    assert!(statuses.contains(&429) && statuses.iter().all(|status| [200, 429].contains(status)), "{statuses:?}");
    assert!(edge.ask("metrics", "GET /metrics", "").1.contains("naru_edge_requests_limited_total"));
}

#[test]
fn a_bad_change_is_refused_whole_with_every_mistake_and_the_next_good_one_is_taken() {
    let server = Server::start();
    let place = Place::new(&[&server]);
    place.configure("", "");
    let edge = place.start(&[]);
    place.configure("lisen = 1", "cost = 0\n");
    edge.signal(Signal::SIGHUP);
    let reloads =
        until("it is refused", || Some(edge.state()["reloads"].clone()).filter(|state| state["refused"] != 0));
    let problems: Vec<&str> = reloads["problems"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert!(
        problems.iter().any(|problem| problem.contains("edge.toml:5:1: `lisen` is not a known key")),
        "{problems:?}"
    );
    assert!(problems.iter().any(|problem| problem.contains("`route[1]")), "{problems:?}");
    problems.iter().for_each(|problem| assert!(edge.log().contains(&problem[..40]), "{problem}"));
    assert_eq!(edge.ask("listen", "GET /pay", "").0, 200);
    assert_eq!(edge.ask("listen", "GET /gift", "").0, 404);
    // Nobody is signalled: the file is seen to have changed.
    place.configure("", "[[route]]\npath = '/gift'\nclass = 'core'\npool = 'pay'\n");
    until("it is taken", || (edge.state()["reloads"]["problems"] == json!([])).then_some(()));
    assert_eq!(edge.ask("listen", "GET /gift", "").0, 200);
}
