//! Iceberg tables from their files: metadata in JSON, manifests in Avro. Format version 2; local files.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use apache_avro::types::Value as Avro;
use serde::Deserialize;

use super::LakeError;

/// Most bytes of a metadata file: snapshots and schemas of years.
const METADATA_BYTES_MAX: u64 = 256 << 20;

/// A table as its valid metadata file says.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct TableMetadata {
    format_version: u8,
    #[serde(default)]
    current_snapshot_id: Option<i64>,
    #[serde(default)]
    snapshots: Vec<SnapshotMetadata>,
    schemas: Vec<SchemaMetadata>,
    /// What the table's owner says of it.
    #[serde(default)]
    pub properties: HashMap<String, String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct SnapshotMetadata {
    snapshot_id: i64,
    manifest_list: String,
    #[serde(default)]
    summary: HashMap<String, String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct SchemaMetadata {
    fields: Vec<FieldMetadata>,
}

#[derive(Debug, Clone, Deserialize)]
struct FieldMetadata {
    id: i32,
    name: String,
}

/// A snapshot: it does not change while it is read.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Its number.
    pub id: i64,
    /// What it says of itself.
    pub summary: HashMap<String, String>,
    list: PathBuf,
}

/// A file of rows.
#[derive(Debug, Clone)]
pub struct DataFile {
    /// Where it is.
    pub path: PathBuf,
    /// As the table calls it: files of deletes name it so.
    pub name: String,
    /// Lowest and highest values of fields, by id, as far as they are told.
    pub bounds: HashMap<i32, (Vec<u8>, Vec<u8>)>,
}

/// The files of a snapshot.
#[derive(Debug, Clone, Default)]
pub struct Files {
    /// Of rows.
    pub data: Vec<DataFile>,
    /// Of positions of rows that are gone.
    pub deletes: Vec<DataFile>,
}

impl TableMetadata {
    /// Reads a metadata file.
    ///
    /// # Errors
    /// A file that cannot be read, or is no metadata of version 2.
    pub fn read(location: &str) -> Result<Self, LakeError> {
        let path = local(location)?;
        let io = |source| LakeError::Io { path: path.clone(), source };
        if std::fs::metadata(&path).map_err(io)?.len() > METADATA_BYTES_MAX {
            return Err(LakeError::format(&path, "is absurdly large"));
        }
        let bytes = std::fs::read(&path).map_err(io)?;
        let metadata: Self =
            serde_json::from_slice(&bytes).map_err(|source| LakeError::Json { path: path.clone(), source })?;
        if metadata.format_version != 2 {
            return Err(LakeError::format(&path, "is not of format version 2"));
        }
        Ok(metadata)
    }

    /// The newest snapshot; none of a table that has no rows yet.
    ///
    /// # Errors
    /// One that the metadata does not have.
    pub fn current(&self) -> Result<Option<Snapshot>, LakeError> {
        let Some(id) = self.current_snapshot_id.filter(|id| *id != -1) else { return Ok(None) };
        let found = self.snapshots.iter().find(|snapshot| snapshot.snapshot_id == id);
        let found = found.ok_or(LakeError::NoSnapshot(id))?;
        Ok(Some(Snapshot { id, summary: found.summary.clone(), list: local(&found.manifest_list)? }))
    }

    /// Every name that a field had, by its id.
    pub fn names(&self) -> BTreeMap<i32, Vec<&str>> {
        let mut names: BTreeMap<i32, Vec<&str>> = BTreeMap::new();
        for field in self.schemas.iter().flat_map(|schema| &schema.fields) {
            let of = names.entry(field.id).or_default();
            if !of.contains(&field.name.as_str()) {
                of.push(&field.name);
            }
        }
        names
    }
}

