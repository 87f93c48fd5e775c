//! Frames that cost a client nothing and a server much. The edge ends such connections, its memory stays where it was,
//! and other clients are served meanwhile.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::back_ends::{Author, BackEnd};
use super::http1;
use super::http2::{
    self, CANCEL, CONTINUATION, END_HEADERS, END_STREAM, Frames, HEADERS, PING, RST_STREAM, SETTINGS, frame,
};
use super::process::Setup;

/// What attackers ask for.
const ATTACK: &str = "/attack";
const ATTACKERS: u32 = 4;
/// How often an attacker begins again where he is thrown out.
const CONNECTIONS_EACH: u32 = 50;
/// Frames in one write.
const BURST: u32 = 100;
/// An attacker who is not thrown out gives up here.
const BURSTS_MAX: u32 = 400;
/// What all attackers together may make the edge hold, above what it held before.
const GROWTH_MIB_MAX: u64 = 64;
/// Longest wait of another client for an answer, beside four attackers and a compiler on two processors.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// Whoever does not read for so long has stopped.
const STALLED: Duration = Duration::from_secs(2);

/// What `attack` did: on how many connections an attacker was thrown out.
struct Outcome {
    thrown_out: u32,
    /// Requests of the attackers that the server behind read.
    reached: usize,
}

/// Attacks with what `burst` makes of the first stream's number, on connection after connection.
fn attack(burst: impl Fn(u32) -> Vec<u8> + Sync) -> Outcome {
    let back_end = BackEnd::start(Author::Hyper);
    let edge = Setup { owned: vec![back_end.address], ..Setup::default() }.start();
    let to = edge.address;
    assert_eq!(http1::get(to, "/before").status, 200);
    let (before, _) = edge.resident_mib();
    let (is_over, thrown_out) = (AtomicBool::new(false), AtomicU32::new(0));
    std::thread::scope(|scope| {
        let attackers: Vec<_> = (0..ATTACKERS)
            .map(|_| {
                scope.spawn(|| {
                    for _ in 0..CONNECTIONS_EACH {
                        thrown_out.fetch_add(u32::from(is_thrown_out(to, &burst)), Ordering::Relaxed);
                    }
                })
            })
            .collect();
        let other = scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                let began = Instant::now();
                assert_eq!(http1::get(to, "/other").status, 200);
                assert!(began.elapsed() < ANSWER_MAX, "{:?} for another client's answer", began.elapsed());
            }
        });
        attackers.into_iter().for_each(|attacker| attacker.join().unwrap());
        is_over.store(true, Ordering::Relaxed);
        other.join().unwrap();
    });
    let (_, most) = edge.resident_mib();
    println!("resident: {before} MiB before, {most} MiB at most");
    assert!(most <= before + GROWTH_MIB_MAX, "{before} MiB before, {most} MiB at most");
    Outcome { thrown_out: thrown_out.into_inner(), reached: back_end.count(ATTACK) }
}

/// Sends burst after burst until the edge closes, which it does or not.
fn is_thrown_out(to: SocketAddr, burst: impl Fn(u32) -> Vec<u8>) -> bool {
    let mut frames = Frames::connect(to);
    for number in 0..BURSTS_MAX {
        if !frames.send(&burst(1 + 2 * BURST * number)) || !frames.drain() {
            return true;
        }
    }
    false
}

fn check(name: &str, outcome: &Outcome) {
    let connections = ATTACKERS * CONNECTIONS_EACH;
    println!(
        "{name}: {} of {connections} connections ended, {} requests reached the server",
        outcome.thrown_out, outcome.reached
    );
    assert_eq!(outcome.thrown_out, connections, "{name}");
}

#[test]
fn who_opens_streams_and_resets_them_at_once_is_thrown_out() {
    let request = http2::block(&http2::get(ATTACK));
    let outcome = attack(|first| {
        let stream = |at| first + 2 * at;
        let both = |at| {
            [frame(HEADERS, END_HEADERS | END_STREAM, stream(at), &request), frame(RST_STREAM, 0, stream(at), &CANCEL)]
                .concat()
        };
        (0..BURST).flat_map(both).collect()
    });
    check("rapid reset", &outcome);
    // A request whose stream is reset at once may have been on its way; most of them must not.
    let sent = ATTACKERS * CONNECTIONS_EACH * BURST;
    assert!(outcome.reached < usize::try_from(sent / 2).unwrap(), "{} of at least {sent}", outcome.reached);
}

#[test]
fn a_head_that_never_ends_is_cut_off() {
    let field = http2::block(&[(b"x-more".to_vec(), vec![b'a'; 8 << 10])]);
    let outcome = attack(|first| match first {
        1 => frame(HEADERS, 0, 1, &http2::block(&http2::get(ATTACK))),
        _ => (0..8).flat_map(|_| frame(CONTINUATION, 0, 1, &field)).collect(),
    });
    check("endless head", &outcome);
    assert_eq!(outcome.reached, 0);
}

#[test]
fn a_head_of_empty_continuations_is_cut_off() {
    let outcome = attack(|first| match first {
        1 => frame(HEADERS, 0, 1, &http2::block(&http2::get(ATTACK))),
        _ => (0..10 * BURST).flat_map(|_| frame(CONTINUATION, 0, 1, &[])).collect(),
    });
    check("empty continuations", &outcome);
    assert_eq!(outcome.reached, 0);
}

/// Each has to be answered, so that who never reads fills the edge's memory, if it lets him.
#[test]
fn who_asks_for_acknowledgements_and_reads_none_costs_no_memory() {
    for (name, kind, payload) in [("settings", SETTINGS, vec![]), ("pings", PING, vec![0; 8])] {
        let back_end = BackEnd::start(Author::Hyper);
        let edge = Setup { owned: vec![back_end.address], ..Setup::default() }.start();
        let (before, _) = edge.resident_mib();
        let mut frames = Frames::connect(edge.address);
        let burst: Vec<u8> = (0..1_000).flat_map(|_| frame(kind, 0, 0, &payload)).collect();
        // It may stop reading, or close: both bound what it holds.
        for _ in 0..2_000 {
            if !frames.is_taken_within(STALLED, &burst) {
                break;
            }
        }
        assert_eq!(http1::get(edge.address, "/other").status, 200);
        let (_, most) = edge.resident_mib();
        println!("{name}: {before} MiB before, {most} MiB at most");
        assert!(most <= before + GROWTH_MIB_MAX, "{name}: {before} MiB before, {most} MiB at most");
    }
}
