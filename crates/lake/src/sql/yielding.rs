//! Queries whose turns end: what a query may cost in time can only be asked between two of them.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult as _, TreeNode as _};
use datafusion::error::Result;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::execution_plan::SchedulingType;
use datafusion::physical_plan::unnest::UnnestExec;

/// Lets each step that makes many rows out of few give way now and then. DataFusion does so for the steps that read;
/// a join without a condition asks them once and then makes rows for hours, in one turn, which no time-out ends.
#[derive(Debug)]
pub struct YieldWhereRowsMultiply;

impl PhysicalOptimizerRule for YieldWhereRowsMultiply {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|plan| {
            let multiplies = plan.children().len() > 1 || plan.as_any().is::<UnnestExec>();
            let yields = plan.properties().scheduling_type == SchedulingType::Cooperative;
            match multiplies && !yields {
                true => Ok(Transformed::yes(Arc::new(CooperativeExec::new(plan)) as Arc<dyn ExecutionPlan>)),
                false => Ok(Transformed::no(plan)),
            }
        })
        .data()
    }

    fn name(&self) -> &str {
        "YieldWhereRowsMultiply"
    }

    fn schema_check(&self) -> bool {
        true
    }
}
