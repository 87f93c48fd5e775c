//! Scripts: one line per event, with the actions that it must lead to. The only place that touches the API.
//!
//! ```text
//! produce 1 p7:0      => a<p7:0         client 1 sends producer 7's sequence 0: written to side a
//! a wrote 0           => b<p7:0         a's oldest write is answered with offset 0
//! b wrote 0           => ack 1=0; gate 1
//! a lost              =>                a's oldest write gets no answer (also: unsent, refused 45)
//! a ends 0..5         =>                a's oldest reading of its end: log start and end (also: ends 0..5 @3 <4, gone)
//! a reads 3=p7:0      =>                a's oldest read: batches with their offsets (also: gone, other)
//! kept                =>                the checkpoint ordered last is durable (also: not kept)
//! ```
//! A batch is `pID:SEQUENCE`, with `xN` for N records, `@E` for epoch E, `!` for other bytes; `plain` has no producer, and
//! `stamp:0=p7:6` is that client's batch under the stamp.

use std::collections::{HashMap, VecDeque};

use naru_kafka::wire::{Batch, BatchBuilder, BatchHeader, Compression, ErrorCode, TopicId};

use super::super::*;
use crate::side::{Side, SideSet};
use crate::sides::Standing;

/// The stamp's and the copier's ids in scripts.
pub(super) const STAMP: i64 = 1_000;
pub(super) const COPIER: i64 = 2_000;

/// A partition with what it has asked for.
pub(super) struct Bench {
    pub(super) partition: Partition,
    now: Millis,
    writes: HashMap<Side, VecDeque<OrderId>>,
    reads: HashMap<Side, VecDeque<(OrderId, Read)>>,
    /// The checkpoint that was ordered last, as a kill leaves it once it is written.
    pub(super) kept: Option<(OrderId, Checkpoint)>,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Read {
    End,
    Batches,
    Delete,
}

pub(super) fn config() -> PartitionConfig {
    PartitionConfig { suspect_after_ms: 1_000, pending_max: 100, ..PartitionConfig::new(STAMP, COPIER) }
}

/// What a start finds: both sides whole up to `end` under leader epoch 0.
pub(super) fn checkpoint(end: i64) -> Checkpoint {
    Checkpoint {
        gate: end,
        log_start: 0,
        agreed: crate::SideMap { a: end, b: end },
        last_batch: (-1, 0),
        leader_epochs: crate::SideMap { a: 0, b: 0 },
        windows: vec![],
        stamp: (STAMP, -1),
        restamped: crate::SideMap::default(),
        lent: vec![],
    }
}

impl Bench {
    pub(super) fn new(config: PartitionConfig, standing: &str, checkpoint: Option<Checkpoint>) -> Self {
        Self {
            partition: Partition::new(config, parse_standing(standing), checkpoint),
            now: 0,
            writes: HashMap::new(),
            reads: HashMap::new(),
            kept: None,
        }
    }

    /// Active a, both in sync, both logs ending at `end`, a lease that outlasts every script.
    pub(super) fn running(config: PartitionConfig, end: i64) -> Self {
        let mut bench = Self::new(config, "a {ab} 1", Some(checkpoint(end)));
        bench.run("lease 1000000 => a?end; b?end");
        bench.run(&format!("a ends 0..{end} =>\nb ends 0..{end} => gate {end}; a serving; b serving"));
        bench
    }

    /// Plays a script.
    #[track_caller]
    pub(super) fn run(&mut self, script: &str) {
        for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let (event, expected) = line.split_once("=>").unwrap_or((line, "*"));
            let mut out = Vec::new();
            let event = self.event(event.trim());
            self.partition.on(self.now, event, &mut out);
            let actions: Vec<_> = out.iter().map(|action| self.show(action)).collect();
            let expected = expected.trim();
            if expected != "*" {
                assert_eq!(actions.join("; "), expected, "in line: {line}");
            }
        }
    }

