//! A row delta: data files, position deletes and what the snapshot says of itself, in one atomic step.
//!
//! iceberg-rust can append through its transactions, but not delete rows. Its public parts suffice: writers of manifests
//! and manifest lists, the builder of metadata; the swap is the catalogue's. Everything that a commit of rows needs beyond
//! iceberg-rust stands in this file, so that it can be handed upstream. Files go to storage first, the swap is last: a
//! crash at any point leaves the table as it was, and files that nothing names.

use std::collections::{BTreeMap, HashMap, HashSet};

use iceberg::spec::{
    DataContentType, DataFile, ManifestContentType, ManifestFile, ManifestListWriter, ManifestWriter,
    ManifestWriterBuilder, Operation, Schema, Snapshot, Summary, TableMetadata,
};
use iceberg::table::Table;
use uuid::Uuid;

use crate::catalogue::Catalogue;
use crate::error::LakeError;

/// The branch that readers follow.
const MAIN: &str = "main";

/// What one commit changes.
#[derive(Debug, Default)]
pub struct RowDelta {
    /// New data files.
    pub data: Vec<DataFile>,
    /// New files of position deletes.
    pub deletes: Vec<DataFile>,
    /// Data files that go, by path. With it every older file of position deletes goes, too: `deletes` says anew what is
    /// deleted in the files that stay.
    pub replaced: Option<HashSet<String>>,
    /// What the snapshot says of itself, beside counts.
    pub summary: BTreeMap<String, String>,
    /// Snapshots that are forgotten with this commit.
    pub expired: Vec<i64>,
    /// When, in milliseconds since 1970.
    pub at_ms: i64,
}

impl RowDelta {
    /// Commits it on what `table` was read from.
    ///
    /// # Errors
    /// [`LakeError::Fenced`] when somebody else has committed since; else when files or the catalogue cannot be written.
    pub async fn commit(self, catalogue: &Catalogue, table: &Table) -> Result<Table, LakeError> {
        let metadata = self.build(table).await?;
        catalogue.swap(table, metadata).await
    }

    async fn build(self, table: &Table) -> Result<TableMetadata, LakeError> {
        let Self { data, deletes, replaced, summary, expired, at_ms } = self;
        let metadata = table.metadata();
        let commit = Uuid::now_v7();
        let snapshot_id = free_snapshot_id(metadata);
        let sequence = metadata.next_sequence_number();
        let operation = match (&replaced, deletes.is_empty()) {
            (Some(_), _) => Operation::Replace,
            (None, true) => Operation::Append,
            (None, false) => Operation::Overwrite,
        };
        let mut manifests: Vec<ManifestFile> = Vec::new();
        if let Some(snapshot) = metadata.current_snapshot() {
            manifests.extend(table.manifest_list_reader(snapshot).load().await?.consume_entries());
        }
        let mut counts = Counts::of(metadata, &data, &deletes);
        let writing = Writing { table, commit, snapshot_id };
        let mut written = Vec::new();
        match &replaced {
            None => {
                if !data.is_empty() {
                    let mut writer = writing.manifest(ManifestContentType::Data)?;
                    for file in data {
                        writer.add_file(file, sequence)?;
                    }
                    written.push(writer.write_manifest_file().await?);
                }
            }
            Some(replaced) => {
                let mut writer = writing.manifest(ManifestContentType::Data)?;
                let mut any = !data.is_empty();
                for file in data {
                    writer.add_file(file, sequence)?;
                }
                for manifest in std::mem::take(&mut manifests) {
                    let loaded = manifest.load_manifest(table.file_io()).await?;
                    for entry in loaded.entries().iter().filter(|entry| entry.is_alive()) {
                        if entry.content_type() != DataContentType::Data {
                            counts.delete_files_gone += 1;
                            continue;
                        }
                        any = true;
                        let file = entry.data_file().clone();
                        let own_sequence = entry.sequence_number().unwrap_or(0);
                        if replaced.contains(entry.file_path()) {
                            counts.data_files_gone += 1;
                            counts.rows_gone += entry.record_count();
                            writer.add_delete_file(file, own_sequence, entry.file_sequence_number)?;
                        } else {
                            let added_by = entry.snapshot_id().unwrap_or(snapshot_id);
                            writer.add_existing_file(file, added_by, own_sequence, entry.file_sequence_number)?;
                        }
                    }
                }
                if any {
                    written.push(writer.write_manifest_file().await?);
                }
            }
        }
        if !deletes.is_empty() {
            let mut writer = writing.manifest(ManifestContentType::Deletes)?;
            for file in deletes {
                writer.add_file(file, sequence)?;
            }
            written.push(writer.write_manifest_file().await?);
        }
        manifests.extend(written);
        let list = format!("{}/metadata/snap-{snapshot_id}-0-{commit}.avro", metadata.location());
        let output = table.file_io().new_output(&list)?.writer().await?;
        let mut lister = ManifestListWriter::v2(output, snapshot_id, metadata.current_snapshot_id(), sequence);
        lister.add_manifests(manifests.into_iter())?;
        lister.close().await?;
        let snapshot = Snapshot::builder()
            .with_manifest_list(list)
            .with_snapshot_id(snapshot_id)
            .with_parent_snapshot_id(metadata.current_snapshot_id())
            .with_sequence_number(sequence)
            .with_summary(Summary { operation, additional_properties: counts.properties(summary) })
            .with_schema_id(metadata.current_schema_id())
            .with_timestamp_ms(at_ms.max(metadata.last_updated_ms()))
            .build();
        let before = table.metadata_location_result()?.to_owned();
        let builder = metadata.clone().into_builder(Some(before)).set_branch_snapshot(snapshot, MAIN)?;
        Ok(builder.remove_snapshots(&expired).build()?.metadata)
    }
}

