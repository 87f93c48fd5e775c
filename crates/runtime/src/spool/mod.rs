//! A bounded queue of entries on the local disk, for what must be handed over but cannot be right now.
//!
//! Entries get consecutive numbers, are read in order and stay until they are acknowledged; after a crash what was not
//! acknowledged durably is handed over again (at least once). The bound is in bytes on disk, and a full spool answers
//! so: the caller decides what to give up. One process at a time; calls block on the disk.
//!
//! A spool is a directory of files named by the number of their first entry, each a header frame (format version (2),
//! first entry (8)) and entry frames (number (8), then the caller's bytes); frames as in `durable/frame`, numbers
//! little-endian. Files go when every entry in them is acknowledged. `acknowledged` holds the acknowledged count.

mod acknowledged;

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use acknowledged::Acknowledged;

use crate::durable::{AppendError, AppendFile, DirectoryLock, Durability, frame, frame::Tail};

/// The format that this program writes and the only one it reads.
pub const FORMAT_VERSION: u16 = 1;

/// Most bytes of one entry: what fits one frame beside its number.
pub const ENTRY_BYTES_MAX: usize = frame::BODY_BYTES_MAX - NUMBER_BYTES;

const NUMBER_BYTES: usize = 8;
const HEADER: u8 = 1;
const ENTRY: u8 = 2;
/// What an entry costs beside its own bytes.
const OVERHEAD_BYTES: u64 = (frame::HEAD_BYTES + NUMBER_BYTES) as u64;
const HEADER_BYTES: u64 = frame::HEAD_BYTES as u64 + 10;

/// How a spool is kept.
#[derive(Debug, Clone, Copy)]
pub struct SpoolOptions {
    /// Most bytes on disk, all files together.
    pub bytes_max: u64,
    /// Bytes after which another file is begun; space comes back file by file, so a part of `bytes_max`.
    pub file_bytes: u64,
    /// When an entry counts as stored.
    pub durability: Durability,
}

impl SpoolOptions {
    /// A spool of so many bytes in sixteen files, each entry surviving the loss of power.
    pub fn bounded(bytes_max: u64) -> Self {
        Self { bytes_max, file_bytes: bytes_max / 16, durability: Durability::EachAppend }
    }
}

/// The answer to an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a full spool has not taken the entry"]
pub enum Offered {
    /// It is stored under this number.
    Stored(u64),
    /// It is not stored: the spool has no room for it now.
    Full {
        /// Bytes on disk.
        bytes: u64,
        /// The bound.
        bytes_max: u64,
    },
}

/// An entry that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpoolEntry {
    /// Its number.
    pub number: u64,
    /// The caller's bytes.
    pub payload: Vec<u8>,
}

/// What opening a spool found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpoolRecovered {
    /// Entries that wait.
    pub waiting: u64,
    /// Bytes of an entry that was not finished, cut from the end.
    pub torn_bytes: u64,
}

/// Why a spool could not be opened, written or read.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// The entry is longer than [`ENTRY_BYTES_MAX`] or the whole spool: the caller's mistake, no retry helps.
    #[error("an entry of {bytes} bytes never fits; at most {bytes_max} do")]
    EntryTooLarge {
        /// Its length.
        bytes: usize,
        /// The longest that fits.
        bytes_max: u64,
    },
    /// An acknowledgement of entries that were never stored: the caller's mistake, no retry helps.
    #[error("entry {number} cannot be acknowledged, the last one is before {next}")]
    NeverStored {
        /// The entry named.
        number: u64,
        /// The number that the next entry gets.
        next: u64,
    },
    /// Another process has the spool open; a retry helps when it has ended.
    #[error("{directory}: another process has this spool open")]
    Busy {
        /// The spool's directory.
        directory: PathBuf,
    },
    /// What is on the disk is not what was written. Somebody must look; no retry helps.
    #[error("spool file {file} is damaged at byte {offset}: {what}")]
    Damaged {
        /// The file.
        file: PathBuf,
        /// Where.
        offset: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// The disk refused an append.
    #[error("append to the spool failed")]
    Append(#[from] AppendError),
    /// The disk refused something else.
    #[error("{path}: cannot be {action}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// `read`, `opened`, `made`, `removed`, `written`.
        action: &'static str,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
}

impl SpoolError {
    fn io(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, action, source }
    }
}

