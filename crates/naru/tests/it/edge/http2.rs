//! A client of HTTP/2 that sends any frames, right or wrong, on a connection without TLS.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::http1::is_closed;
use super::process::PATIENCE;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const FRAME_HEAD_BYTES: usize = 9;

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const CONTINUATION: u8 = 9;

pub(super) const ACK: u8 = 1;
pub(super) const END_STREAM: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;

/// CANCEL, as the payload of a RST_STREAM.
pub(super) const CANCEL: [u8; 4] = [0, 0, 0, 8];

/// A frame as it stands on the wire.
pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend(stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// A header block in which every field is written out: nothing is compressed, indexed or checked.
pub(super) fn block(fields: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            integer(&mut block, 7, text.len());
            block.extend_from_slice(text);
        }
    }
    block
}

/// An integer of HPACK behind a prefix of so many bits, those in front of it being zero.
fn integer(out: &mut Vec<u8>, bits: u32, value: usize) {
    let most = (1_usize << bits) - 1;
    if value < most {
        out.push(u8::try_from(value).unwrap());
        return;
    }
    out.push(u8::try_from(most).unwrap());
    let mut rest = value - most;
    while rest >= 128 {
        out.push(u8::try_from(rest % 128).unwrap() | 128);
        rest /= 128;
    }
    out.push(u8::try_from(rest).unwrap());
}

/// The fields of a plain GET.
pub(super) fn get(path: &str) -> Vec<(Vec<u8>, Vec<u8>)> {
    [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", path)]
        .map(|(name, value)| (name.into(), value.into()))
        .to_vec()
}

/// A frame that was received.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
    payload: Vec<u8>,
}

/// What became of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Status(u16),
    /// The stream or the connection was ended without an answer.
    Ended,
}

/// A connection.
pub(super) struct Frames {
    stream: TcpStream,
    held: Vec<u8>,
}

impl Frames {
    /// Connects, and sends preface and settings.
    pub(super) fn connect(to: SocketAddr) -> Self {
        let stream = TcpStream::connect(to).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        let mut frames = Self { stream, held: Vec::new() };
        frames.send(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat());
        frames
    }

    /// Sends; whether the other side still takes it.
    pub(super) fn send(&mut self, bytes: &[u8]) -> bool {
        match self.stream.write_all(bytes) {
            Ok(()) => true,
            Err(error) => {
                assert!(is_closed(&error), "{error}");
                false
            }
        }
    }

    /// The next frame; none at the end of the connection.
    pub(super) fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some(found) = self.take() {
                return Some(found);
            }
            let mut buffer = [0; 16 << 10];
            match self.stream.read(&mut buffer) {
                Ok(0) => return None,
                Ok(read) => self.held.extend_from_slice(&buffer[..read]),
                Err(error) if is_closed(&error) => return None,
                Err(error) => panic!("no frame after {PATIENCE:?}: {error}"),
            }
        }
    }

    fn take(&mut self) -> Option<Frame> {
        let (head, rest) = self.held.split_at_checked(FRAME_HEAD_BYTES)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let payload = rest.get(..length)?.to_vec();
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        let found = Frame { kind: head[3], flags: head[4], stream, payload };
        self.held.drain(..FRAME_HEAD_BYTES + length);
        Some(found)
    }

    /// Throws away what has come, without waiting; whether the connection is still open.
    pub(super) fn drain(&mut self) -> bool {
        self.stream.set_nonblocking(true).unwrap();
        let mut buffer = [0; 64 << 10];
        let open = loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => break false,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break true,
                Err(error) => {
                    assert!(is_closed(&error), "{error}");
                    break false;
                }
            }
        };
        self.stream.set_nonblocking(false).unwrap();
        open
    }

    /// Waits for the answer to a stream, or its end; then for its last frame.
    pub(super) fn fate(&mut self, of: u32) -> Fate {
        let mut status = None;
        while let Some(found) = self.next() {
            match found.kind {
                SETTINGS if found.flags & ACK == 0 => {
                    self.send(&frame(SETTINGS, ACK, 0, &[]));
                }
                GOAWAY => return status.map_or(Fate::Ended, Fate::Status),
                RST_STREAM if found.stream == of => return status.map_or(Fate::Ended, Fate::Status),
                HEADERS if found.stream == of && status.is_none() => status = Some(status_of(&found.payload)),
                _ => {}
            }
            if let Some(status) = status
                && found.stream == of
                && found.flags & END_STREAM != 0
                && found.kind <= HEADERS
            {
                return Fate::Status(status);
            }
        }
        status.map_or(Fate::Ended, Fate::Status)
    }

    /// Sends within a time; whether the other side took it.
    pub(super) fn is_taken_within(&mut self, time: Duration, bytes: &[u8]) -> bool {
        self.stream.set_write_timeout(Some(time)).unwrap();
        match self.stream.write_all(bytes) {
            Ok(()) => true,
            Err(error) => {
                assert!(is_closed(&error) || error.kind() == ErrorKind::WouldBlock, "{error}");
                false
            }
        }
    }
}

/// The status of a header block that begins with it, as every answer does.
fn status_of(block: &[u8]) -> u16 {
    // Updates of the table's size may stand in front.
    let at = block.iter().position(|byte| byte & 0xe0 != 0x20).unwrap();
    match block[at] {
        indexed @ 0x88..=0x8e => [200, 204, 206, 304, 400, 404, 500][usize::from(indexed - 0x88)],
        // A literal with the name of entry 8 to 14, which is always `:status`.
        literal if (8..=14).contains(&(literal & if literal >= 0x40 { 0x3f } else { 0x0f })) => {
            let (is_huffman, length) = (block[at + 1] & 0x80 != 0, usize::from(block[at + 1] & 0x7f));
            digits(&block[at + 2..at + 2 + length], is_huffman)
        }
        other => panic!("no status in front: {other:#x} in {block:?}"),
    }
}

/// Three digits, plain or in the Huffman code of HPACK: 0, 1 and 2 have five bits there, the others six.
fn digits(bytes: &[u8], is_huffman: bool) -> u16 {
    if !is_huffman {
        return std::str::from_utf8(bytes).unwrap().parse().unwrap();
    }
    let bits: Vec<u16> =
        bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| u16::from(byte >> bit & 1))).collect();
    let number = |bits: &[u16]| bits.iter().fold(0, |number, bit| number * 2 + bit);
    let mut at = 0;
    (0..3).fold(0, |status, _| {
        let short = number(&bits[at..at + 5]);
        let digit = if short <= 2 { short } else { number(&bits[at..at + 6]) - 0x19 + 3 };
        at += if short <= 2 { 5 } else { 6 };
        status * 10 + digit
    })
}

#[test]
fn statuses_are_read_from_either_code() {
    let check = |block: &[u8], expect: u16| assert_eq!(status_of(block), expect, "{block:?}");
    check(&[0x88], 200);
    check(&[0x20, 0x8c], 400);
    check(&[0x48, 3, b'4', b'3', b'1'], 431);
    // 4 = 011010, 3 = 011001, 1 = 00001
    check(&[0x48, 0x83, 0b0110_1001, 0b1001_0000, 0b1111_1111], 431);
    // 5 = 011011, 0 = 00000, 3 = 011001
    check(&[0x08, 0x83, 0b0110_1100, 0b0000_1100, 0b1111_1111], 503);
}
