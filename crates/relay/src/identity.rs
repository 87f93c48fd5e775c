//! What a relay is to its clients, kept over restarts: a cluster id, and an epoch that rises with every start (RELAY-8).

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use naru_kafka::wire::TopicId;
use rand::TryRng as _;
use rand::rngs::SysRng;

const FILE: &str = "identity";
/// As brokers count the epochs of a new partition.
const FIRST_EPOCH: i32 = 0;

/// Why the identity cannot be had. Our side; a retry helps after what the sentence names is mended.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The file system.
    #[error("{}: cannot be used", path.display())]
    File {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Not what a relay writes.
    #[error("{}: is not the identity of a relay", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// Every epoch was used.
    #[error("{}: every leader epoch was used", path.display())]
    Used {
        /// The file.
        path: PathBuf,
    },
}

/// A cluster id and an epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) cluster_id: String,
    /// Of this start: one more than of the last.
    pub(crate) epoch: i32,
    /// Producer id for copying history that a side refuses under its own producer; kept, as the sides hold its batches.
    pub(crate) copier_id: i64,
}

impl Identity {
    /// Begins the next epoch in a directory, durably. Blocks.
    pub(crate) fn next(dir: &Path) -> Result<Self, IdentityError> {
        let path = dir.join(FILE);
        let failed = |source| IdentityError::File { path: path.clone(), source };
        fs::create_dir_all(dir).map_err(failed)?;
        let next = match fs::read_to_string(&path) {
            Ok(text) => {
                let last = parse(&text).ok_or_else(|| IdentityError::Foreign { path: path.clone() })?;
                let epoch = last.epoch.checked_add(1).ok_or_else(|| IdentityError::Used { path: path.clone() })?;
                Self { epoch, ..last }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Self { cluster_id: TopicId(fresh()).to_string(), epoch: FIRST_EPOCH, copier_id: fresh_producer_id() }
            }
            Err(error) => return Err(failed(error)),
        };
        next.store(dir, &path).map_err(failed)?;
        Ok(next)
    }

    fn store(&self, dir: &Path, path: &Path) -> io::Result<()> {
        let beside = path.with_extension("new");
        let mut file = File::create(&beside)?;
        write!(file, "cluster_id {}\nepoch {}\ncopier_id {}\n", self.cluster_id, self.epoch, self.copier_id)?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        File::open(dir)?.sync_all()
    }
}

/// The copier's producer id of the relay whose state is in this directory; None where none has run.
///
/// # Errors
/// When the directory cannot be read, or holds something else.
pub fn copier_id(dir: &Path) -> Result<Option<i64>, IdentityError> {
    let path = dir.join(FILE);
    match fs::read_to_string(&path) {
        Ok(text) => match parse(&text) {
            Some(identity) => Ok(Some(identity.copier_id)),
            None => Err(IdentityError::Foreign { path }),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(IdentityError::File { path, source }),
    }
}

/// Random bytes of the system: identities of different relays and starts do not meet.
pub(crate) fn fresh<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    SysRng.try_fill_bytes(&mut bytes).expect("Linux gives random bytes without fail once it has started");
    bytes
}

/// Brokers count producer ids up from 0; none comes this far.
pub(crate) const BROKERS_IDS_MAX: i64 = 1 << 48;

/// 62 random bits: ids of brokers, of other relays and of other starts do not meet (RELAY-6).
pub(crate) fn fresh_producer_id() -> i64 {
    loop {
        // As good as always the first: one of 16,384 is too small.
        let id = i64::from_be_bytes(fresh()) & ((1 << 62) - 1);
        if id >= BROKERS_IDS_MAX {
            return id;
        }
    }
}

fn parse(text: &str) -> Option<Identity> {
    let mut lines = text.lines();
    let mut field = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(' ').filter(|value| !value.is_empty());
    let cluster_id = field("cluster_id")?.to_owned();
    let epoch = field("epoch")?.parse().ok()?;
    let copier_id = field("copier_id")?.parse().ok()?;
    Some(Identity { cluster_id, epoch, copier_id })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test panics on failure

    use super::*;

    #[test]
    fn every_start_has_a_higher_epoch_of_the_same_cluster() {
        let dir = tempfile::tempdir().unwrap();
        let first = Identity::next(dir.path()).unwrap();
        let second = Identity::next(dir.path()).unwrap();
        assert_eq!((first.epoch, second.epoch), (0, 1));
        assert_eq!((&first.cluster_id, first.copier_id), (&second.cluster_id, second.copier_id));
        let ids: std::collections::BTreeSet<i64> = (0..100_000).map(|_| fresh_producer_id()).collect();
        assert!(
            ids.len() == 100_000 && ids.iter().all(|id| *id >= BROKERS_IDS_MAX),
            "one of them is a broker's, or twice"
        );
        fs::write(dir.path().join(FILE), "something else").unwrap();
        assert!(matches!(Identity::next(dir.path()), Err(IdentityError::Foreign { .. })));
        fs::write(dir.path().join(FILE), format!("cluster_id x\nepoch {}\ncopier_id 7\n", i32::MAX)).unwrap();
        assert!(matches!(Identity::next(dir.path()), Err(IdentityError::Used { .. })));
    }
}
