//! What each change record of a partition means to a table; pure.

use crate::table::progress::Mark;

/// What happened, as a record says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// A copy begins.
    Begin,
    /// A row of the copy.
    Read,
    /// The copy ends.
    End,
    /// A new row.
    Insert,
    /// A changed row.
    Update,
    /// A row is gone.
    Delete,
    /// All rows are gone.
    Truncate,
}

impl Op {
    /// By the name in the record.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "begin" => Self::Begin,
            "read" => Self::Read,
            "end" => Self::End,
            "insert" => Self::Insert,
            "update" => Self::Update,
            "delete" => Self::Delete,
            "truncate" => Self::Truncate,
            _ => return None,
        })
    }
}

/// What a record does to the rows that came through its partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Nothing: it is a repeat, or says nothing about rows.
    None,
    /// Its row is the key's row.
    Put,
    /// The key has no row.
    Remove,
    /// No key has a row.
    Void,
}

/// Takes in one record: what it does, and the mark behind it.
///
/// A record that does not rise above all before it in its partition is a repeat. `begin` stands in front of the rows of a
/// copy, whose sequences begin anew; only a later one than the last counts, since a copy that is begun again is of a later
/// position.
pub fn effect(mark: Option<Mark>, op: Op, position: i64, sequence: i64) -> (Effect, Option<Mark>) {
    let before = mark.unwrap_or(Mark { position: i64::MIN, sequence: i64::MIN, begin: i64::MIN });
    match op {
        Op::Begin if position <= before.begin => (Effect::None, mark),
        Op::Begin => (Effect::Void, Some(Mark { position, sequence: -1, begin: position })),
        Op::End => (Effect::None, mark),
        _ if (position, sequence) <= (before.position, before.sequence) => (Effect::None, mark),
        op => {
            let effect = match op {
                Op::Delete => Effect::Remove,
                Op::Truncate => Effect::Void,
                _ => Effect::Put,
            };
            (effect, Some(Mark { position, sequence, begin: before.begin }))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(records: &[(Op, i64, i64)], expect: &[Effect]) {
        let mut mark = None;
        let mut effects = Vec::new();
        for (op, position, sequence) in records {
            let (effect, after) = effect(mark, *op, *position, *sequence);
            assert!(after >= mark, "{records:?}: a mark goes back");
            mark = after;
            effects.push(effect);
        }
        assert_eq!(effects, expect, "{records:?}");
    }

    #[test]
    fn a_record_that_does_not_rise_is_a_repeat() {
        use Effect::{None as Nothing, Put, Remove};
        let records =
            [(Op::Insert, 10, 0), (Op::Update, 10, 1), (Op::Insert, 10, 0), (Op::Delete, 11, 0), (Op::Delete, 11, 0)];
        check(&records, &[Put, Put, Nothing, Remove, Nothing]);
    }

    #[test]
    fn a_copy_that_begins_anew_voids_the_one_before() {
        use Effect::{None as Nothing, Put, Void};
        let copy = [(Op::Begin, 5, 0), (Op::Read, 5, 0), (Op::Read, 5, 3)];
        check(&copy, &[Void, Put, Put]);
        let again = [copy[0], copy[1], (Op::Begin, 9, 0), (Op::Read, 9, 0), (Op::End, 9, 1), (Op::Insert, 12, 0)];
        check(&again, &[Void, Put, Void, Put, Nothing, Put]);
        // A begin, and rows of a copy, that come late.
        check(&[again[2], again[3], copy[0], copy[1]], &[Void, Put, Nothing, Nothing]);
    }

    #[test]
    fn a_truncate_voids_once() {
        check(
            &[(Op::Insert, 1, 0), (Op::Truncate, 2, 0), (Op::Truncate, 2, 0)],
            &[Effect::Put, Effect::Void, Effect::None],
        );
    }
}