/// A spool, open for its one process.
#[derive(Debug)]
pub struct Spool {
    directory: PathBuf,
    options: SpoolOptions,
    /// Oldest first; the last is the one that is written, once `writing` is there.
    files: VecDeque<SpoolFile>,
    writing: Option<AppendFile>,
    /// Entries with a smaller number are acknowledged.
    first: u64,
    next: u64,
    acknowledged: Acknowledged,
    frame: Vec<u8>,
    _lock: DirectoryLock,
}

/// One file and where its entries stand.
#[derive(Debug)]
struct SpoolFile {
    path: PathBuf,
    first: u64,
    /// Where each entry ends; four bytes per entry of the spool are held in memory.
    ends: Vec<u32>,
}

impl SpoolFile {
    fn bytes(&self) -> u64 {
        self.ends.last().map_or(HEADER_BYTES, |end| u64::from(*end))
    }

    /// The number behind its last entry.
    fn end(&self) -> u64 {
        self.first + self.ends.len() as u64
    }

    fn start_of(&self, number: u64) -> u64 {
        match (number - self.first).checked_sub(1) {
            None => HEADER_BYTES,
            Some(before) => u64::from(self.ends[before as usize]),
        }
    }
}

impl Spool {
    /// Opens a spool or makes one. Cuts an unfinished entry from the end.
    ///
    /// # Errors
    /// [`SpoolError::Busy`], [`SpoolError::Damaged`] when the files are damaged in a way that no crash explains, and
    /// the disk's errors.
    pub fn open(directory: &Path, options: SpoolOptions) -> Result<(Self, SpoolRecovered), SpoolError> {
        let lock = DirectoryLock::take(directory).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => SpoolError::Busy { directory: directory.to_owned() },
            _ => SpoolError::io(directory, "opened")(error),
        })?;
        let path = directory.join("acknowledged");
        let (acknowledged, first) = Acknowledged::open(&path).map_err(SpoolError::io(&path, "opened"))?;
        let mut files: VecDeque<SpoolFile> = VecDeque::new();
        let mut torn_bytes = 0;
        let numbers = numbers(directory)?;
        for (index, number) in numbers.iter().enumerate() {
            let (file, torn) = read_file(directory, *number, index + 1 == numbers.len())?;
            torn_bytes += torn;
            if files.back().is_some_and(|before| before.end() != file.first) {
                let what = "does not follow the file before it";
                return Err(SpoolError::Damaged { file: file.path, offset: 0, what });
            }
            files.push_back(file);
        }
        let next = files.back().map_or(first, |file| file.end().max(first));
        let first = first.max(files.front().map_or(first, |file| file.first));
        let writing = match files.back() {
            // Everything in the files is acknowledged, and more: the tail was lost, numbers go on behind it.
            Some(last) if last.end() < next => None,
            Some(last) => Some(
                AppendFile::open_cut(&last.path, last.bytes(), options.durability)
                    .map_err(SpoolError::io(&last.path, "opened"))?,
            ),
            None => None,
        };
        let mut spool = Self {
            directory: directory.to_owned(),
            options,
            files,
            writing,
            first,
            next,
            acknowledged,
            frame: Vec::new(),
            _lock: lock,
        };
        spool.remove_acknowledged_files()?;
        let recovered = SpoolRecovered { waiting: spool.waiting(), torn_bytes };
        Ok((spool, recovered))
    }

    /// Stores an entry, or says that there is no room.
    ///
    /// # Errors
    /// [`SpoolError::EntryTooLarge`], or the disk's: then the entry is not stored.
    pub fn offer(&mut self, payload: &[u8]) -> Result<Offered, SpoolError> {
        let longest =
            (ENTRY_BYTES_MAX as u64).min(self.options.bytes_max.saturating_sub(HEADER_BYTES + OVERHEAD_BYTES));
        if payload.len() as u64 > longest {
            return Err(SpoolError::EntryTooLarge { bytes: payload.len(), bytes_max: longest });
        }
        let needed = OVERHEAD_BYTES + payload.len() as u64;
        let begin = match (&self.writing, self.files.back()) {
            (Some(_), Some(file)) => !file.ends.is_empty() && file.bytes() + needed > self.file_bytes(),
            _ => true,
        };
        let bytes = self.bytes();
        if bytes + needed + if begin { HEADER_BYTES } else { 0 } > self.options.bytes_max {
            // The file being written may hold nothing but acknowledged entries.
            if self.waiting() > 0 || self.files.is_empty() {
                return Ok(Offered::Full { bytes, bytes_max: self.options.bytes_max });
            }
            self.writing = None;
            self.remove_acknowledged_files()?;
            return self.offer(payload);
        }
        if begin {
            self.begin_file()?;
        }
        self.frame.clear();
        frame::put(&mut self.frame, ENTRY, &[&self.next.to_le_bytes(), payload]);
        let (Some(writing), Some(file)) = (&mut self.writing, self.files.back_mut()) else {
            unreachable!("a file was begun")
        };
        writing.append(&self.frame)?;
        // `file_bytes` keeps a file below 4 GiB.
        file.ends.push(writing.length() as u32);
        self.next += 1;
        Ok(Offered::Stored(self.next - 1))
    }

    /// Entries from number `from` on, oldest first, until `entries_max` or `bytes_max` is reached; at least one when
    /// one waits. Reading does not remove: a reader keeps its own place and acknowledges.
    ///
    /// # Errors
    /// [`SpoolError::Damaged`] when an entry is not what was written, and the disk's errors.
    pub fn read(&self, from: u64, entries_max: usize, bytes_max: usize) -> Result<Vec<SpoolEntry>, SpoolError> {
        let mut entries = Vec::new();
        let (mut number, mut bytes) = (from.max(self.first), 0);
        let mut open: Option<(u64, File)> = None;
        while number < self.next && entries.len() < entries_max {
            let Some(file) = self.files.iter().find(|file| file.first <= number && number < file.end()) else { break };
            let (start, end) = (file.start_of(number), u64::from(file.ends[(number - file.first) as usize]));
            let mut framed = vec![0; (end - start) as usize];
            if bytes + framed.len() > bytes_max && !entries.is_empty() {
                break;
            }
            let read = match &open {
                Some((first, read)) if *first == file.first => read,
                _ => &open.insert((file.first, File::open(&file.path).map_err(SpoolError::io(&file.path, "read"))?)).1,
            };
            read.read_exact_at(&mut framed, start).map_err(SpoolError::io(&file.path, "read"))?;
            let payload = frame::first(&framed).and_then(|frame| parse_entry(frame, number));
            let payload = payload.ok_or_else(|| SpoolError::Damaged {
                file: file.path.clone(),
                offset: start,
                what: "the entry is not what was written",
            })?;
            bytes += framed.len();
            entries.push(SpoolEntry { number, payload: payload.to_vec() });
            number += 1;
        }
        Ok(entries)
    }

    /// Marks every entry up to and with `number` as handed over. A repeated acknowledgement changes nothing.
    ///
    /// # Errors
    /// [`SpoolError::NeverStored`], or the disk's: then the entries are handed over again after a restart.
    pub fn acknowledge(&mut self, number: u64) -> Result<(), SpoolError> {
        if number >= self.next {
            return Err(SpoolError::NeverStored { number, next: self.next });
        }
        if number < self.first {
            return Ok(());
        }
        let path = self.directory.join("acknowledged");
        self.acknowledged.set(number + 1).map_err(SpoolError::io(&path, "written"))?;
        self.first = number + 1;
        self.remove_acknowledged_files()
    }

    /// Makes every entry so far durable.
    ///
    /// # Errors
    /// The disk's; then what it holds is unknown until the spool is opened again.
    pub fn flush(&mut self) -> Result<(), SpoolError> {
        self.writing.as_mut().map_or(Ok(()), |file| file.flush().map_err(SpoolError::from))
    }

    /// The oldest entry that waits, or the number that the next one gets.
    pub fn first(&self) -> u64 {
        self.first
    }

    /// How many entries wait.
    pub fn waiting(&self) -> u64 {
        self.next - self.first
    }

    /// Bytes on disk.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(SpoolFile::bytes).sum()
    }

    fn file_bytes(&self) -> u64 {
        self.options.file_bytes.clamp(HEADER_BYTES, u64::from(u32::MAX) - frame::BODY_BYTES_MAX as u64 * 2)
    }

    fn begin_file(&mut self) -> Result<(), SpoolError> {
        // What stands in the file before must not be lost behind what stands in this one.
        self.flush()?;
        let path = self.directory.join(file_name(self.next));
        let mut head = Vec::new();
        frame::put(&mut head, HEADER, &[&FORMAT_VERSION.to_le_bytes(), &self.next.to_le_bytes()]);
        let file = AppendFile::create(&path, &head, self.options.durability).map_err(SpoolError::io(&path, "made"))?;
        self.writing = Some(file);
        self.files.push_back(SpoolFile { path, first: self.next, ends: Vec::new() });
        Ok(())
    }

    fn remove_acknowledged_files(&mut self) -> Result<(), SpoolError> {
        while let Some(file) = self.files.front() {
            let written_to = self.files.len() == 1 && self.writing.is_some();
            if file.end() > self.first || written_to {
                break;
            }
            // Before the file goes, that it may go is durable: else numbers would begin anew after a loss of power.
            let path = self.directory.join("acknowledged");
            self.acknowledged.flush().map_err(SpoolError::io(&path, "written"))?;
            fs::remove_file(&file.path).map_err(SpoolError::io(&file.path, "removed"))?;
            self.files.pop_front();
        }
        Ok(())
    }
}

