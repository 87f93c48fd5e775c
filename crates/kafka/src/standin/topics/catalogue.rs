//! The catalogue: topics, their identities and settings, in one versioned file that is replaced as a whole.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::wire::TopicId;

/// The version of the file's format.
const FORMAT: u32 = 1;
const FILE_NAME: &str = "catalogue.json";
/// How many producer ids one write of the catalogue allots; as many may be skipped by a restart. Kafka's block size.
pub const PRODUCER_ID_BLOCK: i64 = 1_000;

/// One topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TopicEntry {
    /// Its identity, as 32 hexadecimal digits; a topic made again under the same name gets another.
    #[serde(with = "hex_id")]
    pub id: TopicId,
    /// How many partitions.
    pub partitions: i32,
    /// The settings that differ from the default.
    pub configs: BTreeMap<String, String>,
}

/// All topics of the broker, and the counters that must outlive it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Catalogue {
    format: u32,
    /// The cluster's identity, made at the first start.
    pub cluster_id: String,
    /// The node's number.
    pub node_id: i32,
    /// The first producer id that was never allotted.
    pub next_producer_id: i64,
    /// By name.
    pub topics: BTreeMap<String, TopicEntry>,
}

/// Why the catalogue cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    /// Reading or writing failed.
    #[error("{}: cannot be {action}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Read or written.
        action: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The file is there and not one that this version wrote.
    #[error("{}: not a catalogue of this version", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// The file has another version.
    #[error("{}: format {found}, this version reads format {FORMAT}", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// The version found.
        found: u32,
    },
    /// The directory belongs to another node.
    #[error("{}: belongs to {what} {found}, not {wanted}", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// Node or cluster.
        what: &'static str,
        /// Whose it is.
        found: String,
        /// Whom we were asked to be.
        wanted: String,
    },
}

impl Catalogue {
    /// A catalogue without topics.
    pub fn new(cluster_id: String, node_id: i32) -> Self {
        Self { format: FORMAT, cluster_id, node_id, next_producer_id: 0, topics: BTreeMap::new() }
    }

    /// The number of partitions of all topics.
    pub fn partition_count(&self) -> usize {
        self.topics.values().map(|t| t.partitions.max(0) as usize).sum()
    }

    /// Reads the catalogue of a data directory; none if there is none yet.
    pub fn load(dir: &Path) -> Result<Option<Self>, CatalogueError> {
        let path = dir.join(FILE_NAME);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(CatalogueError::Io { path, action: "read", source }),
        };
        #[derive(Deserialize)]
        struct Version {
            format: u32,
        }
        match serde_json::from_slice::<Version>(&bytes) {
            Ok(version) if version.format != FORMAT => Err(CatalogueError::Version { path, found: version.format }),
            Err(source) => Err(CatalogueError::Format { path, source }),
            Ok(_) => serde_json::from_slice(&bytes).map(Some).map_err(|source| CatalogueError::Format { path, source }),
        }
    }

    /// Checks that the directory is whom we were asked to be.
    pub fn check_owner(&self, dir: &Path, cluster_id: Option<&str>, node_id: i32) -> Result<(), CatalogueError> {
        let foreign = |what, found: String, wanted: String| {
            Err(CatalogueError::Foreign { path: dir.join(FILE_NAME), what, found, wanted })
        };
        if self.node_id != node_id {
            return foreign("node", self.node_id.to_string(), node_id.to_string());
        }
        match cluster_id {
            Some(wanted) if wanted != self.cluster_id => foreign("cluster", self.cluster_id.clone(), wanted.to_owned()),
            _ => Ok(()),
        }
    }

    /// Replaces the file by this catalogue. Durable when it returns.
    pub fn store(&self, dir: &Path) -> Result<(), CatalogueError> {
        let path = dir.join(FILE_NAME);
        let part = dir.join(format!("{FILE_NAME}.part"));
        let bytes =
            serde_json::to_vec_pretty(self).map_err(|source| CatalogueError::Format { path: path.clone(), source })?;
        let replace = || -> io::Result<()> {
            let mut file = File::create(&part)?;
            file.write_all(&bytes)?;
            file.sync_all()?;
            fs::rename(&part, &path)?;
            File::open(dir)?.sync_all()
        };
        replace().map_err(|source| CatalogueError::Io { path, action: "written", source })
    }
}

/// The identity as 32 hexadecimal digits: the name of the topic's directory.
pub fn hex(id: TopicId) -> String {
    format!("{:032x}", u128::from_be_bytes(id.0))
}

mod hex_id {
    use serde::{Deserialize, Deserializer, Serializer, de};

    use crate::wire::TopicId;

    pub(super) fn serialize<S: Serializer>(id: &TopicId, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&super::hex(*id))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<TopicId, D::Error> {
        let text = String::deserialize(from)?;
        if text.len() != 32 {
            return Err(de::Error::custom("a topic id has 32 hexadecimal digits"));
        }
        u128::from_str_radix(&text, 16).map(|n| TopicId(n.to_be_bytes())).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test panics on failure
    use super::*;

    #[test]
    fn a_stored_catalogue_is_read_back_and_replaced_as_a_whole() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Catalogue::load(dir.path()).unwrap(), None);
        let mut catalogue = Catalogue::new("c".into(), 1);
        catalogue.store(dir.path()).unwrap();
        let entry = TopicEntry {
            id: TopicId([7; 16]),
            partitions: 3,
            configs: [("retention.ms".to_owned(), "5".to_owned())].into(),
        };
        catalogue.topics.insert("t".into(), entry);
        catalogue.next_producer_id = 4;
        catalogue.store(dir.path()).unwrap();
        let read = Catalogue::load(dir.path()).unwrap().unwrap();
        assert_eq!(read, catalogue);
        assert_eq!(read.partition_count(), 3);
    }

    #[test]
    fn a_foreign_or_damaged_catalogue_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let check = |content: &str, expect: &str| {
            fs::write(dir.path().join(FILE_NAME), content).unwrap();
            let error = Catalogue::load(dir.path()).unwrap_err().to_string();
            assert!(error.contains(expect), "{error}");
        };
        check("", "not a catalogue of this version");
        check("{\"format\":1}", "not a catalogue of this version");
        check("{\"format\":9}", "format 9, this version reads format 1");
        let ours = Catalogue::new("c".into(), 1);
        assert!(ours.check_owner(dir.path(), None, 1).is_ok());
        assert!(ours.check_owner(dir.path(), Some("d"), 1).unwrap_err().to_string().contains("cluster c, not d"));
        assert!(ours.check_owner(dir.path(), Some("c"), 2).unwrap_err().to_string().contains("node 1, not 2"));
    }
}
