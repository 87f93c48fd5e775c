//! The frame around every entry on disk: magic (4), kind (1), body length (4), CRC32C (4), body. Numbers are
//! little-endian; the checksum covers kind, length and body, so that with the fixed magic every byte is covered.

/// Begins every frame; chosen to be no text and no run of one byte.
const MAGIC: [u8; 4] = [0xF3, b'n', b'r', 0x0E];

/// Bytes in front of a body.
pub const HEAD_BYTES: usize = 13;

/// Most bytes of a body: an entry is a decision or an event, not a file, and a scan holds one in memory.
pub const BODY_BYTES_MAX: usize = 4 << 20;

/// One frame of a scanned file.
#[derive(Debug, Clone, Copy)]
pub struct Frame<'b> {
    /// What the body is, by the numbers of the file's owner.
    pub kind: u8,
    /// The entry.
    pub body: &'b [u8],
    /// The whole frame as it stands on disk.
    pub bytes: &'b [u8],
}

/// How a scan ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tail {
    /// At the end of the file.
    Clean,
    /// In front of bytes that are no frame, with no whole frame behind them: an append that was not finished.
    Torn,
    /// In front of bytes that are no frame, with a whole frame at this offset behind them: no crash does that.
    Damaged {
        /// Where the next whole frame stands.
        next: usize,
    },
}

/// Puts a frame at the end of `out`.
///
/// # Panics
/// When the body is longer than [`BODY_BYTES_MAX`]; callers have checked.
pub fn put(out: &mut Vec<u8>, kind: u8, body: &[&[u8]]) {
    let length: usize = body.iter().map(|part| part.len()).sum();
    assert!(length <= BODY_BYTES_MAX, "a frame's body is bounded by its caller");
    let start = out.len();
    out.extend_from_slice(&MAGIC);
    out.push(kind);
    out.extend_from_slice(&(length as u32).to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    body.iter().for_each(|part| out.extend_from_slice(part));
    let checksum = checksum(&out[start + 4..start + 9], &out[start + HEAD_BYTES..]);
    out[start + 9..start + HEAD_BYTES].copy_from_slice(&checksum.to_le_bytes());
}

/// The frame at the beginning of `bytes`, if there is a whole one.
pub fn first(bytes: &[u8]) -> Option<Frame<'_>> {
    let head: &[u8; HEAD_BYTES] = bytes.first_chunk()?;
    let [m0, m1, m2, m3, kind, l0, l1, l2, l3, c0, c1, c2, c3] = *head;
    let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
    if [m0, m1, m2, m3] != MAGIC || length > BODY_BYTES_MAX {
        return None;
    }
    let body = bytes.get(HEAD_BYTES..HEAD_BYTES + length)?;
    let sound = checksum(&head[4..9], body) == u32::from_le_bytes([c0, c1, c2, c3]);
    sound.then_some(Frame { kind, body, bytes: &bytes[..HEAD_BYTES + length] })
}

/// The frames of `bytes` up to the first that is not whole, the offset where they end, and how.
pub fn scan(bytes: &[u8]) -> (Vec<Frame<'_>>, usize, Tail) {
    let (mut frames, mut end) = (Vec::new(), 0);
    while let Some(frame) = first(&bytes[end..]) {
        end += frame.bytes.len();
        frames.push(frame);
    }
    let tail = if end == bytes.len() {
        Tail::Clean
    } else {
        match (end + 1..bytes.len()).find(|next| first(&bytes[*next..]).is_some()) {
            Some(next) => Tail::Damaged { next },
            None => Tail::Torn,
        }
    };
    (frames, end, tail)
}

fn checksum(kind_and_length: &[u8], body: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(kind_and_length), body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scan_tells_a_torn_tail_from_damage() {
        let mut bytes = Vec::new();
        for body in [b"one".as_slice(), b"", b"three"] {
            put(&mut bytes, 1, &[body]);
        }
        let ends = [0, 16, 29, 47];
        let check = |bytes: &[u8], frames: usize, tail: Tail| {
            let (found, end, found_tail) = scan(bytes);
            assert_eq!((found.len(), end, found_tail), (frames, ends[frames], tail));
        };
        check(&bytes, 3, Tail::Clean);
        for cut in 0..bytes.len() {
            let whole = ends.iter().filter(|end| **end <= cut).count() - 1;
            check(&bytes[..cut], whole, if ends.contains(&cut) { Tail::Clean } else { Tail::Torn });
        }
        for at in 0..bytes.len() {
            let mut altered = bytes.clone();
            altered[at] ^= 0x40;
            let whole = ends.iter().filter(|end| **end <= at).count() - 1;
            let tail = if whole == 2 { Tail::Torn } else { Tail::Damaged { next: ends[whole + 1] } };
            check(&altered, whole, tail);
        }
        let zeros = [bytes.as_slice(), &[0; 64]].concat();
        check(&zeros, 3, Tail::Torn);
    }
}