/// Commits a new schema, and properties of the table with it.
///
/// # Errors
/// As [`RowDelta::commit`].
pub async fn evolve(
    catalogue: &Catalogue,
    table: &Table,
    schema: Schema,
    properties: HashMap<String, String>,
) -> Result<Table, LakeError> {
    let before = table.metadata_location_result()?.to_owned();
    let builder = table.metadata().clone().into_builder(Some(before)).set_properties(properties)?;
    catalogue.swap(table, builder.add_current_schema(schema)?.build()?.metadata).await
}

/// The manifests of one commit.
struct Writing<'a> {
    table: &'a Table,
    commit: Uuid,
    snapshot_id: i64,
}

impl Writing<'_> {
    fn manifest(&self, content: ManifestContentType) -> Result<ManifestWriter, LakeError> {
        let metadata = self.table.metadata();
        let kind = match content {
            ManifestContentType::Data => "data",
            ManifestContentType::Deletes => "deletes",
        };
        let path = format!("{}/metadata/{}-{kind}.avro", metadata.location(), self.commit);
        let builder = ManifestWriterBuilder::new(
            self.table.file_io().new_output(path)?,
            Some(self.snapshot_id),
            metadata.current_schema().clone(),
            metadata.default_partition_spec().as_ref().clone(),
        );
        Ok(match content {
            ManifestContentType::Data => builder.build_v2_data(),
            ManifestContentType::Deletes => builder.build_v2_deletes(),
        })
    }
}

/// What other programs expect a snapshot to say of itself.
struct Counts {
    before: HashMap<String, String>,
    data_files: u64,
    delete_files: u64,
    rows: u64,
    positions: u64,
    data_files_gone: u64,
    delete_files_gone: u64,
    rows_gone: u64,
}

impl Counts {
    fn of(metadata: &TableMetadata, data: &[DataFile], deletes: &[DataFile]) -> Self {
        let before = metadata.current_snapshot().map(|snapshot| snapshot.summary().additional_properties.clone());
        Self {
            before: before.unwrap_or_default(),
            data_files: data.len() as u64,
            delete_files: deletes.len() as u64,
            rows: data.iter().map(DataFile::record_count).sum(),
            positions: deletes.iter().map(DataFile::record_count).sum(),
            data_files_gone: 0,
            delete_files_gone: 0,
            rows_gone: 0,
        }
    }

    fn total(&self, name: &str, added: u64, gone: u64) -> String {
        let before = self.before.get(name).and_then(|count| count.parse::<u64>().ok()).unwrap_or(0);
        (before + added).saturating_sub(gone).to_string()
    }

    fn properties(&self, summary: BTreeMap<String, String>) -> HashMap<String, String> {
        let mut properties: HashMap<_, _> = summary.into_iter().collect();
        let mut say = |name: &str, value: String| properties.insert(name.to_owned(), value);
        say("added-data-files", self.data_files.to_string());
        say("added-delete-files", self.delete_files.to_string());
        say("added-records", self.rows.to_string());
        say("added-position-deletes", self.positions.to_string());
        if self.data_files_gone > 0 {
            say("deleted-data-files", self.data_files_gone.to_string());
            say("deleted-records", self.rows_gone.to_string());
        }
        say("total-data-files", self.total("total-data-files", self.data_files, self.data_files_gone));
        say("total-delete-files", self.total("total-delete-files", self.delete_files, self.delete_files_gone));
        say("total-records", self.total("total-records", self.rows, self.rows_gone));
        properties
    }
}

/// Positive, and not yet used in this table.
fn free_snapshot_id(metadata: &TableMetadata) -> i64 {
    loop {
        // The low half of such an id is random but for its two highest bits.
        let (_, random) = Uuid::now_v7().as_u64_pair();
        let id = (random & (i64::MAX as u64)) as i64;
        if id != 0 && metadata.snapshot_by_id(id).is_none() {
            return id;
        }
    }
}
