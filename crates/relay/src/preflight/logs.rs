//! The logs of a topic: what they hold, whether they are one log, and who else writes to them.

use std::time::Duration;

use naru_kafka::client::TopicPartition;

use super::{Look, PreflightError};
use crate::side::{Side, SideMap};
use crate::topics::logs::{Extent, Unread, batches, differs_at, extent};
use crate::topics::rules::Severity;

/// Between two looks at a log's end: long enough for a writer at work to be seen.
const WRITERS_LOOK: Duration = Duration::from_millis(500);
/// The side of which a command may delete a topic that differs: never the one with more.
fn expendable(records: SideMap<i64>, standby: Side) -> Side {
    if records[standby] > records[standby.other()] { standby.other() } else { standby }
}

impl Look<'_> {
    /// A topic that both sides have, alike.
    pub(super) async fn logs(&mut self, topic: &str, partitions: i32) -> Result<(), PreflightError> {
        let mut before: Vec<SideMap<Extent>> = Vec::new();
        for index in 0..partitions {
            let at = TopicPartition::new(topic, index);
            let read = async |side: Side| {
                extent(&self.clients[side], &at).await.map_err(|source| PreflightError::Side { side, source })
            };
            before.push(SideMap { a: read(Side::A).await?, b: read(Side::B).await? });
        }
        let (mut copied, mut different) = (SideMap { a: 0, b: 0 }, None);
        for (index, on) in (0..).zip(&before) {
            let at = TopicPartition::new(topic, index);
            self.transactions(topic, &at, on).await?;
            let shorter = if on.a.end < on.b.end { Side::A } else { Side::B };
            copied[shorter] += on[shorter.other()].end - on[shorter].end.max(on[shorter.other()].start);
            if different.is_none() {
                let clients = SideMap::from_fn(|side| &self.clients[side]);
                // Nothing tells a copier's id before a relay has one.
                let offset = differs_at(&clients, &at, on, |_| false).await;
                let offset = offset.map_err(|Unread { side, source }| PreflightError::Side { side, source })?;
                different = offset.map(|offset| (at, offset));
            }
        }
        if let Some((at, offset)) = different {
            let records = SideMap::from_fn(|side: Side| before.iter().map(|on| on[side].records()).sum::<i64>());
            let side = expendable(records, self.standby_of(topic));
            let what = format!(
                "{at} holds other records at offset {offset}, the last that was compared, than on the other side: two logs, \
                 not one, with {} records on a and {} on b. Decide which counts; the command deletes all {} on {side}",
                records.a, records.b, records[side]
            );
            let command = format!(
                "kafka-topics.sh --bootstrap-server {} --delete --topic {topic}    # DELETES {} records; the relay then copies the other side's",
                self.bootstrap(side),
                records[side]
            );
            self.find(Severity::Refusal, Some(topic), Some(side), what, Some(command));
        } else {
            for side in Side::BOTH.into_iter().filter(|side| copied[*side] > 0) {
                let what = format!("{} records that the other side has are copied to it first", copied[side]);
                self.find(Severity::Warning, Some(topic), Some(side), what, None);
            }
        }
        self.writers(topic, &before).await
    }

    fn standby_of(&self, topic: &str) -> Side {
        let group = self.config.group_of_topic(topic);
        let active = self.config.all_groups().into_iter().find(|one| one.name == group).map(|one| one.active.into());
        active.unwrap_or(Side::A).other()
    }

    /// Somebody who writes while no relay does.
    async fn writers(&mut self, topic: &str, before: &[SideMap<Extent>]) -> Result<(), PreflightError> {
        tokio::time::sleep(WRITERS_LOOK).await;
        for side in Side::BOTH {
            let mut written = 0;
            for (index, on) in (0..).zip(before) {
                let at = TopicPartition::new(topic, index);
                let now = extent(&self.clients[side], &at).await;
                written += now.map_err(|source| PreflightError::Side { side, source })?.end - on[side].end;
            }
            if written > 0 {
                let what = format!(
                    "{written} records were written to it meanwhile: writers that go past the relay must be pointed at it"
                );
                let command = format!(
                    "kafka-acls.sh --bootstrap-server {} --add --deny-principal User:WRITER --operation Write --topic {topic}",
                    self.bootstrap(side)
                );
                self.find(Severity::Warning, Some(topic), Some(side), what, Some(command));
            }
        }
        Ok(())
    }

    /// Batches of transactions cannot be written by anybody but the broker that ran them.
    async fn transactions(
        &mut self,
        topic: &str,
        at: &TopicPartition,
        on: &SideMap<Extent>,
    ) -> Result<(), PreflightError> {
        for side in Side::BOTH.into_iter().filter(|side| on[*side].records() > 0) {
            let failed = |source| PreflightError::Side { side, source };
            let producers = self.clients[side].describe_producers(at).await.map_err(failed)?;
            let open = producers.iter().any(|producer| producer.transaction_start.is_some());
            // The oldest and the newest: a log with transactions has them in one of both, mostly.
            let mut marked = false;
            for offset in [on[side].start, on[side].end - 1] {
                let found = batches(&self.clients[side], at, offset).await.map_err(failed)?;
                marked |= found.iter().any(|batch| batch.header().is_control() || batch.header().is_transactional());
            }
            if open || marked {
                let what = format!(
                    "{at} holds batches of transactions, which cannot be copied: {}",
                    if open { "one is open now" } else { "they are in its history" }
                );
                let command = format!(
                    "kafka-delete-records.sh --bootstrap-server {} --offset-json-file FILE    # once they are no longer needed",
                    self.bootstrap(side)
                );
                self.find(Severity::Refusal, Some(topic), Some(side), what, Some(command));
                return Ok(());
            }
        }
        Ok(())
    }

    /// A topic that one side has: its logs must begin at 0 to be copied into an empty topic.
    pub(super) async fn beginnings(
        &mut self,
        topic: &str,
        side: Side,
        partitions: i32,
        create: String,
    ) -> Result<(), PreflightError> {
        for index in 0..partitions {
            let at = TopicPartition::new(topic, index);
            let here =
                extent(&self.clients[side], &at).await.map_err(|source| PreflightError::Side { side, source })?;
            let empty = Extent { start: 0, end: 0 };
            let on = SideMap::from_fn(|one| if one == side { here } else { empty });
            self.transactions(topic, &at, &on).await?;
            if here.start > 0 {
                let what =
                    format!("its log {at} begins at {}, not at 0: make it on the other side by hand", here.start);
                self.find(Severity::Refusal, Some(topic), Some(side), what, Some(create));
                return Ok(());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_side_that_holds_more_is_never_the_one_to_delete() {
        let check = |a: i64, b: i64, standby: Side, expect: Side| {
            assert_eq!(expendable(SideMap { a, b }, standby), expect, "{a} {b} {standby}");
        };
        check(10, 500, Side::B, Side::A);
        check(500, 10, Side::B, Side::B);
        check(500, 10, Side::A, Side::B);
        check(7, 7, Side::A, Side::A);
    }
}
