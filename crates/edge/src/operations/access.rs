//! The access log: one JSON object a line for each request that was read.
//!
//! It never has a query string, a body, a cookie or an address: a client is a number under a key. A request hands its line
//! to a bounded queue and goes on; when the writer is behind, the line is dropped and counted.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde::Serialize;

/// Lines that may wait: a second of 8,000 requests, longer than a disk stalls. With the longest path and host that is
/// less than 16 MiB.
const LINES_MAX: usize = 8_192;
/// How much of a path is written; what is longer is cut.
const PATH_BYTES_MAX: usize = 1_024;
/// How long a line may wait for others of its write.
const WRITE_WAIT: Duration = Duration::from_millis(20);
/// How long the writer leaves a disk alone that has refused.
const DISK_WAIT: Duration = Duration::from_secs(1);
/// Most bytes of one write.
const WRITE_BYTES: usize = 64 << 10;
/// The log is for those who run the edge.
const MODE: u32 = 0o640;

/// A line.
#[derive(Debug, Serialize)]
pub(crate) struct Line<'r> {
    /// When the request's head was whole, milliseconds since 1970.
    pub unix_ms: u64,
    /// As in the decision log, 32 hexadecimal digits.
    pub request: &'r str,
    pub class: Option<naru_model::Class>,
    pub site: Option<&'r str>,
    pub reason: Option<&'r str>,
    pub method: &'r str,
    pub host: &'r str,
    /// Without its query.
    pub path: &'r str,
    /// None when the client went away before an answer.
    pub status: Option<u16>,
    /// Of the answer's body, to the client.
    pub bytes: u64,
    pub duration_us: u64,
    /// 16 hexadecimal digits: the address under a key.
    pub client: &'r str,
    pub http: &'r str,
}

/// Counts since the log was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Lines in the file.
    pub written: u64,
    /// Lines that are missing: the writer was behind, or the disk refused.
    pub dropped: u64,
}

#[derive(Debug, Default)]
struct Shared {
    is_closing: AtomicBool,
    is_moved: AtomicBool,
    written: AtomicU64,
    dropped: AtomicU64,
}

