//! Tables as the catalogue has them now.

use std::sync::Arc;

use sqlx::Row as _;
use sqlx::postgres::PgConnection;

use crate::config::{CaptureConfig, ColumnConfig, ColumnPolicy, TableConfig, topic};
use crate::error::CaptureError;
use crate::personal;
use crate::table::{Column, Leaves, Table, Token, quoted};

/// A table's number and definition.
#[derive(Debug, Clone)]
pub struct Found {
    /// Its number, as in the stream.
    pub oid: u32,
    /// Whether it is the root of partitions.
    pub partitioned: bool,
    /// Whether row security keeps rows back from us.
    pub row_security: bool,
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
           where i.indrelid = c.oid and i.indisprimary), '{}')::int2[], row_security_active(c.oid) \
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
        row_security: row.try_get(4).map_err(read)?,
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

/// What the records of a table so far say about its columns.
#[derive(Debug, Clone, Copy)]
pub enum Before<'t> {
    /// There are none.
    Nothing,
    /// Records go on behind them: what was decided about a column holds.
    GoesOn(&'t Table),
    /// They are voided by a copy: the configuration decides, and what was protected leaves plain only if it says so.
    Anew(&'t Table),
}

/// How each column of a table leaves, in the order of the source; none leaves that nobody decided about.
///
/// # Errors
/// Everything that stands in the way.
pub fn table(
    config: &CaptureConfig,
    said: &TableConfig,
    columns: &[FoundColumn],
    key: &[i16],
    before: Before<'_>,
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
    if !matches!(before, Before::GoesOn(_)) {
        refusals.extend(said.columns.iter().filter(missing).map(|policy| Refusal {
            what: format!("the table {name} has no column {}", policy.name),
            fix: "remove it from [[table.column]], or name the column as it is called now".to_owned(),
        }));
    }
    let (mut kept, mut omitted) = (Vec::new(), Vec::new());
    for column in columns {
        let by_name = said.columns.iter().find(|policy| policy.name == column.name);
        let decided = match before {
            Before::Nothing => decide(by_name, &name, column, key),
            Before::GoesOn(before) => match before.decided(column.number) {
                // Under another name it may be something else; what is protected stays so.
                Some(Leaves::Plain) if before.name_of(column.number) == Some(&column.name) => Ok(Leaves::Plain),
                Some(Leaves::Plain) | None => decide(by_name, &name, column, key),
                Some(decided) => Ok(decided),
            },
            Before::Anew(before) => match before.decided(column.number) {
                Some(Leaves::Token(_) | Leaves::Not) if by_name.is_none() => Err(unprotected(&name, column)),
                _ => decide(by_name, &name, column, key),
            },
        };
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

/// Whether the configuration says otherwise than what was decided about the columns of a table's records: then the table
/// is copied anew, or refused there.
pub fn decided_otherwise(said: &TableConfig, found: &Found, before: &Table) -> Option<String> {
    let name = format!("{}.{}", said.schema, said.name);
    let is_there = |name: &str| found.columns.iter().any(|column| column.name == name);
    for column in &found.columns {
        let Some(was) = before.decided(column.number) else { continue };
        let mut policy = said.columns.iter().find(|policy| policy.name == column.name);
        if was != Leaves::Plain && policy.is_none() {
            // It was renamed while capture ran, and the policy follows it. Of a column that does not leave no name is kept.
            policy = said.columns.iter().find(|policy| match before.name_of(column.number) {
                Some(former) => policy.name == *former && !is_there(former),
                None => policy.policy == ColumnPolicy::Omit && !is_there(&policy.name),
            });
            if policy.is_none() {
                return Some(unprotected(&name, column).what);
            }
        }
        if decide(policy, &name, column, &found.key) != Ok(was) {
            return Some(format!("the configuration has another policy for the column {}", column.name));
        }
    }
    None
}

fn unprotected(table: &str, column: &FoundColumn) -> Refusal {
    Refusal {
        what: format!("the column {} of the table {table} was protected and has no policy any more", column.name),
        fix: format!(
            "say under [[table.column]] what is meant: name = {:?}, with the policy that it had, or policy = \"plain\"",
            column.name
        ),
    }
}

/// How a column leaves by its policy, if it has one.
fn decide(policy: Option<&ColumnConfig>, table: &str, column: &FoundColumn, key: &[i16]) -> Result<Leaves, Refusal> {
    let Some(policy) = policy else {
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

/// That row security keeps rows back: a copy would be short of them.
pub fn row_security(config: &CaptureConfig, said: &TableConfig) -> Refusal {
    let user = &config.database.user;
    Refusal {
        what: format!("row security of the table {}.{} keeps rows back from the user {user}", said.schema, said.name),
        fix: format!("run ALTER ROLE {} BYPASSRLS", quoted(user)),
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test panics on failure

    use naru_runtime::config::Sources;

    use super::*;

    fn config(columns: &str) -> CaptureConfig {
        let text = format!(
            "source = 'pay'\n[database]\ndatabase = 'd'\n[log]\nbootstrap = ['h:1']\n[vault]\naddress = 'h:1'\n[vault.tls]\n\
             authority = 'a'\ncertificate = 'b'\nkey = 'c'\n[[table]]\nname = 'users'\n{columns}"
        );
        Sources::default().document("capture.toml", text).load().unwrap()
    }

    fn found(names: &[(i16, &str)]) -> Found {
        let column = |(number, name): &(i16, &str)| FoundColumn {
            number: *number,
            name: (*name).to_owned(),
            type_oid: 25,
            modifier: -1,
            filled: false,
        };
        let columns = names.iter().map(column).collect();
        Found { oid: 1, partitioned: false, row_security: false, identity: 'd', columns, key: vec![1] }
    }

    const SIV: &str = "[[table.column]]\nname = 'memo'\npolicy = 'siv'\nfield = 'name'\n";
    const ROTATED: &str = "[[table.column]]\nname = 'memo'\npolicy = 'siv'\nfield = 'name'\nversion = 1\n";
    const OMIT: &str = "[[table.column]]\nname = 'memo'\npolicy = 'omit'\n";
    const PLAIN: &str = "[[table.column]]\nname = 'memo'\npolicy = 'plain'\n";

    #[test]
    fn a_policy_that_is_not_what_the_records_have_is_seen_and_none_is_lost_silently() {
        // Written by one configuration, started with another: is it seen, and what does a copy do?
        let check = |was: &str, now: &str, memo: &str, is_seen: bool, copied: Result<Leaves, &str>| {
            let (was, now) = (config(was), config(now));
            let first = found(&[(1, "id"), (2, "memo")]);
            let before = table(&was, &was.tables[0], &first.columns, &first.key, Before::Nothing).unwrap();
            let current = found(&[(1, "id"), (2, memo)]);
            let seen = decided_otherwise(&now.tables[0], &current, &before);
            assert_eq!(seen.is_some(), is_seen, "{memo}: {seen:?}");
            let anew = table(&now, &now.tables[0], &current.columns, &current.key, Before::Anew(&before));
            match (anew, copied) {
                (Ok(table), Ok(expect)) => assert_eq!(table.decided(2), Some(expect)),
                (Err(refusals), Err(expect)) => assert!(refusals[0].what.contains(expect), "{refusals:?}"),
                (other, _) => panic!("{other:?}"),
            }
        };
        let token =
            |version| Leaves::Token(Token { kind: crate::table::TokenKind::Siv, field: "name".to_owned(), version });
        check("", "", "memo", false, Ok(Leaves::Plain));
        check("", SIV, "memo", true, Ok(token(None)));
        check("", OMIT, "memo", true, Ok(Leaves::Not));
        check(SIV, SIV, "memo", false, Ok(token(None)));
        check(SIV, ROTATED, "memo", true, Ok(token(Some(1))));
        check(SIV, PLAIN, "memo", true, Ok(Leaves::Plain));
        check(SIV, "", "memo", true, Err("was protected"));
        check(OMIT, "", "memo", true, Err("was protected"));
        check(OMIT, PLAIN, "memo", true, Ok(Leaves::Plain));
        // Renamed while capture ran: the policy follows, until the table is copied.
        check(SIV, SIV, "remark", false, Err("no column memo"));
        check(OMIT, OMIT, "remark", false, Err("no column memo"));
        check("", "", "phone", true, Err("looks personal"));
        check("", "", "remark", false, Ok(Leaves::Plain));
    }

    #[test]
    fn a_column_that_is_renamed_while_it_is_captured_keeps_its_protection_and_no_other_gets_through() {
        let check = |was: &str, name: &str, expect: Result<Leaves, &str>| {
            let config = config(was);
            let first = found(&[(1, "id"), (2, "memo")]);
            let said = &config.tables[0];
            let before = table(&config, said, &first.columns, &first.key, Before::Nothing).unwrap();
            let now = found(&[(1, "id"), (2, name)]);
            let goes_on = table(&config, said, &now.columns, &now.key, Before::GoesOn(&before));
            match (goes_on, expect) {
                (Ok(table), Ok(expect)) => assert_eq!(table.decided(2), Some(expect)),
                (Err(refusals), Err(expect)) => assert!(refusals[0].what.contains(expect), "{refusals:?}"),
                (other, _) => panic!("{other:?}"),
            }
        };
        check(OMIT, "phone", Ok(Leaves::Not));
        check("", "remark", Ok(Leaves::Plain));
        check("", "phone", Err("looks personal"));
    }
}
