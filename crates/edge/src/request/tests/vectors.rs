//! The files of vectors and their notation.

use std::collections::BTreeMap;

use serde::Deserialize;

/// A request of HTTP/1.1 and what becomes of it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Bytes {
    pub(super) name: String,
    pub(super) sends: String,
    #[serde(default)]
    pub(super) passes: u64,
    pub(super) refuse: Option<String>,
}

/// A request of HTTP/2 and what becomes of it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Fields {
    pub(super) name: String,
    pub(super) fields: Vec<[String; 2]>,
    pub(super) refuse: Option<String>,
}

/// The vectors of HTTP/1.1, by group.
pub(super) fn http1() -> BTreeMap<String, Vec<Bytes>> {
    toml::from_str(include_str!("../../../tests/vectors/http1.toml")).unwrap()
}

/// The vectors of HTTP/2, by group.
pub(super) fn http2() -> BTreeMap<String, Vec<Fields>> {
    toml::from_str(include_str!("../../../tests/vectors/http2.toml")).unwrap()
}

/// The bytes that a text stands for.
pub(super) fn bytes(text: &str) -> Vec<u8> {
    let mut rest = text.as_bytes();
    let mut out = Vec::new();
    while let Some(byte) = next(&mut rest, &mut out) {
        out.push(byte);
    }
    out
}

/// Takes one plain byte, or writes a repetition; none at the end.
fn next(rest: &mut &[u8], out: &mut Vec<u8>) -> Option<u8> {
    loop {
        let (first, behind) = rest.split_first()?;
        *rest = behind;
        if *first != b'\\' {
            return Some(*first);
        }
        let (escape, behind) = rest.split_first().expect("an escape is two characters");
        *rest = behind;
        match escape {
            b'r' => return Some(b'\r'),
            b'n' => return Some(b'\n'),
            b't' => return Some(b'\t'),
            b'"' | b'\\' => return Some(*escape),
            b'x' => {
                let (digits, behind) = rest.split_at(2);
                *rest = behind;
                return Some(u8::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).unwrap());
            }
            b'{' => repeat(rest, out),
            other => panic!("no such escape: {:?}", *other as char),
        }
    }
}

fn repeat(rest: &mut &[u8], out: &mut Vec<u8>) {
    let mut inner = Vec::new();
    while rest.first() != Some(&b'}') {
        match rest.strip_prefix(b"\\{") {
            Some(behind) => {
                *rest = behind;
                repeat(rest, &mut inner);
            }
            None => {
                let byte = next(rest, &mut inner).expect("a repetition ends");
                inner.push(byte);
            }
        }
    }
    *rest = &rest[1..];
    let star = inner.iter().rposition(|byte| *byte == b'*').expect("a repetition has a star");
    let times: usize = std::str::from_utf8(&inner[star + 1..]).unwrap().parse().expect("and says how often");
    (0..times).for_each(|_| out.extend_from_slice(&inner[..star]));
}

#[test]
fn the_notation_stands_for_its_bytes() {
    let check = |text: &str, expect: &[u8]| assert_eq!(bytes(text), expect, "{text}");
    check(r#"a\r\n\t\\\"\x00\xFF"#, b"a\r\n\t\\\"\x00\xFF");
    check(r"\{ab*2}{c}*", b"abab{c}*");
    check(r"\{x\{y*3}\r\n*2}", b"xyyy\r\nxyyy\r\n");
    check(r"\{*/**2}", b"*/**/*");
}
