//! Which route a request is on, and with that its class.
//!
//! A wrong class is the one way around the types of [`residency`](super::residency), so the path is read as a back end
//! could read it: percent-encoding is undone first, and what two readers could read differently (dot segments, empty
//! segments, encoded slashes, backslashes, control characters) is refused. When in doubt a request is core: core routes
//! are compared without regard to case, and win a tie.

use std::borrow::Cow;

use naru_model::Class;

use super::mutant::mutant;

/// What a route matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    host: Option<String>,
    path: String,
}

/// A pattern that was refused. The operator is at fault; no retry helps.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Not a path.
    #[error("is {found:?}, which is no path")]
    NotAPath {
        /// What was given.
        found: String,
    },
    /// A path that no request could be on.
    #[error("is {found:?}, which no request can be on: {why}")]
    Never {
        /// What was given.
        found: String,
        /// What is wrong with a request of that path.
        why: Ambiguous,
    },
}

impl Pattern {
    /// Requests for this host, or for any, whose path is this one or lies below it.
    ///
    /// # Errors
    /// A path that does not begin with a slash, or that no request could have.
    pub fn new(host: Option<&str>, path: &str) -> Result<Self, PatternError> {
        if !path.starts_with('/') || path.contains(['?', '#', ';', '%']) {
            return Err(PatternError::NotAPath { found: path.to_owned() });
        }
        let read = normal_path(path).map_err(|why| PatternError::Never { found: path.to_owned(), why })?;
        let path = String::from_utf8_lossy(&read).into_owned();
        let path = if path.len() > 1 { path.trim_end_matches('/').to_owned() } else { path };
        Ok(Self { host: host.map(str::to_ascii_lowercase), path })
    }

    /// The path.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The host, if it is for one only.
    pub fn host(&self) -> Option<&str> {
        self.host.as_deref()
    }

    /// How exactly it matches: the longer path first, then the one for this host only.
    fn matches(&self, class: Class, host: &str, path: &[u8]) -> Option<(usize, bool)> {
        if self.host.as_deref().is_some_and(|own| !own.eq_ignore_ascii_case(host)) {
            return None;
        }
        let own = self.path.as_bytes();
        let head = path.get(..own.len())?;
        let same = match class {
            Class::Core if !mutant!(ExactCase) => head.eq_ignore_ascii_case(own),
            Class::Core | Class::Open => head == own,
        };
        let ends = own == b"/" || matches!(path.get(own.len()), None | Some(b'/' | b';'));
        (same && ends).then_some((own.len(), self.host.is_some()))
    }
}

/// Why a path could be read in two ways. The client is at fault; no retry helps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Ambiguous {
    /// Not a path of its own.
    #[error("it does not begin with a slash")]
    NoSlash,
    /// `.` or `..`, also with parameters behind.
    #[error("it has a dot segment")]
    DotSegment,
    /// Two slashes in a row.
    #[error("it has an empty segment")]
    EmptySegment,
    /// A slash or a percent sign that is encoded, or a backslash: decoded once or twice, it is another path.
    #[error("it has a separator that some readers would not take for one")]
    Separator,
    /// A percent sign without two hexadecimal digits.
    #[error("its percent-encoding is broken")]
    Encoding,
    /// A control character.
    #[error("it has a control character")]
    Control,
}

/// The path of a request target, without its query and with its percent-encoding undone.
///
/// # Errors
/// What two readers could read as two paths.
pub fn normal_path(target: &str) -> Result<Cow<'_, [u8]>, Ambiguous> {
    let raw = target.split(['?', '#']).next().unwrap_or_default().as_bytes();
    if raw.first() != Some(&b'/') {
        return Err(Ambiguous::NoSlash);
    }
    let path = if raw.contains(&b'%') { Cow::Owned(decoded(raw)?) } else { Cow::Borrowed(raw) };
    let mut segments = path[1..].split(|byte| *byte == b'/').peekable();
    while let Some(segment) = segments.next() {
        let name = segment.split(|byte| *byte == b';').next().unwrap_or_default();
        match name {
            b"." | b".." => return Err(Ambiguous::DotSegment),
            b"" if segments.peek().is_some() || !segment.is_empty() => return Err(Ambiguous::EmptySegment),
            _ => {}
        }
        for byte in segment {
            match byte {
                b'\\' => return Err(Ambiguous::Separator),
                0..=0x1f | 0x7f => return Err(Ambiguous::Control),
                _ => {}
            }
        }
    }
    Ok(path)
}

fn decoded(raw: &[u8]) -> Result<Vec<u8>, Ambiguous> {
    let mut path = Vec::with_capacity(raw.len());
    let mut rest = raw.iter();
    while let Some(byte) = rest.next() {
        if *byte != b'%' {
            path.push(*byte);
            continue;
        }
        let mut digit = || (*rest.next()? as char).to_digit(16);
        let high = digit().ok_or(Ambiguous::Encoding)?;
        let low = digit().ok_or(Ambiguous::Encoding)?;
        match (high * 16 + low) as u8 {
            b'/' | b'\\' | b'%' => return Err(Ambiguous::Separator),
            byte => path.push(byte),
        }
    }
    Ok(path)
}

