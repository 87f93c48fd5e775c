//! The codecs as outside clients frame them, by the libraries themselves.

use std::io::Write;

use bytes::Bytes;

use super::batch::{GZIP, LZ4, SNAPPY, ZSTD};

pub fn compress(codec: i16, plain: &[u8]) -> Bytes {
    match codec {
        0 => Bytes::copy_from_slice(plain),
        GZIP => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            encoder.write_all(plain).unwrap();
            encoder.finish().unwrap().into()
        }
        SNAPPY => xerial(plain),
        LZ4 => {
            let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
            encoder.write_all(plain).unwrap();
            encoder.finish().unwrap().into()
        }
        ZSTD => zstd::encode_all(plain, 0).unwrap().into(),
        other => panic!("codec {other}"),
    }
}

/// Java's framing of snappy: a magic, two versions, then blocks of at most 32 KB each behind its length.
fn xerial(plain: &[u8]) -> Bytes {
    let mut framed = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01".to_vec();
    for block in plain.chunks(32 << 10) {
        let packed = snap::raw::Encoder::new().compress_vec(block).unwrap();
        framed.extend(u32::try_from(packed.len()).unwrap().to_be_bytes());
        framed.extend(packed);
    }
    framed.into()
}
