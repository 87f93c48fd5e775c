//! The courier's own log: append-only segments of framed records, flushed for many writers at once.
//!
//! A record is durable when [`Log::write`] returns: power may be lost. Writers that come while the disk flushes are written
//! together and share the next flush. A torn tail of the last segment, which a crash leaves, is cut; any other damage is
//! refused, since what stands behind it was promised.

mod record;

use std::path::{Path, PathBuf};

use naru_runtime::durable::frame::{self, Tail};
use naru_runtime::durable::{AppendError, AppendFile, DirectoryLock, Durability};
use naru_runtime::tasks::Tasks;
use tokio::sync::{mpsc, oneshot};

pub use record::{CampaignSpec, CurveStep, Forecast, Notification, Place, Receipt, Record};

/// A segment is closed beyond this: recovery holds one in memory.
const SEGMENT_BYTES: u64 = 64 << 20;
/// Begins every segment, with the version of the format.
const HEAD: &[u8; 8] = b"naruco01";
/// The kind of a record's frame.
const KIND: u8 = 1;
/// Writers that wait for the log: each waits for its own record, and the lanes have fewer tasks than this.
const WAITING_MAX: usize = 1024;
/// Bytes that are written before a flush; more wait for the next.
const FLUSH_BYTES: usize = 8 << 20;

/// Why the log cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("{0}: another courier has it")]
    Taken(PathBuf),
    /// The system refuses.
    #[error("{path}: cannot be read or written")]
    System {
        /// The file or directory.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// A segment has damage that no crash makes. Bring it back from a copy; do not cut it: what follows was promised.
    #[error("{path}: damaged at byte {at}")]
    Damaged {
        /// The segment.
        path: PathBuf,
        /// Where.
        at: usize,
    },
}

/// Why something is not durable. The machine is at fault; the process ends, and the next start reads what the disk has.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the log takes nothing more")]
pub struct Closed;

struct Waiting {
    bytes: Vec<u8>,
    done: oneshot::Sender<()>,
}

/// Where records are written; clones share it.
#[derive(Debug, Clone)]
pub struct Log {
    waiting: mpsc::Sender<Waiting>,
}

/// The segments of a directory, held for one process.
#[derive(Debug)]
pub struct Segments {
    directory: PathBuf,
    number: u64,
    file: AppendFile,
    #[expect(dead_code, reason = "held for its lock")]
    lock: DirectoryLock,
}

impl Segments {
    /// Reads every record in its order, and opens the last segment to go on with.
    ///
    /// # Errors
    /// When the directory is taken, cannot be read, or is damaged.
    pub fn open(directory: &Path, mut replay: impl FnMut(Record)) -> Result<Self, OpenError> {
        let system = |path: &Path| {
            let path = path.to_owned();
            move |source| OpenError::System { path, source }
        };
        let lock = DirectoryLock::take(directory).map_err(|error| match error.kind() {
            std::io::ErrorKind::WouldBlock => OpenError::Taken(directory.to_owned()),
            _ => system(directory)(error),
        })?;
        let mut numbers: Vec<u64> = Vec::new();
        for entry in std::fs::read_dir(directory).map_err(system(directory))? {
            let name = entry.map_err(system(directory))?.file_name();
            numbers.extend(name.to_str().and_then(|name| name.strip_suffix(".log")?.parse::<u64>().ok()));
        }
        numbers.sort_unstable();
        let mut last = None;
        for number in &numbers {
            let path = segment(directory, *number);
            let bytes = std::fs::read(&path).map_err(system(&path))?;
            let damaged = |at| OpenError::Damaged { path: path.clone(), at };
            let body = bytes.strip_prefix(HEAD.as_slice()).ok_or_else(|| damaged(0))?;
            let (frames, end, tail) = frame::scan(body);
            let is_last = Some(number) == numbers.last();
            if !(tail == Tail::Clean || tail == Tail::Torn && is_last) {
                return Err(damaged(HEAD.len() + end));
            }
            let mut at = HEAD.len();
            for frame in frames {
                // The checksum held: what cannot be read was written by another version.
                replay(serde_json::from_slice(frame.body).map_err(|_| damaged(at))?);
                at += frame.bytes.len();
            }
            last = Some((*number, (HEAD.len() + end) as u64));
        }
        let (number, file) = match last {
            Some((number, length)) => {
                let path = segment(directory, number);
                (number, AppendFile::open_cut(&path, length, Durability::OnFlush).map_err(system(&path))?)
            }
            None => (1, create(directory, 1).map_err(system(&segment(directory, 1)))?),
        };
        Ok(Self { directory: directory.to_owned(), number, file, lock })
    }