/// Why a request is on no route. The client is at fault; no retry helps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Unrouted {
    /// Nothing is served there.
    #[error("no route matches")]
    NoRoute,
    /// The path could be read in two ways.
    #[error("the path is ambiguous: {0}")]
    Ambiguous(#[source] Ambiguous),
}

/// The position of the route that a request is on.
pub(super) fn find<'r>(
    routes: impl Iterator<Item = (Class, &'r Pattern)>,
    host: &str,
    target: &str,
) -> Result<usize, Unrouted> {
    let path = if mutant!(RawPath) {
        Cow::Borrowed(target.split(['?', '#']).next().unwrap_or_default().as_bytes())
    } else {
        normal_path(target).map_err(Unrouted::Ambiguous)?
    };
    let host = without_port(host);
    let mut best: Option<((usize, bool, bool), usize)> = None;
    for (index, (class, pattern)) in routes.enumerate() {
        let Some((length, for_host)) = pattern.matches(class, host, &path) else { continue };
        let rank = (length, for_host, class == Class::Core);
        if best.is_none_or(|(other, _)| rank > other) {
            best = Some((rank, index));
            if mutant!(FirstRouteWins) {
                break;
            }
        }
    }
    best.map(|(_, index)| index).ok_or(Unrouted::NoRoute)
}

/// A host without its port; the colons of an IPv6 address stand in brackets.
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !name.ends_with(':') => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test panics on failure

    use super::*;

    #[test]
    fn a_path_that_can_be_read_in_two_ways_is_refused() {
        let check = |target: &str, expect: Result<&str, Ambiguous>| {
            let got = normal_path(target).map(|path| String::from_utf8_lossy(&path).into_owned());
            assert_eq!(got, expect.map(str::to_owned), "{target}");
        };
        check("/", Ok("/"));
        check("/gift", Ok("/gift"));
        check("/gift/?next=/../pay", Ok("/gift/"));
        check("/g%69ft", Ok("/gift"));
        check("/gift;id=1/x", Ok("/gift;id=1/x"));
        check("/%ea%b0%80", Ok("/가"));
        check("gift", Err(Ambiguous::NoSlash));
        check("*", Err(Ambiguous::NoSlash));
        check("/promo/../pay", Err(Ambiguous::DotSegment));
        check("/promo/%2e%2E/pay", Err(Ambiguous::DotSegment));
        check("/promo/..;/pay", Err(Ambiguous::DotSegment));
        check("/./pay", Err(Ambiguous::DotSegment));
        check("//pay", Err(Ambiguous::EmptySegment));
        check("/promo//pay", Err(Ambiguous::EmptySegment));
        check("/;/pay", Err(Ambiguous::EmptySegment));
        check("/promo%2f..%2fpay", Err(Ambiguous::Separator));
        check("/promo%252e", Err(Ambiguous::Separator));
        check("/promo\\..\\pay", Err(Ambiguous::Separator));
        check("/promo%5cpay", Err(Ambiguous::Separator));
        check("/promo%", Err(Ambiguous::Encoding));
        check("/promo%zz", Err(Ambiguous::Encoding));
        check("/promo%00", Err(Ambiguous::Control));
    }

    #[test]
    fn the_most_exact_route_has_a_request_and_core_wins_when_in_doubt() {
        let routes = [
            (Class::Open, None, "/"),
            (Class::Core, None, "/pay"),
            (Class::Open, None, "/pay/help"),
            (Class::Open, Some("promo.example"), "/"),
            (Class::Core, None, "/gift"),
            (Class::Open, Some("promo.example"), "/gift/page"),
        ]
        .map(|(class, host, path)| (class, Pattern::new(host, path).unwrap()));
        let check = |host: &str, target: &str, expect: usize| {
            let found = find(routes.iter().map(|(class, pattern)| (*class, pattern)), host, target);
            assert_eq!(found, Ok(expect), "{host}{target}");
        };
        check("a", "/", 0);
        check("a", "/payments", 0);
        check("a", "/pay", 1);
        check("a", "/pay/", 1);
        check("a", "/pay;x=1", 1);
        check("a", "/PAY/1", 1);
        check("a", "/p%61y?x", 1);
        check("a", "/pay/help", 2);
        check("a", "/pay/HELP", 1);
        check("promo.example:443", "/x", 3);
        check("PROMO.example", "/x", 3);
        check("promo.example", "/pay", 1);
        check("promo.example", "/gift/page", 5);
        check("[::1]:80", "/gift/page", 4);
        let none = find([(Class::Core, &routes[1].1)].into_iter(), "a", "/x");
        assert_eq!(none, Err(Unrouted::NoRoute));
    }

    #[test]
    fn a_pattern_is_a_path_that_requests_can_have() {
        let check = |path: &str, expect: Option<&str>| {
            assert_eq!(Pattern::new(None, path).ok().as_ref().map(Pattern::path), expect, "{path}");
        };
        check("/", Some("/"));
        check("/gift/", Some("/gift"));
        check("gift", None);
        check("/a/../b", None);
        check("/a?b", None);
        check("/%61", None);
    }
}
