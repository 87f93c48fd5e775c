//! How the configured tables stand in the database now: whether they are the ones that were copied, and whether all of
//! their changes are published.

use std::collections::BTreeMap;

use sqlx::Row as _;
use sqlx::postgres::PgConnection;

use crate::config::{CaptureConfig, topic};
use crate::error::CaptureError;

/// The publication.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Publication {
    /// Whether it has inserts, updates, deletes and truncates.
    pub whole: bool,
    /// Whether changes of partitions come under the name of their root.
    pub via_root: bool,
    /// Whether it is for all tables, whatever they are.
    pub all_tables: bool,
    /// Whether it has tables beside the configured ones.
    pub others: bool,
}

/// A configured table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stand {
    /// Its number; none if there is no such table.
    pub number: Option<u32>,
    /// Whether it is the root of partitions.
    pub partitioned: bool,
    /// Whether the publication has it.
    pub published: bool,
    /// Whether the publication keeps rows or columns of it back.
    pub narrowed: bool,
}

/// All of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    /// The publication, if it is there.
    pub publication: Option<Publication>,
    /// By topic.
    pub tables: BTreeMap<String, Stand>,
}

/// Asks the catalogue.
///
/// # Errors
/// The database's.
pub async fn look(session: &mut PgConnection, config: &CaptureConfig) -> Result<Standing, CaptureError> {
    let asked = "how its tables are published";
    let (schemas, names): (Vec<_>, Vec<_>) =
        config.tables.iter().map(|table| (table.schema.clone(), table.name.clone())).unzip();
    let publication = sqlx::query(
        "select pubinsert and pubupdate and pubdelete and pubtruncate, pubviaroot, puballtables, \
         exists (select from pg_publication_tables t where t.pubname = p.pubname \
           and (t.schemaname::text, t.tablename::text) not in (select * from unnest($2::text[], $3::text[]))) \
         from pg_publication p where pubname = $1",
    )
    .bind(config.publication())
    .bind(&schemas)
    .bind(&names)
    .fetch_optional(&mut *session)
    .await
    .map_err(CaptureError::database(asked))?;
    // Filters and column lists are there from version 15 on.
    let rows = sqlx::query(
        "select c.oid::int8, coalesce(c.relkind::text = 'p', false), \
         exists (select from pg_publication_tables t where t.pubname = $1 and t.schemaname = w.s and t.tablename = w.n), \
         exists (select from pg_publication_rel r join pg_publication p on p.oid = r.prpubid \
           where p.pubname = $1 and r.prrelid = c.oid \
           and (to_jsonb(r) ->> 'prqual' is not null or to_jsonb(r) ->> 'prattrs' is not null)) \
         from unnest($2::text[], $3::text[]) with ordinality as w(s, n, i) \
         left join pg_namespace ns on ns.nspname = w.s \
         left join pg_class c on c.relnamespace = ns.oid and c.relname = w.n and c.relkind in ('r', 'p') order by w.i",
    )
    .bind(config.publication())
    .bind(&schemas)
    .bind(&names)
    .fetch_all(session)
    .await
    .map_err(CaptureError::database(asked))?;
    let read = CaptureError::database(asked);
    let of = |row: &sqlx::postgres::PgRow| {
        let number: Option<i64> = row.try_get(0)?;
        Ok::<_, sqlx::Error>(Stand {
            number: number.and_then(|number| number.try_into().ok()),
            partitioned: row.try_get(1)?,
            published: row.try_get(2)?,
            narrowed: row.try_get(3)?,
        })
    };
    let flags = |row: sqlx::postgres::PgRow| {
        let [whole, via_root, all_tables, others] =
            [row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, row.try_get(3)?];
        Ok::<_, sqlx::Error>(Publication { whole, via_root, all_tables, others })
    };
    let standing = || {
        let stands = rows.iter().map(of).collect::<Result<Vec<_>, _>>()?;
        let topics = config.tables.iter().map(|table| topic(&config.source, &table.schema, &table.name));
        let publication = publication.map(flags).transpose()?;
        Ok(Standing { publication, tables: topics.zip(stands).collect() })
    };
    standing().map_err(read)
}

impl Standing {
    /// Why changes of a table may have been missed since its copy, which had this number; none if they were not.
    pub fn missed(&self, topic: &str, copied: Option<u32>) -> Option<String> {
        let stand = self.tables.get(topic).copied().unwrap_or_default();
        let Some(number) = stand.number else {
            return Some("the table is gone, or is called otherwise now".to_owned());
        };
        if copied.is_some_and(|copied| copied != number) {
            return Some("the table was dropped and made again".to_owned());
        }
        let what = match self.publication {
            None => "the publication is gone",
            Some(publication) if !publication.whole => "the publication left kinds of changes out",
            Some(publication) if stand.partitioned && !publication.via_root => {
                "the publication has changes of partitions under their own names"
            }
            _ if !stand.published => "the table was not in the publication",
            _ if stand.narrowed => "the publication kept rows or columns of the table back",
            _ => return None,
        };
        Some(what.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_keeps_changes_back_is_a_reason() {
        let sound = Stand { number: Some(7), partitioned: false, published: true, narrowed: false };
        let all = Publication { whole: true, via_root: true, all_tables: false, others: false };
        let check = |publication, stand, copied, expect: Option<&str>| {
            let standing = Standing { publication, tables: [("pay.a".to_owned(), stand)].into() };
            let said = standing.missed("pay.a", copied);
            assert_eq!(said.is_some(), expect.is_some(), "{said:?}");
            assert!(said.unwrap_or_default().contains(expect.unwrap_or_default()));
        };
        check(Some(all), sound, Some(7), None);
        check(Some(all), sound, None, None);
        check(Some(all), sound, Some(8), Some("made again"));
        check(Some(all), Stand { number: None, ..sound }, Some(7), Some("called otherwise"));
        check(Some(all), Stand { published: false, ..sound }, Some(7), Some("not in the publication"));
        check(Some(all), Stand { narrowed: true, ..sound }, Some(7), Some("kept rows or columns"));
        check(None, sound, Some(7), Some("publication is gone"));
        check(Some(Publication { whole: false, ..all }), sound, Some(7), Some("kinds of changes"));
        let by_leaf = Publication { via_root: false, ..all };
        check(Some(by_leaf), sound, Some(7), None);
        check(Some(by_leaf), Stand { partitioned: true, ..sound }, Some(7), Some("under their own names"));
    }
}
