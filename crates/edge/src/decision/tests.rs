#![allow(clippy::unwrap_used)] // a test panics on failure

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use naru_model::{Class, SiteId, SiteKind};
use naru_runtime::Durability;
use naru_runtime::durable::frame;
use naru_runtime::keys::SigningKeys;
use naru_runtime::segments::{Expect, SegmentError, SegmentFault, SegmentOptions, SegmentWriter};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::block::{Block, RECORDS_MAX};
use super::*;
use crate::policy::{Outcome, Reason};

/// A directory with keys and a log in it.
struct Bench {
    directory: tempfile::TempDir,
    keys: Arc<SigningKeys>,
}

impl Bench {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let keys = Arc::new(SigningKeys::generate(&directory.path().join("keys"), 1).unwrap());
        Self { directory, keys }
    }

    fn log(&self) -> PathBuf {
        self.directory.path().join("log")
    }

    fn open(&self, options: LogOptions, run: u64) -> DecisionLog {
        DecisionLog::open(&self.log(), self.keys.clone(), options, run).unwrap()
    }

    /// Writes blocks as they are, as a faulty edge would.
    fn write(&self, blocks: &[Block]) {
        let options = SegmentOptions { durability: Durability::OnFlush, ..SegmentOptions::default() };
        let (mut chain, _) = SegmentWriter::open(&self.log(), self.keys.clone(), options).unwrap();
        let mut payload = Vec::new();
        for block in blocks {
            block.encode(&mut payload);
            chain.append(&payload).unwrap();
        }
        chain.seal().unwrap();
    }

    fn audit(&self, expect: Expect) -> Result<Audit, AuditError> {
        audit(&self.log(), self.keys.verifying(), expect, None)
    }

    fn findings(&self) -> Findings {
        self.audit(Expect::SEALED).unwrap().findings
    }
}

fn place(site: &str, kind: SiteKind, address: &str) -> Option<Place> {
    Some(Place { site: (&SiteId::new(site).unwrap()).into(), kind, address: address.parse().unwrap() })
}

fn owned() -> Option<Place> {
    place("idc-1", SiteKind::Owned, "10.0.0.1:80")
}

fn rented() -> Option<Place> {
    place("cloud-1", SiteKind::Rented, "[2001:db8::1]:443")
}

fn record(request_id: u128, class: Class, place: Option<Place>) -> Record {
    Record {
        request_id,
        unix_ms: 1_762_822_800_000 + request_id as u64,
        class: Some(class),
        place,
        plan: 7,
        reason: Reason::First,
    }
}

fn block(first: u64, records: Vec<Record>) -> Block {
    Block { run: 1, first, records, ..Block::default() }
}

fn end(first: u64) -> Block {
    Block { is_end: true, ..block(first, vec![]) }
}

#[test]
fn what_is_recorded_is_audited() {
    let bench = Bench::new();
    let log = bench.open(LogOptions::default(), 1);
    for id in 0..1_000 {
        assert_eq!(log.record(record(id, Class::Core, owned())), Recorded::Queued);
        assert_eq!(log.record(record(id, Class::Open, rented())), Recorded::Queued);
        assert_eq!(log.record(record(id, Class::Open, None)), Recorded::Queued);
    }
    let closed = log.close().unwrap().unwrap();
    assert_eq!(closed.counters, Counters { written: 3_000, ..Counters::default() });
    assert_eq!(log.record(record(9, Class::Core, owned())), Recorded::GapCore, "behind the end");
    let audit = bench.audit(Expect { head: Some(closed.head), ..Expect::SEALED }).unwrap();
    assert!(audit.chain.sealed);
    let findings = audit.findings;
    assert!(findings.proves());
    assert_eq!(findings.decisions[&(Some(Class::Core), Some(SiteKind::Owned), Reason::First)], 1_000);
    assert_eq!(findings.decisions[&(Some(Class::Open), Some(SiteKind::Rented), Reason::First)], 1_000);
    assert_eq!(findings.decisions[&(Some(Class::Open), None, Reason::First)], 1_000);
    assert_eq!(findings.core_places, owned().into_iter().collect());
    assert_eq!(findings.unix_ms, Some((1_762_822_800_000, 1_762_822_800_999)));
}

