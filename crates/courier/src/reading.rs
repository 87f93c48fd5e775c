//! Reading a recipient file line by line, in bounded memory.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use crate::log::Place;
use crate::recipients::{Columns, HeadError, LINE_BYTES_MAX};

/// Why a file cannot be sent to.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The system refuses. The operator's side, or the disk's.
    #[error("{path}: cannot be read")]
    System {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// Its head does not do. The one who made it is at fault.
    #[error("{path}")]
    Head {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: HeadError,
    },
}

/// A file, open at a line.
#[derive(Debug)]
pub struct Reading {
    path: PathBuf,
    file: BufReader<File>,
    columns: Columns,
    place: Place,
    line: Vec<u8>,
}

impl Reading {
    /// Opens a file at a place that was written down, or at its first line.
    ///
    /// # Errors
    /// When it cannot be read, or says nothing of consent.
    pub fn open(path: &Path, place: Place) -> Result<Self, FileError> {
        let system = |source| FileError::System { path: path.to_owned(), source };
        let mut file = BufReader::with_capacity(256 << 10, File::open(path).map_err(system)?);
        let mut head = Vec::new();
        let bytes = (&mut file).take(LINE_BYTES_MAX as u64).read_until(b'\n', &mut head).map_err(system)?;
        let columns = Columns::read(&String::from_utf8_lossy(&head))
            .map_err(|source| FileError::Head { path: path.to_owned(), source })?;
        let mut place = place;
        if place.byte == 0 {
            place.byte = bytes as u64;
        }
        file.seek(SeekFrom::Start(place.byte)).map_err(system)?;
        Ok(Self { path: path.to_owned(), file, columns, place, line: Vec::with_capacity(LINE_BYTES_MAX) })
    }

    /// Where the next line is.
    pub fn place(&self) -> Place {
        self.place
    }

    /// How its lines are read.
    pub fn columns(&self) -> Columns {
        self.columns
    }

    /// The next line and its number from 0; none at the end. Of one that is too long, more than may be, but not all.
    ///
    /// # Errors
    /// The disk's.
    pub fn read_line(&mut self) -> Result<Option<(u32, &[u8])>, FileError> {
        let system = |source| FileError::System { path: self.path.clone(), source };
        self.line.clear();
        let most = LINE_BYTES_MAX as u64 + 2;
        let mut bytes = (&mut self.file).take(most).read_until(b'\n', &mut self.line).map_err(system)? as u64;
        if bytes == 0 {
            return Ok(None);
        }
        if bytes == most && self.line.last() != Some(&b'\n') {
            bytes += self.file.skip_until(b'\n').map_err(system)? as u64;
        }
        let number = self.place.line;
        self.place.line += 1;
        self.place.byte += bytes;
        Ok(Some((number, &self.line)))
    }

    /// Begins the file again.
    ///
    /// # Errors
    /// When it cannot be read any more.
    pub fn again(self) -> Result<Self, FileError> {
        let place = Place { pass: self.place.pass + 1, line: 0, byte: 0 };
        Self::open(&self.path, place)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test panics on failure

    use super::*;

    #[test]
    fn lines_are_read_on_from_a_place_and_long_ones_do_not_fill_memory() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let long = "x".repeat(10_000);
        std::fs::write(file.path(), format!("id,token,consent,zone\na\n{long}\nb\nc")).unwrap();
        let mut reading = Reading::open(file.path(), Place::default()).unwrap();
        let mut next = |expect: Option<(u32, usize)>| {
            let read = reading.read_line().unwrap().map(|(number, line)| (number, line.len()));
            assert_eq!(read, expect);
            reading.place()
        };
        next(Some((0, 2)));
        let place = next(Some((1, LINE_BYTES_MAX + 2)));
        next(Some((2, 2)));
        next(Some((3, 1)));
        next(None);
        let mut again = Reading::open(file.path(), place).unwrap();
        assert_eq!(again.read_line().unwrap(), Some((2, b"b\n".as_slice())));
        let mut again = again.again().unwrap();
        assert_eq!(again.place().pass, 1);
        assert_eq!(again.read_line().unwrap(), Some((0, b"a\n".as_slice())));
    }
}
