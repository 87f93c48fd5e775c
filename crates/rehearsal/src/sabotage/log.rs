//! Sabotages of the log, of those who read it, and of the relay.

use super::{Deed, Sabotage, Stage, Way};
use crate::history::{Claim, Commit, History, LogRecord, Observation, Outcome, Place, SideCopy};
use crate::judge::Observed;
use crate::tables::{Row, Said, Total};

pub(super) const ALL: [Sabotage; 15] = [
    Sabotage {
        name: "lose-record",
        does: "an acknowledged record is in no log, was given to nobody and is in no table",
        turns: &["LOG-1"],
        also: &[],
        way: Way::Records(lose),
    },
    Sabotage {
        name: "lose-read-record",
        does: "an acknowledged record that was read while the load ran is not in the log at the end",
        turns: &["LOG-1", "LOG-4"],
        also: &["RELAY-1", "lake-rows", "lake-money"],
        way: Way::Records(lose_from_log),
    },
    Sabotage {
        name: "double-record",
        does: "a record stands a second time at the end of its partition, for everybody",
        turns: &["LOG-2"],
        also: &[],
        way: Way::Records(double),
    },
    Sabotage {
        name: "record-again",
        does: "an acknowledged record is sent to the running log once more",
        turns: &["LOG-2"],
        also: &[],
        way: Way::System(Deed::RecordAgain),
    },
    Sabotage {
        name: "swap-records",
        does: "two records of a key stand in the wrong order, for everybody",
        turns: &["LOG-3"],
        also: &[],
        way: Way::Records(swap),
    },
    Sabotage {
        name: "swap-times",
        does: "of two requests of a user the one that was answered first has the higher number",
        turns: &["LOG-3"],
        also: &[],
        way: Way::Records(swap_times),
    },
    Sabotage {
        name: "change-reading",
        does: "one member was given another record at an offset than the log holds",
        turns: &["LOG-4"],
        also: &[],
        way: Way::Records(change_reading),
    },
    Sabotage {
        name: "skip-record",
        does: "nobody of the group was given a record that the log holds",
        turns: &["LOG-4"],
        also: &[],
        way: Way::Records(skip),
    },
    Sabotage {
        name: "change-balance",
        does: "a record says one won more than was sent, for everybody and in its table",
        turns: &["LOG-5"],
        also: &[],
        way: Way::Records(change_balance),
    },
    Sabotage {
        name: "record-of-nobody",
        does: "a record that nobody has asked for is sent to the running log",
        turns: &["LOG-5"],
        also: &[],
        way: Way::System(Deed::RecordOfNobody),
    },
    Sabotage {
        name: "side-lacks-record",
        does: "one side of the relay alone does not hold a record",
        turns: &["RELAY-1"],
        also: &[],
        way: Way::Records(side_lacks),
    },
    Sabotage {
        name: "forget-commit",
        does: "one side of the relay holds an older committed offset",
        turns: &["RELAY-4"],
        also: &[],
        way: Way::Records(forget_commit),
    },
    Sabotage {
        name: "begin-below-commit",
        does: "a commit above the place where a member went on had been acknowledged before",
        turns: &["RELAY-4"],
        also: &[],
        way: Way::Records(begin_below),
    },
    Sabotage {
        name: "lose-pulse",
        does: "an acknowledged pulse is in no log",
        turns: &["sends"],
        also: &[],
        way: Way::Records(lose_pulse),
    },
    Sabotage {
        name: "out-of-sync",
        does: "at the end the relay says that a side is not in sync",
        turns: &["in-sync"],
        also: &[],
        way: Way::Records(|_, observed| {
            let standing = observed.standing.as_mut()?;
            standing.in_sync.pop().map(|_side| ())
        }),
    },
];

/// An acknowledged record that stands between others of its partition: its index in the log, and its operation.
fn victim(history: &History) -> Option<(usize, usize)> {
    let log = &history.log;
    let same = |a: usize, b: usize| log.get(b).is_some_and(|b| b.place.partition_key() == log[a].place.partition_key());
    (1..log.len()).find_map(|index| {
        let Claim::Operation(number) = log[index].claim else { return None };
        let operation = history.operations.get(number as usize)?;
        let is_acknowledged = matches!(operation.outcome, Outcome::Acknowledged { .. });
        (is_acknowledged && same(index, index - 1) && same(index, index + 1)).then_some((index, number as usize))
    })
}

fn is_at(place: Place) -> impl Fn(&LogRecord) -> bool {
    move |record| record.place == place
}

/// Does something to the log as it is shown, and to each side of it.
fn each_log(history: &mut History, mut change: impl FnMut(&mut Vec<LogRecord>)) {
    change(&mut history.log);
    history.sides.iter_mut().for_each(|SideCopy { log, .. }| change(log));
}

