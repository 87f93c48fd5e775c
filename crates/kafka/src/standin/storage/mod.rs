//! The storage shell of a partition log: segment files, index, flush policy, recovery.
//!
//! Owns every file of a partition. Invariants: what was answered durable is read again after SIGKILL (BROKER-1), and a
//! batch whose checksum fails is never served (BROKER-2). Decides nothing about records: `log` does.
//!
//! # On disk
//! A directory per partition holds
//! - `OFFSET.log`: segments. A header of 24 bytes (format, flags, base offset, checksum), then record batches as they
//!   are on the wire, so that what is read is what is sent.
//! - `OFFSET.index`: each segment's sparse index of offsets and times; made again when it is missing or damaged.
//! - `checkpoint`: log start, leader epochs and producers at the recovery point. Only what is above it is scanned when
//!   the store opens.
//! - `durable`: how far the last fsync reached. A batch above it that cannot be read is a write that never finished,
//!   and is cut; one below it is damage: its offsets stay taken, reading them is refused, and the records behind it
//!   are still served.
//!
//! # What blocks
//! [`PartitionStore::append`] writes to a file and may wait for the disk when the page cache is full;
//! [`PartitionStore::read`] blocks only for batches that have left the cache. `flush`, `close`, `delete`,
//! `delete_records_before`, `apply_retention`, `compact` and `open` wait for fsync: call them where blocking is
//! allowed. Nothing waits for fsync in `append`: it returns a [`Durable`] to be awaited, and one fsync of a flusher
//! thread serves every append that came before it.

mod atomic;
mod cache;
mod checkpoint;
mod compact;
mod config;
mod disk;
mod durable;
mod error;
mod flush;
mod index;
mod read;
mod recovery;
mod segment;
mod store;
mod times;
mod walk;
mod write;

#[cfg(test)]
mod tests;

pub use config::{Flush, StoreConfig, StoreFaults};
pub use disk::{Disk, DiskConfig};
pub use durable::{Durable, Progress};
pub use error::{AppendError, ReadError, StoreError};
pub use read::ReadOut;
pub use recovery::{Damage, Recovery};
pub use store::{Appended, PartitionStore};
pub use times::{TimeQuery, TimestampOffset};
