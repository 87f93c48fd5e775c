//! The only door to rows: a scan that gives out what a role sees, and nothing else.
//!
//! To DataFusion it is a leaf: rows are filtered by the role's policies and masked in here, behind a wall that no
//! optimiser looks through. Whatever a query does above (filters that fail on certain values, joins, subqueries, EXPLAIN
//! ANALYZE) it does to rows that the role may see. No statistics are told, since they would tell of other rows.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use arrow::array::{
    Array as _, ArrayRef, AsArray as _, BooleanArray, RecordBatch, RecordBatchOptions, StringArray, new_null_array,
};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::DFSchema;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties};
use futures::{StreamExt as _, TryStreamExt as _, stream};

use super::config::MaskKind;
use super::role::Access;
use super::tables::Name;
use crate::table::read;
use crate::table::view::View;

/// What a redacted text shows.
const REDACTED: &str = "****";
/// Letters of the end that [`MaskKind::LastFour`] shows.
const SHOWN_LETTERS: usize = 4;

/// A table as one role sees it at one moment.
pub struct RoleTable {
    name: Name,
    view: Arc<View>,
    access: Access,
    schema: SchemaRef,
}

// What a table is made of is nobody's to see; a plan's text may hold it.
impl fmt::Debug for RoleTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RoleTable").field("name", &self.name).finish_non_exhaustive()
    }
}

impl RoleTable {
    /// The table of this name.
    pub fn new(name: Name, view: Arc<View>, access: Access) -> Self {
        let field = |(field, mask): (&Arc<Field>, &Option<MaskKind>)| match mask {
            None => Arc::clone(field),
            Some(_) => Arc::new(field.as_ref().clone().with_nullable(true)),
        };
        let fields: Vec<_> = view.plain.fields().iter().zip(&access.masks).map(field).collect();
        Self { name, schema: Arc::new(Schema::new(fields)), view, access }
    }
}

#[async_trait]
impl TableProvider for RoleTable {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let shown: Vec<usize> = match projection {
            Some(projection) => projection.clone(),
            None => (0..self.schema.fields().len()).collect(),
        };
        let mut needed = shown.clone();
        for policy in &self.access.policies {
            for column in policy.column_refs() {
                needed.push(self.view.plain.index_of(&column.name)?);
            }
        }
        needed.sort_unstable();
        needed.dedup();
        let plain = Arc::new(self.view.plain.project(&needed)?);
        let asked = DFSchema::try_from(plain.as_ref().clone())?;
        let policy = |policy: &Expr| state.create_physical_expr(policy.clone(), &asked);
        let policies = self.access.policies.iter().map(policy).collect::<Result<Vec<_>>>()?;
        let shows = shown
            .iter()
            .map(|column| {
                let at = needed.binary_search(column).unwrap_or(0);
                (at, self.access.masks[*column])
            })
            .collect();
        let files = self.view.files.len();
        let partitions = state.config().target_partitions().clamp(1, files.max(1));
        let schema = Arc::new(self.schema.project(&shown)?);
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(&schema)),
            Partitioning::UnknownPartitioning(partitions),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Ok(Arc::new(RoleScan {
            name: self.name.clone(),
            view: Arc::clone(&self.view),
            seen: Arc::new(Seen { schema, shows, policies }),
            needed,
            plain,
            partitions,
            properties: Arc::new(properties),
        }))
    }
}

/// From the rows of the table to what is seen of them.
#[derive(Debug)]
struct Seen {
    schema: SchemaRef,
    /// For each column that is shown: where it is among those that are read, and what stands in place of its values.
    shows: Vec<(usize, Option<MaskKind>)>,
    policies: Vec<Arc<dyn PhysicalExpr>>,
}

impl Seen {
    fn of(&self, rows: RecordBatch) -> Result<RecordBatch> {
        let mut rows = rows;
        for policy in &self.policies {
            // It is asked of rows that the role does not see: what it runs into may name their values.
            let met = policy.evaluate(&rows).and_then(|met| met.into_array(rows.num_rows()));
            let met = met.map_err(|_| unmet())?;
            let met: &BooleanArray = met
                .as_boolean_opt()
                .ok_or_else(|| DataFusionError::Plan("a policy of rows is neither true nor false".to_owned()))?;
            rows = filter_record_batch(&rows, met)?;
        }
        let column = |(at, mask): &(usize, Option<MaskKind>)| match mask {
            None => rows.column(*at).clone(),
            Some(mask) => masked(*mask, rows.column(*at)),
        };
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        let columns = self.shows.iter().map(column).collect();
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?)
    }
}

