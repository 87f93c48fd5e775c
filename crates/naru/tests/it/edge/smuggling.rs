//! Every vector of the request check, through a live edge in front of servers of three authors: what is refused reaches
//! none of them, and what passes is the same requests to all of them.

use super::back_ends::{Author, BackEnd, Seen};
use super::http1::{Wire, get};
use super::http2::{self, CONTINUATION, DATA, END_HEADERS, END_STREAM, Fate, Frames, HEADERS, frame};
use super::process::{Edge, Setup};
use super::vectors;

/// What the check lets pass and is refused behind it: by whom, where not by all. Nothing else may be read from it.
const REFUSED_BEHIND: [(Option<Author>, &str); 5] = [
    // Pingora compares the two by letter.
    (None, "plain: an absolute target of the same host"),
    (None, "passes of HTTP/2: an authority and the same host"),
    // No route can have it.
    (None, "plain: options of the server"),
    (None, "passes of HTTP/2: options of the server"),
    // Hyper takes 100 fields, and the edge adds some.
    (Some(Author::Hyper), "plain: as many fields as allowed"),
];

/// What the library that decodes HTTP/2 mends before anybody can refuse it; all servers read the same.
const MENDED_BEFORE: &str = "pseudo_headers of HTTP/2: a fragment";

/// On a live port this begins HTTP/2, where the check alone knows HTTP/1.1 only.
const BEGINS_HTTP2: &str = "connection: the preface of HTTP/2";

/// What a server behind read of each vector, by its name; none where a refusal overtook the answer.
type Readings = Vec<(String, Option<Vec<Seen>>)>;

#[test]
fn three_servers_behind_an_edge_read_the_same_requests_and_none_that_was_refused() {
    let mut wrong = Vec::new();
    let reference = through(Author::Hyper, &mut wrong);
    for author in [Author::Nginx, Author::Node] {
        let readings = through(author, &mut wrong);
        for ((name, read), (_, expect)) in readings.iter().zip(&reference) {
            let both = read.as_ref().zip(expect.as_ref());
            if both.is_some_and(|(read, expect)| read != expect) {
                wrong.push(format!("{author:?}, {name}: {read:?}, and hyper {expect:?}"));
            }
        }
    }
    println!("{} vectors through three servers", reference.len());
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert!(reference.len() >= 200);
}

fn may_refuse(author: Author, vector: &str) -> bool {
    REFUSED_BEHIND.iter().any(|(by, name)| by.is_none_or(|by| by == author) && *name == vector)
}

fn through(author: Author, wrong: &mut Vec<String>) -> Readings {
    let mut back_end = BackEnd::start(author);
    let edge = Setup { owned: vec![back_end.address], ..Setup::default() }.start();
    let mut readings = Vec::new();
    let mut judge = |name: String, said: Result<bool, String>, passes: usize| {
        let read = mark(&edge, &mut back_end, readings.len());
        let comparable = match (said, may_refuse(author, &name)) {
            (_, true) if read.is_empty() => false,
            (Ok(is_whole), _) if read.len() == passes || !is_whole && read.len() < passes => is_whole,
            (said, _) => {
                wrong.push(format!("{author:?}, {name}: {said:?}, read {read:?} instead of {passes}"));
                false
            }
        };
        readings.push((name, comparable.then_some(read)));
    };
    for (group, vectors) in vectors::http1() {
        for vector in vectors {
            let name = format!("{group}: {}", vector.name);
            if name != BEGINS_HTTP2 {
                judge(name, bytes(&edge, &vector), usize::try_from(vector.passes).unwrap());
            }
        }
    }
    for (group, vectors) in vectors::http2() {
        for vector in vectors {
            let name = format!("{group} of HTTP/2: {}", vector.name);
            if name != MENDED_BEFORE {
                judge(name, fields(&edge, &vector), usize::from(vector.refuse.is_none()));
            }
        }
    }
    readings
}

