//! Tables as the catalogue has them now.

use std::sync::Arc;

use sqlx::Row as _;
use sqlx::postgres::PgConnection;

use crate::config::{CaptureConfig, ColumnConfig, ColumnPolicy, TableConfig, topic};
use crate::error::CaptureError;
use crate::personal;
use crate::table::{Column, Leaves, Table, Token};

/// A table's number and definition.
#[derive(Debug, Clone)]
pub struct Found {
    /// Its number, as in the stream.
    pub oid: u32,
    /// Whether it is the root of partitions.
    pub partitioned: bool,
    /// How rows are identified: `d` by the primary key, `f` by all columns, `i` by an index, `n` not at all.
    pub identity: char,
    /// Its columns, without generated and dropped ones, in their order.
    pub columns: Vec<FoundColumn>,
    /// The numbers of the primary key's columns, in the key's order; empty without one.
    pub key: Vec<i16>,
}

/// A column in the catalogue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundColumn {
    /// `attnum`.
    pub number: i16,
    /// Its name.
    pub name: String,
    /// Its type's number.
    pub type_oid: u32,
    /// Its type's modifier.
    pub modifier: i32,
    /// Whether it has a default: rows that were there before it may hold a value that no change says.
    pub filled: bool,
}

/// Looks a table up.
///
/// # Errors
/// The database's.
pub async fn find(session: &mut PgConnection, schema: &str, name: &str) -> Result<Option<Found>, CaptureError> {
    let asked = "its catalogue";
    let row = sqlx::query(
        "select c.oid::int8, c.relkind::text = 'p', c.relreplident::text, \
         coalesce((select array_agg(k.attnum order by k.ord) from pg_index i, \
           unnest(i.indkey::int2[]) with ordinality as k(attnum, ord) \
           where i.indrelid = c.oid and i.indisprimary), '{}')::int2[] \
         from pg_class c join pg_namespace n on n.oid = c.relnamespace \
         where n.nspname = $1 and c.relname = $2 and c.relkind in ('r', 'p')",
    )
    .bind(schema)
    .bind(name)
    .fetch_optional(&mut *session)
    .await
    .map_err(CaptureError::database(asked))?;
    let Some(row) = row else { return Ok(None) };
    let read = |error| CaptureError::Database { asked, source: error };
    let oid = number(row.try_get(0).map_err(read)?);
    let identity: String = row.try_get(2).map_err(read)?;
    let columns = sqlx::query(
        "select attnum, attname::text, atttypid::int8, atttypmod, atthasmissing or atthasdef or attidentity <> '' \
         from pg_attribute \
         where attrelid = $1::int8::oid and attnum > 0 and not attisdropped and attgenerated = '' order by attnum",
    )
    .bind(i64::from(oid))
    .fetch_all(session)
    .await
    .map_err(CaptureError::database(asked))?;
    let column = |row: &sqlx::postgres::PgRow| {
        Ok(FoundColumn {
            number: row.try_get(0)?,
            name: row.try_get(1)?,
            type_oid: number(row.try_get(2)?),
            modifier: row.try_get(3)?,
            filled: row.try_get(4)?,
        })
    };
    Ok(Some(Found {
        oid,
        partitioned: row.try_get(1).map_err(read)?,
        identity: identity.chars().next().unwrap_or('d'),
        columns: columns.iter().map(column).collect::<Result<_, sqlx::Error>>().map_err(read)?,
        key: row.try_get(3).map_err(read)?,
    }))
}

fn number(oid: i64) -> u32 {
    u32::try_from(oid).unwrap_or(0)
}

/// Why a table cannot be captured as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What is wrong.
    pub what: String,
    /// What mends it.
    pub fix: String,
}

