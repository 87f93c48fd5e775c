//! A client that sends any bytes, and reads answers of HTTP/1.1 one by one.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};

use super::process::PATIENCE;

const HEAD_END: &[u8] = b"\r\n\r\n";

/// An answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    head: String,
    pub(super) body: Vec<u8>,
    /// Whether the body came whole.
    pub(super) is_whole: bool,
}

impl Answer {
    /// The value of a field.
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        self.fields(name).next()
    }

    /// The values of a field that may stand there more than once.
    pub(super) fn fields(&self, name: &str) -> impl Iterator<Item = &str> {
        let fields = self.head.lines().filter_map(|line| line.split_once(':'));
        fields.filter(move |(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A connection.
pub(super) struct Wire {
    stream: TcpStream,
    held: Vec<u8>,
}

impl Wire {
    pub(super) fn connect(to: SocketAddr) -> Self {
        let stream = TcpStream::connect(to).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, held: Vec::new() }
    }

    /// Sends what the other side still takes: it may refuse in the middle.
    pub(super) fn send(&mut self, bytes: &[u8]) {
        if let Err(error) = self.stream.write_all(bytes) {
            assert!(is_closed(&error), "{error}");
        }
    }

    /// Says that nothing more comes.
    pub(super) fn end(&mut self) {
        if let Err(error) = self.stream.shutdown(Shutdown::Write) {
            assert_eq!(error.kind(), ErrorKind::NotConnected, "{error}");
        }
    }

    /// Reads more; false at the end.
    fn more(&mut self) -> bool {
        let mut buffer = [0; 16 << 10];
        match self.stream.read(&mut buffer) {
            Ok(0) => false,
            Ok(read) => {
                self.held.extend_from_slice(&buffer[..read]);
                true
            }
            Err(error) if is_closed(&error) => false,
            Err(error) => {
                panic!("no answer after {PATIENCE:?}, only {:?}: {error}", String::from_utf8_lossy(&self.held))
            }
        }
    }

    /// Takes bytes up to and with these, where they come.
    fn take_through(&mut self, end: &[u8]) -> Option<Vec<u8>> {
        loop {
            if let Some(at) = self.held.windows(end.len()).position(|bytes| bytes == end) {
                return Some(self.held.drain(..at + end.len()).collect());
            }
            if !self.more() {
                return None;
            }
        }
    }

    fn take(&mut self, bytes: usize) -> (Vec<u8>, bool) {
        while self.held.len() < bytes && self.more() {}
        let is_whole = self.held.len() >= bytes;
        (self.held.drain(..bytes.min(self.held.len())).collect(), is_whole)
    }

    /// The next final answer; none at the end of the connection.
    pub(super) fn answer(&mut self, to_head: bool) -> Option<Answer> {
        loop {
            let head = String::from_utf8(self.take_through(HEAD_END)?).unwrap();
            let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
            let mut answer = Answer {
                status: status.unwrap_or_else(|| panic!("no answer: {head:?}")),
                head,
                body: Vec::new(),
                is_whole: true,
            };
            if answer.status < 200 && answer.status != 101 {
                continue;
            }
            let bodiless = to_head || matches!(answer.status, 101 | 204 | 304);
            let length = answer.field("content-length").map(|length| length.parse::<usize>().unwrap());
            (answer.body, answer.is_whole) = match length {
                _ if bodiless => (Vec::new(), true),
                Some(length) => self.take(length),
                None if answer.field("transfer-encoding").is_some() => self.chunks(),
                None => (self.rest(), true),
            };
            return Some(answer);
        }
    }

    fn chunks(&mut self) -> (Vec<u8>, bool) {
        let mut body = Vec::new();
        loop {
            let Some(line) = self.take_through(b"\r\n") else { return (body, false) };
            let size = std::str::from_utf8(&line).unwrap().trim();
            let size = usize::from_str_radix(size, 16).unwrap();
            let (bytes, is_whole) = self.take(size + 2);
            if !is_whole {
                return (body, false);
            }
            if size == 0 {
                return (body, true);
            }
            body.extend_from_slice(&bytes[..size]);
        }
    }

    /// Everything up to the end of the connection.
    pub(super) fn rest(&mut self) -> Vec<u8> {
        while self.more() {}
        std::mem::take(&mut self.held)
    }
}

/// The other side has closed, whichever way it shows.
pub(super) fn is_closed(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::ConnectionAborted)
}

/// One request on a connection of its own; none where it is closed without an answer.
pub(super) fn try_get(to: SocketAddr, path: &str) -> Option<Answer> {
    let mut wire = Wire::connect(to);
    wire.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").as_bytes());
    wire.answer(false)
}

/// The same where an answer must come.
pub(super) fn get(to: SocketAddr, path: &str) -> Answer {
    try_get(to, path).unwrap_or_else(|| panic!("no answer to {path}"))
}
