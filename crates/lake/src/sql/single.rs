//! A subquery in place of a value has one row: more are an error, as in PostgreSQL, not more rows of the query around it.

use std::any::Any;
use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, Int64Array};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::{Transformed, TreeNode as _};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Expr, LogicalPlan, LogicalPlanBuilder, Signature, Subquery, Volatility,
};

/// Puts a check around each subquery that may have more rows than one. Those that name columns of the query around them
/// need none: the planner takes them only where they have one.
///
/// # Errors
/// When the plan cannot be made anew.
pub fn checked(plan: LogicalPlan) -> Result<LogicalPlan> {
    let walked = plan.transform_up_with_subqueries(|node| {
        node.map_expressions(|expression| {
            expression.transform_up(|expression| match expression {
                Expr::ScalarSubquery(subquery) if may_have_more(&subquery) => {
                    Ok(Transformed::yes(Expr::ScalarSubquery(single(subquery)?)))
                }
                expression => Ok(Transformed::no(expression)),
            })
        })
    });
    Ok(walked?.data)
}

fn may_have_more(subquery: &Subquery) -> bool {
    subquery.outer_ref_columns.is_empty() && subquery.subquery.max_rows().is_none_or(|rows| rows > 1)
}

fn single(subquery: Subquery) -> Result<Subquery> {
    let inner = subquery.subquery.as_ref().clone();
    let (qualifier, field) = inner.schema().qualified_field(0);
    let (column, name) = (Expr::Column((qualifier, field).into()), field.name().clone());
    let one = AggregateUDF::from(Single { signature: Signature::any(1, Volatility::Immutable) });
    let one = one.call(vec![column]).alias(name);
    let plan = LogicalPlanBuilder::from(inner).aggregate(Vec::<Expr>::new(), vec![one])?.build()?;
    Ok(subquery.with_plan(Arc::new(plan)))
}

/// The one value there is; null if there is none.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Single {
    signature: Signature,
}

impl AggregateUDFImpl for Single {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn name(&self) -> &str {
        "single_value"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        types.first().cloned().ok_or_else(|| DataFusionError::Plan("a subquery has no column".to_owned()))
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(Seen { value: ScalarValue::try_from(args.return_field.data_type())?, rows: 0 }))
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        Ok(vec![
            Arc::new(Field::new("value", args.return_field.data_type().clone(), true)),
            Arc::new(Field::new("rows", DataType::Int64, false)),
        ])
    }
}

#[derive(Debug)]
struct Seen {
    value: ScalarValue,
    rows: i64,
}

impl Seen {
    fn see(&mut self, value: &ArrayRef, at: usize, rows: i64) -> Result<()> {
        self.rows += rows;
        if self.rows > 1 {
            let what = "more than one row returned by a subquery used as an expression";
            return Err(DataFusionError::Execution(what.to_owned()));
        }
        if rows == 1 {
            self.value = ScalarValue::try_from_array(value, at)?;
        }
        Ok(())
    }
}

impl Accumulator for Seen {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        match values.first() {
            Some(values) if !values.is_empty() => self.see(values, 0, i64::try_from(values.len()).unwrap_or(i64::MAX)),
            _ => Ok(()),
        }
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let [values, rows] = states else { return Ok(()) };
        let rows = rows.as_any().downcast_ref::<Int64Array>();
        for (at, rows) in rows.into_iter().flatten().enumerate() {
            self.see(values, at, rows.unwrap_or(0))?;
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(self.value.clone())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.value.clone(), ScalarValue::from(self.rows)])
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.value.size()
    }
}