    /// Writes records and flushes: what a process does before it has tasks.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn write_now(&mut self, record: &Record) -> Result<(), AppendError> {
        self.file.append(&framed(record))?;
        self.file.flush()
    }

    /// Serves writers until the last [`Log`] is dropped, on a thread of its own.
    pub fn serve(self, tasks: &Tasks) -> Log {
        let (waiting, inbox) = mpsc::channel(WAITING_MAX);
        tasks.spawn_fallible("courier log", async move {
            // A panic of the thread is passed on as the task's own.
            match tokio::task::spawn_blocking(move || self.run(inbox)).await {
                Ok(ran) => ran,
                Err(error) => std::panic::resume_unwind(error.into_panic()),
            }
        });
        Log { waiting }
    }

    fn run(mut self, mut inbox: mpsc::Receiver<Waiting>) -> Result<(), AppendError> {
        let (mut bytes, mut done) = (Vec::new(), Vec::new());
        while let Some(first) = inbox.blocking_recv() {
            let mut next = Some(first);
            while let Some(waiting) = next {
                bytes.extend_from_slice(&waiting.bytes);
                done.push(waiting.done);
                next = if bytes.len() < FLUSH_BYTES { inbox.try_recv().ok() } else { None };
            }
            self.file.append(&bytes)?;
            self.file.flush()?;
            bytes.clear();
            // One that has gone away has its record all the same.
            done.drain(..).for_each(|done| done.send(()).unwrap_or_default());
            if self.file.length() > SEGMENT_BYTES {
                self.number += 1;
                let path = segment(&self.directory, self.number);
                self.file =
                    create(&self.directory, self.number).map_err(|source| AppendError::Write { path, source })?;
            }
        }
        Ok(())
    }
}

impl Log {
    /// Writes a record; it survives the loss of power when this returns.
    ///
    /// # Errors
    /// When the log has failed; the process ends then.
    pub async fn write(&self, record: &Record) -> Result<(), Closed> {
        let (done, written) = oneshot::channel();
        self.waiting.send(Waiting { bytes: framed(record), done }).await.map_err(|_| Closed)?;
        written.await.map_err(|_| Closed)
    }
}

fn segment(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("{number:08}.log"))
}

fn create(directory: &Path, number: u64) -> std::io::Result<AppendFile> {
    AppendFile::create(&segment(directory, number), HEAD, Durability::OnFlush)
}

fn framed(record: &Record) -> Vec<u8> {
    let body = serde_json::to_vec(record).expect("a record is numbers, texts and lists of them");
    let mut bytes = Vec::with_capacity(body.len() + frame::HEAD_BYTES);
    frame::put(&mut bytes, KIND, &[&body]);
    bytes
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test panics on failure

    use super::*;

    fn read(directory: &Path) -> Result<Vec<Record>, OpenError> {
        let mut records = Vec::new();
        Segments::open(directory, |record| records.push(record)).map(|_| records)
    }

    fn records() -> Vec<Record> {
        let accepted = |batch| Record::Accepted { batch, at_ms: 7 };
        (0..20).map(accepted).collect()
    }

    #[tokio::test]
    async fn what_was_written_is_read_back_and_a_torn_tail_is_cut() {
        let directory = tempfile::tempdir().unwrap();
        let tasks = Tasks::new();
        let log = Segments::open(directory.path(), |_| panic!("a new log is empty")).unwrap().serve(&tasks);
        for record in records() {
            log.write(&record).await.unwrap();
        }
        assert!(matches!(Segments::open(directory.path(), drop), Err(OpenError::Taken(_))));
        drop(log);
        tasks.drained().await;
        assert_eq!(read(directory.path()).unwrap(), records());
        let path = segment(directory.path(), 1);
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 3]).unwrap();
        assert_eq!(read(directory.path()).unwrap(), records()[..19]);
        assert_eq!(read(directory.path()).unwrap(), records()[..19], "it was cut, and opens again");
    }

    #[test]
    fn damage_that_no_crash_makes_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let mut segments = Segments::open(directory.path(), drop).unwrap();
        records().iter().for_each(|record| segments.write_now(record).unwrap());
        drop(segments);
        let path = segment(directory.path(), 1);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[40] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        assert!(matches!(read(directory.path()), Err(OpenError::Damaged { .. })));
        assert_eq!(std::fs::read(&path).unwrap(), bytes, "nothing was cut");
    }
}
