//! What a table holds, committed and not: the one owner of its files, its index and its next commit.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::{concat_batches, filter_record_batch};
use arrow::datatypes::SchemaRef;
use futures::TryStreamExt as _;
use iceberg::spec::{DataContentType, DataFile, TableProperties};
use iceberg::table::Table;

use super::columns::{self, Kind};
use super::commit::RowDelta;
use super::index::{Key, KeyIndex, Keyer, Place};
use super::positions::Positions;
use super::progress::Progress;
use super::read::{self, FileView};
use super::view::{HotView, View};
use super::write::{self, DataWriter};
use crate::catalogue::Catalogue;
use crate::error::LakeError;

/// How long snapshots stay readable.
#[derive(Debug, Clone, Copy)]
pub struct Retention {
    /// Milliseconds.
    pub age_ms: i64,
    /// At most so many.
    pub snapshots_max: usize,
}

/// One change of a mirror.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The next row of the batch is the key's row.
    Put(Key),
    /// The key has no row.
    Remove(Key),
    /// No key that came through this partition has a row.
    Void,
}

/// Rows that are not committed.
#[derive(Debug)]
struct HotBatch {
    rows: RecordBatch,
    keys: Vec<Key>,
    gone: Arc<Positions>,
}

/// A table and all that is known of it.
#[derive(Debug)]
pub struct State {
    pub(super) table: Table,
    pub(super) topic: String,
    kind: Kind,
    pub(super) schema: SchemaRef,
    /// How long snapshots stay.
    pub retention: Retention,
    /// Only of mirrors.
    pub(super) keyer: Option<Arc<Keyer>>,
    pub(super) index: KeyIndex,
    /// By the number that the index gives; none where a file was replaced.
    pub(super) files: Vec<Option<FileView>>,
    hot: Vec<HotBatch>,
    hot_bytes: usize,
    /// Committed rows that are gone and whose commit is not.
    gone: BTreeSet<(u32, u32)>,
    /// How far the log is read, with what is hot.
    pub progress: Progress,
    committed: Progress,
    pub(super) committed_at_ms: i64,
    /// Files of position deletes in the newest snapshot.
    pub(super) delete_files: usize,
}

impl State {
    /// Reads what the newest snapshot of a table says, and nothing else.
    ///
    /// # Errors
    /// When its files cannot be read, or it is no table of a lake.
    pub async fn open(table: Table, topic: &str, kind: Kind, retention: Retention) -> Result<Self, LakeError> {
        let progress = Progress::of(&table, topic)?;
        let schema = columns::arrow(table.metadata().current_schema())?;
        let committed_at_ms = table.metadata().current_snapshot().map_or(0, |snapshot| snapshot.timestamp_ms());
        let mut state = Self {
            topic: topic.to_owned(),
            kind,
            schema,
            retention,
            keyer: None,
            index: KeyIndex::default(),
            files: Vec::new(),
            hot: Vec::new(),
            hot_bytes: 0,
            gone: BTreeSet::new(),
            committed: progress.clone(),
            progress,
            committed_at_ms,
            delete_files: 0,
            table,
        };
        state.load_files().await?;
        state.learn_key()?;
        state.load_index().await?;
        Ok(state)
    }

    async fn load_files(&mut self) -> Result<(), LakeError> {
        let Some(snapshot) = self.table.metadata().current_snapshot() else { return Ok(()) };
        let files = self.table.file_io().clone();
        let (mut data, mut gone) = (Vec::new(), HashMap::<String, Positions>::new());
        for manifest in self.table.manifest_list_reader(snapshot).load().await?.entries() {
            for entry in manifest.load_manifest(&files).await?.entries().iter().filter(|entry| entry.is_alive()) {
                let file = entry.data_file();
                if file.content_type() == DataContentType::Data {
                    data.push(file.clone());
                    continue;
                }
                self.delete_files += 1;
                for (path, row) in read::position_deletes(&files, file.file_path(), file.file_size_in_bytes()).await? {
                    gone.entry(path).or_default().insert(row);
                }
            }
        }
        for file in data {
            let gone = gone.remove(file.file_path()).unwrap_or_default();
            self.take_in(&file, gone);
        }
        Ok(())
    }

