use std::collections::BTreeSet;

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::super::{Limits, Reason, Refusal, RequestCheck};
use super::vectors;

/// What a connection came to.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    passed: Vec<u8>,
    requests: u64,
    refusal: Option<Refusal>,
}

/// Feeds pieces that end at these places, as a caller does who keeps what did not pass.
fn feed(bytes: &[u8], ends: impl IntoIterator<Item = usize>) -> Outcome {
    let mut check = RequestCheck::new(Limits::default(), 0);
    let (mut held, mut passed, mut begin, mut refusal) = (Vec::new(), Vec::new(), 0, None);
    for end in ends {
        held.extend_from_slice(&bytes[begin..end]);
        begin = end;
        let step = check.advance(0, &held);
        passed.extend(held.drain(..step.pass));
        refusal = step.refusal;
        if refusal.is_some() {
            break;
        }
    }
    assert!(bytes.starts_with(&passed), "what passes is what came");
    Outcome { passed, requests: check.requests(), refusal }
}

fn said(refusal: Option<Refusal>) -> Option<String> {
    refusal.map(|refusal| format!("{} {}", refusal.reason.status(), refusal.reason))
}

#[test]
fn every_vector_gets_its_verdict_however_its_bytes_arrive() {
    let mut random = ChaCha8Rng::seed_from_u64(20_261_111);
    for (group, vectors) in vectors::http1() {
        for vector in vectors {
            let name = format!("{group}: {}", vector.name);
            let bytes = vectors::bytes(&vector.sends);
            let whole = feed(&bytes, [bytes.len()]);
            assert_eq!(said(whole.refusal), vector.refuse, "{name}");
            assert_eq!(whole.requests, vector.passes, "{name}");
            if whole.refusal.is_none() && vector.passes > 0 {
                assert_eq!(whole.passed, bytes, "{name}: passes whole");
            }
            assert_eq!(feed(&bytes, 1..=bytes.len()), whole, "{name}, byte by byte");
            for _ in 0..20 {
                let mut ends: BTreeSet<usize> =
                    (0..random.random_range(0..12)).map(|_| random.random_range(0..=bytes.len())).collect();
                ends.insert(bytes.len());
                assert_eq!(feed(&bytes, ends.iter().copied()), whole, "{name}, in pieces that end at {ends:?}");
            }
        }
    }
}

#[test]
fn there_are_vectors_enough_and_one_for_each_reason() {
    let (http1, http2) = (vectors::http1(), vectors::http2());
    let refusing: Vec<&str> = http1
        .values()
        .flatten()
        .filter_map(|vector| vector.refuse.as_deref())
        .chain(http2.values().flatten().filter_map(|vector| vector.refuse.as_deref()))
        .collect();
    assert!(refusing.len() >= 300, "{}", refusing.len());
    let named: BTreeSet<&str> = refusing.iter().filter_map(|refuse| refuse.split(' ').nth(1)).collect();
    // Time has tests of its own.
    let timed = [Reason::SlowHead, Reason::SlowBody, Reason::Idle];
    for reason in Reason::ALL.iter().filter(|reason| !timed.contains(reason)) {
        assert!(named.contains(reason.name()), "no vector for {reason}");
    }
}

#[test]
fn nothing_of_a_refused_head_passes() {
    for vector in vectors::http1().values().flatten().filter(|vector| vector.refuse.is_some() && vector.passes == 0) {
        let bytes = vectors::bytes(&vector.sends);
        let head = bytes.windows(4).position(|end| end == b"\r\n\r\n").map_or(bytes.len(), |at| at + 4);
        let passed = feed(&bytes, [bytes.len()]).passed;
        // Either the whole head passed, and its body was refused, or nothing did.
        assert!(passed.is_empty() || passed.len() >= head, "{}", vector.name);
    }
}

#[test]
fn a_head_that_is_cut_anywhere_waits_and_passes_nothing() {
    let bytes = b"POST /pay HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    for cut in 0..bytes.len() {
        let outcome = feed(&bytes[..cut], [cut]);
        assert_eq!(outcome, Outcome { passed: vec![], requests: 0, refusal: None }, "{cut}");
    }
}

