//! The lines of a recipient file: CSV with a head, no quotes, a recipient a line.
//!
//! `id` is the house's own name of a person, `token` the vault's token of the address, `consent` whether advertisements
//! were consented to (`yes` or `no`), `zone` the recipient's clock. Columns may stand in any order, others are ignored.

use crate::hours;

/// Longest line; a token of an address is below a hundred bytes.
pub const LINE_BYTES_MAX: usize = 1024;
/// Longest token.
const TOKEN_BYTES_MAX: usize = 400;

/// Why a file cannot be sent to. The one who made it is at fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// There is no consent in it.
    #[error("has no column consent: who may get advertisements must be said for each recipient, yes or no")]
    NoConsent,
    /// A column is missing.
    #[error("has no column {0}: the first line names the columns, id,token,consent,zone")]
    Missing(&'static str),
    /// A column stands twice.
    #[error("has the column {0} twice")]
    Twice(&'static str),
}

/// Where the columns stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Columns {
    id: usize,
    token: usize,
    consent: usize,
    zone: usize,
    count: usize,
}

/// What is wrong with a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broken {
    /// Not as many fields as the head, or quotes.
    Fields,
    /// No id.
    Id,
    /// No token, or not printable ASCII.
    Token,
    /// Neither yes nor no.
    Consent,
    /// No zone that is known.
    Zone,
    /// Too long, or not UTF-8.
    Text,
}

/// A recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recipient<'l> {
    /// The vault's token of the address.
    pub token: &'l str,
    /// Whether advertisements were consented to.
    pub consent: bool,
    /// Minutes ahead of UTC.
    pub zone: i16,
}

impl Columns {
    /// Reads the head.
    ///
    /// # Errors
    /// When a column is missing or stands twice.
    pub fn read(head: &str) -> Result<Self, HeadError> {
        let names: Vec<&str> = head.trim_start_matches('\u{feff}').trim_end().split(',').map(str::trim).collect();
        let find = |name: &'static str| {
            let mut places = names.iter().enumerate().filter(|(_, other)| **other == name).map(|(place, _)| place);
            match (places.next(), places.next()) {
                (Some(place), None) => Ok(place),
                (Some(_), Some(_)) => Err(HeadError::Twice(name)),
                (None, _) if name == "consent" => Err(HeadError::NoConsent),
                (None, _) => Err(HeadError::Missing(name)),
            }
        };
        let (consent, id, token, zone) = (find("consent")?, find("id")?, find("token")?, find("zone")?);
        Ok(Self { id, token, consent, zone, count: names.len() })
    }

    /// Reads a line.
    ///
    /// # Errors
    /// What is wrong with it; the line's content is in no error.
    pub fn line<'l>(&self, line: &'l [u8]) -> Result<Recipient<'l>, Broken> {
        if line.len() > LINE_BYTES_MAX {
            return Err(Broken::Text);
        }
        let line = std::str::from_utf8(line).map_err(|_| Broken::Text)?;
        let line = line.trim_end_matches(['\n', '\r']);
        if line.contains('"') || line.split(',').count() != self.count {
            return Err(Broken::Fields);
        }
        let field = |place: usize| line.split(',').nth(place).unwrap_or_default().trim();
        if field(self.id).is_empty() {
            return Err(Broken::Id);
        }
        let token = field(self.token);
        let printable = token.bytes().all(|byte| byte.is_ascii_graphic());
        if token.is_empty() || token.len() > TOKEN_BYTES_MAX || !printable {
            return Err(Broken::Token);
        }
        let consent = match field(self.consent) {
            "yes" => true,
            "no" => false,
            _ => return Err(Broken::Consent),
        };
        let zone = hours::zone(field(self.zone)).ok_or(Broken::Zone)?;
        Ok(Recipient { token, consent, zone })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test panics on failure

    use super::*;

    #[test]
    fn a_file_says_who_consented_or_is_refused() {
        let check = |head: &str, expect: Result<(), HeadError>| {
            assert_eq!(Columns::read(head).map(|_| ()), expect, "{head}");
        };
        check("id,token,consent,zone", Ok(()));
        check("\u{feff}zone, consent,token,name,id\r\n", Ok(()));
        check("id,token,zone", Err(HeadError::NoConsent));
        check("id,consent,zone", Err(HeadError::Missing("token")));
        check("id,token,consent,zone,id", Err(HeadError::Twice("id")));
        check("", Err(HeadError::NoConsent));
    }

    #[test]
    fn a_line_is_a_recipient_or_says_what_is_broken() {
        let columns = Columns::read("id,token,consent,zone").unwrap();
        let check = |line: &[u8], expect| assert_eq!(columns.line(line), expect, "{line:?}");
        let good = |consent| Ok(Recipient { token: "s1_abc", consent, zone: 540 });
        check(b"u1,s1_abc,yes,Asia/Seoul\r\n", good(true));
        check(b"u1, s1_abc ,no,+09:00", good(false));
        check(b"u1,s1_abc,yes", Err(Broken::Fields));
        check(b"\"u1\",s1_abc,yes,+09:00", Err(Broken::Fields));
        check(b",s1_abc,yes,+09:00", Err(Broken::Id));
        check(b"u1,,yes,+09:00", Err(Broken::Token));
        check("u1,홍길동,yes,+09:00".as_bytes(), Err(Broken::Token));
        check(b"u1,s1_abc,,+09:00", Err(Broken::Consent));
        check(b"u1,s1_abc,YES,+09:00", Err(Broken::Consent));
        check(b"u1,s1_abc,yes,Seoul", Err(Broken::Zone));
        check(b"u1,\xff,yes,+09:00", Err(Broken::Text));
        check(&[b'x'; LINE_BYTES_MAX + 1], Err(Broken::Text));
    }
}