    pub(super) fn take_in(&mut self, data: &DataFile, gone: Positions) -> u32 {
        let view = FileView {
            path: Arc::from(data.file_path()),
            rows: u32::try_from(data.record_count()).unwrap_or(u32::MAX),
            bytes: data.file_size_in_bytes(),
            gone: Arc::new(gone),
        };
        self.files.push(Some(view));
        u32::try_from(self.files.len() - 1).unwrap_or(u32::MAX)
    }

    fn learn_key(&mut self) -> Result<(), LakeError> {
        let ids: Vec<i32> = self.table.metadata().current_schema().identifier_field_ids().collect();
        let is_key = |field: &Arc<arrow::datatypes::Field>| read::field_id(field).is_some_and(|id| ids.contains(&id));
        let fields = self.schema.fields();
        let columns: Vec<usize> = (0..fields.len()).filter(|index| is_key(&fields[*index])).collect();
        let types = columns.iter().map(|index| fields[*index].data_type().clone()).collect();
        self.keyer = match self.kind {
            Kind::Mirror => Some(Arc::new(Keyer::new(columns, types).map_err(|source| self.misfit(source))?)),
            _ => None,
        };
        Ok(())
    }

    async fn load_index(&mut self) -> Result<(), LakeError> {
        let Some(keyer) = self.keyer.clone() else { return Ok(()) };
        self.index = KeyIndex::default();
        let partition = self.schema.index_of(columns::PARTITION).map_err(|source| self.misfit(source))?;
        let mut wanted = keyer.columns().to_vec();
        wanted.push(partition);
        let schema = Arc::new(self.schema.project(&wanted).map_err(|source| self.misfit(source))?);
        for number in 0..self.files.len() {
            let Some(view) = self.files[number].clone() else { continue };
            let file = u32::try_from(number).unwrap_or(u32::MAX);
            let mut living = (0..view.rows).filter(|row| !view.gone.contains(*row));
            let mut stream = read::rows(self.table.file_io(), &view, &schema).await?;
            while let Some(batch) = stream.try_next().await? {
                let count = keyer.columns().len();
                let partitions = int_column(&batch, count);
                let keys = keyer.keys(&batch.columns()[..count]).map_err(|source| self.misfit(source))?;
                for (at, (key, row)) in keys.into_iter().zip(living.by_ref()).enumerate() {
                    let partition = partitions.map_or(-1, |partitions| partitions.value(at));
                    self.index.put(key, partition, Place::File { file, row });
                }
            }
        }
        Ok(())
    }

    /// The table has other columns now, and nothing is hot.
    pub(super) async fn evolved(&mut self, table: Table) -> Result<(), LakeError> {
        let types = |state: &Self| -> Vec<_> {
            let columns = state.keyer.iter().flat_map(|keyer| keyer.columns());
            columns.map(|index| state.schema.field(*index).data_type().clone()).collect()
        };
        let before = types(self);
        self.schema = columns::arrow(table.metadata().current_schema())?;
        self.table = table;
        let keyer = self.keyer.clone();
        self.learn_key()?;
        match before == types(self)
            && self.keyer.as_ref().map(|one| one.columns()) == keyer.as_ref().map(|one| one.columns())
        {
            // Keys stay what they are.
            true => self.keyer = keyer,
            false => self.load_index().await?,
        }
        Ok(())
    }

    fn misfit(&self, source: arrow::error::ArrowError) -> LakeError {
        LakeError::Columns { table: self.table.identifier().to_string(), source }
    }

    /// The table as it was committed last.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// What its rows are.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Its columns, with their ids.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The keys of rows in the table's own columns; none if its rows are not found by a key.
    ///
    /// # Errors
    /// When they do not fit.
    pub fn keys_of(&self, rows: &RecordBatch) -> Result<Vec<Key>, LakeError> {
        let Some(keyer) = &self.keyer else { return Ok(Vec::new()) };
        let columns: Vec<_> = keyer.columns().iter().map(|index| rows.column(*index).clone()).collect();
        keyer.keys(&columns).map_err(|source| self.misfit(source))
    }

    /// Adds rows that stay.
    pub fn append(&mut self, rows: RecordBatch) {
        if rows.num_rows() > 0 {
            self.push_hot(rows, Vec::new());
        }
    }