/// How each column of a table leaves, in the order of the source; none leaves that nobody decided about. A column of
/// `before` keeps what was decided about it, whatever it is called now.
///
/// # Errors
/// Everything that stands in the way.
pub fn table(
    config: &CaptureConfig,
    said: &TableConfig,
    columns: &[FoundColumn],
    key: &[i16],
    before: Option<&Table>,
) -> Result<Arc<Table>, Vec<Refusal>> {
    let name = format!("{}.{}", said.schema, said.name);
    let mut refusals = Vec::new();
    if key.is_empty() {
        refusals.push(Refusal {
            what: format!("the table {name} has no primary key"),
            fix: format!("give it one: ALTER TABLE {name} ADD PRIMARY KEY (...)"),
        });
    }
    let missing = |policy: &&ColumnConfig| !columns.iter().any(|column| column.name == policy.name);
    if before.is_none() {
        refusals.extend(said.columns.iter().filter(missing).map(|policy| Refusal {
            what: format!("the table {name} has no column {}", policy.name),
            fix: "remove it from [[table.column]], or name the column as it is called now".to_owned(),
        }));
    }
    let (mut kept, mut omitted) = (Vec::new(), Vec::new());
    for column in columns {
        let decided = before.and_then(|before| before.decided(column.number));
        let decided = decided.map_or_else(|| decide(said, &name, column, key), Ok);
        match decided {
            Ok(Leaves::Not) => omitted.push(column.number),
            Ok(Leaves::Plain) => kept.push((column, None)),
            Ok(Leaves::Token(token)) => kept.push((column, Some(token))),
            Err(refusal) => refusals.push(refusal),
        }
    }
    if !refusals.is_empty() {
        return Err(refusals);
    }
    let ordinals =
        key.iter().filter_map(|number| kept.iter().position(|(column, _)| column.number == *number)).collect();
    let columns = kept.into_iter().map(|(column, token)| Column {
        number: column.number,
        name: column.name.clone(),
        type_oid: column.type_oid,
        modifier: column.modifier,
        token,
    });
    let topic = topic(&config.source, &said.schema, &said.name);
    let named = (said.schema.clone(), said.name.clone());
    Ok(Arc::new(Table::new(topic.into(), named, columns.collect(), ordinals, omitted)))
}

/// How a column leaves by the configuration.
fn decide(said: &TableConfig, table: &str, column: &FoundColumn, key: &[i16]) -> Result<Leaves, Refusal> {
    let Some(policy) = said.columns.iter().find(|policy| policy.name == column.name) else {
        let Some(looks) = personal::looks(&column.name) else { return Ok(Leaves::Plain) };
        return Err(Refusal {
            what: format!("the column {} of the table {table} looks personal ({looks}) and has no policy", column.name),
            fix: format!(
                "decide under [[table.column]]: name = {:?}, policy = \"hmac\", \"ff1\" or \"siv\" with a field, \"omit\", or \
                 \"plain\" if it is not personal",
                column.name
            ),
        });
    };
    let is_key = key.contains(&column.number);
    match policy.policy.token() {
        None if policy.policy == ColumnPolicy::Omit && is_key => Err(Refusal {
            what: format!("the column {} of the table {table} belongs to the primary key and is omitted", column.name),
            fix: "let it leave as a token: policy = \"siv\"".to_owned(),
        }),
        None if policy.policy == ColumnPolicy::Omit => Ok(Leaves::Not),
        None => Ok(Leaves::Plain),
        Some(_) if is_key && policy.version.is_none() => Err(Refusal {
            what: format!(
                "the column {} of the table {table} belongs to the primary key, and its token's key has no version",
                column.name
            ),
            fix:
                "add version = 1 under its [[table.column]]: with another key the same row would have another identity"
                    .to_owned(),
        }),
        Some(kind) => {
            let field = policy.field.clone().unwrap_or_default();
            Ok(Leaves::Token(Token { kind, field, version: policy.version }))
        }
    }
}

/// What is wrong with how the table's rows are identified in the stream.
pub fn identity(said: &TableConfig, found: &Found) -> Vec<Refusal> {
    let name = format!("{}.{}", said.schema, said.name);
    match found.identity {
        'd' | 'f' => Vec::new(),
        other => vec![Refusal {
            what: format!(
                "rows of the table {name} are identified {}, not by their primary key",
                if other == 'n' { "by nothing" } else { "by another index" }
            ),
            fix: format!("run ALTER TABLE {name} REPLICA IDENTITY DEFAULT"),
        }],
    }
}
