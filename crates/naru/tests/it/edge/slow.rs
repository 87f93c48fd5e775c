//! Clients that hold connections by being slow, played by slowhttptest: who sends slowly is closed in time, the edge's
//! memory stays bounded, and another client is served meanwhile.

use std::net::SocketAddr;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use naru_kafka::node;

use super::back_ends::{Author, BackEnd};
use super::faults::Server;
use super::http1::get;
use super::process::Setup;

const CONNECTIONS: &str = "300";
/// After so many seconds slowhttptest ends by itself: whoever is still connected then was not closed.
const SECONDS: &str = "40";
/// Of its last report, which has no more than ASCII.
const SHOWN_BYTES: usize = 700;
/// Above what it held before: an answer that is not read stops within 1 MiB, where the buffers between client and server
/// are full.
const GROWTH_MIB_MAX: u64 = 300;
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// Attacks in one way, and says how slowhttptest ended: its last lines.
fn attack(server: SocketAddr, path: &str, way: &[&str]) -> String {
    let limits = "head_timeout = '2s'".to_owned();
    let edge = Setup { owned: vec![server], limits, ..Setup::default() }.start();
    let to = edge.address;
    assert_eq!(get(to, "/before").status, 200);
    let (before, _) = edge.resident_mib();
    let mut slow = Command::new("slowhttptest");
    slow.args(["-c", CONNECTIONS, "-r", CONNECTIONS, "-l", SECONDS, "-p", "5", "-u", &format!("http://{to}{path}")])
        .args(way);
    let is_over = AtomicBool::new(false);
    let said = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                let began = Instant::now();
                assert_eq!(get(to, "/other").status, 200);
                assert!(began.elapsed() < ANSWER_MAX, "{:?} for another client's answer", began.elapsed());
            }
        });
        let output = node::tie(&mut slow).output();
        is_over.store(true, Ordering::Relaxed);
        output.unwrap_or_else(|error| panic!("slowhttptest: {error}: run `./x test`, which installs it")).stdout
    });
    let (_, most) = edge.resident_mib();
    println!("resident: {before} MiB before, {most} MiB at most");
    assert!(most <= before + GROWTH_MIB_MAX, "{before} MiB before, {most} MiB at most");
    let said = String::from_utf8_lossy(&said);
    said.split_at(said.len().saturating_sub(SHOWN_BYTES)).1.to_owned()
}

#[test]
fn slow_heads_are_closed_in_time() {
    let server = BackEnd::start(Author::Hyper);
    let said = attack(server.address, "/", &["-H", "-i", "1", "-x", "24", "-t", "GET"]);
    assert!(said.contains("No open connections left"), "{said}");
}

#[test]
fn slow_bodies_are_closed_in_time() {
    let server = BackEnd::start(Author::Hyper);
    let said = attack(server.address, "/", &["-B", "-i", "1", "-s", "8192", "-x", "10", "-t", "POST"]);
    assert!(said.contains("No open connections left"), "{said}");
}

/// They may go on, as slowly as they like; what they are not given yet stays with the server behind.
#[test]
fn slow_readers_hold_no_more_than_the_buffers_between_client_and_server() {
    let server = Server::owned();
    let said = attack(server.address, "/large", &["-X", "-w", "1", "-y", "8", "-n", "5", "-z", "1", "-k", "1"]);
    assert!(said.contains("Test ended"), "{said}");
}
