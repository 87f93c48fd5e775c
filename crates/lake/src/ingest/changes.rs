//! Change records into a table.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use naru_kafka::wire::Record;
use tokio::sync::watch;

use crate::catalogue::Catalogue;
use crate::change::decode::{ChangeDecoder, Changes, fingerprint};
use crate::change::fold::{Effect, Op, effect};
use crate::change::rows::{rows, with_kept};
use crate::change::schema::ChangeSchema;
use crate::change::schemas::Schemas;
use crate::error::LakeError;
use crate::table::columns::{FieldIds, Kind};
use crate::table::progress::Complete;
use crate::table::state::{State, Step, field_ids};

/// Records that are read into columns at once.
const RUN_RECORDS_MAX: usize = 8192;

/// The way of one topic's change records into one table.
#[derive(Debug)]
pub struct ChangeInput {
    topic: String,
    schemas: Schemas,
    decoders: HashMap<u64, ChangeDecoder>,
    ids: FieldIds,
    marks: watch::Receiver<Option<Complete>>,
    /// A mark, and where the log ended in each partition behind it: all of the mark is in front of that.
    awaited: Option<(Complete, BTreeMap<i32, i64>)>,
}

impl ChangeInput {
    /// For a topic whose schemas are these.
    pub fn new(topic: String, schemas: Schemas, marks: watch::Receiver<Option<Complete>>) -> Self {
        Self { topic, schemas, decoders: HashMap::new(), ids: FieldIds::new(), marks, awaited: None }
    }

    /// The newest mark of the source.
    pub fn mark(&self) -> Option<Complete> {
        *self.marks.borrow()
    }

    /// `mark` was there before the log was asked, and the log's ends are these: once all of it is in, the table is
    /// complete up to the mark.
    pub fn complete(&mut self, state: &mut State, mark: Option<Complete>, ends: BTreeMap<i32, i64>) {
        let is_new = mark.filter(|mark| {
            state.progress.complete.is_none_or(|before| before.position < mark.position || before.at < mark.at)
        });
        if let (None, Some(mark)) = (&self.awaited, is_new) {
            self.awaited = Some((mark, ends));
        }
        let is_in =
            |(partition, end): (&i32, &i64)| state.progress.offsets.get(partition).copied().unwrap_or(0) >= *end;
        if let Some((mark, ends)) = &self.awaited
            && ends.iter().all(is_in)
        {
            state.progress.complete = Some(*mark);
            self.awaited = None;
        }
    }

    /// The newest schema of the topic; none if there is none yet.
    ///
    /// # Errors
    /// When the schemas cannot be read.
    pub async fn newest(&self) -> Result<Option<Arc<ChangeSchema>>, LakeError> {
        self.schemas.newest(&self.topic).await
    }

    /// Learns which fields the table has.
    ///
    /// # Errors
    /// When the table does not say it.
    pub fn begin(&mut self, state: &State) -> Result<(), LakeError> {
        self.awaited = None;
        self.ids = field_ids(state.table())?;
        Ok(())
    }

    /// Takes in records of one partition, in their order.
    ///
    /// # Errors
    /// When a record cannot be read, or the table cannot take it.
    pub async fn take_in(
        &mut self,
        state: &mut State,
        catalogue: &Catalogue,
        at_ms: i64,
        partition: i32,
        records: &[Record],
    ) -> Result<(), LakeError> {
        let mut rest = records;
        while let Some(first) = rest.first() {
            let print = self.print(partition, first)?;
            let run = rest.iter().take(RUN_RECORDS_MAX);
            let run = run.take_while(|record| record.value.as_deref().and_then(fingerprint) == Some(print)).count();
            let (run, after) = rest.split_at(run);
            let schema = self.schemas.get(&self.topic, print).await?;
            if state.schema_order() < schema.order {
                state.evolve_to(catalogue, &schema.columns, schema.order, at_ms).await?;
                self.ids = field_ids(state.table())?;
            }
            let changes = self.decode(&schema, partition, run)?;
            self.fold(state, &schema, &changes, partition).await?;
            if let Some(last) = run.last() {
                state.progress.offsets.insert(partition, last.offset + 1);
            }
            rest = after;
        }
        Ok(())
    }

    fn print(&self, partition: i32, record: &Record) -> Result<u64, LakeError> {
        record.value.as_deref().and_then(fingerprint).ok_or_else(|| {
            self.wrong(
                partition,
                record.offset,
                "is no Avro single object: something else writes to this topic".to_owned(),
            )
        })
    }

    fn wrong(&self, partition: i32, offset: i64, what: String) -> LakeError {
        LakeError::Change { topic: self.topic.clone(), partition, offset, what }
    }

