//! Committed offsets of every group on both sides.

use std::collections::{BTreeMap, BTreeSet};

use naru_kafka::client::TopicPartition;
use naru_kafka::wire::ErrorCode;

use super::read::Reader;
use super::{Committed, Difference, VerifyError};
use crate::side::{Side, SideMap};

/// A committed offset with the committer's own words, which are compared and never shown.
pub(super) type Place = (i64, Option<String>);

/// One group's offsets on one side.
pub(super) type Places = BTreeMap<TopicPartition, Place>;

/// What a group has committed for partitions that are compared, where the sides do not agree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Apart {
    pub group: String,
    pub at: TopicPartition,
    pub sides: SideMap<Option<Place>>,
}

impl Apart {
    pub fn difference(&self) -> Difference {
        let shown = |side: &Option<Place>| side.as_ref().map(|(offset, _)| Committed { offset: *offset });
        Difference::Committed {
            group: self.group.clone(),
            topic: self.at.topic.to_string(),
            partition: self.at.partition,
            sides: SideMap { a: shown(&self.sides.a), b: shown(&self.sides.b) },
        }
    }

    /// Whether a later look shows that one side came to hold what the other had before.
    pub fn settled_by(&self, later: &SideMap<Places>) -> bool {
        let now = |side: Side| later[side].get(&self.at);
        let had = |side: Side| self.sides[side].as_ref();
        now(Side::A) == now(Side::B) || now(Side::A) == had(Side::B) || now(Side::B) == had(Side::A)
    }
}

/// Where the sides do not agree.
pub(super) fn apart(group: &str, sides: &SideMap<Places>) -> Vec<Apart> {
    let partitions: BTreeSet<_> = sides.a.keys().chain(sides.b.keys()).collect();
    let of = |at: &TopicPartition| SideMap { a: sides.a.get(at).cloned(), b: sides.b.get(at).cloned() };
    let apart = |at: &TopicPartition| Apart { group: group.to_owned(), at: at.clone(), sides: of(at) };
    { partitions }.into_iter().map(apart).filter(|found| found.sides.a != found.sides.b).collect()
}

impl Reader {
    /// Every group of either side.
    pub async fn groups(&self) -> Result<BTreeSet<String>, VerifyError> {
        let of = |side: Side| async move {
            self.clients[side].list_groups().await.map_err(|source| VerifyError::Side { side, source })
        };
        let (a, b) = tokio::try_join!(of(Side::A), of(Side::B))?;
        Ok(a.into_iter().chain(b).map(|listed| listed.group).collect())
    }

    /// What a group has committed on both sides, for the partitions that are compared.
    pub async fn committed(
        &self,
        group: &str,
        compared: &(dyn Fn(&TopicPartition) -> bool + Sync),
    ) -> Result<SideMap<Places>, VerifyError> {
        let of = |side: Side| async move {
            match self.clients[side].committed_offsets(group, None).await {
                Ok(offsets) => {
                    let kept = offsets.into_iter().filter(|one| compared(&one.at));
                    // A broker gives no words back as empty ones.
                    let words = |words: Option<String>| words.filter(|words| !words.is_empty());
                    Ok(kept.map(|one| (one.at, (one.offset, words(one.metadata)))).collect())
                }
                // A group that this side has never seen.
                Err(error) if error.code() == Some(ErrorCode::GROUP_ID_NOT_FOUND) => Ok(Places::new()),
                Err(source) => Err(VerifyError::Side { side, source }),
            }
        };
        let (a, b) = tokio::try_join!(of(Side::A), of(Side::B))?;
        Ok(SideMap { a, b })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(places: &[(i32, i64, &str)]) -> Places {
        let place = |(partition, offset, words): &(i32, i64, &str)| {
            (TopicPartition::new("t", *partition), (*offset, (!words.is_empty()).then(|| (*words).to_owned())))
        };
        places.iter().map(place).collect()
    }

    #[test]
    fn offsets_apart_are_named() {
        let check = |a: &[(i32, i64, &str)], b: &[(i32, i64, &str)], expect: &[&str]| {
            let found = apart("g", &SideMap { a: places(a), b: places(b) });
            let found: Vec<_> = found.iter().map(|apart| apart.difference().to_string()).collect();
            assert_eq!(found, expect);
        };
        check(&[(0, 5, ""), (1, 6, "x")], &[(0, 5, ""), (1, 6, "x")], &[]);
        check(&[(0, 5, "")], &[(0, 4, "")], &["group g, t-0: committed 5 on a, 4 on b"]);
        check(&[(0, 5, "")], &[], &["group g, t-0: committed 5 on a, nothing on b"]);
        check(&[], &[(3, 0, "")], &["group g, t-3: committed nothing on a, 0 on b"]);
        check(&[(0, 5, "x")], &[(0, 5, "y")], &["group g, t-0: committed 5 on a, 5 on b; their metadata differ"]);
    }

    #[test]
    fn a_commit_on_its_way_to_the_other_side_settles() {
        let before = apart("g", &SideMap { a: places(&[(0, 7, "")]), b: places(&[(0, 5, "")]) }).remove(0);
        let check = |a: i64, b: i64, expect: bool| {
            let later = SideMap { a: places(&[(0, a, "")]), b: places(&[(0, b, "")]) };
            assert_eq!(before.settled_by(&later), expect, "{a} {b}");
        };
        check(7, 7, true);
        // The next commit is on its way already.
        check(9, 7, true);
        check(7, 5, false);
        check(9, 5, false);
    }
}
