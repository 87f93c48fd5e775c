//! How far a spool was acknowledged: two slots, written in turn, so that one is always whole.
//!
//! A slot is version (2), two zero bytes, turn (8), count (8), CRC32C of what is in front of it (4). The whole slot
//! with the higher turn holds.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

const SLOT_BYTES: usize = 24;
const VERSION: u16 = 1;

#[derive(Debug)]
pub(super) struct Acknowledged {
    file: File,
    turn: u64,
    durable: bool,
}

impl Acknowledged {
    /// Opens the file or makes it. Without a whole slot the count is zero: everything that is there is handed over.
    pub(super) fn open(path: &Path) -> io::Result<(Self, u64)> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let mut newest = (0, 0);
        for slot in 0..2 {
            let mut bytes = [0; SLOT_BYTES];
            match file.read_exact_at(&mut bytes, slot * SLOT_BYTES as u64) {
                Ok(()) => newest = newest.max(parse(&bytes).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {}
                Err(error) => return Err(error),
            }
        }
        let (turn, count) = newest;
        Ok((Self { file, turn, durable: false }, count))
    }

    /// Records the count; durable only after a flush, since a lost one means only that entries are handed over again.
    pub(super) fn set(&mut self, count: u64) -> io::Result<()> {
        let turn = self.turn + 1;
        let mut bytes = [0; SLOT_BYTES];
        bytes[..2].copy_from_slice(&VERSION.to_le_bytes());
        bytes[4..12].copy_from_slice(&turn.to_le_bytes());
        bytes[12..20].copy_from_slice(&count.to_le_bytes());
        let checksum = crc32c::crc32c(&bytes[..20]);
        bytes[20..].copy_from_slice(&checksum.to_le_bytes());
        self.durable = false;
        self.file.write_all_at(&bytes, (turn % 2) * SLOT_BYTES as u64)?;
        self.turn = turn;
        Ok(())
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        if !self.durable {
            self.file.sync_data()?;
            self.durable = true;
        }
        Ok(())
    }
}

fn parse(bytes: &[u8; SLOT_BYTES]) -> Option<(u64, u64)> {
    let (body, checksum) = bytes.split_last_chunk()?;
    let (version, rest) = body.split_first_chunk()?;
    let (turn, rest) = rest.get(2..)?.split_first_chunk()?;
    let (count, _) = rest.split_first_chunk()?;
    let sound = crc32c::crc32c(body) == u32::from_le_bytes(*checksum) && u16::from_le_bytes(*version) == VERSION;
    sound.then_some((u64::from_le_bytes(*turn), u64::from_le_bytes(*count)))
}
