//! Both sides compared once, now.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::Duration;

use naru_kafka::client::offsets::OffsetAt;
use naru_kafka::client::{Client, TopicPartition};
use serde::Serialize;
use tokio::time::{Instant, sleep};

use super::commits::{Apart, apart};
use super::read::{Bounds, Pace, Reader, places};
use super::{Difference, Options, VerifyError};
use crate::side::{Side, SideMap};

/// Between two looks at what may be about to become equal: well above a write to the standby.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// What a comparison found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Topics on both sides.
    pub topics: u64,
    /// Their partitions.
    pub partitions: u64,
    /// Pairs of batches.
    pub batches: u64,
    /// Those of them whose records are equal under another producer: the copier's stamp.
    pub restamped: u64,
    /// Bytes compared, of both sides.
    pub bytes: u64,
    /// Consumer groups of either side.
    pub groups: u64,
    /// Committed offsets compared.
    pub committed: u64,
    /// Partitions of which one side begins later: each side has its own retention. Compared from there on.
    pub begin_apart: Vec<Difference>,
    /// What differs, up to [`Options::differences_max`].
    pub differences: Vec<Difference>,
    /// Differences that were found and not kept.
    pub not_kept: u64,
}

impl Report {
    /// Whether both sides are equal as far as was compared.
    pub fn equal(&self) -> bool {
        self.differences.is_empty() && self.not_kept == 0
    }

    fn add(&mut self, difference: Difference, differences_max: usize) {
        if self.differences.len() < differences_max {
            self.differences.push(difference);
        } else {
            self.not_kept += 1;
        }
    }
}

/// Compares both sides.
#[derive(Debug)]
pub struct Verifier {
    reader: Reader,
    relay: Option<Client>,
    options: Options,
}

/// One partition that is on both sides.
#[derive(Debug, Clone)]
struct Subject {
    at: TopicPartition,
    bounds: SideMap<Bounds>,
    /// What the relay shows as readable; none: it was not asked.
    gate: Option<i64>,
}

/// Offsets that one side lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Tail {
    side: Side,
    from: i64,
    end: i64,
}

impl Subject {
    fn begin(&self) -> i64 {
        self.bounds.a.start.max(self.bounds.b.start)
    }

    fn end(&self) -> i64 {
        let smaller = self.bounds.a.end.min(self.bounds.b.end);
        self.gate.map_or(smaller, |gate| gate.min(smaller))
    }

    /// What the shorter side lacks, going by ends alone.
    fn tail(&self) -> Option<Tail> {
        let (a, b) = (self.bounds.a.end, self.bounds.b.end);
        let end = self.gate.unwrap_or(a.max(b));
        let (side, from) = if a <= b { (Side::A, a) } else { (Side::B, b) };
        (from < end).then_some(Tail { side, from, end })
    }
}

impl Verifier {
    /// Compares by these clients, which nothing else should use: a read of the comparer must not wait behind others.
    pub fn new(clients: SideMap<Client>, options: Options) -> Self {
        Self { reader: Reader::new(clients), relay: None, options }
    }

    /// Asks this relay up to where both sides are equal, instead of going by the smaller end.
    #[must_use]
    pub fn with_relay(mut self, relay: Client) -> Self {
        self.relay = Some(relay);
        self
    }

    /// Compares everything that both sides should hold by now.
    pub async fn once(&self) -> Result<Report, VerifyError> {
        let mut report = Report::default();
        let partitions = self.partitions(&mut report).await?;
        // The gate first: whatever is below it now stays there.
        let gates = match &self.relay {
            Some(relay) => Some(places(relay, &partitions, OffsetAt::Latest).await.map_err(VerifyError::Relay)?),
            None => None,
        };
        let bounds = self.reader.bounds(&partitions).await?;
        let subjects: Vec<_> = { partitions }
            .into_iter()
            .zip(bounds)
            .enumerate()
            .map(|(index, (at, bounds))| Subject { at, bounds, gate: gates.as_ref().map(|gates| gates[index]) })
            .collect();
        report.partitions = subjects.len() as u64;
        let mut pace = Pace::new(self.options.bytes_per_second);
        for subject in &subjects {
            self.compare(&subject.at, subject.begin()..subject.end(), &mut pace, &mut report).await?;
        }
        self.ends(subjects, &mut pace, &mut report).await?;
        if self.options.commits {
            self.commits(&mut report).await?;
        }
        Ok(report)
    }

    fn is_compared(&self, topic: &str) -> bool {
        match &self.options.topics {
            Some(topics) => topics.contains(topic),
            // The brokers' own begin so, and no two clusters agree on them.
            None => !topic.starts_with("__"),
        }
    }

