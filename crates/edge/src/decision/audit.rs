//! The verifier: reads a chain and says whether it proves EDGE-1.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::Path;

use naru_model::{Class, SiteKind};
use naru_runtime::keys::VerifyingKeys;
use naru_runtime::segments::{ChainSummary, Expect, SegmentError, verify_chain};

use super::block::Block;
use super::record::{Place, Record};
use crate::policy::Reason;

/// Most breaches that are told one by one; the rest is counted.
pub const BREACHES_MAX: usize = 100;

/// Why there is no verdict.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The chain was altered, cut or re-ordered, or cannot be read: as the source says.
    #[error("the log is no proof")]
    Chain(#[from] SegmentError),
    /// An entry that is signed and yet no block: another kind of chain, or a later format.
    #[error("segment {segment}, entry {entry} is no block of decisions")]
    NoBlock {
        /// The segment.
        segment: u64,
        /// The entry within it, from zero.
        entry: u64,
    },
}

/// A request that was sent where it must not be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Breach {
    /// The segment that says so.
    pub segment: u64,
    /// The entry within it, from zero.
    pub entry: u64,
    /// What was decided.
    pub record: Record,
}

/// A chain that was verified, and what it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audit {
    /// The chain itself.
    pub chain: ChainSummary,
    /// What it says.
    pub findings: Findings,
}

/// What the decisions of a chain say.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Findings {
    /// Decisions by class, by where the request was sent (none for requests that were kept), and by reason.
    pub decisions: BTreeMap<(Option<Class>, Option<SiteKind>, Reason), u64>,
    /// Every server that core requests were sent to.
    pub core_places: BTreeSet<Place>,
    /// Requests that were sent to a rented site and are not open, or to an address that is not owned and are core: the
    /// first [`BREACHES_MAX`].
    pub breaches: Vec<Breach>,
    /// All of them.
    pub breach_count: u64,
    /// Records that did not fit the queue, as the log itself says: of open requests, and of those on no route.
    pub gap_open: u64,
    /// Of core requests.
    pub gap_core: u64,
    /// Records that were numbered and are not there: the power went, or the disk failed, before they were durable.
    pub missing: u64,
    /// Runs of the writer that did not end in good order, the last one left out while the log is being written.
    pub runs_unended: u64,
    /// Runs of the writer.
    pub runs: u64,
    /// The time of the first and of the last decision, milliseconds since 1970.
    pub unix_ms: Option<(u64, u64)>,
}

impl Findings {
    /// Whether no core request went to a rented site, and no record that could say otherwise is missing. A gap of open
    /// requests takes nothing from it: their records are counted apart.
    pub fn proves(&self) -> bool {
        self.breach_count == 0 && self.gap_core == 0 && self.missing == 0 && self.runs_unended == 0
    }

    /// All decisions.
    pub fn decision_count(&self) -> u64 {
        self.decisions.values().sum()
    }
}

/// Verifies a chain and reads every decision in it. With `is_owned`, each core request's address must be owned by that,
/// whatever the edge called the site.
///
/// # Errors
/// [`AuditError::Chain`] names the file and the entry when a bit was flipped, or an entry taken out, repeated or moved.
pub fn audit(
    directory: &Path,
    keys: &VerifyingKeys,
    expect: Expect,
    is_owned: Option<&dyn Fn(IpAddr) -> bool>,
) -> Result<Audit, AuditError> {
    let mut reading = Reading { findings: Findings::default(), is_owned, run: None, no_block: None };
    let chain = verify_chain(directory, keys, expect, |entry| match Block::decode(entry.payload) {
        Some(block) => reading.block(&block, entry.segment, entry.number),
        None => drop(reading.no_block.get_or_insert((entry.segment, entry.number))),
    })?;
    if let Some((segment, entry)) = reading.no_block {
        return Err(AuditError::NoBlock { segment, entry });
    }
    let mut findings = reading.findings;
    // A log that is being written has a run without an end.
    let is_open = reading.run.is_some_and(|run| !run.is_ended);
    findings.runs_unended += u64::from(is_open && !expect.open_last);
    Ok(Audit { chain, findings })
}

struct Reading<'o> {
    findings: Findings,
    is_owned: Option<&'o dyn Fn(IpAddr) -> bool>,
    run: Option<Run>,
    no_block: Option<(u64, u64)>,
}

#[derive(Debug, Clone, Copy)]
struct Run {
    id: u64,
    next: u64,
    is_ended: bool,
}

impl Reading<'_> {
    fn block(&mut self, block: &Block, segment: u64, entry: u64) {
        let next = match self.run {
            Some(run) if run.id == block.run && !run.is_ended => run.next,
            before => {
                self.findings.runs += 1;
                self.findings.runs_unended += u64::from(before.is_some_and(|run| !run.is_ended));
                0
            }
        };
        // A number that comes back would be a second record for one decision: as bad as one that is not there.
        self.findings.missing += block.first.abs_diff(next);
        self.findings.gap_open += block.lost_open;
        self.findings.gap_core += block.lost_core;
        let next = block.first + block.records.len() as u64;
        self.run = Some(Run { id: block.run, next, is_ended: block.is_end });
        block.records.iter().for_each(|record| self.record(record, segment, entry));
    }

    fn record(&mut self, record: &Record, segment: u64, entry: u64) {
        let findings = &mut self.findings;
        let kind = record.place.map(|place| place.kind);
        *findings.decisions.entry((record.class, kind, record.reason)).or_default() += 1;
        let (first, last) = findings.unix_ms.unwrap_or((record.unix_ms, record.unix_ms));
        findings.unix_ms = Some((first.min(record.unix_ms), last.max(record.unix_ms)));
        let Some(place) = record.place else { return };
        let is_core = record.class == Some(Class::Core);
        if is_core {
            findings.core_places.insert(place);
        }
        let may = record.class.is_some_and(|class| class.may_run_on(place.kind));
        let is_ours = !is_core || self.is_owned.is_none_or(|is_owned| is_owned(place.address.ip()));
        if !may || !is_ours {
            findings.breach_count += 1;
            if findings.breaches.len() < BREACHES_MAX {
                findings.breaches.push(Breach { segment, entry, record: *record });
            }
        }
    }
}