/// A request behind a vector: it must get its own answer, and closes the list of what was read before.
fn mark(edge: &Edge, back_end: &mut BackEnd, number: usize) -> Vec<Seen> {
    let target = format!("/mark/{number}");
    let answer = get(edge.address, &target);
    assert_eq!((answer.status, answer.text()), (200, format!("<GET {target}>")), "somebody else's answer");
    back_end.seen_before(&target)
}

/// Sends a vector of HTTP/1.1, and holds the answers against what it says. False where a refusal overtook the answer to a
/// request in front of it, which a server may have read or not.
fn bytes(edge: &Edge, vector: &vectors::Bytes) -> Result<bool, String> {
    let sent = vectors::bytes(&vector.sends);
    let mut wire = Wire::connect(edge.address);
    wire.send(&sent);
    if vector.passes == 0 && vector.refuse.is_none() {
        // Half a request: nothing answers it, and it ends with the connection.
        wire.end();
        let rest = String::from_utf8_lossy(&wire.rest()).into_owned();
        return if rest.starts_with("HTTP/1.1 2") { Err(rest) } else { Ok(true) };
    }
    let refused = vector.refuse.as_deref().map(status);
    for _ in 0..vector.passes {
        let answer = wire.answer(sent.starts_with(b"HEAD ")).ok_or("no answer")?;
        if refused == Some(answer.status) {
            return Ok(false);
        }
        if answer.status != 200 {
            return Err(format!("{answer:?}"));
        }
    }
    if let Some(refused) = refused {
        let answer = wire.answer(false).ok_or("closed, and not refused")?;
        let rest = wire.rest();
        if answer.status != refused || !rest.is_empty() {
            return Err(format!("{answer:?}, and then {}", String::from_utf8_lossy(&rest)));
        }
    }
    Ok(true)
}

/// Sends a vector of HTTP/2, and holds the answer against what it says: what is malformed may end the stream instead.
fn fields(edge: &Edge, vector: &vectors::Fields) -> Result<bool, String> {
    let fields: Vec<(Vec<u8>, Vec<u8>)> =
        vector.fields.iter().map(|[name, value]| (vectors::bytes(name), vectors::bytes(value))).collect();
    // A request with a length and no body would be malformed by itself.
    let mut lengths = fields.iter().filter(|(name, _)| name == b"content-length");
    let length = lengths.next().and_then(|(_, value)| String::from_utf8_lossy(value).parse().ok()).unwrap_or(0);
    let body = vec![b'x'; usize::min(length, FRAME_BYTES)];
    let last = if body.is_empty() { END_STREAM } else { 0 };
    let block = http2::block(&fields);
    let mut parts = block.chunks(FRAME_BYTES).peekable();
    let (mut sent, mut kind, mut flags) = (Vec::new(), HEADERS, last);
    while let Some(part) = parts.next() {
        flags |= if parts.peek().is_none() { END_HEADERS } else { 0 };
        sent.extend(frame(kind, flags, 1, part));
        (kind, flags) = (CONTINUATION, 0);
    }
    if !body.is_empty() {
        sent.extend(frame(DATA, END_STREAM, 1, &body));
    }
    let mut frames = Frames::connect(edge.address);
    frames.send(&sent);
    match (&vector.refuse, frames.fate(1)) {
        (None, Fate::Status(200)) | (Some(_), Fate::Ended) => Ok(true),
        // The library in front knows less exactly what was wrong.
        (Some(refuse), Fate::Status(got)) if [status(refuse), 400, 431].contains(&got) => Ok(true),
        (_, fate) => Err(format!("{fate:?}")),
    }
}

fn status(refuse: &str) -> u16 {
    refuse.split(' ').next().and_then(|status| status.parse().ok()).unwrap()
}

/// What a frame may hold unless more was agreed.
const FRAME_BYTES: usize = 16 << 10;
