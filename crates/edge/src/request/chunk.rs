//! The line in front of a chunk.

use super::refusal::Reason;
use super::syntax;

/// Most digits of a chunk size, leading zeros included: 4 GiB, more than any body may have.
const SIZE_DIGITS_MAX: usize = 8;

/// The size of the chunk, and the bytes of its extension.
pub(super) fn size_line(line: &[u8]) -> Result<(u64, usize), Reason> {
    syntax::text(line)?;
    let end = line.iter().position(|byte| !byte.is_ascii_hexdigit()).unwrap_or(line.len());
    let (digits, extension) = line.split_at(end);
    if digits.is_empty() || digits.len() > SIZE_DIGITS_MAX || !matches!(extension.first(), None | Some(b';')) {
        return Err(Reason::ChunkSize);
    }
    let digit = |byte: &u8| u64::from((*byte as char).to_digit(16).unwrap_or(0));
    let size = digits.iter().fold(0, |size, byte| size << 4 | digit(byte));
    extensions(extension)?;
    Ok((size, extension.len()))
}

/// `;name`, `;name=token` or `;name="text"`, any number of them, without spaces between (RFC 9112 section 7.1.1).
fn extensions(mut rest: &[u8]) -> Result<(), Reason> {
    while let Some(behind) = rest.strip_prefix(b";") {
        rest = token(behind)?;
        if let Some(value) = rest.strip_prefix(b"=") {
            rest = match value.strip_prefix(b"\"") {
                Some(text) => quoted(text)?,
                None => token(value)?,
            };
        }
    }
    if rest.is_empty() { Ok(()) } else { Err(Reason::ChunkExtension) }
}

fn token(bytes: &[u8]) -> Result<&[u8], Reason> {
    let end = bytes.iter().position(|byte| !syntax::in_token(*byte)).unwrap_or(bytes.len());
    if end == 0 { Err(Reason::ChunkExtension) } else { Ok(&bytes[end..]) }
}

fn quoted(bytes: &[u8]) -> Result<&[u8], Reason> {
    let mut at = 0;
    loop {
        match bytes.get(at) {
            Some(b'"') => return Ok(&bytes[at + 1..]),
            Some(b'\\') => at += 2,
            Some(_) => at += 1,
            None => return Err(Reason::ChunkExtension),
        }
    }
}
