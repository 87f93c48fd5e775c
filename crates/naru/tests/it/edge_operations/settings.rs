//! What is set up once and must hold from then on: proxies in front, drains, authorities of servers.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::process::{Edge, Place, Server, read};
use crate::edge::process::until;

/// Asks once with these fields, and answers with the whole answer.
fn ask(edge: &Edge, call: &str, fields: &str) -> String {
    let mut stream = TcpStream::connect(edge.address("listen")).unwrap();
    stream.write_all(format!("{call} HTTP/1.1\r\nhost: edge\r\nconnection: close\r\n{fields}\r\n").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn only_a_trusted_proxy_says_who_asks() {
    let server = Server::start();
    let place = Place::new(&[&server]);
    let log = place.dir.path().join("access.log");
    let configure = |trusted: &str| {
        let limits = "limits = { requests_per_client_s = 1 }";
        place.configure(&format!("access_log = '{}'\ntrusted_proxies = [{trusted}]\n{limits}", log.display()), "");
    };
    configure("'127.0.0.0/8'");
    let edge = place.start(&[]);
    let from =
        |client: &str| ask(&edge, "GET /pay", &format!("X-Forwarded-For: {client}\r\nX-Forwarded-Proto: https\r\n"));
    // A rate of one a second holds for each client of the proxy, and not for the proxy.
    let answers = ["203.0.113.7", "203.0.113.8", "198.51.100.1, 203.0.113.9", "203.0.113.10, 127.0.0.5"].map(from);
    for answer in &answers {
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("; Secure"), "{answer}");
    }
    let clients = || -> Vec<String> {
        let of = |line: &str| serde_json::from_str::<Value>(line).unwrap()["client"].as_str().unwrap().to_owned();
        read(&log).lines().map(of).collect()
    };
    let four = until("all are written down", || Some(clients()).filter(|clients| clients.len() == 4));
    assert!((0..4).all(|at| !four[..at].contains(&four[at])), "{four:?}");

    configure("'10.9.0.0/16'");
    until("it is trusted no more", || (edge.state()["reloads"]["taken"] == json!(1)).then_some(()));
    until("a claim counts for nothing", || from("203.0.113.11").starts_with("HTTP/1.1 429 ").then_some(()));
    let claimed =
        until("one is let in", || Some(from("203.0.113.12")).filter(|answer| answer.starts_with("HTTP/1.1 200 ")));
    assert!(!claimed.contains("; Secure"), "{claimed}");
}

#[test]
fn a_drain_lasts_over_a_restart_and_a_takeover_until_it_is_ended() {
    let server = Server::start();
    let place = Place::new(&[&server]);
    place.configure("", "");
    let drain = |edge: &Edge, draining: bool| {
        let order = json!({ "site": "idc-1", "draining": draining }).to_string();
        assert_eq!(edge.ask("admin", "POST /drain", &order).0, 200);
    };
    let is_drained = |edge: &Edge| edge.state()["sites"][0]["draining"].as_bool().unwrap();
    let mut edge = place.start(&[]);
    drain(&edge, true);
    edge.signal(Signal::SIGKILL);
    edge.ended();
    let mut edge = place.start(&[]);
    assert!(is_drained(&edge));
    place.configure("", "cost = 2\n");
    until("the change is in force", || (edge.state()["reloads"]["taken"] == json!(1)).then_some(()));
    assert!(is_drained(&edge));
    let next = place.start(&["--takeover"]);
    assert!(edge.ended().success());
    assert!(is_drained(&next));
    assert_eq!(next.ask("listen", "GET /pay", "").0, 503);
    drain(&next, false);
    assert_eq!(next.ask("listen", "GET /pay", "").0, 200);
    assert_eq!(next.ask("admin", "POST /drain", &json!({ "site": "idc-9", "draining": true }).to_string()).0, 404);
}

#[test]
fn an_authority_is_read_again_when_it_changes_and_one_that_is_none_is_refused() {
    let server = Server::start();
    let place = Place::new(&[&server]);
    let authority = place.dir.path().join("authority.pem");
    let renew = || std::fs::write(&authority, rcgen::generate_simple_self_signed([]).unwrap().cert.pem()).unwrap();
    renew();
    let pool = format!(
        "[[pool]]\nname = 'other'\nmembers = [{{ site = 'idc-1', peers = ['127.0.0.1:9'] }}]\n\
         tls = {{ authority = '{}', server_name = 'localhost' }}\n",
        authority.display()
    );
    place.configure("", &pool);
    let edge = place.start(&[]);
    let reloads = |what: &str, count: u64| {
        until(what, || Some(edge.state()["reloads"].clone()).filter(|state| state[what] == json!(count)))
    };
    renew();
    reloads("taken", 1);
    std::fs::write(&authority, "nothing").unwrap();
    let state = reloads("refused", 1);
    assert!(state["problems"][0].as_str().unwrap().contains("authority.pem"), "{state}");
    assert_eq!(edge.ask("listen", "GET /pay", "").0, 200);
    renew();
    reloads("taken", 2);
}

#[test]
fn what_the_edge_offers_is_answered_by_the_edge() {
    let server = Server::start();
    let place = Place::new(&[&server]);
    place.configure("", "");
    let edge = place.start(&[]);
    let answer = ask(&edge, "OPTIONS *", "");
    assert!(answer.starts_with("HTTP/1.1 204 ") && answer.contains("GET, HEAD, POST"), "{answer}");
    assert!(ask(&edge, "GET *", "").starts_with("HTTP/1.1 400 "));
}