fn masked(mask: MaskKind, column: &ArrayRef) -> ArrayRef {
    let Some(texts) = column.as_any().downcast_ref::<StringArray>().filter(|_| column.data_type() == &DataType::Utf8)
    else {
        return new_null_array(column.data_type(), column.len());
    };
    match mask {
        MaskKind::Null => new_null_array(column.data_type(), column.len()),
        MaskKind::Redact => Arc::new(texts.iter().map(|text| text.map(|_| REDACTED)).collect::<StringArray>()),
        MaskKind::LastFour => Arc::new(texts.iter().map(|text| text.map(last_four)).collect::<StringArray>()),
    }
}

/// The end of a text; of one that is hardly longer, nothing.
fn last_four(text: &str) -> String {
    let letters = text.chars().count();
    match letters > 2 * SHOWN_LETTERS {
        true => format!("{REDACTED}{}", text.chars().skip(letters - SHOWN_LETTERS).collect::<String>()),
        false => REDACTED.to_owned(),
    }
}

/// Reads a table as one role sees it.
struct RoleScan {
    name: Name,
    view: Arc<View>,
    seen: Arc<Seen>,
    /// The columns that are read, rising.
    needed: Vec<usize>,
    plain: SchemaRef,
    partitions: usize,
    properties: Arc<PlanProperties>,
}

impl fmt::Debug for RoleScan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RoleScan").field("name", &self.name).finish_non_exhaustive()
    }
}

impl DisplayAs for RoleScan {
    fn fmt_as(&self, _kind: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns: Vec<_> = self.seen.schema.fields().iter().map(|field| field.name().as_str()).collect();
        write!(f, "RoleScan: {}.{} [{}]", self.name.0, self.name.1, columns.join(", "))
    }
}

impl ExecutionPlan for RoleScan {
    fn name(&self) -> &str {
        "RoleScan"
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn with_new_children(self: Arc<Self>, _children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(&self, partition: usize, _context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let (view, plain) = (Arc::clone(&self.view), Arc::clone(&self.plain));
        let mut hot = Vec::new();
        if partition == 0 {
            for batch in &view.hot {
                let rows = batch.living(&self.needed)?;
                hot.push(without_ids(rows, &plain));
            }
        }
        let own: Vec<_> = view.files.iter().skip(partition).step_by(self.partitions).cloned().collect();
        let read = Arc::new(view.schema.project(&self.needed)?);
        let files = view.table.file_io().clone();
        let committed = stream::iter(own).map(Ok::<_, DataFusionError>).and_then(move |file| {
            let (files, read, plain) = (files.clone(), Arc::clone(&read), Arc::clone(&plain));
            async move {
                let rows = read::rows(&files, &file, &read).await.map_err(lost)?;
                Ok(rows.map(move |rows| without_ids(rows.map_err(lost)?, &plain)))
            }
        });
        let seen = Arc::clone(&self.seen);
        let rows = stream::iter(hot).chain(committed.try_flatten());
        let rows = rows.map(move |rows: Result<RecordBatch>| seen.of(rows?));
        Ok(Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.seen.schema), rows)))
    }
}

/// A policy that failed on a row. Neither the asker nor the log gets to know what of it.
fn unmet() -> DataFusionError {
    let what = "a policy of rows fails on a row: write it so that it cannot, such as with try_cast";
    DataFusionError::External(what.into())
}

fn lost(error: crate::error::LakeError) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

fn without_ids(rows: RecordBatch, plain: &SchemaRef) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    Ok(RecordBatch::try_new_with_options(Arc::clone(plain), rows.columns().to_vec(), &options)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_text_is_shown_only_where_most_of_it_is_not() {
        let check = |text: &str, expect: &str| assert_eq!(last_four(text), expect, "{text}");
        check("010-1234-5678", "****5678");
        check("12345678", "****");
        check("", "****");
        check("가나다라마바사아자", "****바사아자");
    }
}
