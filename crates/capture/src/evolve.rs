//! How a table may change while it is captured. Pure.

use crate::source::catalog::FoundColumn;
use crate::source::pgoutput::RelationColumn;
use crate::table::Table;

const INT2: u32 = 21;
const INT4: u32 = 23;
const INT8: u32 = 20;
const FLOAT4: u32 = 700;
const FLOAT8: u32 = 701;
const VARCHAR: u32 = 1043;
const TEXT: u32 = 25;
const NUMERIC: u32 = 1700;
/// timestamp, timestamptz, time, timetz, interval: their modifier is the digits of a second.
const TIMES: [u32; 5] = [1114, 1184, 1083, 1266, 1186];

/// Whether every value of a type (with its modifier) is the same value of the other, so that rows that were written before
/// need not be written again.
pub fn widens(from: (u32, i32), to: (u32, i32)) -> bool {
    let wider = |from: i32, to: i32| to == -1 || (from != -1 && to >= from);
    match (from.0, to.0) {
        _ if from == to => true,
        (INT2, INT4 | INT8) | (INT4, INT8) | (FLOAT4, FLOAT8) | (VARCHAR, TEXT) => true,
        (VARCHAR, VARCHAR) => wider(from.1, to.1),
        (NUMERIC, NUMERIC) => {
            let (before, after) = (from.1 - 4, to.1 - 4);
            // To a numeric without bounds is another type on the log.
            from.1 >= 4
                && to.1 >= 4
                && before & 0xffff == after & 0xffff
                && after >> 16 >= before >> 16
                && after >> 16 <= 38
        }
        (before, after) if before == after && TIMES.contains(&before) => wider(from.1, to.1),
        _ => false,
    }
}

/// Gives the columns of the stream, which knows no numbers, the numbers that they have in the catalogue.
///
/// # Errors
/// Why they cannot be told, or why rows that were written before are not right any more: the table is then copied anew.
pub fn numbered(
    columns: &[RelationColumn],
    before: Option<&Table>,
    now: &[FoundColumn],
) -> Result<Vec<FoundColumn>, String> {
    let mut numbered: Vec<FoundColumn> = Vec::with_capacity(columns.len());
    for column in columns {
        let was = before.and_then(|table| table.columns.iter().find(|known| known.name == column.name));
        let is = now.iter().find(|found| found.name == column.name);
        let number = match (was, is) {
            (Some(was), Some(is)) if was.number != is.number => {
                return Err(format!("the column {} was dropped and made again", column.name));
            }
            (Some(was), _) => was.number,
            (None, Some(is)) => {
                let is_new = before.is_some_and(|table| table.decided(is.number).is_none());
                if is_new && is.filled {
                    return Err(format!("the new column {} has a default, which rows before it may hold", column.name));
                }
                is.number
            }
            (None, None) => return Err(format!("the column {} is not there any more", column.name)),
        };
        if numbered.last().is_some_and(|last| last.number >= number) {
            return Err("its columns cannot be told apart".to_owned());
        }
        numbered.push(FoundColumn {
            number,
            name: column.name.clone(),
            type_oid: column.type_oid,
            modifier: column.modifier,
            filled: false,
        });
    }
    Ok(numbered)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::tests::{column, table};

    #[test]
    fn only_types_that_keep_every_value_widen() {
        let numeric = |precision: i32, scale: i32| (NUMERIC, ((precision << 16) | scale) + 4);
        let check = |from, to, expect| assert_eq!(widens(from, to), expect, "{from:?} to {to:?}");
        check((INT4, -1), (INT8, -1), true);
        check((INT8, -1), (INT4, -1), false);
        check((FLOAT4, -1), (FLOAT8, -1), true);
        check((VARCHAR, 14), (VARCHAR, 24), true);
        check((VARCHAR, 24), (VARCHAR, 14), false);
        check((VARCHAR, 24), (TEXT, -1), true);
        check((TEXT, -1), (VARCHAR, 24), false);
        check(numeric(12, 2), numeric(14, 2), true);
        check(numeric(12, 2), numeric(14, 3), false);
        check(numeric(12, 2), numeric(39, 2), false);
        check(numeric(12, 2), (NUMERIC, -1), false);
        check((1114, 3), (1114, -1), true);
        check((1114, -1), (1114, 3), false);
        check((114, -1), (3802, -1), false);
    }

    fn relation(names: &[&str]) -> Vec<RelationColumn> {
        let column = |name: &&str| RelationColumn { name: (*name).to_owned(), type_oid: TEXT, modifier: -1 };
        names.iter().map(column).collect()
    }

    #[test]
    fn columns_keep_their_numbers_through_changes() {
        let before =
            table(vec![column(1, "id", TEXT, -1), column(2, "a", TEXT, -1), column(3, "b", TEXT, -1)], vec![0]);
        let check = |stream: &[&str], now: &[(i16, &str, bool)], expect: Option<&[i16]>| {
            let now: Vec<_> = now
                .iter()
                .map(|(number, name, filled)| FoundColumn {
                    number: *number,
                    name: (*name).to_owned(),
                    type_oid: TEXT,
                    modifier: -1,
                    filled: *filled,
                })
                .collect();
            let found = numbered(&relation(stream), Some(&before), &now);
            let numbers =
                found.as_ref().ok().map(|columns| columns.iter().map(|column| column.number).collect::<Vec<_>>());
            assert_eq!(numbers.as_deref(), expect, "{stream:?}: {found:?}");
        };
        let (id, a, b) = ((1, "id", true), (2, "a", false), (3, "b", false));
        check(&["id", "a", "b"], &[id, a, b], Some(&[1, 2, 3]));
        check(&["id", "a", "b", "c"], &[id, a, b, (4, "c", false)], Some(&[1, 2, 3, 4]));
        check(&["id", "a", "b", "c"], &[id, a, b, (4, "c", true)], None);
        check(&["id", "b"], &[id, b], Some(&[1, 3]));
        check(&["id", "x", "b"], &[id, (2, "x", true), b], Some(&[1, 2, 3]));
        // The stream is behind the catalogue.
        check(&["id", "a", "b"], &[id, (2, "x", false)], Some(&[1, 2, 3]));
        check(&["id", "b", "a"], &[id, b, (4, "a", false)], None);
        check(&["id", "y", "b"], &[id, (2, "z", false), b], None);
    }
}
