//! What passes, read by a server of another author (hyper): exactly the requests that were counted.

use std::time::Duration;

use axum::body::Bytes;
use axum::http::Method;
use axum::{Router, serve};
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::super::{Limits, RequestCheck};
use super::http1::mutated;
use super::vectors;

/// Sent behind what passed, where another request may follow: a smuggled one would be answered in front of it.
const LAST: &[u8] = b"GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

/// Random changes of vectors, beside the vectors.
const CHANGED: usize = 10_000;

/// A server that does not answer what was counted has read something else.
const ANSWER_MAX: Duration = Duration::from_secs(10);

async fn answer(method: Method, uri: axum::http::Uri, body: Bytes) -> String {
    format!("<{method} {} {}>", uri.path(), body.len())
}

#[tokio::test]
async fn a_server_behind_reads_as_many_requests_as_passed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = async { serve(listener, Router::new().fallback(answer)).await.unwrap() };
    let client = async {
        let mut random = ChaCha8Rng::seed_from_u64(13);
        let seeds: Vec<Vec<u8>> = vectors::http1().values().flatten().map(|v| vectors::bytes(&v.sends)).collect();
        let changed: Vec<Vec<u8>> = (0..CHANGED).map(|_| mutated(&seeds, &mut random)).collect();
        let mut compared = 0;
        for sent in seeds.iter().chain(&changed) {
            let Some((bytes, requests, is_last)) = passed(sent) else { continue };
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(&bytes).await.unwrap();
            let text = String::from_utf8_lossy(&bytes);
            let answers = tokio::time::timeout(ANSWER_MAX, answers(&mut stream, requests, is_last)).await;
            let answers = answers.unwrap_or_else(|_| panic!("not all is answered: {text}"));
            assert_eq!(count(&answers), requests, "{text}\n{answers}");
            assert!(!is_last || answers.ends_with("<GET /last 0>"), "{text}\n{answers}");
            compared += 1;
        }
        assert!(compared > 1_000, "{compared}");
    };
    tokio::select! {
        () = server => panic!("the server ended"),
        () = client => {}
    }
}

/// What passes of these bytes, with the last request behind it if one may follow.
fn passed(sent: &[u8]) -> Option<(Vec<u8>, usize, bool)> {
    let mut check = RequestCheck::new(Limits::default(), 0);
    let pass = check.advance(0, sent).pass;
    let requests = check.requests() as usize;
    if requests == 0 {
        return None;
    }
    let followed = [&sent[..pass], LAST].concat();
    let mut check = RequestCheck::new(Limits::default(), 0);
    let step = check.advance(0, &followed);
    let follows = step.refusal.is_none() && step.pass == followed.len() && check.requests() as usize == requests + 1;
    Some(if follows { (followed, requests + 1, true) } else { (sent[..pass].to_vec(), requests, false) })
}

/// Everything that is answered: to the end when the server closes, else until so many requests are.
async fn answers(stream: &mut TcpStream, requests: usize, to_end: bool) -> String {
    let mut text = String::new();
    let mut buffer = [0; 4096];
    while to_end || count(&text) < requests {
        match stream.read(&mut buffer).await.unwrap() {
            0 => break,
            read => text.push_str(&String::from_utf8_lossy(&buffer[..read])),
        }
    }
    text
}

fn count(answers: &str) -> usize {
    ["HTTP/1.1 200", "HTTP/1.0 200"].iter().map(|status| answers.matches(status).count()).sum()
}
