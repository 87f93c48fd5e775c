//! The catalogue: which tables there are, and which metadata file of each is the valid one.
//!
//! Tables are made and found through `iceberg-catalog-sql`, so that other programs of Iceberg read the same database. The
//! one thing of our own is the swap: a commit is valid exactly when it replaced the metadata file that it was built on.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use iceberg::io::LocalFsStorageFactory;
use iceberg::spec::{Schema, TableMetadata};
use iceberg::table::Table;
use iceberg::{Catalog as _, CatalogBuilder as _, MetadataLocation, NamespaceIdent, TableCreation, TableIdent};
use iceberg_catalog_sql::{SqlBindStyle, SqlCatalog, SqlCatalogBuilder};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions};

use crate::error::LakeError;

/// The catalogue's name within its database.
pub const NAME: &str = "naru";
/// The catalogue's database in the warehouse.
pub const FILE: &str = "catalogue.db";
/// Swaps are short, and SQLite does one at a time.
const CONNECTIONS_MAX: u32 = 4;
/// How long a swap waits for another one.
const BUSY_MAX: std::time::Duration = std::time::Duration::from_secs(10);

/// The catalogue of one warehouse. Clones are the same.
#[derive(Debug, Clone)]
pub struct Catalogue {
    inner: Arc<SqlCatalog>,
    pool: SqlitePool,
    warehouse: PathBuf,
}

impl Catalogue {
    /// Opens the catalogue of a warehouse; makes both if missing.
    ///
    /// # Errors
    /// When the folder or the database cannot be made.
    pub async fn open(warehouse: &Path) -> Result<Self, LakeError> {
        let refused = |source| LakeError::System { what: format!("the warehouse {}", warehouse.display()), source };
        std::fs::create_dir_all(warehouse).map_err(refused)?;
        let warehouse = warehouse.canonicalize().map_err(refused)?;
        let file = warehouse.join(FILE);
        let options = SqliteConnectOptions::new()
            .filename(&file)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .busy_timeout(BUSY_MAX);
        let pool = SqlitePoolOptions::new().max_connections(CONNECTIONS_MAX).connect_with(options).await?;
        let inner = SqlCatalogBuilder::default()
            .with_storage_factory(Arc::new(LocalFsStorageFactory))
            .uri(format!("sqlite:{}", file.display()))
            .warehouse_location(format!("file://{}", warehouse.display()))
            .sql_bind_style(SqlBindStyle::QMark)
            .load(NAME, HashMap::new())
            .await?;
        Ok(Self { inner: Arc::new(inner), pool, warehouse })
    }

    /// The folder of the tables.
    pub fn warehouse(&self) -> &Path {
        &self.warehouse
    }

    /// A table; none if there is none.
    ///
    /// # Errors
    /// When the catalogue or the table's metadata cannot be read.
    pub async fn find(&self, table: &TableIdent) -> Result<Option<Table>, LakeError> {
        match self.inner.table_exists(table).await? {
            true => Ok(Some(self.inner.load_table(table).await?)),
            false => Ok(None),
        }
    }

    /// Makes a table.
    ///
    /// # Errors
    /// When there is one, or the catalogue or the folder cannot be written.
    pub async fn create(
        &self,
        table: &TableIdent,
        schema: Schema,
        properties: HashMap<String, String>,
    ) -> Result<Table, LakeError> {
        let namespace = table.namespace();
        if !self.inner.namespace_exists(namespace).await? {
            self.inner.create_namespace(namespace, HashMap::new()).await?;
        }
        let location = format!("file://{}/{}/{}", self.warehouse.display(), namespace.join("/"), table.name());
        let creation = TableCreation::builder()
            .name(table.name().to_owned())
            .location(location)
            .schema(schema)
            .properties(properties)
            .build();
        Ok(self.inner.create_table(namespace, creation).await?)
    }

    /// Every namespace with its tables.
    ///
    /// # Errors
    /// When the catalogue cannot be read.
    pub async fn list(&self) -> Result<Vec<(NamespaceIdent, Vec<TableIdent>)>, LakeError> {
        let mut listed = Vec::new();
        for namespace in self.inner.list_namespaces(None).await? {
            let tables = self.inner.list_tables(&namespace).await?;
            listed.push((namespace, tables));
        }
        Ok(listed)
    }

    /// Makes `metadata` the valid metadata of a table, if what `table` was read from is still the valid one.
    ///
    /// # Errors
    /// [`LakeError::Fenced`] when it is not; else when files or the catalogue cannot be written. What was written by then
    /// is named by nothing.
    pub async fn swap(&self, table: &Table, metadata: TableMetadata) -> Result<Table, LakeError> {
        let identifier = table.identifier();
        let before = table.metadata_location_result()?;
        let location = before.parse::<MetadataLocation>()?.with_next_version();
        metadata.write_to(table.file_io(), &location).await?;
        let after = location.to_string();
        synced(&after, table.metadata().location()).await?;
        let swapped = sqlx::query(
            "UPDATE iceberg_tables SET metadata_location = ?, previous_metadata_location = ? \
             WHERE catalog_name = ? AND table_namespace = ? AND table_name = ? AND metadata_location = ?",
        )
        .bind(&after)
        .bind(before)
        .bind(NAME)
        .bind(identifier.namespace().join("."))
        .bind(identifier.name())
        .bind(before)
        .execute(&self.pool)
        .await?;
        if swapped.rows_affected() != 1 {
            return Err(LakeError::Fenced { table: identifier.to_string() });
        }
        Ok(Table::builder()
            .file_io(table.file_io().clone())
            .metadata_location(after)
            .metadata(metadata)
            .identifier(identifier.clone())
            .runtime(iceberg::Runtime::try_current()?)
            .build()?)
    }
}

/// Puts a metadata file on the disk, and the names of it and of the files that it names: the catalogue's own commit is
/// durable, and must not name what a power cut takes. The library syncs what is in data files and manifests, and neither
/// metadata nor folders.
async fn synced(metadata: &str, table: &str) -> Result<(), LakeError> {
    let path = |location: &str| PathBuf::from(location.strip_prefix("file://").unwrap_or(location));
    let (metadata, table) = (path(metadata), path(table));
    let paths = [metadata, table.join("metadata"), table.join("data")];
    let done = tokio::task::spawn_blocking(move || {
        // A table without rows has no folder for them yet.
        for path in paths.into_iter().filter(|path| path.exists()) {
            let file = std::fs::File::open(&path).and_then(|file| file.sync_all());
            file.map_err(|source| LakeError::System { what: format!("cannot sync {}", path.display()), source })?;
        }
        Ok(())
    });
    // A panic of it is ours; it is never cancelled.
    done.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}