/// The log.
#[derive(Debug)]
pub struct AccessLog {
    queue: SyncSender<Vec<u8>>,
    shared: Arc<Shared>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl AccessLog {
    /// Opens a file to append to it, and starts its writer.
    ///
    /// # Errors
    /// When the file cannot be opened, or no thread be had.
    pub fn open(path: &Path) -> io::Result<Self> {
        let (queue, lines) = sync_channel(LINES_MAX);
        let shared = Arc::new(Shared::default());
        let file = Some(open(path)?);
        let mut writer =
            Writer { path: path.to_owned(), file, lines, shared: shared.clone(), pending: Vec::new(), count: 0 };
        let thread = thread::Builder::new().name("access-log".to_owned()).spawn(move || writer.run())?;
        Ok(Self { queue, shared, writer: Mutex::new(Some(thread)) })
    }

    /// Takes a line. Never waits.
    pub(crate) fn write(&self, line: &Line<'_>) {
        let line = Line { path: &line.path[..line.path.floor_char_boundary(PATH_BYTES_MAX)], ..*line };
        let mut text = Vec::with_capacity(384);
        let written = serde_json::to_writer(&mut text, &line);
        written.expect("texts and numbers into memory");
        text.push(b'\n');
        if self.shared.is_closing.load(Ordering::Relaxed) || self.queue.try_send(text).is_err() {
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The counts so far.
    pub fn counts(&self) -> Counts {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Counts { written: read(&self.shared.written), dropped: read(&self.shared.dropped) }
    }

    /// Opens the file again, behind somebody who has renamed it.
    pub fn reopen(&self) {
        self.shared.is_moved.store(true, Ordering::Relaxed);
    }

    /// Writes what waits and ends the writer. Blocks on the disk.
    pub fn close(&self) {
        self.shared.is_closing.store(true, Ordering::SeqCst);
        let thread = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(thread) = thread else { return };
        thread.thread().unpark();
        if thread.join().is_err() {
            tracing::error!("the access log's writer has panicked");
        }
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        self.shared.is_closing.store(true, Ordering::SeqCst);
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(MODE).open(path)
}

struct Writer {
    path: PathBuf,
    /// None after the disk has refused, until it is opened again.
    file: Option<File>,
    lines: Receiver<Vec<u8>>,
    shared: Arc<Shared>,
    pending: Vec<u8>,
    /// Lines in it.
    count: u64,
}

impl Writer {
    fn run(&mut self) {
        loop {
            // Read first: what was queued before the end is found below.
            let is_closing = self.shared.is_closing.load(Ordering::SeqCst);
            let is_empty = self.fill();
            if let Err(error) = self.write() {
                // Said once a second at most, and the lines are counted.
                tracing::error!(path = %self.path.display(), %error, "the access log cannot be written");
                self.shared.dropped.fetch_add(self.count, Ordering::Relaxed);
                self.file = None;
                if !is_closing {
                    thread::park_timeout(DISK_WAIT);
                }
            }
            self.pending.clear();
            self.count = 0;
            if is_empty {
                if is_closing {
                    return;
                }
                thread::park_timeout(WRITE_WAIT);
            }
        }
    }

    /// Whether the queue was emptied.
    fn fill(&mut self) -> bool {
        while self.pending.len() < WRITE_BYTES {
            match self.lines.try_recv() {
                Ok(line) => {
                    self.pending.extend_from_slice(&line);
                    self.count += 1;
                }
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => return true,
            }
        }
        false
    }

    fn write(&mut self) -> io::Result<()> {
        if self.shared.is_moved.swap(false, Ordering::Relaxed) {
            self.file = None;
        }
        if self.pending.is_empty() {
            return Ok(());
        }
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(open(&self.path)?),
        };
        file.write_all(&self.pending)?;
        self.shared.written.fetch_add(self.count, Ordering::Relaxed);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test panics on failure

    use super::*;

    fn line(path: &str) -> Line<'_> {
        Line {
            unix_ms: 7,
            request: "0123",
            class: Some(naru_model::Class::Open),
            site: Some("idc-1"),
            reason: Some("first"),
            method: "GET",
            host: "shop.example",
            path,
            status: Some(200),
            bytes: 3,
            duration_us: 1500,
            client: "89ab",
            http: "HTTP/1.1",
        }
    }

    #[test]
    fn every_line_is_one_object_whatever_the_path_holds() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        let log = AccessLog::open(&path).unwrap();
        let long = format!("/{}", "ß".repeat(PATH_BYTES_MAX));
        let paths = ["/promo", "/\"}\n{\"status\":500", &long];
        paths.iter().for_each(|path| log.write(&line(path)));
        log.close();
        log.write(&line("/too-late"));
        assert_eq!(log.counts(), Counts { written: 3, dropped: 1 });
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 3);
        assert_eq!(lines[0]["class"], "open");
        assert_eq!(lines[1]["path"], paths[1]);
        assert!(lines[2]["path"].as_str().unwrap().len() <= PATH_BYTES_MAX && text.len() < 2 * PATH_BYTES_MAX);
    }

    #[test]
    fn a_file_that_was_renamed_is_begun_again() {
        let folder = tempfile::tempdir().unwrap();
        let (path, old) = (folder.path().join("access.log"), folder.path().join("access.log.1"));
        let log = AccessLog::open(&path).unwrap();
        log.write(&line("/1"));
        while log.counts().written == 0 {
            thread::yield_now();
        }
        std::fs::rename(&path, &old).unwrap();
        log.reopen();
        log.write(&line("/2"));
        log.close();
        assert!(std::fs::read_to_string(&old).unwrap().contains("/1"));
        assert!(std::fs::read_to_string(&path).unwrap().contains("/2"));
    }
}
