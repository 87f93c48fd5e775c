//! The common name of a client certificate: as much of DER as it takes to walk there.
//!
//! The certificate was verified against the client authority before, by rustls; this only reads who it names.

/// `id-at-commonName`, 2.5.4.3.
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OBJECT_IDENTIFIER: u8 = 0x06;
/// `[0]`, which holds a certificate's version.
const VERSION: u8 = 0xa0;
/// The string types that are text as it stands: UTF8String, PrintableString, IA5String.
const TEXTS: [u8; 3] = [0x0c, 0x13, 0x16];

/// One element: its tag and content, and what follows it.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&short, rest) = rest.split_first()?;
    let (length, rest) = match short {
        0..=0x7f => (usize::from(short), rest),
        // A length of one to four bytes; 0x80 alone is not DER.
        0x81..=0x84 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(short & 0x7f))?;
            (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

fn tagged(der: &[u8], expected: u8) -> Option<(&[u8], &[u8])> {
    element(der).filter(|(tag, ..)| *tag == expected).map(|(_, content, rest)| (content, rest))
}

/// The last common name of the subject, which is the most specific one.
pub(super) fn common_name(certificate: &[u8]) -> Option<String> {
    let (certificate, _) = tagged(certificate, SEQUENCE)?;
    let (mut fields, _) = tagged(certificate, SEQUENCE)?;
    if let Some((_, rest)) = tagged(fields, VERSION) {
        fields = rest;
    }
    // Serial number, signature algorithm, issuer, validity.
    for _ in 0..4 {
        (_, _, fields) = element(fields)?;
    }
    let (mut subject, _) = tagged(fields, SEQUENCE)?;
    let mut found = None;
    while !subject.is_empty() {
        let (mut names, rest) = tagged(subject, SET)?;
        subject = rest;
        while !names.is_empty() {
            let (name, rest) = tagged(names, SEQUENCE)?;
            names = rest;
            let (kind, value) = tagged(name, OBJECT_IDENTIFIER)?;
            let (tag, value, _) = element(value)?;
            if kind == COMMON_NAME && TEXTS.contains(&tag) {
                found = Some(std::str::from_utf8(value).ok()?.to_owned());
            }
        }
    }
    found.filter(|name| !name.is_empty() && !name.chars().any(char::is_control))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test panics on failure

    use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};

    use super::*;

    fn certificate(names: &[(DnType, &str)]) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        for (kind, name) in names {
            params.distinguished_name.push(kind.clone(), *name);
        }
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn the_common_name_of_the_subject_is_read() {
        let check = |names: &[(DnType, &str)], expect: Option<&str>| {
            assert_eq!(common_name(&certificate(names)).as_deref(), expect, "{names:?}");
        };
        check(&[(DnType::CommonName, "payments")], Some("payments"));
        check(&[(DnType::OrganizationName, "Acme"), (DnType::CommonName, "나루")], Some("나루"));
        check(&[(DnType::CommonName, &"x".repeat(200)), (DnType::CountryName, "KR")], Some(&"x".repeat(200)));
        check(&[(DnType::OrganizationName, "Acme")], None);
        check(&[(DnType::CommonName, "a\nb")], None);
        check(&[], None);
    }

    #[test]
    fn bytes_that_are_no_certificate_name_nobody() {
        let whole = certificate(&[(DnType::CommonName, "payments")]);
        for length in 0..whole.len() {
            // Cut anywhere, and with every byte changed: no panic, and no name that was not there.
            assert_eq!(common_name(&whole[..length]), None, "{length}");
            let mut changed = whole.clone();
            changed[length] ^= 0xff;
            common_name(&changed);
        }
    }
}
