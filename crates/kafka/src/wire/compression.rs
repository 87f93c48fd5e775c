//! The codecs of record batches.

use std::fmt;
use std::io::{Read, Write};

use crate::wire::WireError;

/// How the records of a batch are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub enum Compression {
    /// Not at all.
    #[default]
    None = 0,
    /// gzip.
    Gzip = 1,
    /// Snappy, in the block framing of the Java library (xerial) or plain.
    Snappy = 2,
    /// LZ4 frames.
    Lz4 = 3,
    /// Zstandard.
    Zstd = 4,
}

impl Compression {
    /// Every codec.
    pub const ALL: [Self; 5] = [Self::None, Self::Gzip, Self::Snappy, Self::Lz4, Self::Zstd];

    /// The codec of the lowest three bits of a batch's attributes.
    pub fn from_attributes(attributes: i16) -> Result<Self, WireError> {
        let code = attributes & 0x07;
        match code {
            0 => Ok(Self::None),
            1 => Ok(Self::Gzip),
            2 => Ok(Self::Snappy),
            3 => Ok(Self::Lz4),
            4 => Ok(Self::Zstd),
            _ => Err(WireError::BadValue { field: "attributes compression", value: i64::from(code) }),
        }
    }

    /// The name in Kafka's `compression.type`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The start of snappy data in the framing of the Java library; two 32-bit version numbers follow.
const XERIAL_MAGIC: &[u8] = &[0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];

/// The block that the Java library cuts its input into, bytes.
const XERIAL_BLOCK_BYTES: usize = 32 * 1024;

/// Expands record data. At most `bytes_max` bytes are produced, whatever the data claims; more is `TooLarge`.
/// `Compression::None` copies.
pub fn decompress(codec: Compression, data: &[u8], bytes_max: usize) -> Result<Vec<u8>, WireError> {
    match codec {
        Compression::None => {
            within(data.len(), bytes_max)?;
            Ok(data.to_vec())
        }
        // Java writes one member, but its reader takes several.
        Compression::Gzip => read_bounded(codec, flate2::read::MultiGzDecoder::new(data), bytes_max),
        Compression::Lz4 => read_bounded(codec, lz4_flex::frame::FrameDecoder::new(data), bytes_max),
        Compression::Snappy => snappy(data, bytes_max),
        Compression::Zstd => zstd_frames(data, bytes_max),
    }
}

fn within(size: usize, bytes_max: usize) -> Result<(), WireError> {
    if size > bytes_max {
        return Err(WireError::TooLarge { field: "decompressed records", size: size as u64, max: bytes_max as u64 });
    }
    Ok(())
}

fn read_bounded(codec: Compression, reader: impl Read, bytes_max: usize) -> Result<Vec<u8>, WireError> {
    let mut out = Vec::new();
    // One byte more than allowed tells too much from just enough.
    reader.take(bytes_max as u64 + 1).read_to_end(&mut out).map_err(|_| WireError::BadCompression { codec })?;
    within(out.len(), bytes_max)?;
    Ok(out)
}

fn snappy(data: &[u8], bytes_max: usize) -> Result<Vec<u8>, WireError> {
    let mut out = Vec::new();
    let Some(framed) = data.strip_prefix(XERIAL_MAGIC) else {
        snappy_block(data, bytes_max, &mut out)?;
        return Ok(out);
    };
    const BAD: WireError = WireError::BadCompression { codec: Compression::Snappy };
    let mut rest = framed.get(8..).ok_or(BAD)?;
    while !rest.is_empty() {
        let (length, after) = rest.split_first_chunk::<4>().ok_or(BAD)?;
        let (block, after) = after.split_at_checked(u32::from_be_bytes(*length) as usize).ok_or(BAD)?;
        snappy_block(block, bytes_max, &mut out)?;
        rest = after;
    }
    Ok(out)
}

fn snappy_block(block: &[u8], bytes_max: usize, out: &mut Vec<u8>) -> Result<(), WireError> {
    const BAD: WireError = WireError::BadCompression { codec: Compression::Snappy };
    let size = snap::raw::decompress_len(block).map_err(|_| BAD)?;
    within(out.len().saturating_add(size), bytes_max)?;
    // A copy of three bytes gives at most 64: a block that claims more is a lie, and room is not made for it.
    if size > block.len().saturating_mul(32) {
        return Err(BAD);
    }
    let start = out.len();
    out.resize(start + size, 0);
    let written = snap::raw::Decoder::new().decompress(block, &mut out[start..]).map_err(|_| BAD)?;
    if written != size {
        return Err(BAD);
    }
    Ok(())
}

/// Decodes into a buffer that grows up to the bound, never by a window: Zstandard's streaming decoder would reserve
/// the window that the frame names, up to 128 MiB.
fn zstd_frames(data: &[u8], bytes_max: usize) -> Result<Vec<u8>, WireError> {
    const BAD: WireError = WireError::BadCompression { codec: Compression::Zstd };
    let claimed = zstd::zstd_safe::get_frame_content_size(data).map_err(|_| BAD)?;
    if let Some(claimed) = claimed {
        within(usize::try_from(claimed).unwrap_or(usize::MAX), bytes_max)?;
    }
    let mut decoder = zstd::bulk::Decompressor::new().map_err(|_| BAD)?;
    let first = claimed.and_then(|claimed| usize::try_from(claimed).ok()).unwrap_or(0);
    let mut room = first.max(data.len().saturating_mul(4)).clamp(1, bytes_max.max(1));
    loop {
        let mut out = Vec::with_capacity(room);
        match decoder.decompress_to_buffer(data, &mut out) {
            Ok(_) => {
                within(out.len(), bytes_max)?;
                return Ok(out);
            }
            // The library does not say apart from its text whether the room was too small: more room is tried while
            // there is some. Doubling keeps the whole work below twice the last try.
            Err(_) if room < bytes_max => room = room.saturating_mul(4).min(bytes_max),
            Err(error) if error.to_string().contains("too small") => {
                return Err(WireError::TooLarge {
                    field: "decompressed records",
                    size: bytes_max as u64 + 1,
                    max: bytes_max as u64,
                });
            }
            Err(_) => return Err(BAD),
        }
    }
}

/// Compresses record data, in the form that Java's clients write. `Compression::None` copies.
pub fn compress(codec: Compression, data: &[u8]) -> Result<Vec<u8>, WireError> {
    let unwritable = |_| WireError::Unwritable { field: "compressed records", version: 2 };
    match codec {
        Compression::None => Ok(data.to_vec()),
        Compression::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            encoder.write_all(data).and_then(|()| encoder.finish()).map_err(unwritable)
        }
        Compression::Snappy => {
            let mut out = XERIAL_MAGIC.to_vec();
            out.extend_from_slice(&1_i32.to_be_bytes());
            out.extend_from_slice(&1_i32.to_be_bytes());
            let mut encoder = snap::raw::Encoder::new();
            for block in data.chunks(XERIAL_BLOCK_BYTES) {
                let block = encoder
                    .compress_vec(block)
                    .map_err(|_| WireError::Unwritable { field: "compressed records", version: 2 })?;
                // A block of 32 KiB never grows beyond 38 KiB.
                out.extend_from_slice(&u32::try_from(block.len()).unwrap_or(u32::MAX).to_be_bytes());
                out.extend_from_slice(&block);
            }
            Ok(out)
        }
        Compression::Lz4 => {
            let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
            encoder.write_all(data).map_err(unwritable)?;
            encoder.finish().map_err(|_| WireError::Unwritable { field: "compressed records", version: 2 })
        }
        Compression::Zstd => zstd::bulk::compress(data, zstd::DEFAULT_COMPRESSION_LEVEL).map_err(unwritable),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test panics on failure

    use super::*;

    fn text(size: usize) -> Vec<u8> {
        (0..size).map(|index| b"the quick brown fox "[index % 20] ^ (index / 977 % 3) as u8).collect()
    }

    fn too_large(size: usize, max: usize) -> Result<Vec<u8>, WireError> {
        Err(WireError::TooLarge { field: "decompressed records", size: size as u64, max: max as u64 })
    }

    #[test]
    fn every_codec_gives_back_what_went_in_and_keeps_to_the_bound() {
        for codec in Compression::ALL {
            assert_eq!(Compression::from_attributes(codec as i16 | 0x70), Ok(codec));
            for size in [0, 1, 100, 40_000, 200_000] {
                let data = text(size);
                let packed = compress(codec, &data).unwrap();
                assert_eq!(decompress(codec, &packed, size), Ok(data), "{codec} {size}");
                if size > 0 {
                    let refused = decompress(codec, &packed, size - 1);
                    assert!(matches!(refused, Err(WireError::TooLarge { .. })), "{codec} {size}: {refused:?}");
                }
            }
        }
    }

    #[test]
    fn broken_data_is_an_error_and_not_a_panic() {
        for codec in Compression::ALL.into_iter().filter(|codec| *codec != Compression::None) {
            let data = text(3_000);
            let packed = compress(codec, &data).unwrap();
            for cut in 0..packed.len() {
                // A cut between two blocks, or before the end mark, is seen by the count of records and not here.
                if let Ok(read) = decompress(codec, &packed[..cut], 1 << 20) {
                    assert!(data.starts_with(&read), "{codec} cut at {cut}");
                }
            }
            for at in 0..packed.len() {
                let mut changed = packed.clone();
                changed[at] ^= 0xff;
                if let Ok(read) = decompress(codec, &changed, 1 << 20) {
                    assert!(read.len() <= 1 << 20, "{codec} changed at {at}");
                }
            }
            assert!(decompress(codec, b"\xff\xff\xff\xff\xff\xff\xff\xff", 1 << 20).is_err(), "{codec}");
        }
    }

    #[test]
    fn a_bomb_is_stopped_at_the_bound() {
        let zeros = vec![0; 64 << 20];
        for codec in [Compression::Gzip, Compression::Lz4, Compression::Zstd] {
            let packed = compress(codec, &zeros).unwrap();
            assert!(packed.len() < 1 << 20, "{codec}");
            let refused = decompress(codec, &packed, 1 << 20);
            assert!(matches!(refused, Err(WireError::TooLarge { .. })), "{codec}: {refused:?}");
        }
        // Snappy: a claim of 4 GiB in a block of six bytes.
        let claim = [0xff, 0xff, 0xff, 0xff, 0x0f, 0];
        assert_eq!(decompress(Compression::Snappy, &claim, 1 << 20), too_large(u32::MAX as usize, 1 << 20));
        let lie = [0x80, 0x80, 0x10, 0];
        assert_eq!(
            decompress(Compression::Snappy, &lie, 1 << 20),
            Err(WireError::BadCompression { codec: Compression::Snappy })
        );
    }

    #[test]
    fn plain_snappy_is_read_beside_the_framing_of_java() {
        let data = text(70_000);
        let plain = snap::raw::Encoder::new().compress_vec(&data).unwrap();
        assert_eq!(decompress(Compression::Snappy, &plain, 70_000), Ok(data.clone()));
        let framed = compress(Compression::Snappy, &data).unwrap();
        assert_eq!(framed[..16], [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0, 0, 0, 0, 1, 0, 0, 0, 1]);
        let first = u32::from_be_bytes([framed[16], framed[17], framed[18], framed[19]]) as usize;
        assert_eq!(snap::raw::decompress_len(&framed[20..20 + first]), Ok(32 * 1024));
    }

    #[test]
    fn zstandard_frames_without_a_size_are_read_as_java_writes_them() {
        let data = text(300_000);
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 3).unwrap();
        encoder.write_all(&data).unwrap();
        let packed = encoder.finish().unwrap();
        assert!(matches!(zstd::zstd_safe::get_frame_content_size(&packed), Ok(None)));
        assert_eq!(decompress(Compression::Zstd, &packed, 300_000), Ok(data));
        assert_eq!(decompress(Compression::Zstd, &packed, 299_999), too_large(300_000, 299_999));
    }

    #[test]
    fn members_of_gzip_follow_one_another() {
        let one = compress(Compression::Gzip, b"one ").unwrap();
        let two = compress(Compression::Gzip, b"two").unwrap();
        assert_eq!(decompress(Compression::Gzip, &[one, two].concat(), 100), Ok(b"one two".to_vec()));
    }
}
