//! A sketch as bytes. All numbers are big-endian:
//!
//! ```text
//! 4E 53 4B, u8     "NSK", version (1)
//! u8, u8, u16      tables (4), sums, 0
//! u32, u64         cells over all tables, name of the key
//! i64, u128        count, sum of hashes
//! i128 per sum     amounts in units of 10^-9
//! per cell         i64 count, u64 sum of checks, u128 sum of packed identities, u128 sum of hashes
//! ```
//!
//! Every record stands in each table once, so each table's cells must come to the same: bytes of which that is not true
//! are refused.

use super::{Cell, HASHES, Key, SUMS_MAX, Shape, ShapeError, Sketch, Unlike};

/// The version that this program writes and the only one it reads.
pub const ENCODING_VERSION: u8 = 1;

const MAGIC: [u8; 3] = *b"NSK";
const HEADER_BYTES: usize = 44;
const SUM_BYTES: usize = 16;
const CELL_BYTES: usize = 48;

/// Bytes that are no sketch, or not one to compare with. No retry helps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Something else.
    #[error("these bytes are no sketch")]
    NoSketch,
    /// Another version of the encoding.
    #[error("a sketch of version {0}, this program reads {ENCODING_VERSION}")]
    Version(u8),
    /// Another number of tables.
    #[error("a sketch with {0} tables, this program has {HASHES}")]
    Tables(u8),
    /// A shape that no sketch has.
    #[error("a shape that no sketch has")]
    Shape(#[from] ShapeError),
    /// Cut, or with more behind it.
    #[error("{found} bytes, its header says {expected}")]
    Length {
        /// As its header says.
        expected: usize,
        /// What came.
        found: usize,
    },
    /// The tables do not come to the same.
    #[error("its tables do not come to the same: it was damaged or altered")]
    Torn,
    /// Under another key.
    #[error("made under another key")]
    Unlike(#[from] Unlike),
}

impl Sketch {
    /// The bytes of the sketch.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(encoded_bytes(self.shape));
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&[ENCODING_VERSION, HASHES as u8, self.shape.sums, 0, 0]);
        bytes.extend_from_slice(&self.shape.cells.to_be_bytes());
        bytes.extend_from_slice(&self.key.to_be_bytes());
        bytes.extend_from_slice(&self.count.to_be_bytes());
        bytes.extend_from_slice(&self.hash.to_be_bytes());
        self.sums().iter().for_each(|sum| bytes.extend_from_slice(&sum.to_be_bytes()));
        for cell in &self.cells {
            bytes.extend_from_slice(&cell.count.to_be_bytes());
            bytes.extend_from_slice(&cell.check.to_be_bytes());
            bytes.extend_from_slice(&cell.identity.to_be_bytes());
            bytes.extend_from_slice(&cell.hash.to_be_bytes());
        }
        bytes
    }

    /// The sketch of these bytes, which must have been made under this key.
    ///
    /// # Errors
    /// Bytes that are none; nothing is allocated before their length is what they say.
    pub fn decode(key: &Key, bytes: &[u8]) -> Result<Self, DecodeError> {
        let sketch = Self::decode_any(bytes)?;
        if sketch.key != key.name {
            return Err(Unlike::Key(key.name, sketch.key).into());
        }
        Ok(sketch)
    }

    /// The sketch of these bytes, under whatever key.
    ///
    /// # Errors
    /// As for [`Sketch::decode`], but for the key.
    pub fn decode_any(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut rest = bytes;
        if bytes.len() < HEADER_BYTES || take(&mut rest) != MAGIC {
            return Err(DecodeError::NoSketch);
        }
        let [version, tables, sums, zeros @ ..] = take::<5>(&mut rest);
        if version != ENCODING_VERSION {
            return Err(DecodeError::Version(version));
        }
        if usize::from(tables) != HASHES {
            return Err(DecodeError::Tables(tables));
        }
        if zeros != [0, 0] {
            return Err(DecodeError::NoSketch);
        }
        let shape = Shape::new(u32::from_be_bytes(take(&mut rest)) as usize, usize::from(sums))?;
        let expected = encoded_bytes(shape);
        if bytes.len() != expected {
            return Err(DecodeError::Length { expected, found: bytes.len() });
        }
        let key = u64::from_be_bytes(take(&mut rest));
        let count = i64::from_be_bytes(take(&mut rest));
        let hash = u128::from_be_bytes(take(&mut rest));
        let mut all = [0; SUMS_MAX];
        all.iter_mut().take(shape.sums()).for_each(|sum| *sum = i128::from_be_bytes(take(&mut rest)));
        let cell = |_| Cell {
            count: i64::from_be_bytes(take(&mut rest)),
            check: u64::from_be_bytes(take(&mut rest)),
            identity: u128::from_be_bytes(take(&mut rest)),
            hash: u128::from_be_bytes(take(&mut rest)),
        };
        let cells: Box<[Cell]> = (0..shape.cells()).map(cell).collect();
        let sketch = Self { key, shape, count, hash, sums: all, cells };
        if sketch.is_whole() { Ok(sketch) } else { Err(DecodeError::Torn) }
    }

    /// Whether every table comes to the same, and to what the head says.
    fn is_whole(&self) -> bool {
        let mut tables = self.cells.chunks_exact(self.cells.len() / HASHES).map(|table| {
            let mut sum = Cell::default();
            table.iter().for_each(|cell| sum.add(cell));
            sum
        });
        let Some(first) = tables.next() else { return false };
        first.count == self.count && first.hash == self.hash && tables.all(|table| table == first)
    }
}

fn encoded_bytes(shape: Shape) -> usize {
    HEADER_BYTES + shape.sums() * SUM_BYTES + shape.cells() * CELL_BYTES
}

/// The next bytes; the caller has looked that they are there.
fn take<const N: usize>(rest: &mut &[u8]) -> [u8; N] {
    let (taken, behind) = rest.split_first_chunk().expect("the length was looked at");
    *rest = behind;
    *taken
}
