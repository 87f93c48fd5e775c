use super::super::{Limits, Reason, RequestCheck};

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const POST: &[u8] = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10000\r\n\r\n";

fn begun() -> RequestCheck {
    RequestCheck::new(Limits::default(), 1_000)
}

fn reason(check: &mut RequestCheck, now_ms: u64) -> Option<Reason> {
    check.tick(now_ms).map(|refusal| refusal.reason)
}

#[test]
fn a_connection_that_says_nothing_is_too_slow() {
    let mut check = begun();
    assert_eq!(check.deadline_ms(), Some(11_000));
    assert_eq!(reason(&mut check, 10_999), None);
    assert_eq!(reason(&mut check, 11_000), Some(Reason::SlowHead));
    assert_eq!(Reason::SlowHead.status(), 408);
}

#[test]
fn a_head_one_byte_at_a_time_is_too_slow_however_often_a_byte_comes() {
    let mut check = begun();
    for (at, now_ms) in (1..GET.len()).zip((1_000..).step_by(500)) {
        let refusal = check.advance(now_ms, &GET[..at]).refusal.map(|refusal| refusal.reason);
        assert_eq!(refusal, (now_ms >= 11_000).then_some(Reason::SlowHead), "{now_ms}");
    }
}

#[test]
fn the_time_of_a_later_head_begins_with_its_first_byte() {
    let mut check = begun();
    check.advance(1_000, GET);
    assert_eq!(check.deadline_ms(), None, "while we answer, nothing is due from the client");
    check.answered(2_000);
    assert_eq!(check.deadline_ms(), Some(62_000));
    assert_eq!(check.advance(50_000, &GET[..3]).refusal, None);
    assert_eq!(check.deadline_ms(), Some(60_000));
    assert_eq!(check.advance(59_999, GET).pass, GET.len());
    check.answered(60_000);
    assert_eq!(reason(&mut check, 120_000), Some(Reason::Idle));
}

#[test]
fn a_body_must_bring_enough_in_every_window() {
    let mut check = begun();
    check.advance(1_000, POST);
    assert_eq!(check.advance(5_000, &[0; 2_000]).pass, 2_000);
    assert_eq!(reason(&mut check, 11_000), None);
    assert_eq!(check.deadline_ms(), Some(21_000));
    assert_eq!(check.advance(20_000, &[0; 1_999]).pass, 1_999);
    assert_eq!(reason(&mut check, 21_000), Some(Reason::SlowBody));
}

#[test]
fn a_body_that_ends_in_time_may_be_small() {
    let mut check = begun();
    check.advance(1_000, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n");
    check.advance(10_999, b"ok");
    assert_eq!(check.requests(), 1);
    assert_eq!(reason(&mut check, 100_000), None);
}

#[test]
fn the_framing_of_chunks_brings_nothing() {
    let mut check = begun();
    check.advance(1_000, b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    for now_ms in (1_100..11_000).step_by(100) {
        assert_eq!(check.advance(now_ms, b"1;a=bbbbbbb\r\nx\r\n").refusal, None);
    }
    assert_eq!(reason(&mut check, 11_000), Some(Reason::SlowBody));
}

#[test]
fn time_in_which_we_did_not_read_is_not_the_clients() {
    let mut check = begun();
    check.advance(1_000, POST);
    check.resumed(30_000);
    assert_eq!(check.advance(39_000, &[0; 2_000]).refusal, None);
    assert_eq!(reason(&mut check, 40_000), None);
    assert_eq!(reason(&mut check, 50_000), Some(Reason::SlowBody));
}

#[test]
fn an_answer_to_an_earlier_request_begins_no_idle_time() {
    let mut check = begun();
    check.advance(1_000, &[GET, GET].concat());
    check.answered(2_000);
    assert_eq!(check.deadline_ms(), None);
    check.answered(3_000);
    assert_eq!(check.deadline_ms(), Some(63_000));
}

#[test]
fn an_answer_in_front_of_the_end_of_its_request_counts() {
    let mut check = begun();
    check.advance(1_000, POST);
    check.answered(1_500);
    check.advance(2_000, &[0; 10_000]);
    assert_eq!(check.deadline_ms(), Some(62_000));
}
