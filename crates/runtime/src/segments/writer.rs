//! The writer of a chain.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::verify::{Chain, sealed_head};
use super::{
    ENTRY, ENTRY_BYTES_MAX, Head, SEAL, SEGMENT_BYTES_MAX, SegmentError, SegmentFault, file_name, numbers, put_header,
    read_segment, seal_message,
};
use crate::durable::{AppendFile, DirectoryLock, Durability, frame, frame::Tail};
use crate::keys::SigningKeys;

/// How a chain is written.
#[derive(Debug, Clone, Copy)]
pub struct SegmentOptions {
    /// A segment is sealed and the next begun before an entry would take it beyond this.
    pub segment_bytes_max: u64,
    /// When an append counts as done.
    pub durability: Durability,
}

impl Default for SegmentOptions {
    /// 16 MiB are read and hashed in a blink, and few enough files for years of decisions; every entry is durable.
    fn default() -> Self {
        Self { segment_bytes_max: 16 << 20, durability: Durability::EachAppend }
    }
}

/// What opening a chain found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recovered {
    /// The segment that is written next.
    pub segment: u64,
    /// Entries that it holds already.
    pub entries: u64,
    /// Bytes of an append that was not finished, cut from its end.
    pub torn_bytes: u64,
}

/// Where an entry went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// The segment.
    pub segment: u64,
    /// The entry within it, from zero.
    pub entry: u64,
    /// The head of the chain with this entry.
    pub head: Head,
}

/// Writes one chain; one process at a time. Calls block on the disk.
#[derive(Debug)]
pub struct SegmentWriter {
    directory: PathBuf,
    options: SegmentOptions,
    keys: Arc<SigningKeys>,
    /// None until the first entry of segment `number`: a sealed chain ends in a seal, not in an empty segment.
    file: Option<AppendFile>,
    number: u64,
    entries: u64,
    head: Head,
    frame: Vec<u8>,
    _lock: DirectoryLock,
}

impl SegmentWriter {
    /// Opens a chain, or begins one in a new directory. Cuts an unfinished append from the end of the last segment.
    ///
    /// # Errors
    /// [`SegmentError::Busy`] when another process has it open, [`SegmentError::Refused`] when the last segment is
    /// damaged in a way that no crash explains, and the disk's errors. Earlier segments are not read: see
    /// [`verify_chain`](super::verify_chain).
    pub fn open(
        directory: &Path,
        keys: Arc<SigningKeys>,
        options: SegmentOptions,
    ) -> Result<(Self, Recovered), SegmentError> {
        let lock = DirectoryLock::take(directory).map_err(|error| match error.kind() {
            std::io::ErrorKind::WouldBlock => SegmentError::Busy { directory: directory.to_owned() },
            _ => SegmentError::io(directory, "opened")(error),
        })?;
        let last = match Last::find(directory)? {
            Some(last) if last.sealed => Last { number: last.number + 1, head: last.head, ..Last::fresh() },
            Some(last) => last,
            None => Last::fresh(),
        };
        let path = directory.join(file_name(last.number));
        let open = |length| AppendFile::open_cut(&path, length, options.durability);
        let file = last.length.map(open).transpose().map_err(SegmentError::io(&path, "opened"))?;
        let recovered = Recovered { segment: last.number, entries: last.entries, torn_bytes: last.torn_bytes };
        let writer = Self {
            directory: directory.to_owned(),
            options,
            keys,
            file,
            number: last.number,
            entries: last.entries,
            head: last.head,
            frame: Vec::new(),
            _lock: lock,
        };
        Ok((writer, recovered))
    }

    /// Appends an entry; begins the next segment first when this one is full.
    ///
    /// # Errors
    /// [`SegmentError::EntryTooLarge`], or the disk's: then the entry is not in the chain.
    pub fn append(&mut self, payload: &[u8]) -> Result<Appended, SegmentError> {
        if payload.len() > ENTRY_BYTES_MAX {
            return Err(SegmentError::EntryTooLarge { bytes: payload.len() });
        }
        // The seal must fit as well, and the file be one that the verifier reads.
        let longest = self.options.segment_bytes_max.min(SEGMENT_BYTES_MAX - 4096);
        let needed = (frame::HEAD_BYTES + Head::BYTES + payload.len()) as u64;
        if self.entries > 0 && self.file.as_ref().is_some_and(|file| file.length() + needed > longest) {
            self.seal()?;
        }
        let file = match &mut self.file {
            Some(file) => file,
            None => {
                let path = self.directory.join(file_name(self.number));
                let header = put_header(self.number, self.head);
                let file = AppendFile::create(&path, &header, self.options.durability);
                let file = file.map_err(SegmentError::io(&path, "made"))?;
                self.head = Head::of(&header);
                self.file.insert(file)
            }
        };
        self.frame.clear();
        frame::put(&mut self.frame, ENTRY, &[&self.head.0, payload]);
        file.append(&self.frame)?;
        self.head = Head::of(&self.frame);
        self.entries += 1;
        Ok(Appended { segment: self.number, entry: self.entries - 1, head: self.head })
    }