    fn event(&mut self, text: &str) -> Event {
        let words: Vec<_> = text.split_whitespace().collect();
        let number = |index: usize| words[index].parse::<i64>().unwrap();
        match words.as_slice() {
            ["tick"] => Event::Tick,
            ["after", ms] => {
                self.now += ms.parse::<Millis>().unwrap();
                Event::Tick
            }
            ["lease", until] => Event::Lease { until: until.parse().unwrap() },
            ["kept"] => self.kept(true),
            ["not", "kept"] => self.kept(false),
            ["quiesce"] => Event::Quiesce,
            ["resume"] => Event::Resume,
            ["produce", ticket, what] => {
                Event::Produce { ticket: Ticket(ticket.parse().unwrap()), batch: batch(what, 0) }
            }
            ["expired", _] => Event::Expired { ticket: Ticket(number(1).try_into().unwrap()) },
            ["delete", _, before] => {
                Event::DeleteBefore { ticket: Ticket(number(1).try_into().unwrap()), offset: before.parse().unwrap() }
            }
            ["standing", rest @ ..] => {
                let rest = rest.join(" ");
                let (held, sent) = rest.split_once(" sent ").map_or((rest.as_str(), None), |(h, s)| (h, Some(s)));
                Event::Standing { held: parse_standing(held), sent: sent.map(parse_standing) }
            }
            [side @ ("a" | "b"), rest @ ..] => self.side_event(parse_side(side), rest),
            _ => panic!("no such event: {text}"),
        }
    }

    fn side_event(&mut self, side: Side, words: &[&str]) -> Event {
        match words {
            ["again"] => Event::Reconnected { side },
            ["pause", ms] => Event::CopyPause { side, until: self.now + ms.parse::<Millis>().unwrap() },
            ["begins", at] => Event::BeginsAt { side, log_start: at.parse().unwrap() },
            ["recreated"] => Event::Recreated { side },
            ["wrote", base] => self.written(side, Ok(base.parse().unwrap())),
            ["refused", code] => self.written(side, Err(WriteRefused::Refused(ErrorCode(code.parse().unwrap())))),
            ["unsent"] => self.written(side, Err(WriteRefused::NotSent)),
            ["lost"] => self.written(side, Err(WriteRefused::Unknown)),
            ["ends", range, epoch @ ..] => {
                let (start, end) = range.split_once("..").unwrap();
                let located = Located {
                    log_start: start.parse().unwrap(),
                    log_end: end.parse().unwrap(),
                    leader_epoch: epoch.first().map_or(0, |epoch| epoch[1..].parse().unwrap()),
                    epoch_end: epoch.get(1).map(|end| end[1..].parse().unwrap()),
                };
                self.read(side, |order| Event::EndRead { order, side, outcome: Ok(located) }, Read::End)
            }
            ["reads", batches @ ..] => {
                let batches = batches.iter().map(|text| {
                    let (offset, what) = text.split_once('=').unwrap();
                    batch(what, offset.parse().unwrap())
                });
                let outcome = Ok(batches.collect());
                self.read(side, |order| Event::BatchesRead { order, side, outcome }, Read::Batches)
            }
            ["deleted", start] => {
                let outcome = Ok(start.parse().unwrap());
                self.read(side, |order| Event::RecordsDeleted { order, side, outcome }, Read::Delete)
            }
            ["gone"] => self.failed(side, ReadFailed::Unreachable),
            ["denied", code] => self.failed(side, ReadFailed::Refused(ErrorCode(code.parse().unwrap()))),
            ["other"] => self.failed(side, ReadFailed::OtherTopic(TopicId::NIL)),
            _ => panic!("no such event of a side: {words:?}"),
        }
    }

    fn written(&mut self, side: Side, outcome: Result<i64, WriteRefused>) -> Event {
        let order = self.writes.entry(side).or_default().pop_front().expect("a write on its way");
        Event::Written { order, side, outcome }
    }

    fn kept(&self, done: bool) -> Event {
        let (order, _) = self.kept.as_ref().expect("a checkpoint on its way");
        Event::Kept { order: *order, done }
    }

    fn read(&mut self, side: Side, event: impl FnOnce(OrderId) -> Event, expected: Read) -> Event {
        let (order, kind) = self.reads.entry(side).or_default().pop_front().expect("a read on its way");
        assert_eq!(kind, expected, "the oldest order of side {side}");
        event(order)
    }

    fn failed(&mut self, side: Side, failed: ReadFailed) -> Event {
        let (order, kind) = self.reads.entry(side).or_default().pop_front().expect("a read on its way");
        match kind {
            Read::End => Event::EndRead { order, side, outcome: Err(failed) },
            Read::Batches => Event::BatchesRead { order, side, outcome: Err(failed) },
            Read::Delete => Event::RecordsDeleted { order, side, outcome: Err(failed) },
        }
    }

