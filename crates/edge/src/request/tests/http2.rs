use super::super::{Limits, Reason, check_fields, check_parts};
use super::vectors;

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