    fn decode(&mut self, schema: &ChangeSchema, partition: i32, run: &[Record]) -> Result<Changes, LakeError> {
        let mut decoder = match self.decoders.remove(&schema.fingerprint) {
            Some(decoder) => decoder,
            None => ChangeDecoder::new(schema, RUN_RECORDS_MAX)
                .map_err(|what| LakeError::Schema { topic: self.topic.clone(), what })?,
        };
        let values = run.iter().filter_map(|record| record.value.as_deref());
        let changes = decoder
            .decode(values)
            .map_err(|(index, what)| self.wrong(partition, run.get(index).map_or(-1, |record| record.offset), what))?;
        self.decoders.insert(schema.fingerprint, decoder);
        Ok(changes)
    }

    async fn fold(
        &self,
        state: &mut State,
        schema: &ChangeSchema,
        changes: &Changes,
        partition: i32,
    ) -> Result<(), LakeError> {
        let mut mark = state.progress.marks.get(&partition).copied();
        if let (None, Kind::Mirror, Some(first)) = (mark, state.kind(), changes.ops.first())
            && !matches!(first, Op::Begin | Op::Truncate)
        {
            // Rows that nothing touched since are missing, and nobody would know.
            let what = "the log does not begin with a copy of the table: its first records are gone";
            return Err(LakeError::Incomplete { at: format!("{}/{partition}", self.topic), what });
        }
        let mut effects = Vec::with_capacity(changes.len());
        for (index, op) in changes.ops.iter().enumerate() {
            let (effect, after) = effect(mark, *op, changes.positions.value(index), changes.sequences.value(index));
            mark = after;
            effects.push(effect);
        }
        match state.kind() {
            Kind::Changelog => self.log(state, schema, changes, &effects, partition)?,
            _ => self.mirror(state, schema, changes, &effects, partition).await?,
        }
        if let Some(mark) = mark {
            state.progress.marks.insert(partition, mark);
        }
        Ok(())
    }

    fn log(
        &self,
        state: &mut State,
        schema: &ChangeSchema,
        changes: &Changes,
        effects: &[Effect],
        partition: i32,
    ) -> Result<(), LakeError> {
        let counted = (0u32..).zip(effects).filter(|(_, effect)| **effect != Effect::None).map(|(index, _)| index);
        let counted: Vec<u32> = counted.collect();
        let rows = rows(state.schema(), &self.ids, schema, changes, &counted, partition);
        let rows = rows.map_err(|source| LakeError::Columns { table: self.topic.clone(), source })?;
        state.append(rows);
        Ok(())
    }

    async fn mirror(
        &self,
        state: &mut State,
        schema: &ChangeSchema,
        changes: &Changes,
        effects: &[Effect],
        partition: i32,
    ) -> Result<(), LakeError> {
        let misfit = |source| LakeError::Columns { table: self.topic.clone(), source };
        let counted: Vec<u32> =
            (0u32..).zip(effects).filter(|(_, effect)| **effect != Effect::None).map(|(index, _)| index).collect();
        // A change that deletes has the key, so that keys are had for all but those that are of no row.
        let keyed: Vec<u32> =
            counted.iter().copied().filter(|index| effects[*index as usize] != Effect::Void).collect();
        let all = rows(state.schema(), &self.ids, schema, changes, &keyed, partition).map_err(misfit)?;
        let keys = state.keys_of(&all)?;
        let mut group = Group::default();
        let mut place = 0u32;
        for index in counted {
            let effect = effects[index as usize];
            if effect == Effect::Void {
                group.steps.push(Step::Void);
                continue;
            }
            let (at, key) = (place, keys[place as usize]);
            place += 1;
            if effect == Effect::Remove {
                group.steps.push(Step::Remove(key));
                continue;
            }
            let kept = match changes.ops[index as usize] {
                Op::Update => changes.kept(index as usize),
                _ => Vec::new(),
            };
            if kept.is_empty() {
                group.rows.push(at);
                group.steps.push(Step::Put(key));
                continue;
            }
            // The old value is in the row as it stands behind everything before this change.
            std::mem::take(&mut group).carry_out(state, partition, &all).map_err(misfit)?;
            let row = all.slice(at as usize, 1);
            let row = match state.row(key).await? {
                Some(before) => with_kept(&row, &before, &kept, &self.ids, schema).map_err(misfit)?,
                None => {
                    let at = format!("{}/{partition}", self.topic);
                    let what = "a value that did not change is kept from a row that is not there";
                    return Err(LakeError::Incomplete { at, what });
                }
            };
            state.apply(partition, row, &[Step::Put(key)]);
        }
        group.carry_out(state, partition, &all).map_err(misfit)
    }
}

/// Changes that can be carried out together.
#[derive(Debug, Default)]
struct Group {
    rows: Vec<u32>,
    steps: Vec<Step>,
}

impl Group {
    fn carry_out(
        self,
        state: &mut State,
        partition: i32,
        all: &arrow::array::RecordBatch,
    ) -> Result<(), arrow::error::ArrowError> {
        if self.steps.is_empty() {
            return Ok(());
        }
        let rows = match self.rows.len() == all.num_rows() {
            true => all.clone(),
            false => arrow::compute::take_record_batch(all, &arrow::array::UInt32Array::from(self.rows))?,
        };
        state.apply(partition, rows, &self.steps);
        Ok(())
    }
}