    /// The partitions that are on both sides; what is on one only is a difference.
    async fn partitions(&self, report: &mut Report) -> Result<Vec<TopicPartition>, VerifyError> {
        let of = |side: Side| async move {
            let metadata = self.reader.clients[side].metadata(None).await;
            let topics = metadata.map_err(|source| VerifyError::Side { side, source })?.topics;
            let counted = topics.into_iter().filter(|topic| !topic.internal && self.is_compared(&topic.name));
            let counted = counted.map(|topic| (topic.name.to_string(), topic.partitions.len() as i32));
            Ok::<_, VerifyError>(counted.collect::<BTreeMap<_, _>>())
        };
        let (a, b) = tokio::try_join!(of(Side::A), of(Side::B))?;
        let names: BTreeSet<_> = a.keys().chain(b.keys()).cloned().collect();
        if let Some(missing) = self.options.topics.iter().flatten().find(|name| !names.contains(*name)) {
            return Err(VerifyError::NoTopic { topic: missing.clone() });
        }
        let mut partitions = Vec::new();
        for topic in names {
            let (on_a, on_b) = match (a.get(&topic), b.get(&topic)) {
                (Some(on_a), Some(on_b)) => (*on_a, *on_b),
                (on_a, _) => {
                    let missing_on = if on_a.is_none() { Side::A } else { Side::B };
                    report.add(Difference::MissingTopic { topic, missing_on }, self.options.differences_max);
                    continue;
                }
            };
            report.topics += 1;
            partitions.extend((0..on_a.min(on_b)).map(|partition| TopicPartition::new(topic.as_str(), partition)));
            if on_a != on_b {
                let sides = SideMap { a: on_a, b: on_b };
                report.add(Difference::PartitionCount { topic, sides }, self.options.differences_max);
            }
        }
        Ok(partitions)
    }

    /// Log starts and ends that were apart, once more: what is only on its way to the other side arrives.
    async fn ends(&self, subjects: Vec<Subject>, pace: &mut Pace, report: &mut Report) -> Result<(), VerifyError> {
        let differences_max = self.options.differences_max;
        let tail = |subject: &Subject| subject.tail().filter(|_| self.options.tails);
        // What was there at the first look has to be on both sides; newer records have time of their own.
        let settled = |subject: &Subject, now: &SideMap<Bounds>| {
            now.a.start == now.b.start && tail(subject).is_none_or(|tail| now[tail.side].end >= tail.end)
        };
        let apart: Vec<_> = { subjects }.into_iter().filter(|subject| !settled(subject, &subject.bounds)).collect();
        let mut waiting: Vec<_> = apart.iter().map(|subject| (subject, subject.bounds)).collect();
        let deadline = Instant::now() + self.options.settle;
        while !waiting.is_empty() && Instant::now() < deadline {
            sleep(LOOK_AGAIN).await;
            let partitions: Vec<_> = waiting.iter().map(|(subject, _)| subject.at.clone()).collect();
            let now = self.reader.bounds(&partitions).await?;
            waiting.iter_mut().zip(now).for_each(|((_, bounds), now)| *bounds = now);
            waiting.retain(|(subject, now)| !settled(subject, now));
        }
        for (subject, now) in waiting {
            if now.a.start != now.b.start {
                let (topic, partition) = (subject.at.topic.to_string(), subject.at.partition);
                let sides = SideMap { a: now.a.start, b: now.b.start };
                if report.begin_apart.len() < differences_max {
                    report.begin_apart.push(Difference::LogStart { topic, partition, sides });
                }
            }
        }
        for subject in &apart {
            let Some(tail) = tail(subject) else { continue };
            let range = tail.from.max(subject.begin())..tail.end;
            self.compare(&subject.at, range, pace, report).await?;
        }
        Ok(())
    }

    async fn compare(
        &self,
        at: &TopicPartition,
        range: Range<i64>,
        pace: &mut Pace,
        report: &mut Report,
    ) -> Result<(), VerifyError> {
        let differences_max = self.options.differences_max;
        let mut add = |difference| report.add(difference, differences_max);
        let compared = self.reader.compare(at, range, &self.options, pace, &mut add).await?;
        report.batches += compared.batches;
        report.restamped += compared.restamped;
        report.bytes += compared.bytes;
        Ok(())
    }

    /// Committed offsets of every group, those that differ looked at again until they settle.
    async fn commits(&self, report: &mut Report) -> Result<(), VerifyError> {
        let compared = |at: &TopicPartition| self.is_compared(&at.topic);
        let mut waiting: Vec<Apart> = Vec::new();
        for group in self.reader.groups().await? {
            let sides = self.reader.committed(&group, &compared).await?;
            report.groups += 1;
            report.committed += sides.a.keys().chain(sides.b.keys()).collect::<BTreeSet<_>>().len() as u64;
            waiting.extend(apart(&group, &sides));
        }
        let deadline = Instant::now() + self.options.settle;
        while !waiting.is_empty() && Instant::now() < deadline {
            sleep(LOOK_AGAIN).await;
            let groups: BTreeSet<_> = waiting.iter().map(|apart| apart.group.clone()).collect();
            for group in groups {
                let now = self.reader.committed(&group, &compared).await?;
                waiting.retain(|apart| apart.group != group || !apart.settled_by(&now));
            }
        }
        for apart in waiting {
            report.add(apart.difference(), self.options.differences_max);
        }
        Ok(())
    }
}