fn file_name(first: u64) -> String {
    format!("{first:020}.spool")
}

/// The first numbers of the files in a directory, ascending. Other files are passed over.
fn numbers(directory: &Path) -> Result<Vec<u64>, SpoolError> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(directory).map_err(SpoolError::io(directory, "read"))? {
        let name = entry.map_err(SpoolError::io(directory, "read"))?.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(".spool")).and_then(|stem| stem.parse().ok());
        numbers.extend(number.filter(|number| name.to_str() == Some(&file_name(*number))));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Reads a file's frames; cuts an unfinished one if it is the last file. Answers also how many bytes were cut.
fn read_file(directory: &Path, first: u64, last: bool) -> Result<(SpoolFile, u64), SpoolError> {
    let path = directory.join(file_name(first));
    let bytes = fs::read(&path).map_err(SpoolError::io(&path, "read"))?;
    let damaged = |offset: usize, what| SpoolError::Damaged { file: path.clone(), offset: offset as u64, what };
    let (frames, end, tail) = frame::scan(&bytes);
    match tail {
        Tail::Clean => {}
        Tail::Torn if last => {}
        Tail::Torn => return Err(damaged(end, "the file is cut or altered")),
        Tail::Damaged { .. } => return Err(damaged(end, "an entry was altered")),
    }
    let torn = (bytes.len() - end) as u64;
    let Some((header, entries)) = frames.split_first() else {
        // The power went while the file was made: nothing was ever in it. Made whole, so that it can be written to.
        if !last {
            return Err(damaged(0, "the file has no header"));
        }
        let mut head = Vec::new();
        frame::put(&mut head, HEADER, &[&FORMAT_VERSION.to_le_bytes(), &first.to_le_bytes()]);
        fs::write(&path, head).map_err(SpoolError::io(&path, "written"))?;
        return Ok((SpoolFile { path, first, ends: Vec::new() }, torn));
    };
    let expected = [FORMAT_VERSION.to_le_bytes().as_slice(), &first.to_le_bytes()].concat();
    if header.kind != HEADER || header.body != expected {
        return Err(damaged(0, "the header is not one of this version for this file"));
    }
    let (mut ends, mut offset) = (Vec::with_capacity(entries.len()), header.bytes.len());
    for (number, frame) in (first..).zip(entries) {
        if parse_entry(*frame, number).is_none() {
            return Err(damaged(offset, "an entry is out of order"));
        }
        offset += frame.bytes.len();
        ends.push(u32::try_from(offset).map_err(|_| damaged(offset, "the file is longer than any"))?);
    }
    Ok((SpoolFile { path, first, ends }, torn))
}

fn parse_entry(frame: frame::Frame<'_>, number: u64) -> Option<&[u8]> {
    let (found, payload) = frame.body.split_first_chunk()?;
    (frame.kind == ENTRY && u64::from_le_bytes(*found) == number).then_some(payload)
}

#[cfg(test)]
mod tests;
