//! Request targets: one meaning each, for every reader behind the edge.
//!
//! A route is chosen by the path, and the route decides whether a request may leave the owned sites. So a path that a
//! service reads otherwise than the route table did is refused, not mended.

use std::ops::Range;

use super::refusal::Reason;
use super::syntax;

/// What a target says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// `/path?query`.
    Origin,
    /// `http://host/path?query`; the host stands there.
    Absolute { authority: (usize, usize) },
    /// `*`, of OPTIONS only.
    Asterisk,
}

impl Form {
    /// Where the host stands within the target.
    pub(super) fn authority(self) -> Option<Range<usize>> {
        match self {
            Self::Absolute { authority: (start, end) } => Some(start..end),
            Self::Origin | Self::Asterisk => None,
        }
    }
}

/// Takes a target of HTTP/1.1 apart.
pub(super) fn form(method: &[u8], target: &[u8]) -> Result<Form, Reason> {
    match target {
        b"*" if method == b"OPTIONS" => Ok(Form::Asterisk),
        [b'/', ..] => origin(target).map(|()| Form::Origin),
        _ => absolute(target),
    }
}

fn absolute(target: &[u8]) -> Result<Form, Reason> {
    let start = [b"http://".as_slice(), b"https://"]
        .iter()
        .find(|scheme| target.get(..scheme.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(scheme)))
        .map(|scheme| scheme.len())
        .ok_or(Reason::Target)?;
    let end = target[start..].iter().position(|byte| matches!(byte, b'/' | b'?')).map_or(target.len(), |at| start + at);
    // User information would be one more place for a name; what is no host is refused here, that included.
    if !syntax::is_host(&target[start..end]) {
        return Err(Reason::Target);
    }
    match &target[end..] {
        [] => {}
        [b'/', ..] => origin(&target[end..])?,
        // A query without a path: readers differ on whether there is a slash between.
        _ => return Err(Reason::Target),
    }
    Ok(Form::Absolute { authority: (start, end) })
}

/// Checks `/path?query`.
pub(super) fn origin(target: &[u8]) -> Result<(), Reason> {
    let split = target.iter().position(|byte| *byte == b'?').unwrap_or(target.len());
    let (path, query) = target.split_at(split);
    if path.first() != Some(&b'/') || !path.iter().all(|byte| syntax::in_path(*byte)) {
        return Err(Reason::Target);
    }
    if !query.iter().all(|byte| syntax::in_query(*byte)) {
        return Err(Reason::Target);
    }
    escapes(query, |_| Ok(()))?;
    // Hidden in a path: a control character, a slash, a percent sign (decoded twice), or a letter that the route table
    // would compare as three. `~` is left out: older libraries escape it.
    escapes(path, |byte| match byte {
        0..=0x1F | 0x7F | b'/' | b'\\' | b'%' | b';' | b'?' | b'#' | b'-' | b'.' | b'_' => Err(Reason::AmbiguousPath),
        _ if byte.is_ascii_alphanumeric() => Err(Reason::AmbiguousPath),
        _ => Ok(()),
    })?;
    segments(&path[1..])
}

fn escapes(bytes: &[u8], check: impl Fn(u8) -> Result<(), Reason>) -> Result<(), Reason> {
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|byte| *byte == b'%') {
        let [high, low, behind @ ..] = &rest[at + 1..] else { return Err(Reason::Target) };
        let digit = |byte: u8| (byte as char).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let (Some(high), Some(low)) = (digit(*high), digit(*low)) else { return Err(Reason::Target) };
        check(high << 4 | low)?;
        rest = behind;
    }
    Ok(())
}

/// Refuses segments that some reader takes away: `.`, `..`, the empty one but at the end, each also with parameters.
fn segments(path: &[u8]) -> Result<(), Reason> {
    let mut segments = path.split(|byte| *byte == b'/').peekable();
    while let Some(segment) = segments.next() {
        let name = segment.split(|byte| *byte == b';').next().unwrap_or(segment);
        let last = segments.peek().is_none();
        let vanishes = matches!(name, b"." | b"..") || name.is_empty() && !(last && segment.is_empty());
        if vanishes {
            return Err(Reason::AmbiguousPath);
        }
    }
    Ok(())
}
