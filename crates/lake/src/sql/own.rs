//! The lake's own tables: how fresh and how complete the others are.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray, UInt64Array,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::catalog::{MemTable, TableProvider};
use datafusion::error::Result;

use super::role::Role;
use super::tables::{Name, Tables, Views};

/// Their names.
pub const NAMES: [&str; 2] = ["completeness", "freshness"];

/// One of them, with the tables that a role sees.
///
/// # Errors
/// When rows do not fit, which they do.
pub fn table(name: &str, role: &Role, tables: &Tables, views: &Views) -> Result<Option<Arc<dyn TableProvider>>> {
    let batch = match name {
        "freshness" => freshness(role, tables, views)?,
        "completeness" => completeness(role, views)?,
        _ => return Ok(None),
    };
    Ok(Some(Arc::new(MemTable::try_new(batch.schema(), vec![vec![batch]])?)))
}

fn freshness(role: &Role, tables: &Tables, views: &Views) -> Result<RecordBatch> {
    let seen: Vec<_> = tables.all().into_iter().filter(|(name, _)| role.sees(name)).collect();
    let known: Vec<_> = seen.iter().map(|(_, entry)| entry.status.read()).collect();
    let view = |name: &Name| views.get(name);
    // What tells of rows that the role does not see is not told.
    let whole: Vec<bool> = seen.iter().map(|(name, _)| !role.sees_some_rows(name)).collect();
    let counted = |index: usize| views.get(&seen[index].0).filter(|_| whole[index]);
    let number = |value: usize| i64::try_from(value).unwrap_or(i64::MAX);
    let behind = |index: usize| {
        let view = counted(index)?;
        let next = |partition: &i32| view.progress.offsets.get(partition).copied().unwrap_or(0);
        Some(known[index].ends.iter().map(|(partition, end)| (end - next(partition)).max(0)).sum::<i64>())
    };
    let moments = |values: Vec<Option<i64>>| -> ArrayRef { Arc::new(moments(values)) };
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("table_name", texts(seen.iter().map(|(name, _)| Some(full(name))))),
        ("kind", texts(seen.iter().map(|(_, entry)| Some(entry.kind.name().to_owned())))),
        ("topic", texts(seen.iter().map(|(_, entry)| Some(entry.topic.clone())))),
        ("stage", texts(known.iter().map(|known| Some(known.stage.name().to_owned())))),
        ("reason", texts(known.iter().map(|known| reason(role, known.reason.as_deref())))),
        (
            "rows",
            Arc::new(
                (0..seen.len()).map(|index| counted(index).map(|view| number(view.rows()))).collect::<Int64Array>(),
            ),
        ),
        (
            "rows_in_memory",
            Arc::new(
                (0..seen.len()).map(|index| counted(index).map(|view| number(view.hot_rows()))).collect::<Int64Array>(),
            ),
        ),
        (
            "committed_at",
            moments(
                seen.iter()
                    .map(|(name, _)| view(name).map(|view| view.committed_at_ms).filter(|at| *at > 0))
                    .map(|at| at.map(|at| at * 1000))
                    .collect(),
            ),
        ),
        (
            "caught_up_at",
            moments(known.iter().map(|known| (known.caught_up_ms > 0).then_some(known.caught_up_ms * 1000)).collect()),
        ),
        ("records_behind", Arc::new((0..seen.len()).map(behind).collect::<Int64Array>())),
        (
            "files",
            Arc::new(
                (0..seen.len())
                    .map(|index| counted(index).map(|view| number(view.files.len())))
                    .collect::<Int64Array>(),
            ),
        ),
        ("commits", counts((0..seen.len()).map(|index| whole[index].then(|| known[index].commits)))?),
        ("dead_letters", counts((0..seen.len()).map(|index| whole[index].then(|| known[index].dead)))?),
        ("fenced", counts(known.iter().map(|known| Some(known.fenced)))?),
    ];
    batch(columns)
}

fn completeness(role: &Role, views: &Views) -> Result<RecordBatch> {
    let seen: Vec<_> = views.iter().filter(|(name, _)| role.sees(name)).collect();
    let complete: Vec<_> = seen.iter().map(|(_, view)| view.progress.complete).collect();
    let committed = |index: usize| Some(seen[index].1.committed.complete? == seen[index].1.progress.complete?);
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("table_name", texts(seen.iter().map(|(name, _)| Some(full(name))))),
        (
            "source_position",
            Arc::new(complete.iter().map(|complete| Some(complete.as_ref()?.position)).collect::<Int64Array>()),
        ),
        ("complete_at", Arc::new(moments(complete.iter().map(|complete| Some(complete.as_ref()?.at)).collect()))),
        ("is_committed", Arc::new((0..seen.len()).map(committed).collect::<BooleanArray>())),
    ];
    batch(columns)
}

fn full((namespace, name): &Name) -> String {
    format!("{namespace}.{name}")
}

fn texts(values: impl Iterator<Item = Option<String>>) -> ArrayRef {
    Arc::new(values.collect::<StringArray>())
}

/// Causes name files, brokers and places: they are the operator's, and in the log.
fn reason(role: &Role, whole: Option<&str>) -> Option<String> {
    let whole = whole?;
    Some(match role.is_everything() {
        true => whole.to_owned(),
        false => "it does not get on; the lake's log says why".to_owned(),
    })
}

fn counts(values: impl Iterator<Item = Option<u64>>) -> Result<ArrayRef> {
    Ok(cast(&values.collect::<UInt64Array>(), &DataType::Int64)?)
}

fn moments(values: Vec<Option<i64>>) -> TimestampMicrosecondArray {
    TimestampMicrosecondArray::from(values).with_timezone("+00:00")
}

fn batch(columns: Vec<(&str, ArrayRef)>) -> Result<RecordBatch> {
    let field = |(name, column): &(&str, ArrayRef)| Field::new(*name, column.data_type().clone(), true);
    let schema = Schema::new(columns.iter().map(field).collect::<Vec<_>>());
    Ok(RecordBatch::try_new(Arc::new(schema), columns.into_iter().map(|(_, column)| column).collect())?)
}
