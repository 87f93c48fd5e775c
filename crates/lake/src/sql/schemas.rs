//! What a query finds by name: the tables of its role, the lake's own, and PostgreSQL's catalogue.

use std::any::Any;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use datafusion::catalog::{CatalogProvider, SchemaProvider, TableProvider};
use datafusion::error::Result;
use datafusion::execution::SessionState;

use super::own;
use super::role::RoleRef;
use super::scan::RoleTable;
use super::tables::{Tables, Views};
use crate::config::OWN_NAMESPACE;
use crate::table::view::View;

/// The catalogue's name: the database that clients connect to.
pub const CATALOGUE: &str = "naru";
/// The schema of PostgreSQL's catalogue.
pub const PG_CATALOGUE: &str = "pg_catalog";
/// The schema that names are looked for in when they say none; it is empty.
pub const DEFAULT_SCHEMA: &str = "public";

/// The schemas of one role.
#[derive(Clone)]
pub struct RoleSchemas {
    role: RoleRef,
    tables: Tables,
    /// As they were at one moment; without, as they are.
    frozen: Option<Arc<Views>>,
    pg: Arc<OnceLock<Arc<dyn SchemaProvider>>>,
    template: Arc<SessionState>,
}

impl fmt::Debug for RoleSchemas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RoleSchemas").field("role", &self.role.name).finish_non_exhaustive()
    }
}

impl RoleSchemas {
    /// The tables that a role sees, as they are whenever they are looked at.
    pub fn live(role: RoleRef, tables: Tables, template: Arc<SessionState>) -> Self {
        Self { role, tables, frozen: None, pg: Arc::default(), template }
    }

    /// The same as they are now, for one query.
    pub fn frozen(&self) -> Self {
        Self { frozen: Some(Arc::new(self.tables.views())), ..self.clone() }
    }

    /// Sets PostgreSQL's catalogue, once.
    pub fn set_pg(&self, pg: Arc<dyn SchemaProvider>) {
        // Whoever was first has set the same.
        self.pg.get_or_init(|| pg);
    }

    fn views(&self) -> Arc<Views> {
        self.frozen.clone().unwrap_or_else(|| Arc::new(self.tables.views()))
    }

    fn seen(&self) -> Vec<(String, String)> {
        self.views().keys().filter(|name| self.role.sees(name)).cloned().collect()
    }
}

impl CatalogProvider for RoleSchemas {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn schema_names(&self) -> Vec<String> {
        let mut names: BTreeSet<_> = self.seen().into_iter().map(|(namespace, _)| namespace).collect();
        names.insert(OWN_NAMESPACE.to_owned());
        names.insert(DEFAULT_SCHEMA.to_owned());
        if self.pg.get().is_some() {
            names.insert(PG_CATALOGUE.to_owned());
        }
        names.into_iter().collect()
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        if name == PG_CATALOGUE {
            return self.pg.get().cloned();
        }
        self.schema_names().iter().any(|known| known == name).then(|| {
            let schema: Arc<dyn SchemaProvider> = Arc::new(RoleSchema { schemas: self.clone(), name: name.to_owned() });
            schema
        })
    }
}

/// One schema of a role.
#[derive(Debug)]
struct RoleSchema {
    schemas: RoleSchemas,
    name: String,
}

#[async_trait]
impl SchemaProvider for RoleSchema {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn table_names(&self) -> Vec<String> {
        if self.name == OWN_NAMESPACE {
            return own::NAMES.iter().map(|name| (*name).to_owned()).collect();
        }
        let RoleSchemas { role, template, .. } = &self.schemas;
        let views = self.schemas.views();
        let is_shown = |(name, view): &(&(String, String), &Arc<View>)| {
            name.0 == self.name && role.sees(name) && role.access(name, view, template).is_ok()
        };
        views.iter().filter(is_shown).map(|(name, _)| name.1.clone()).collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        let RoleSchemas { role, tables, .. } = &self.schemas;
        let views = self.schemas.views();
        if self.name == OWN_NAMESPACE {
            return own::table(name, role, tables, &views);
        }
        let full = (self.name.clone(), name.to_owned());
        match views.get(&full).filter(|_| role.sees(&full)) {
            None => Ok(None),
            Some(view) => {
                let access = match role.access(&full, view, &self.schemas.template) {
                    Ok(access) => access,
                    Err(error) => {
                        // To the role there is no such table; who can mend it reads the log.
                        tracing::warn!(role = role.name, error = &error as &dyn std::error::Error, "a table is hidden");
                        return Ok(None);
                    }
                };
                Ok(Some(Arc::new(RoleTable::new(full, Arc::clone(view), access))))
            }
        }
    }

    fn table_exist(&self, name: &str) -> bool {
        self.table_names().iter().any(|known| known == name)
    }
}