#[test]
fn a_refusal_names_its_place_and_stays() {
    let bytes = b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n";
    let mut check = RequestCheck::new(Limits::default(), 0);
    let step = check.advance(0, bytes);
    let refusal = Refusal { reason: Reason::FieldName, at: 52 };
    assert_eq!((step.pass, step.refusal), (27, Some(refusal)));
    assert_eq!(bytes[52..].first(), Some(&b'X'));
    assert_eq!(check.advance(0, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").refusal, Some(refusal));
    assert_eq!(check.tick(1 << 40), Some(refusal));
    assert_eq!(refusal.to_string(), "refused with 400: field-name, at byte 52 of the connection");
}

#[test]
fn after_101_everything_passes_and_after_another_answer_the_next_request() {
    const ASKS: &[u8] = b"GET /live HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let mut check = RequestCheck::new(Limits::default(), 0);
    assert_eq!(check.advance(0, ASKS).pass, ASKS.len());
    check.switched();
    assert_eq!(check.advance(0, b"\x81\x05\nhello").pass, 8);
    assert_eq!(check.deadline_ms(), None);
    let mut check = RequestCheck::new(Limits::default(), 0);
    check.advance(0, ASKS);
    check.answered(5);
    assert_eq!(check.advance(6, ASKS).pass, ASKS.len());
    assert_eq!(check.requests(), 2);
}

#[test]
fn a_client_may_end_between_requests_only() {
    let check = |sent: &[u8], expect: bool| {
        let mut check = RequestCheck::new(Limits::default(), 0);
        let step = check.advance(0, sent);
        assert_eq!(check.may_end(&sent[step.pass..]), expect, "{}", String::from_utf8_lossy(sent));
    };
    check(b"", true);
    check(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", true);
    check(b"GET / HTTP/1.0\r\nHost: a\r\n\r\n", true);
    check(b"G", false);
    check(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n\r\n", false);
    check(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\no", false);
    check(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", false);
    check(b"GET / HTTP/1.1\r\n\r\n", false);
}

#[test]
fn any_bytes_at_all_get_one_verdict() {
    let mut random = ChaCha8Rng::seed_from_u64(7);
    let seeds: Vec<Vec<u8>> = vectors::http1()
        .values()
        .flatten()
        .map(|vector| vectors::bytes(&vector.sends))
        .filter(|b| b.len() < 400)
        .collect();
    for _ in 0..20_000 {
        let bytes = mutated(&seeds, &mut random);
        let whole = feed(&bytes, [bytes.len()]);
        let cut = random.random_range(0..=bytes.len());
        assert_eq!(feed(&bytes, [cut, bytes.len()]), whole, "{:?} cut at {cut}", String::from_utf8_lossy(&bytes));
        assert_eq!(feed(&bytes, 1..=bytes.len()), whole, "{:?}", String::from_utf8_lossy(&bytes));
        // What passed is a run of requests that passes again, and by itself ends where the first run ended.
        let again = feed(&whole.passed, [whole.passed.len()]);
        assert_eq!((again.passed, again.requests, again.refusal), (whole.passed, whole.requests, None));
    }
}

/// Two vectors joined, then some bytes changed, taken out, or doubled.
pub(super) fn mutated(seeds: &[Vec<u8>], random: &mut ChaCha8Rng) -> Vec<u8> {
    let mut bytes = seeds[random.random_range(0..seeds.len())].clone();
    bytes.extend_from_slice(&seeds[random.random_range(0..seeds.len())]);
    for _ in 0..random.random_range(0..4) {
        let at = random.random_range(0..bytes.len());
        match random.random_range(0..3) {
            0 => bytes[at] = b"\r\n \t:;,0a\0\xFF"[random.random_range(0..11)],
            1 => drop(bytes.remove(at)),
            _ => bytes.insert(at, bytes[at]),
        }
    }
    bytes
}