#[test]
fn a_log_goes_on_over_restarts_and_threads() {
    let bench = Bench::new();
    for run in 1..=3 {
        let log = bench.open(LogOptions::default(), run);
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let log = &log;
                scope.spawn(move || {
                    for id in 0..500 {
                        assert_eq!(log.record(record(thread << 16 | id, Class::Open, owned())), Recorded::Queued);
                    }
                });
            }
        });
        assert_eq!(log.close().unwrap().unwrap().counters.written, 2_000);
        assert_eq!(log.close().unwrap(), None);
    }
    let findings = bench.findings();
    assert_eq!((findings.decision_count(), findings.runs, findings.proves()), (6_000, 3, true));
}

#[test]
fn records_are_signed_while_the_log_is_open() {
    let bench = Bench::new();
    let options = LogOptions { seal_every: Duration::ZERO, flush_every: Duration::ZERO, ..LogOptions::default() };
    let log = bench.open(options, 1);
    assert_eq!(log.record(record(1, Class::Core, owned())), Recorded::Queued);
    let first = bench.log().join("00000000000000000001.segment");
    while !first.exists() {
        assert_eq!(log.record(record(2, Class::Core, owned())), Recorded::Queued);
        std::thread::yield_now();
    }
    let findings = bench.audit(Expect::OPEN).unwrap().findings;
    assert!(findings.proves() && findings.decision_count() > 0);
    log.close().unwrap();
}

#[test]
fn a_core_request_at_a_rented_site_is_a_breach_whatever_the_edge_called_it() {
    let check = |record: Record, is_owned: Option<&dyn Fn(IpAddr) -> bool>, expect: bool| {
        let bench = Bench::new();
        bench.write(&[block(0, vec![record; 3]), end(3)]);
        let findings = audit(&bench.log(), bench.keys.verifying(), Expect::SEALED, is_owned).unwrap().findings;
        assert_eq!(findings.proves(), expect, "{record:?}");
        assert_eq!(findings.breaches, if expect { vec![] } else { vec![Breach { segment: 0, entry: 0, record }; 3] });
    };
    let ours = |address: IpAddr| address.to_string().starts_with("10.");
    check(record(1, Class::Core, owned()), Some(&ours), true);
    check(record(1, Class::Core, rented()), None, false);
    check(record(1, Class::Open, rented()), Some(&ours), true);
    check(record(1, Class::Core, None), Some(&ours), true);
    let disguised = place("idc-1", SiteKind::Owned, "203.0.113.9:80");
    check(record(1, Class::Core, disguised), None, true);
    check(record(1, Class::Core, disguised), Some(&ours), false);
    check(Record { class: None, ..record(1, Class::Open, owned()) }, None, false);
}

#[test]
#[should_panic(expected = "EDGE-1 violated")]
fn a_core_request_at_a_rented_site_is_seen_when_it_is_recorded() {
    let bench = Bench::new();
    let log = bench.open(LogOptions::default(), 1);
    assert_eq!(log.record(record(1, Class::Core, rented())), Recorded::Queued);
}

#[test]
fn what_is_missing_is_told_and_takes_the_proof_away() {
    let check = |blocks: &[Block], expect: fn(&Findings) -> bool| {
        let bench = Bench::new();
        bench.write(blocks);
        let findings = bench.findings();
        assert!(!findings.proves() && expect(&findings), "{findings:?}");
    };
    let records = |count| vec![record(1, Class::Core, owned()); count];
    check(&[block(0, records(2)), block(3, records(1)), end(4)], |found| found.missing == 1);
    check(&[block(0, records(2)), block(1, records(1)), end(2)], |found| found.missing == 1);
    check(&[block(1, records(2)), end(3)], |found| found.missing == 1);
    check(&[block(0, records(2)), Block { lost_core: 5, ..end(2) }], |found| found.gap_core == 5);
    check(&[block(0, records(2))], |found| found.runs_unended == 1);
    check(&[block(0, records(2)), Block { run: 2, ..end(0) }], |found| found.runs_unended == 1 && found.runs == 2);
}

