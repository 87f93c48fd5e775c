//! Which byte may stand where (RFC 9110 section 5.6.2, RFC 9112 section 2.2, RFC 3986 section 2).

use super::refusal::Reason;

/// A letter of a token.
const TOKEN: u8 = 1;
/// A letter, digit or hyphen: what every field name in use is made of.
const PLAIN: u8 = 2;
/// What a line may hold: tabs, spaces, visible ASCII and bytes above it.
const TEXT: u8 = 4;
/// What a path may hold; browsers leave `[`, `]` and `|` as they are.
const PATH: u8 = 8;
/// What a query may hold beside [`PATH`]: what browsers leave as it is there, and nothing that ends a target.
const QUERY: u8 = 16;
/// What the name of a host may hold.
const HOST: u8 = 32;

static CLASSES: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut classes = [0; 256];
    let mut at = 0;
    while at < 256 {
        let byte = at as u8;
        let alphanumeric = byte.is_ascii_alphanumeric();
        let mut class = 0;
        if alphanumeric || matches!(byte, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^'..=b'`' | b'|' | b'~') {
            class |= TOKEN;
        }
        if alphanumeric || byte == b'-' {
            class |= PLAIN;
        }
        if byte == b'\t' || (byte >= 0x20 && byte != 0x7F) {
            class |= TEXT;
        }
        if alphanumeric
            || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'!' | b'$' | b'%' | b'&' | b'\''..=b',' | b'/' | b':')
            || matches!(byte, b';' | b'=' | b'@' | b'[' | b']' | b'|')
        {
            class |= PATH;
        }
        if matches!(byte, b'?' | b'\\' | b'^' | b'`' | b'{' | b'}') {
            class |= QUERY;
        }
        if alphanumeric || matches!(byte, b'-' | b'.' | b'_') {
            class |= HOST;
        }
        classes[at] = class;
        at += 1;
    }
    classes
}

fn is(byte: u8, class: u8) -> bool {
    CLASSES[usize::from(byte)] & class != 0
}

/// Whether a byte can stand in a token.
pub(super) fn in_token(byte: u8) -> bool {
    is(byte, TOKEN)
}

/// Whether a byte can stand in a path.
pub(super) fn in_path(byte: u8) -> bool {
    is(byte, PATH)
}

/// Whether a byte can stand in a query.
pub(super) fn in_query(byte: u8) -> bool {
    is(byte, PATH | QUERY)
}

/// Whether these bytes are a token.
pub(super) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|byte| in_token(*byte))
}

/// Whether a token is made of letters, digits and hyphens only.
pub(super) fn is_plain(token: &[u8]) -> bool {
    token.iter().all(|byte| is(*byte, PLAIN))
}

/// Refuses a line with a control character in it.
pub(super) fn text(line: &[u8]) -> Result<(), Reason> {
    match line.iter().find(|byte| !is(**byte, TEXT)) {
        None => Ok(()),
        Some(b'\r') => Err(Reason::BareCr),
        Some(_) => Err(Reason::ControlByte),
    }
}

/// Cuts spaces and tabs from both ends.
pub(super) fn trim(value: &[u8]) -> &[u8] {
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let start = value.iter().position(|byte| !blank(byte)).unwrap_or(value.len());
    let end = value.iter().rposition(|byte| !blank(byte)).map_or(start, |last| last + 1);
    &value[start..end]
}

/// Whether these bytes are a host, with or without a port: a name, an IPv4 address, or an IPv6 address in brackets.
pub(super) fn is_host(bytes: &[u8]) -> bool {
    let (host, port) = match bytes.strip_prefix(b"[") {
        Some(rest) => {
            let Some(end) = rest.iter().position(|byte| *byte == b']') else { return false };
            let Ok(address) = std::str::from_utf8(&rest[..end]) else { return false };
            (address.parse::<std::net::Ipv6Addr>().is_ok(), &rest[end + 1..])
        }
        None => {
            let end = bytes.iter().position(|byte| *byte == b':').unwrap_or(bytes.len());
            let name = &bytes[..end];
            (!name.is_empty() && name.iter().all(|byte| is(*byte, HOST)), &bytes[end..])
        }
    };
    host && match port {
        [] => true,
        [b':', digits @ ..] => matches!(decimal(digits), Some(1..=65_535)),
        _ => false,
    }
}

/// A number written in the one plain way: digits, no sign, no leading zero, within 64 bits.
pub(super) fn decimal(digits: &[u8]) -> Option<u64> {
    let plain = match digits {
        [b'0'] => true,
        [b'1'..=b'9', rest @ ..] => rest.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    let text = std::str::from_utf8(digits).ok().filter(|_| plain)?;
    text.parse().ok()
}
