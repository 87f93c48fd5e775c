//! What was read of a window, by reader, and how it is put side by side.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::time::Instant;

use super::LOOK_AGAIN;
use super::audited::Span;
use crate::certificate::{Part, Reader, Window};
use crate::gather::{Gathered, Rules, Want};
use crate::lake::{LakeError, LakeReader};
use crate::log::Progresses;
use crate::log::avro::Schema;
use crate::sketch::Unlike;
use crate::verdict::{Outcome, Seen, compare};

/// What was read of a window.
pub(super) struct Readings {
    pub(super) topics: Vec<String>,
    /// What all of them went by.
    pub(super) rules: Rules,
    pub(super) a: (Gathered, Progresses),
    pub(super) b: Option<(Gathered, Progresses)>,
    pub(super) source: Option<Result<Gathered, String>>,
    /// By topic.
    pub(super) lake: Option<BTreeMap<String, Result<Gathered, String>>>,
    /// Whether a reader may come as far if it is waited for.
    pub(super) waits: bool,
}

impl Readings {
    /// Parts that anyone has records of; changes of every topic in any case.
    pub(super) fn parts(&self) -> Vec<(String, Part)> {
        let gathered = [Some(&self.a.0), self.b.as_ref().map(|(b, _)| b)];
        let gathered =
            gathered.into_iter().flatten().chain(self.source.iter().filter_map(|source| source.as_ref().ok()));
        let lake = self.lake.iter().flat_map(BTreeMap::values).filter_map(|read| read.as_ref().ok());
        let mut parts: BTreeSet<(String, Part)> =
            self.topics.iter().map(|topic| (topic.clone(), Part::Changes)).collect();
        for gathered in gathered.chain(lake) {
            for (topic, of) in &gathered.sketches {
                parts.extend(of.keys().map(|part| (topic.clone(), *part)));
            }
        }
        if self.b.is_none() {
            // There is nothing to hold one log's bytes against.
            parts.retain(|(_, part)| *part != Part::Log);
        }
        // Who is not to be trusted with the changes of a topic is not to be trusted with its log.
        let mut parts: Vec<(String, Part)> = parts.into_iter().collect();
        parts.sort_by_key(|(_, part)| *part == Part::Log);
        parts
    }

    pub(super) fn outcomes(&self, topic: &str, part: Part, rules: &Rules) -> BTreeMap<Reader, Outcome> {
        let read = |gathered: &Gathered| Outcome::Read(gathered.sketch(rules, topic, part));
        let mut outcomes = BTreeMap::from([(Reader::A, read(&self.a.0))]);
        if let Some((b, _)) = &self.b {
            outcomes.insert(Reader::B, read(b));
        }
        if part == Part::Log {
            return outcomes;
        }
        if let Some(source) = self.source.as_ref().filter(|_| part == Part::Changes) {
            let outcome = source.as_ref().map_or_else(|why| Outcome::Absent(why.clone()), read);
            outcomes.insert(Reader::Source, outcome);
        }
        if let Some(lake) = &self.lake {
            let voided = self.a.0.voided.contains(topic);
            let outcome = match lake.get(topic) {
                _ if voided => Outcome::Absent("a copy was begun again in this window".to_owned()),
                Some(Ok(gathered)) => read(gathered),
                Some(Err(why)) => Outcome::Absent(why.clone()),
                None => Outcome::Absent("not read".to_owned()),
            };
            outcomes.insert(Reader::Lake, outcome);
        }
        outcomes
    }

    pub(super) fn seen(&self, topic: &str, part: Part) -> BTreeMap<Reader, Vec<Seen>> {
        let key = (topic.to_owned(), part);
        let of = |gathered: &Gathered| gathered.seen.get(&key).cloned().unwrap_or_default();
        let mut seen = BTreeMap::from([(Reader::A, of(&self.a.0))]);
        seen.extend(self.b.as_ref().map(|(b, _)| (Reader::B, of(b))));
        if let Some(Ok(source)) = &self.source {
            seen.insert(Reader::Source, of(source));
        }
        if let Some(Ok(lake)) = self.lake.as_ref().and_then(|lake| lake.get(topic)).map(Result::as_ref) {
            seen.insert(Reader::Lake, of(lake));
        }
        seen
    }

    /// Whether all that was read is the same.
    pub(super) fn is_equal(&self) -> Result<bool, Unlike> {
        for (topic, part) in self.parts() {
            let comparison = compare(&self.outcomes(&topic, part, &self.rules), &BTreeSet::new())?;
            if !comparison.differing.is_empty() || !comparison.stuck.is_empty() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// How far both logs were read.
    pub(super) fn span(&self) -> Span {
        Span { a: self.a.1.clone(), b: self.b.as_ref().map(|(_, came)| came.clone()).unwrap_or_default() }
    }

    /// Columns of a topic that the source has and the log has not.
    pub(super) fn not_in_log(&self, topic: &str) -> BTreeSet<String> {
        let source = self.source.as_ref().and_then(|source| source.as_ref().ok());
        source.and_then(|source| source.not_in_log.get(topic)).cloned().unwrap_or_default()
    }

    /// Why readers were not read.
    pub(super) fn absences(&self) -> BTreeSet<String> {
        let source = self.source.iter().filter_map(|source| source.as_ref().err().cloned());
        let lake = self.lake.iter().flat_map(BTreeMap::values).filter_map(|read| read.as_ref().err().cloned());
        source.chain(lake).collect()
    }
}

/// Reads one topic's table, waiting for it to come as far.
pub(super) async fn read_lake(
    lake: &LakeReader,
    topic: &str,
    window: &Window,
    schemas: &[Arc<Schema>],
    rules: &Rules,
    want: &Want,
    deadline: Instant,
) -> Result<Gathered, LakeError> {
    loop {
        let mut gathered = Gathered::default();
        match lake.read(topic, window, schemas, rules, want, &mut gathered).await {
            Ok(()) => return Ok(gathered),
            // Behind, or a file that a compaction took away while it was read.
            Err(LakeError::Behind { .. } | LakeError::Io { .. }) if Instant::now() < deadline => {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            Err(error) => return Err(error),
        }
    }
}