impl Snapshot {
    /// The files that it is made of.
    ///
    /// # Errors
    /// Manifests that cannot be read, or that name files this reader does not know.
    pub fn files(&self) -> Result<Files, LakeError> {
        let mut files = Files::default();
        for manifest in records(&self.list)? {
            let manifest = record(&manifest, &self.list)?;
            let path = local(text(manifest, "manifest_path", &self.list)?)?;
            for entry in records(&path)? {
                let entry = record(&entry, &path)?;
                // 2: a file that went with this manifest.
                if long(entry, "status", &path)? == 2 {
                    continue;
                }
                let file = entry.iter().find(|(name, _)| name == "data_file").map(|(_, value)| value);
                let file = record(file.ok_or_else(|| LakeError::format(&path, "has an entry without a file"))?, &path)?;
                let name = text(file, "file_path", &path)?.to_owned();
                if !text(file, "file_format", &path)?.eq_ignore_ascii_case("parquet") {
                    return Err(LakeError::format(&path, "names a file that is not Parquet"));
                }
                let bounds = bounds(file);
                let one = DataFile { path: local(&name)?, name, bounds };
                match long(file, "content", &path)? {
                    0 => files.data.push(one),
                    1 => files.deletes.push(one),
                    _ => return Err(LakeError::format(&path, "names equality deletes, which no lake of ours writes")),
                }
            }
        }
        Ok(files)
    }
}

/// The path of a `file:` location.
pub(super) fn local(location: &str) -> Result<PathBuf, LakeError> {
    let path = location.strip_prefix("file://").or_else(|| location.strip_prefix("file:")).unwrap_or(location);
    if path.starts_with('/') { Ok(PathBuf::from(path)) } else { Err(LakeError::Location(location.to_owned())) }
}

fn records(path: &Path) -> Result<Vec<Avro>, LakeError> {
    let file = File::open(path).map_err(|source| LakeError::Io { path: path.to_owned(), source })?;
    let avro = |source| LakeError::Avro { path: path.to_owned(), source: Box::new(source) };
    let reader = apache_avro::Reader::new(BufReader::new(file)).map_err(avro)?;
    reader.map(|value| value.map_err(avro)).collect()
}

type Fields = [(String, Avro)];

fn record<'a>(value: &'a Avro, path: &Path) -> Result<&'a Fields, LakeError> {
    match value {
        Avro::Record(fields) => Ok(fields),
        _ => Err(LakeError::format(path, "holds something that is no record")),
    }
}

fn field<'a>(fields: &'a Fields, name: &str) -> Option<&'a Avro> {
    let value = fields.iter().find(|(found, _)| found == name).map(|(_, value)| value)?;
    match value {
        Avro::Union(_, inner) => Some(inner),
        other => Some(other),
    }
}

fn text<'a>(fields: &'a Fields, name: &str, path: &Path) -> Result<&'a str, LakeError> {
    match field(fields, name) {
        Some(Avro::String(text)) => Ok(text),
        _ => Err(LakeError::format(path, "has an entry without a path or format")),
    }
}

fn long(fields: &Fields, name: &str, path: &Path) -> Result<i64, LakeError> {
    match field(fields, name) {
        Some(Avro::Int(value)) => Ok(i64::from(*value)),
        Some(Avro::Long(value)) => Ok(*value),
        _ => Err(LakeError::format(path, "has an entry without a status or content")),
    }
}

/// Bounds that cannot be read are none: the file is then read.
fn bounds(file: &Fields) -> HashMap<i32, (Vec<u8>, Vec<u8>)> {
    let of = |name| {
        let mut found: HashMap<i32, Vec<u8>> = HashMap::new();
        let Some(Avro::Array(items)) = field(file, name) else { return found };
        for item in items {
            let Avro::Record(item) = item else { continue };
            if let (Some(Avro::Int(key)), Some(Avro::Bytes(value))) = (field(item, "key"), field(item, "value")) {
                found.insert(*key, value.clone());
            }
        }
        found
    };
    let mut upper = of("upper_bounds");
    of("lower_bounds").into_iter().filter_map(|(id, low)| Some((id, (low, upper.remove(&id)?)))).collect()
}
