//! The strict request check on any bytes: one verdict however they arrive, bounded memory, and what passes is read by
//! a reader of another author as exactly the requests that were counted.
#![no_main]

use libfuzzer_sys::fuzz_target;
use naru_edge::request::{Limits, Refusal, RequestCheck};

mod memory;

/// What the check may hold beside the bytes: nothing that grows.
const BYTES_MAX: usize = 16 << 10;

/// As many fields as the check lets through.
const FIELDS_MAX: usize = 100;

fuzz_target!(|data: &[u8]| {
    let [share, every, bytes @ ..] = data else { return };
    let whole = feed(bytes, [bytes.len()]);
    let cut = bytes.len() * usize::from(*share) / 256;
    assert_eq!(feed(bytes, [cut, bytes.len()]), whole);
    let steps = (1..=bytes.len()).filter(|end| end % (1 + usize::from(*every) % 7) == 0).chain([bytes.len()]);
    assert_eq!(feed(bytes, steps), whole);
    let (pass, requests, _) = whole;
    assert_eq!(read(&bytes[..pass]), requests, "another reader counts the same requests");
});

/// What passed, how many whole requests that was, and what ended it.
fn feed(bytes: &[u8], ends: impl IntoIterator<Item = usize>) -> (usize, u64, Option<Refusal>) {
    let mut check = RequestCheck::new(Limits::default(), 0);
    let mut passed = 0;
    let mut refusal = None;
    let ends: Vec<usize> = ends.into_iter().collect();
    memory::bounded(BYTES_MAX, || {
        for end in ends {
            let step = check.advance(0, &bytes[passed..end]);
            passed += step.pass;
            refusal = step.refusal;
            if refusal.is_some() {
                break;
            }
        }
    });
    (passed, check.requests(), refusal)
}

/// Whole requests in bytes that passed; the last one may be cut within its body.
fn read(mut bytes: &[u8]) -> u64 {
    let mut requests = 0;
    while !bytes.is_empty() {
        let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
        let mut request = httparse::Request::new(&mut fields);
        let head = match request.parse(bytes).expect("a head that passed is a head") {
            httparse::Status::Complete(head) => head,
            httparse::Status::Partial => panic!("a head passes whole"),
        };
        let one = |name: &str| {
            let mut values = request.headers.iter().filter(|field| field.name.eq_ignore_ascii_case(name));
            let value = values.next().map(|field| field.value);
            assert!(values.next().is_none(), "{name} stands there once");
            value
        };
        assert!(one("host").is_some());
        let length = one("content-length");
        let body = &bytes[head..];
        let end = match one("transfer-encoding") {
            Some(encoding) => {
                assert!(length.is_none() && encoding == b"chunked");
                chunks(body)
            }
            None => {
                let length = length
                    .map_or(0, |digits| std::str::from_utf8(digits).expect("digits").parse().expect("a plain number"));
                (length <= body.len()).then_some(length)
            }
        };
        let Some(end) = end else { return requests };
        requests += 1;
        bytes = &body[end..];
    }
    requests
}

/// Where a body in chunks ends; none when it is cut.
fn chunks(body: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let (line, size) = match httparse::parse_chunk_size(&body[at..]).expect("a size that passed is a size") {
            httparse::Status::Complete(found) => found,
            httparse::Status::Partial => return None,
        };
        at += line;
        if size == 0 {
            let mut trailers = [httparse::EMPTY_HEADER; FIELDS_MAX];
            return match httparse::parse_headers(&body[at..], &mut trailers).expect("trailers that passed") {
                httparse::Status::Complete((end, _)) => Some(at + end),
                httparse::Status::Partial => None,
            };
        }
        at += usize::try_from(size).expect("below the bound");
        match body.get(at..at + 2) {
            Some(end) => assert_eq!(end, b"\r\n"),
            None => return None,
        }
        at += 2;
    }
}