#[test]
fn a_gap_of_open_requests_is_told_and_takes_no_proof() {
    let bench = Bench::new();
    bench.write(&[Block { lost_open: 3, ..block(0, vec![record(1, Class::Core, owned())]) }, end(1)]);
    let findings = bench.findings();
    assert_eq!((findings.gap_open, findings.proves()), (3, true));
}

#[test]
fn a_full_queue_keeps_room_for_core_and_counts_what_it_refuses() {
    let bench = Bench::new();
    let options = LogOptions { queue_records_max: 8, core_records_reserve: 4, ..LogOptions::default() };
    let log = bench.open(options, 1);
    let (mut open, mut core) = (0, 0);
    // Far more than any writer takes away in that time.
    for id in 0..200_000 {
        open += u64::from(log.record(record(id, Class::Open, owned())) == Recorded::GapOpen);
        core += u64::from(log.record(record(id, Class::Core, owned())) == Recorded::GapCore);
    }
    assert!(open > core && core > 0, "{open} {core}");
    let counters = log.close().unwrap().unwrap().counters;
    assert_eq!(counters, Counters { written: 400_000 - open - core, gap_open: open, gap_core: core, refusals: 0 });
    let findings = bench.findings();
    assert_eq!((findings.decision_count(), findings.gap_open, findings.gap_core), (counters.written, open, core));
}

#[test]
fn a_disk_that_refuses_for_a_while_costs_no_record_that_fits_the_queue() {
    let bench = Bench::new();
    let options = LogOptions { seal_every: Duration::ZERO, ..LogOptions::default() };
    let log = bench.open(options, 1);
    // Where the second segment belongs stands something else.
    let obstacle = bench.log().join("00000000000000000001.segment");
    fs::create_dir(&obstacle).unwrap();
    let mut sent = 0;
    while log.counters().refusals == 0 {
        // One at a time, so that the writer gets to its second segment.
        if log.counters().written == sent || sent < 2 {
            assert_eq!(log.record(record(u128::from(sent), Class::Core, owned())), Recorded::Queued);
            sent += 1;
        }
        std::thread::yield_now();
    }
    assert_eq!(log.record(record(u128::from(sent), Class::Core, owned())), Recorded::Queued);
    fs::remove_dir(&obstacle).unwrap();
    let closed = log.close().unwrap().unwrap();
    assert_eq!((closed.counters.written, closed.counters.gap_core), (sent + 1, 0));
    let findings = bench.findings();
    assert_eq!((findings.decision_count(), findings.proves()), (sent + 1, true));
}

#[test]
fn one_flipped_bit_anywhere_is_found() {
    let bench = Bench::new();
    bench.write(&[block(0, vec![record(1, Class::Core, owned()), record(2, Class::Open, rented())]), end(2)]);
    let path = bench.log().join("00000000000000000000.segment");
    let good = fs::read(&path).unwrap();
    // In place: a file that is cut and written anew is flushed by some file systems each time.
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    let put = |at: usize, byte: u8| file.write_all_at(&[byte], at as u64).unwrap();
    for bit in 0..good.len() * 8 {
        put(bit / 8, good[bit / 8] ^ 1 << (bit % 8));
        let found = bench.audit(Expect::SEALED);
        assert!(matches!(found, Err(AuditError::Chain(SegmentError::Refused { .. }))), "bit {bit}: {found:?}");
        put(bit / 8, good[bit / 8]);
    }
    assert!(bench.findings().proves());
}

