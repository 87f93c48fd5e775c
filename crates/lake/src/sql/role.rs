//! What a role sees of a table; the one place that decides it.

use std::sync::Arc;

use datafusion::common::DFSchema;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::SessionState;
use datafusion::logical_expr::Expr;

use super::config::{MaskConfig, MaskKind, PolicyConfig, RoleConfig, SqlConfig};
use super::tables::Name;
use crate::config::{CHANGES, matches};
use crate::table::view::View;

/// A role, ready to be asked.
#[derive(Debug, Clone)]
pub struct Role {
    /// Its name.
    pub name: String,
    tables: Vec<String>,
    masks: Vec<MaskConfig>,
    policies: Vec<PolicyConfig>,
}

/// What a role sees of one table.
#[derive(Debug, Clone)]
pub struct Access {
    /// By column; none where its values are shown.
    pub masks: Vec<Option<MaskKind>>,
    /// Rows must meet all of these.
    pub policies: Vec<Expr>,
}

impl Role {
    /// As configured.
    pub fn new(config: &RoleConfig) -> Self {
        Self {
            name: config.name.clone(),
            tables: config.tables.clone(),
            masks: config.masks.clone(),
            policies: config.policies.clone(),
        }
    }

    /// Sees everything: for lakes that ask nobody who they are.
    pub fn everything() -> Self {
        Self { name: "everything".to_owned(), tables: vec!["*".to_owned()], masks: Vec::new(), policies: Vec::new() }
    }

    /// The role of a user; none if there is no such user.
    pub fn of(sql: &SqlConfig, user: &str) -> Option<Self> {
        if sql.users.is_empty() {
            return Some(Self::everything());
        }
        let user = sql.users.iter().find(|known| known.name == user)?;
        sql.roles.iter().find(|role| role.name == user.role).map(Self::new)
    }

    /// Whether a table exists for the role.
    pub fn sees(&self, (namespace, name): &Name) -> bool {
        let full = format!("{namespace}.{name}");
        self.tables.iter().any(|pattern| matches(pattern, &full))
    }

    /// Whether it sees some of a table's rows only: then counts of all of them are not for it.
    pub fn sees_some_rows(&self, (namespace, name): &Name) -> bool {
        let full = format!("{namespace}.{name}");
        self.policies.iter().any(|policy| covers(&policy.table, &full))
    }

    /// Whether it sees everything there is: the operator's, who is told whole reasons.
    pub fn is_everything(&self) -> bool {
        self.masks.is_empty() && self.policies.is_empty() && self.tables.iter().any(|pattern| pattern == "*")
    }

    /// What it sees of a table that it sees.
    ///
    /// # Errors
    /// When a mask names a column that the table has not got, or a policy cannot be asked of it: the column may have got
    /// another name, so that nothing is shown rather than everything.
    pub fn access(&self, (namespace, name): &Name, view: &View, state: &SessionState) -> Result<Access> {
        let full = format!("{namespace}.{name}");
        let refused = |what: String| DataFusionError::Plan(format!("{full} is not shown to {}: {what}", self.name));
        let mut masks = vec![None; view.plain.fields().len()];
        for mask in self.masks.iter().filter(|mask| covers(&mask.table, &full)) {
            match view.plain.index_of(&mask.column) {
                Ok(column) => masks[column] = Some(mask.show),
                Err(_) if mask.table.ends_with('*') => {}
                Err(_) => return Err(refused(format!("it has no column {}, which a mask names", mask.column))),
            }
        }
        let schema = DFSchema::try_from(view.plain.as_ref().clone())?;
        let mut policies = Vec::new();
        for policy in self.policies.iter().filter(|policy| covers(&policy.table, &full)) {
            let asked = state.create_logical_expr(&policy.rows, &schema);
            policies.push(asked.map_err(|_| refused("a policy of its rows cannot be asked of it".to_owned()))?);
        }
        Ok(Access { masks, policies })
    }
}

/// Whether a mask or policy holds for a table: a table's changes show what the table shows, so that what is said of the
/// one holds for both.
fn covers(pattern: &str, full: &str) -> bool {
    matches(pattern, full) || full.strip_suffix(CHANGES).is_some_and(|table| matches(pattern, table))
}

/// Roles by user, ready to be asked.
pub type RoleRef = Arc<Role>;