/// Moves what every answer of SQL said of a table, so that it still only grows.
fn move_totals(said: &mut Said, topic: u16, rows: i64, amount_minor: i64) {
    for total in said.asked.iter_mut().filter_map(|asked| asked.totals.as_mut()?.get_mut(usize::from(topic))) {
        let Total { rows: before, amount_minor: amount } = *total;
        let rows = before.saturating_add_signed(rows);
        *total = Total { rows, amount_minor: amount.saturating_add(amount_minor).max(0) };
    }
}

/// Takes a record away as if it had never been.
pub(super) fn forget(observed: &mut Observed, index: usize) {
    let history = &mut observed.history;
    let record = history.log[index].clone();
    each_log(history, |log| log.retain(|other| other.place != record.place));
    history.observations.retain(|seen| seen.place != record.place);
    if let Some(said) = &mut observed.tables {
        let gone = Row::of(&record);
        if let Some(Ok(rows)) = &mut said.rows
            && let Some(at) = rows.iter().position(|row| *row == gone)
        {
            rows.remove(at);
        }
        move_totals(said, record.place.topic, -1, -record.amount_minor);
    }
}

fn lose(_: Stage<'_>, observed: &mut Observed) -> Option<()> {
    let (index, _) = victim(&observed.history)?;
    forget(observed, index);
    Some(())
}

fn lose_from_log(_: Stage<'_>, observed: &mut Observed) -> Option<()> {
    let (index, _) = victim(&observed.history)?;
    observed.history.log.remove(index);
    Some(())
}

fn double(_: Stage<'_>, observed: &mut Observed) -> Option<()> {
    let history = &mut observed.history;
    let (index, number) = victim(history)?;
    let mut copy = history.log[index].clone();
    let partition = copy.place.partition_key();
    copy.place.offset = history.log.iter().rfind(|r| r.place.partition_key() == partition)?.place.offset + 1;
    // Whoever read the partition last has read the copy, too.
    let groups: Vec<u16> = history.observers.iter().map(|observer| observer.group).collect();
    let mut further: Vec<Observation> = Vec::new();
    for seen in history.observations.iter().rev().filter(|seen| seen.place.partition_key() == partition) {
        let group = |seen: &Observation| groups.get(usize::from(seen.observer)).copied();
        if !further.iter().any(|other| group(other) == group(seen)) {
            let (place, fingerprint) = (copy.place, copy.fingerprint);
            further.push(Observation { place, fingerprint, operation: Some(number as u32), ..*seen });
        }
    }
    history.observations.extend(further);
    each_log(history, |log| {
        log.push(copy.clone());
        log.sort_by_key(|record| record.place);
    });
    if let Some(said) = &mut observed.tables {
        if let Some(Ok(rows)) = &mut said.rows {
            rows.push(Row::of(&copy));
        }
        move_totals(said, copy.place.topic, 1, copy.amount_minor);
    }
    Some(())
}

/// Two acknowledged records of one key, the first one before the second.
fn pair(history: &History) -> Option<(Place, Place)> {
    let acknowledged = |record: &&LogRecord| match record.claim {
        Claim::Operation(number) => {
            let operation = history.operations.get(number as usize);
            operation.is_some_and(|o| matches!(o.outcome, Outcome::Acknowledged { .. }))
        }
        Claim::Stranger(_) => false,
    };
    let (index, first) = history
        .log
        .iter()
        .enumerate()
        .filter(|(_, record)| acknowledged(record))
        .find(|(index, first)| next_of_key(history, *index, first).is_some_and(|next| acknowledged(&next)))?;
    Some((first.place, next_of_key(history, index, first)?.place))
}

/// The key's next record in the partition.
fn next_of_key<'h>(history: &'h History, index: usize, record: &LogRecord) -> Option<&'h LogRecord> {
    let mut rest = history.log[index + 1..].iter();
    let partition = record.place.partition_key();
    rest.find(|other| other.place.partition_key() == partition && other.key == record.key)
}

fn swap(_: Stage<'_>, observed: &mut Observed) -> Option<()> {
    let history = &mut observed.history;
    let (first, second) = pair(history)?;
    let other = |place: Place| if place == first { second } else { first };
    each_log(history, |log| {
        log.iter_mut().filter(|r| r.place == first || r.place == second).for_each(|r| r.place = other(r.place));
        log.sort_by_key(|record| record.place);
    });
    let at = |place: Place| history.log.iter().find(|record| record.place == place);
    let [at_first, at_second] = [at(first)?, at(second)?].map(|r| (r.fingerprint, claimed(r)));
    for seen in history.observations.iter_mut().filter(|seen| seen.place == first || seen.place == second) {
        (seen.fingerprint, seen.operation) = if seen.place == first { at_first } else { at_second };
    }
    Some(())
}