    /// Carries out changes that came through one partition, in their order. `rows` are those of the puts.
    pub fn apply(&mut self, partition: i32, rows: RecordBatch, steps: &[Step]) {
        let keys = steps.iter().filter_map(|step| match step {
            Step::Put(key) => Some(*key),
            Step::Remove(_) | Step::Void => None,
        });
        let batch = self.push_hot(rows, keys.collect());
        let mut row = 0;
        for step in steps {
            match step {
                Step::Put(key) => {
                    let before = self.index.put(*key, partition, Place::Hot { batch, row });
                    row += 1;
                    before.into_iter().for_each(|place| self.bury(place));
                }
                Step::Remove(key) => {
                    let before = self.index.remove(*key);
                    before.into_iter().for_each(|place| self.bury(place));
                }
                Step::Void => {
                    let before = self.index.remove_partition(partition);
                    before.into_iter().for_each(|place| self.bury(place));
                }
            }
        }
    }

    fn push_hot(&mut self, rows: RecordBatch, keys: Vec<Key>) -> u32 {
        self.hot_bytes += rows.get_array_memory_size() + keys.len() * std::mem::size_of::<Key>();
        self.hot.push(HotBatch { rows, keys, gone: Arc::default() });
        u32::try_from(self.hot.len() - 1).unwrap_or(u32::MAX)
    }

    fn bury(&mut self, place: Place) {
        match place {
            Place::Hot { batch, row } => {
                if let Some(batch) = self.hot.get_mut(batch as usize) {
                    Arc::make_mut(&mut batch.gone).insert(row);
                }
            }
            Place::File { file, row } => {
                if let Some(Some(own)) = self.files.get_mut(file as usize)
                    && Arc::make_mut(&mut own.gone).insert(row)
                {
                    self.gone.insert((file, row));
                }
            }
        }
    }

    /// The row of a key as it stands now, in the table's columns; none if the key has no row.
    ///
    /// # Errors
    /// When its file cannot be read.
    pub async fn row(&self, key: Key) -> Result<Option<RecordBatch>, LakeError> {
        match self.index.get(key) {
            None => Ok(None),
            Some(Place::Hot { batch, row }) => {
                Ok(self.hot.get(batch as usize).map(|batch| batch.rows.slice(row as usize, 1)))
            }
            Some(Place::File { file, row }) => {
                let Some(Some(own)) = self.files.get(file as usize) else { return Ok(None) };
                // All but the one are passed over.
                let gone = (0..own.rows).filter(|other| *other != row).collect::<Positions>();
                let view = FileView { gone: Arc::new(gone), ..own.clone() };
                Ok(read::rows(self.table.file_io(), &view, &self.schema).await?.try_next().await?)
            }
        }
    }

    /// Memory of what is not committed, bytes.
    pub fn hot_bytes(&self) -> usize {
        self.hot_bytes
    }

    /// Whether a commit would change rows.
    pub fn has_changes(&self) -> bool {
        !self.gone.is_empty() || self.hot.iter().any(|batch| batch.gone.len() < batch.rows.num_rows())
    }

    /// Whether a commit would change anything.
    pub fn has_moved(&self) -> bool {
        self.has_changes() || self.progress != self.committed
    }

    /// As readers see it from now on.
    pub fn view(&self) -> View {
        let hot = self.hot.iter().map(|batch| HotView { rows: batch.rows.clone(), gone: Arc::clone(&batch.gone) });
        View {
            table: self.table.clone(),
            schema: Arc::clone(&self.schema),
            plain: columns::plain(&self.schema),
            files: self.files.iter().flatten().cloned().collect(),
            hot: hot.collect(),
            progress: self.progress.clone(),
            committed: self.committed.clone(),
            committed_at_ms: self.committed_at_ms,
        }
    }

