//! Columns that come, go, get another name or a wider type.

use std::collections::HashMap;

use super::columns::{self, Declared, Kind};
use super::commit;
use super::read::field_id;
use super::state::{FIELDS, State, field_ids};
use crate::catalogue::Catalogue;
use crate::error::LakeError;

/// Property of a table that says which declaration its columns are of: a later one is newer.
pub const SCHEMA_ORDER: &str = "naru.schema-order";

impl State {
    /// Which declaration its columns are of.
    pub fn schema_order(&self) -> i64 {
        let said = self.table().metadata().properties().get(SCHEMA_ORDER);
        said.and_then(|order| order.parse().ok()).unwrap_or(-1)
    }

    /// Gives the table the columns of a newer declaration, in a commit of its own behind what is hot.
    ///
    /// # Errors
    /// [`LakeError::Schema`] when a column's values do not fit its new type, or the key is another one.
    pub async fn evolve_to(
        &mut self,
        catalogue: &Catalogue,
        declared: &[Declared],
        order: i64,
        at_ms: i64,
    ) -> Result<(), LakeError> {
        if self.has_moved() {
            self.commit(catalogue, at_ms).await?;
        }
        let table = self.table();
        let before = field_ids(table)?;
        let last_id = table.metadata().last_column_id();
        let (schema, ids) = columns::schema(self.kind(), declared, &before, last_id)?;
        let next = columns::arrow(&schema)?;
        let refused = |what: String| LakeError::Schema { topic: table.identifier().to_string(), what };
        for field in next.fields() {
            let old = self.schema().fields().iter().find(|old| field_id(old) == field_id(field));
            if let Some(old) = old.filter(|old| !columns::widens(old.data_type(), field.data_type())) {
                return Err(refused(format!(
                    "the column {} was {} and is {} now, which cannot hold every value that it has; take the table away \
                     and copy it anew",
                    field.name(),
                    old.data_type(),
                    field.data_type()
                )));
            }
        }
        let key = |schema: &iceberg::spec::Schema| {
            let mut key: Vec<i32> = schema.identifier_field_ids().collect();
            key.sort_unstable();
            key
        };
        if self.kind() == Kind::Mirror && key(&schema) != key(table.metadata().current_schema()) {
            return Err(refused("its primary key is another one now; take the table away and copy it anew".to_owned()));
        }
        let fields = serde_json::to_string(&ids).map_err(|error| refused(error.to_string()))?;
        let properties = HashMap::from([(FIELDS.to_owned(), fields), (SCHEMA_ORDER.to_owned(), order.to_string())]);
        let table = commit::evolve(catalogue, table, schema, properties).await?;
        self.evolved(table).await
    }
}