    fn show(&mut self, action: &Action) -> String {
        match action {
            Action::Write { order, side, batch } => {
                assert_eq!(batch.header.base_offset, 0, "brokers refuse another base offset");
                let whole = Batch::split_first(&mut batch.data.to_bytes()).unwrap();
                assert_eq!(whole.header(), &batch.header);
                whole.verify_crc().unwrap();
                self.writes.entry(*side).or_default().push_back(*order);
                format!("{side}<{}", show_batch(&batch.header))
            }
            Action::ReadEnd { order, side, .. } => {
                self.reads.entry(*side).or_default().push_back((*order, Read::End));
                format!("{side}?end")
            }
            Action::Read { order, side, from, before, .. } => {
                self.reads.entry(*side).or_default().push_back((*order, Read::Batches));
                format!("{side}?{from}..{before}")
            }
            Action::DeleteRecords { order, side, before } => {
                self.reads.entry(*side).or_default().push_back((*order, Read::Delete));
                format!("{side}?delete {before}")
            }
            Action::Keep { order, checkpoint } => {
                self.kept = Some((*order, (**checkpoint).clone()));
                "keep".to_owned()
            }
            Action::Answer { ticket, result: Ok(acked) } => format!("ack {}={}", ticket.0, acked.base_offset),
            Action::Answer { ticket, result: Err(refusal) } => format!("refuse {} {}", ticket.0, refusal.code.0),
            Action::AnswerDelete { ticket, result: Ok(start) } => format!("deleted {}={start}", ticket.0),
            Action::AnswerDelete { ticket, result: Err(refusal) } => {
                format!("not deleted {} {}", ticket.0, refusal.code.0)
            }
            Action::Gate { gate, batches } => {
                let mut at = batches.first().map_or(*gate, |batch| batch.header.base_offset);
                for batch in batches {
                    assert_eq!(batch.header.base_offset, at, "batches shown follow one another");
                    at = batch.header.next_offset();
                }
                assert_eq!(at, *gate);
                format!("gate {gate}")
            }
            Action::LogStart { offset } => format!("start {offset}"),
            Action::Suspect { side, suspicion } => format!("{side} {}", show_suspicion(*suspicion)),
            Action::Quiesced { end } => format!("quiesced {end}"),
        }
    }
}

fn show_suspicion(suspicion: Suspicion) -> String {
    match suspicion {
        Suspicion::Serving => "serving".into(),
        Suspicion::Absent { since } => format!("absent since {since}"),
        Suspicion::Damaged => "damaged".into(),
        Suspicion::Refuses(code) => format!("refuses {}", code.0),
        Suspicion::Diverged { offset } => format!("diverged at {offset}"),
        Suspicion::OtherTopic => "other topic".into(),
        Suspicion::Changed => "changed".into(),
        Suspicion::Behind { records } => format!("behind {records}"),
    }
}

fn show_batch(header: &BatchHeader) -> String {
    let who = match header.producer_id {
        -1 => return "plain".into(),
        STAMP => "stamp".into(),
        COPIER => "copier".into(),
        id => format!("p{id}"),
    };
    let count = if header.record_count > 1 { format!("x{}", header.record_count) } else { String::new() };
    let epoch = if header.producer_epoch > 0 { format!("@{}", header.producer_epoch) } else { String::new() };
    format!("{who}:{}{count}{epoch}", header.base_sequence)
}

pub(super) fn batch(text: &str, base_offset: i64) -> Batch {
    let (text, held) = text.split_once('=').map_or((text, None), |(text, held)| (text, Some(held)));
    let (text, other) = text.strip_suffix('!').map_or((text, false), |text| (text, true));
    let (text, epoch) = text.split_once('@').map_or((text, 0), |(text, epoch)| (text, epoch.parse().unwrap()));
    let (text, count) = text.split_once('x').map_or((text, 1), |(text, count)| (text, count.parse().unwrap()));
    let mut builder = BatchBuilder::new(Compression::None).base_offset(base_offset);
    let mut value = held.unwrap_or(text).to_owned();
    if let Some((who, sequence)) = text.split_once(':') {
        let id = match who {
            "stamp" => STAMP,
            "copier" => COPIER,
            who => who[1..].parse().unwrap(),
        };
        builder = builder.producer(id, epoch, sequence.parse().unwrap());
        if id >= STAMP && held.is_none() {
            value = "plain".into();
        }
    }
    for _ in 0..count {
        builder.push(5, None, Some(if other { b"other" } else { value.as_bytes() }), &[]).unwrap();
    }
    Batch::split_first(&mut builder.build().unwrap()).unwrap()
}

fn parse_side(text: &str) -> Side {
    if text == "a" { Side::A } else { Side::B }
}

/// `a {ab} 3`: active side, sides in sync, epoch.
fn parse_standing(text: &str) -> Standing {
    let words: Vec<_> = text.split_whitespace().collect();
    let in_sync = match words[1] {
        "{ab}" => SideSet::PAIR,
        "{a}" => SideSet::only(Side::A),
        _ => SideSet::only(Side::B),
    };
    Standing { active: parse_side(words[0]), in_sync, epoch: words[2].parse().unwrap() }
}