    /// Commits all that is hot, in one step with how far the log is read.
    ///
    /// # Errors
    /// [`LakeError::Fenced`] when somebody else has committed; the state is then no longer the table's, and has to be
    /// opened anew. So it has after any other error.
    pub async fn commit(&mut self, catalogue: &Catalogue, at_ms: i64) -> Result<(), LakeError> {
        let living: Vec<RecordBatch> = self
            .hot
            .iter()
            .filter(|batch| batch.gone.len() < batch.rows.num_rows())
            .map(|batch| match batch.gone.is_empty() {
                true => Ok(batch.rows.clone()),
                false => filter_record_batch(&batch.rows, &batch.gone.living(0, batch.rows.num_rows())),
            })
            .collect::<Result<_, _>>()
            .map_err(|source| self.misfit(source))?;
        let mut delta = RowDelta {
            summary: self.progress.summary(&self.topic),
            expired: self.expired(at_ms),
            at_ms,
            ..RowDelta::default()
        };
        if !living.is_empty() {
            let rows = concat_batches(&self.schema, &living).map_err(|source| self.misfit(source))?;
            let mut writer = DataWriter::open(&self.table, "rows").await?;
            writer.write(rows).await?;
            delta.data.extend(writer.close().await?);
        }
        let gone = self.pending_deletes();
        if !gone.is_empty() {
            delta.deletes.push(write::position_deletes(&self.table, &gone).await?);
        }
        let data = delta.data.first().cloned();
        let deletes = delta.deletes.len();
        self.table = delta.commit(catalogue, &self.table).await?;
        self.delete_files += deletes;
        self.committed_at_ms = at_ms;
        self.committed = self.progress.clone();
        self.gone.clear();
        self.hot_bytes = 0;
        let hot = std::mem::take(&mut self.hot);
        if let Some(data) = data {
            let file = self.take_in(&data, Positions::default());
            let mut to = 0;
            for (batch, rows) in hot.iter().enumerate() {
                for (row, key) in rows.keys.iter().enumerate() {
                    let row = u32::try_from(row).unwrap_or(u32::MAX);
                    if rows.gone.contains(row) {
                        continue;
                    }
                    let from = Place::Hot { batch: u32::try_from(batch).unwrap_or(u32::MAX), row };
                    self.index.moved(*key, from, Place::File { file, row: to });
                    to += 1;
                }
            }
        }
        Ok(())
    }

    /// Snapshots that nobody is promised any more.
    pub(super) fn expired(&self, now_ms: i64) -> Vec<i64> {
        let metadata = self.table.metadata();
        let mut others: Vec<_> = metadata
            .snapshots()
            .filter(|snapshot| Some(snapshot.snapshot_id()) != metadata.current_snapshot_id())
            .map(|snapshot| (snapshot.timestamp_ms(), snapshot.snapshot_id()))
            .collect();
        // The newest first. One place is for the snapshot that is being made, one for the present one.
        others.sort_unstable_by(|a, b| b.cmp(a));
        let room = self.retention.snapshots_max.saturating_sub(2);
        let oldest = now_ms.saturating_sub(self.retention.age_ms);
        let is_over = |(place, (at, _)): &(usize, (i64, i64))| *place >= room || *at < oldest;
        others.into_iter().enumerate().filter(is_over).map(|(_, (_, id))| id).collect()
    }

    fn pending_deletes(&self) -> Vec<(Arc<str>, i64)> {
        let path = |file: u32| self.files.get(file as usize)?.as_ref().map(|own| Arc::clone(&own.path));
        let mut gone: Vec<_> =
            self.gone.iter().filter_map(|(file, row)| Some((path(*file)?, i64::from(*row)))).collect();
        gone.sort_unstable();
        gone
    }
}

fn int_column(batch: &RecordBatch, index: usize) -> Option<&arrow::array::Int32Array> {
    batch.column(index).as_any().downcast_ref()
}

/// Properties of a new table: format 2, metadata files kept as long as their snapshots matter.
pub fn new_table_properties(kind: Kind, fields: &columns::FieldIds) -> HashMap<String, String> {
    let fields = serde_json::to_string(fields).unwrap_or_else(|_| "{}".to_owned());
    HashMap::from([
        (TableProperties::PROPERTY_METADATA_PREVIOUS_VERSIONS_MAX.to_owned(), "100".to_owned()),
        (KIND.to_owned(), kind.name().to_owned()),
        (FIELDS.to_owned(), fields),
    ])
}

/// Property of a table that says what its rows are.
const KIND: &str = "naru.kind";
/// Property of a table that says which field each declared column is.
pub const FIELDS: &str = "naru.fields";

/// Which field of a table each declared column is.
///
/// # Errors
/// When the table's properties do not say it.
pub fn field_ids(table: &Table) -> Result<columns::FieldIds, LakeError> {
    let wrong = |what: String| LakeError::Snapshot { table: table.identifier().to_string(), what };
    let said = table.metadata().properties().get(FIELDS).ok_or_else(|| wrong(format!("has no property {FIELDS}")))?;
    let read: Result<BTreeMap<i32, i32>, _> = serde_json::from_str(said);
    read.map_err(|error| wrong(format!("{FIELDS}: {error}")))
}