fn claimed(record: &LogRecord) -> Option<u32> {
    match record.claim {
        Claim::Operation(number) => Some(number),
        Claim::Stranger(_) => None,
    }
}

fn swap_times(_: Stage<'_>, observed: &mut Observed) -> Option<()> {
    let history = &mut observed.history;
    // Two that did not overlap, of one user on one topic.
    let (before, after) = (0..history.log.len()).find_map(|index| {
        let first = &history.log[index];
        let second = next_of_key(history, index, first)?;
        let numbers = (claimed(first)? as usize, claimed(second)? as usize);
        let operation = |number: usize| history.operations.get(number);
        let (first, second) = (operation(numbers.0)?, operation(numbers.1)?);
        let acknowledged = |outcome: &Outcome| matches!(outcome, Outcome::Acknowledged { .. });
        (acknowledged(&first.outcome) && acknowledged(&second.outcome) && first.ended_us? < second.sent_us?)
            .then_some(numbers)
    })?;
    let times = |number: usize| {
        let operation = &history.operations[number];
        (operation.planned_us, operation.sent_us, operation.ended_us)
    };
    let (of_before, of_after) = (times(before), times(after));
    for (number, (planned_us, sent_us, ended_us)) in [(before, of_after), (after, of_before)] {
        let operation = &mut history.operations[number];
        (operation.planned_us, operation.sent_us, operation.ended_us) = (planned_us, sent_us, ended_us);
    }
    Some(())
}

fn change_reading(_: Stage<'_>, observed: &mut Observed) -> Option<()> {
    let history = &mut observed.history;
    let (index, _) = victim(history)?;
    let place = history.log[index].place;
    let seen = history.observations.iter_mut().find(|seen| seen.place == place)?;
    seen.fingerprint ^= 1;
    Some(())
}

fn skip(_: Stage<'_>, observed: &mut Observed) -> Option<()> {
    let history = &mut observed.history;
    let (index, _) = victim(history)?;
    let place = history.log[index].place;
    let of_group: Vec<bool> = history.observers.iter().map(|o| o.group == crate::observe::GROUP).collect();
    let is_member = |seen: &Observation| of_group.get(usize::from(seen.observer)).copied().unwrap_or(false);
    history.observations.retain(|seen| seen.place != place || !is_member(seen));
    Some(())
}

fn change_balance(_: Stage<'_>, observed: &mut Observed) -> Option<()> {
    let history = &mut observed.history;
    let (index, _) = victim(history)?;
    let honest = history.log[index].clone();
    each_log(history, |log| {
        for record in log.iter_mut().filter(|record| is_at(honest.place)(record)) {
            record.amount_minor += 1;
            record.fingerprint ^= 1;
        }
    });
    for seen in history.observations.iter_mut().filter(|seen| seen.place == honest.place) {
        seen.fingerprint ^= 1;
    }
    if let Some(said) = &mut observed.tables {
        if let Some(Ok(rows)) = &mut said.rows {
            let own = Row::of(&honest);
            rows.iter_mut().filter(|row| **row == own).for_each(|row| row.amount_minor += 1);
        }
        move_totals(said, honest.place.topic, 0, 1);
    }
    Some(())
}

fn side_lacks(_: Stage<'_>, observed: &mut Observed) -> Option<()> {
    let (index, _) = victim(&observed.history)?;
    let place = observed.history.log[index].place;
    observed.history.sides.last_mut()?.log.retain(|record| record.place != place);
    Some(())
}

fn forget_commit(_: Stage<'_>, observed: &mut Observed) -> Option<()> {
    let held = observed.history.sides.last_mut()?.committed.iter_mut().find(|place| place.offset > 0)?;
    held.offset -= 1;
    Some(())
}

fn begin_below(_: Stage<'_>, observed: &mut Observed) -> Option<()> {
    let history = &mut observed.history;
    let sessions = history.sessions.clone();
    // Of each session, where it begins in a partition.
    let (first, at_us) = history.observations.iter().find_map(|seen| {
        let own =
            |session: &&crate::history::Session| (session.observer, session.session) == (seen.observer, seen.session);
        let at_us = sessions.iter().find(own)?.at_us;
        (at_us > 0).then_some((seen.place, at_us))
    })?;
    let place = Place { offset: first.offset + 1, ..first };
    history.commits.insert(0, Commit { place, at_us: at_us - 1 });
    Some(())
}

fn lose_pulse(_: Stage<'_>, observed: &mut Observed) -> Option<()> {
    let history = &mut observed.history;
    let lost = history.pulses.iter().position(|pulse| pulse.acknowledged.is_some())?;
    for (_, log) in &mut history.pulse_logs {
        log.retain(|record| record.number != Some(lost));
    }
    Some(())
}