    /// Makes every entry so far durable.
    ///
    /// # Errors
    /// The disk's; then what it holds is unknown until the chain is opened again.
    pub fn flush(&mut self) -> Result<(), SegmentError> {
        match &mut self.file {
            Some(file) => Ok(file.flush()?),
            None => Ok(()),
        }
    }

    /// Signs the current segment, if it has entries; the next entry begins another. Answers with the signed head.
    ///
    /// # Errors
    /// The disk's; then the segment is not sealed.
    pub fn seal(&mut self) -> Result<Head, SegmentError> {
        let Some(file) = self.file.as_mut().filter(|_| self.entries > 0) else { return Ok(self.head) };
        let key_id = self.keys.current_id();
        let signature = self.keys.sign(&seal_message(self.number, self.entries, self.head, key_id));
        self.frame.clear();
        let count = self.entries.to_le_bytes();
        frame::put(&mut self.frame, SEAL, &[&count, &self.head.0, &key_id.to_bytes(), &signature.bytes]);
        file.append(&self.frame)?;
        // The next header names this head: it must not be on the disk before what it stands for.
        file.flush()?;
        (self.file, self.number, self.entries) = (None, self.number + 1, 0);
        Ok(self.head)
    }

    /// Signs with other keys from the next seal on.
    pub fn set_keys(&mut self, keys: Arc<SigningKeys>) {
        self.keys = keys;
    }

    /// The head of the chain: what to keep elsewhere, for [`Expect::head`](super::Expect::head).
    pub fn head(&self) -> Head {
        self.head
    }
}

/// The last segment of a chain as it was left.
struct Last {
    number: u64,
    /// Length of what is whole; none when the file is still to be made.
    length: Option<u64>,
    entries: u64,
    /// The head of the chain so far.
    head: Head,
    sealed: bool,
    torn_bytes: u64,
}

impl Last {
    fn fresh() -> Self {
        Self { number: 0, length: None, entries: 0, head: Head::START, sealed: false, torn_bytes: 0 }
    }

    fn find(directory: &Path) -> Result<Option<Self>, SegmentError> {
        let Some(number) = numbers(directory)?.pop() else { return Ok(None) };
        let path = directory.join(file_name(number));
        let bytes = read_segment(&path)?;
        let refuse = |fault| SegmentError::Refused { file: path.clone(), fault };
        let before = match number.checked_sub(1) {
            None => Head::START,
            Some(before) => Self::head_of(directory, before)?,
        };
        let mut chain = match Chain::begin(&bytes, number, before) {
            Ok(chain) => chain,
            // The power went while the file was made: nothing was ever in it.
            Err(SegmentFault::NoHeader) if holds_no_frame(&bytes) => {
                std::fs::remove_file(&path).map_err(SegmentError::io(&path, "removed"))?;
                let torn_bytes = bytes.len() as u64;
                return Ok(Some(Self { number, head: before, torn_bytes, ..Self::fresh() }));
            }
            Err(fault) => return Err(refuse(fault)),
        };
        while chain.next().map_err(refuse)?.is_some() {}
        if chain.seal.is_some() && chain.offset != bytes.len() {
            return Err(refuse(SegmentFault::BehindSeal { offset: chain.offset as u64 }));
        }
        if let Tail::Damaged { .. } = chain.tail() {
            return Err(refuse(chain.altered()));
        }
        Ok(Some(Self {
            number,
            length: Some(chain.offset as u64),
            entries: chain.entries,
            head: chain.head,
            sealed: chain.seal.is_some(),
            torn_bytes: (bytes.len() - chain.offset) as u64,
        }))
    }

    /// The head of a sealed segment, from its own bytes.
    fn head_of(directory: &Path, number: u64) -> Result<Head, SegmentError> {
        let path = directory.join(file_name(number));
        let refuse = |fault| SegmentError::Refused { file: path.clone(), fault };
        if !path.exists() {
            return Err(refuse(SegmentFault::Missing { number }));
        }
        let bytes = read_segment(&path)?;
        sealed_head(&bytes).ok_or_else(|| refuse(SegmentFault::Unsealed { entries: 0 }))
    }
}

/// Whether no frame stands anywhere in the bytes.
fn holds_no_frame(bytes: &[u8]) -> bool {
    let (frames, _, tail) = frame::scan(bytes);
    frames.is_empty() && !matches!(tail, Tail::Damaged { .. })
}
