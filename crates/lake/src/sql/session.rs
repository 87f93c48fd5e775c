//! A session of DataFusion per query: its role's tables at one moment, its own memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::datatypes::DataType;
use datafusion::catalog::{CatalogProviderList, MemoryCatalogProviderList};
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::GreedyMemoryPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::{ColumnarValue, ScalarUDF, Volatility, create_udf};
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion_postgres::datafusion_pg_catalog::pg_catalog::context::EmptyContextProvider;
use datafusion_postgres::datafusion_pg_catalog::pg_catalog::{
    PgCatalogSchemaProvider, PgCatalogStaticTables, setup_pg_catalog,
};

use super::config::SqlConfig;
use super::growing;
use super::role::Role;
use super::schemas::{CATALOGUE, DEFAULT_SCHEMA, RoleSchemas};
use super::tables::Tables;
use super::yielding::YieldWhereRowsMultiply;

/// Rows that go from one step of a query to the next.
const BATCH_ROWS: usize = 8192;

/// What `version()` answers: clients look for PostgreSQL's name and the number behind it.
const VERSION: &str = concat!("PostgreSQL 16.6 (Naru ", env!("CARGO_PKG_VERSION"), ", read-only)");

fn version() -> ScalarUDF {
    let answer = Arc::new(|_: &[ColumnarValue]| Ok(ColumnarValue::Scalar(ScalarValue::from(VERSION))));
    create_udf("version", Vec::new(), DataType::Utf8, Volatility::Immutable, answer)
}

/// Makes sessions.
pub struct Sessions {
    config: SqlConfig,
    tables: Tables,
    template: Arc<SessionState>,
    statics: Arc<PgCatalogStaticTables>,
    /// By the role's name: numbers that PostgreSQL's catalogue gives to tables stay as long as it does.
    roles: Mutex<BTreeMap<String, RoleSchemas>>,
}

impl std::fmt::Debug for Sessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sessions").finish_non_exhaustive()
    }
}

impl Sessions {
    /// For these tables.
    ///
    /// # Errors
    /// When PostgreSQL's catalogue cannot be set up.
    pub fn new(config: SqlConfig, tables: Tables) -> Result<Self> {
        let threads = usize::try_from(config.threads).unwrap_or(1);
        let session = SessionConfig::new()
            .with_default_catalog_and_schema(CATALOGUE, DEFAULT_SCHEMA)
            .with_information_schema(true)
            .with_target_partitions(threads)
            .with_batch_size(BATCH_ROWS)
            .set_str("datafusion.sql_parser.dialect", "PostgreSQL");
        let context = SessionContext::new_with_config(session);
        // Registers the functions that clients of PostgreSQL expect; its tables come per role.
        setup_pg_catalog(&context, CATALOGUE, EmptyContextProvider).map_err(|error| *error)?;
        context.register_udf(version());
        growing::bound(&context)?;
        let template = SessionStateBuilder::new_from_existing(context.state())
            .with_physical_optimizer_rule(Arc::new(YieldWhereRowsMultiply))
            .build();
        Ok(Self {
            config,
            tables,
            template: Arc::new(template),
            statics: Arc::new(PgCatalogStaticTables::try_new()?),
            roles: Mutex::default(),
        })
    }

    /// The settings.
    pub fn config(&self) -> &SqlConfig {
        &self.config
    }

    /// A session for one query of a role.
    ///
    /// # Errors
    /// When its memory cannot be set aside.
    pub fn query(&self, role: Role) -> Result<SessionContext> {
        let live = self.schemas(role)?;
        let list = MemoryCatalogProviderList::new();
        list.register_catalog(CATALOGUE.to_owned(), Arc::new(live.frozen()));
        let memory = usize::try_from(self.config.query_memory_max.bytes()).unwrap_or(usize::MAX);
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(GreedyMemoryPool::new(memory)))
            // A query that needs more than its memory ends; it does not fill the disk.
            .with_disk_manager_builder(DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled))
            .build_arc()?;
        let state = SessionStateBuilder::new_from_existing((*self.template).clone())
            .with_catalog_list(Arc::new(list))
            .with_runtime_env(runtime)
            .build();
        Ok(SessionContext::new_with_state(state))
    }

    fn schemas(&self, role: Role) -> Result<RoleSchemas> {
        // Nothing panics while holding it.
        let mut roles = self.roles.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(schemas) = roles.get(&role.name) {
            return Ok(schemas.clone());
        }
        let name = role.name.clone();
        let live = RoleSchemas::live(Arc::new(role), self.tables.clone(), Arc::clone(&self.template));
        let list = MemoryCatalogProviderList::new();
        list.register_catalog(CATALOGUE.to_owned(), Arc::new(live.clone()));
        let list: Arc<dyn CatalogProviderList> = Arc::new(list);
        let pg = PgCatalogSchemaProvider::try_new(list, Arc::clone(&self.statics), EmptyContextProvider)?;
        live.set_pg(Arc::new(pg));
        roles.insert(name, live.clone());
        Ok(live)
    }
}
