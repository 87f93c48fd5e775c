use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::super::{Limits, Reason, RequestCheck, check_fields, check_parts};
use super::vectors;

type Field = (Vec<u8>, Vec<u8>);

fn said(verdict: Result<(), Reason>) -> Option<String> {
    verdict.err().map(|reason| format!("{} {reason}", reason.status()))
}

#[test]
fn every_vector_gets_its_verdict() {
    for (group, vectors) in vectors::http2() {
        for vector in vectors {
            let fields: Vec<[Vec<u8>; 2]> =
                vector.fields.iter().map(|field| field.each_ref().map(|text| vectors::bytes(text))).collect();
            let fields = fields.iter().map(|[name, value]| (name.as_slice(), value.as_slice()));
            assert_eq!(said(check_fields(fields, &Limits::default())), vector.refuse, "{group}: {}", vector.name);
        }
    }
}

#[test]
fn what_a_library_has_parsed_gets_the_same_verdict() {
    let mut compared = 0;
    for (group, vectors) in vectors::http2() {
        for vector in vectors {
            let Some(parts) = parts(&vector) else { continue };
            compared += 1;
            assert_eq!(said(check_parts(&parts, &Limits::default())), vector.refuse, "{group}: {}", vector.name);
        }
    }
    assert!(compared >= 30, "{compared}");
}

/// What the library would make of a vector; none where its types cannot hold it, so that it must have refused it.
fn parts(vector: &vectors::Fields) -> Option<http::request::Parts> {
    let mut request = http::Request::builder();
    let mut uri = http::Uri::builder();
    let mut seen: Vec<&str> = Vec::new();
    for [name, value] in &vector.fields {
        if name.starts_with(':') && (seen.contains(&name.as_str()) || seen.iter().any(|name| !name.starts_with(':'))) {
            return None;
        }
        seen.push(name);
        let value = vectors::bytes(value);
        if name.starts_with(':') && value.is_empty() {
            return None;
        }
        let text = std::str::from_utf8(&value).ok()?;
        match name.as_str() {
            ":method" => request = request.method(text),
            ":scheme" => uri = uri.scheme(text),
            ":authority" => uri = uri.authority(text),
            // The type cuts a fragment off: what is left is plain.
            ":path" if text.contains('#') => return None,
            ":path" => uri = uri.path_and_query(text),
            pseudo if pseudo.starts_with(':') => return None,
            // A name in capitals would be folded by the type: the library refuses it before.
            name if name.bytes().any(|byte| byte.is_ascii_uppercase()) => return None,
            name => request = request.header(vectors::bytes(name).as_slice(), value),
        }
    }
    if ![":method", ":scheme", ":path"].iter().all(|name| seen.contains(name)) {
        return None;
    }
    if seen.contains(&":authority") {
        return request.uri(uri.build().ok()?).body(()).ok().map(|request| request.into_parts().0);
    }
    let path = vector.fields.iter().find(|[name, _]| name == ":path")?;
    request.uri(vectors::bytes(&path[1])).body(()).ok().map(|request| request.into_parts().0)
}

#[test]
fn what_passes_is_one_request_when_it_is_written_as_http1() {
    let mut random = ChaCha8Rng::seed_from_u64(11);
    let read = |vector: &vectors::Fields| -> Vec<Field> {
        vector.fields.iter().map(|[name, value]| (vectors::bytes(name), vectors::bytes(value))).collect()
    };
    let vectors = vectors::http2();
    let seeds: Vec<Vec<Field>> = vectors.values().flatten().map(read).filter(|fields| fields.len() < 8).collect();
    let sound: Vec<Vec<Field>> = vectors["passes"].iter().map(read).collect();
    let mut passed = 0;
    for _ in 0..50_000 {
        let mut fields = sound[random.random_range(0..sound.len())].clone();
        // Fields of another vector behind, then a few bytes changed or doubled.
        let other = &seeds[random.random_range(0..seeds.len())];
        fields.extend(other.iter().filter(|(name, _)| !name.starts_with(b":")).cloned());
        for _ in 0..random.random_range(0..3) {
            let at = random.random_range(0..fields.len());
            let field = if random.random() { &mut fields[at].0 } else { &mut fields[at].1 };
            let place = random.random_range(0..=field.len());
            field.insert(place, b"\r\n \t:;,0a/.\0\xFF"[random.random_range(0..13)]);
        }
        let pairs = fields.iter().map(|(name, value)| (name.as_slice(), value.as_slice()));
        if check_fields(pairs, &Limits::default()).is_err() {
            continue;
        }
        passed += 1;
        let bytes = as_http1(&fields);
        let mut check = RequestCheck::new(Limits::default(), 0);
        let step = check.advance(0, &bytes);
        let text = String::from_utf8_lossy(&bytes);
        assert_eq!((step.refusal, step.pass, check.requests()), (None, bytes.len(), 1), "{text}");
    }
    assert!(passed >= 5_000, "{passed}");
}

/// A request as a gateway writes it to a server of HTTP/1.1.
fn as_http1(fields: &[Field]) -> Vec<u8> {
    let value =
        |wanted: &str| fields.iter().find(|(name, _)| name == wanted.as_bytes()).map(|(_, value)| value.clone());
    let mut bytes = [value(":method").unwrap(), value(":path").unwrap(), b"HTTP/1.1\r\n".to_vec()].join(&b' ');
    let mut put = |name: &[u8], value: &[u8]| bytes.extend_from_slice(&[name, b": ", value, b"\r\n"].concat());
    put(b"host", &value(":authority").or_else(|| value("host")).unwrap());
    for (name, value) in fields.iter().filter(|(name, _)| !name.starts_with(b":") && name != b"host") {
        put(name, value);
    }
    let length = value("content-length").map(|digits| String::from_utf8(digits).unwrap().parse::<usize>().unwrap());
    let bodiless = matches!(value(":method").unwrap().as_slice(), b"GET" | b"HEAD");
    if length.is_none() && !bodiless {
        put(b"transfer-encoding", b"chunked");
    }
    bytes.extend_from_slice(b"\r\n");
    match length {
        Some(length) => bytes.resize(bytes.len() + length, b'x'),
        None if bodiless => {}
        None => bytes.extend_from_slice(b"0\r\n\r\n"),
    }
    bytes
}