#[test]
fn one_record_removed_moved_or_altered_is_found_also_with_its_checksum_mended() {
    let records: Vec<Record> = (0..4).map(|id| record(id, Class::Open, rented())).collect();
    let good = block(0, records);
    let check = |change: fn(&mut Block)| {
        let bench = Bench::new();
        bench.write(&[good.clone(), end(4)]);
        let path = bench.log().join("00000000000000000000.segment");
        let bytes = fs::read(&path).unwrap();
        let mut changed = good.clone();
        change(&mut changed);
        let mut payload = Vec::new();
        changed.encode(&mut payload);
        // The first entry is written anew, with a sound frame around it; only the chain and the seal can tell.
        let frames = frame::scan(&bytes).0;
        let mut forged = frames[0].bytes.to_vec();
        frame::put(&mut forged, frames[1].kind, &[&frames[1].body[..32], &payload]);
        frames[2..].iter().for_each(|frame| forged.extend_from_slice(frame.bytes));
        fs::write(&path, forged).unwrap();
        match bench.audit(Expect::SEALED) {
            Err(AuditError::Chain(SegmentError::Refused {
                fault: SegmentFault::OutOfOrder { entry: 1, .. }, ..
            })) => {}
            other => panic!("not found: {other:?}"),
        }
    };
    check(|block| block.records.retain(|record| record.request_id != 2));
    check(|block| block.records.swap(1, 2));
    check(|block| block.records[1].class = Some(Class::Core));
    check(|block| block.records[1].place = owned());
    check(|block| block.records.push(block.records[0]));
}

#[test]
fn an_entry_that_is_no_block_is_no_proof() {
    let bench = Bench::new();
    let options = SegmentOptions { durability: Durability::OnFlush, ..SegmentOptions::default() };
    let (mut chain, _) = SegmentWriter::open(&bench.log(), bench.keys.clone(), options).unwrap();
    chain.append(b"a line of some other log").unwrap();
    chain.seal().unwrap();
    drop(chain);
    assert!(matches!(bench.audit(Expect::SEALED), Err(AuditError::NoBlock { segment: 0, entry: 0 })));
}

#[test]
fn a_block_is_read_as_it_was_written_and_no_cut_or_longer_one_is() {
    let mut random = ChaCha8Rng::seed_from_u64(5);
    let places = [None, owned(), rented(), place("idc-2", SiteKind::Owned, "10.0.1.1:80")];
    let reasons = [Reason::Stays, Reason::PreRented, Reason::Unrouted];
    let classes = [None, Some(Class::Core), Some(Class::Open)];
    for count in [0, 1, 7, RECORDS_MAX] {
        let records = (0..count).map(|_| Record {
            request_id: random.random(),
            unix_ms: random.random(),
            class: classes[random.random_range(0..3)],
            place: places[random.random_range(0..4)],
            plan: random.random(),
            reason: reasons[random.random_range(0..3)],
        });
        let block =
            Block { run: 3, first: 4, lost_open: 5, lost_core: 6, is_end: count == 0, records: records.collect() };
        let mut bytes = Vec::new();
        block.encode(&mut bytes);
        assert!(bytes.len() < 64 << 10);
        assert_eq!(Block::decode(&bytes), Some(block));
        for cut in 0..bytes.len().min(400) {
            assert_eq!(Block::decode(&bytes[..cut]), None, "{cut}");
        }
        bytes.push(0);
        assert_eq!(Block::decode(&bytes), None);
    }
}

#[test]
fn two_edges_never_write_one_log() {
    let bench = Bench::new();
    let log = bench.open(LogOptions::default(), 1);
    let second = DecisionLog::open(&bench.log(), bench.keys.clone(), LogOptions::default(), 2);
    assert!(matches!(second, Err(DecisionLogError::Chain { source: SegmentError::Busy { .. }, .. })));
    log.close().unwrap();
}

#[test]
fn a_decision_of_the_policy_is_kept_whole() {
    let site = SiteId::new("idc-1").unwrap();
    let outcome = Outcome {
        class: Some(Class::Core),
        site: Some((&site, SiteKind::Owned)),
        address: Some("10.0.0.1:80".parse().unwrap()),
        reason: Reason::First,
    };
    assert_eq!(Record::of(&outcome, 5, 1_762_822_800_005, 7), record(5, Class::Core, owned()));
    let kept = Outcome { site: None, address: None, ..outcome };
    assert_eq!(Record::of(&kept, 5, 1_762_822_800_005, 7), record(5, Class::Core, None));
}
