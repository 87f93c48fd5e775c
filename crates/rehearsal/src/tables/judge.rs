//! What must hold of the tables, by the log as the judge has read it. Pure.

use std::collections::BTreeMap;

use super::{Row, Said, Total};
use crate::check::Verdict;
use crate::history::History;

/// Every verdict on the tables; `killed_us` is when the lake was, on the run's clock.
pub fn judge(said: &Said, history: &History, killed_us: &[u64]) -> Vec<Verdict> {
    vec![rows(said, history), money(said, history), steady(said, history, killed_us)]
}

/// Each record is a row, once, with its own values, and no row is anything else.
fn rows(said: &Said, history: &History) -> Verdict {
    let sentence = "each record of the log is one row of its table, and there is no other row";
    let mut verdict = Verdict::open("lake-rows", sentence, "records");
    let Some(rows) = readable(said, &mut verdict) else { return verdict };
    let mut counts: BTreeMap<Row, (u64, u64)> = BTreeMap::new();
    for record in &history.log {
        verdict.examined += 1;
        counts.entry(Row::of(record)).or_default().0 += 1;
    }
    for row in rows {
        counts.entry(row.clone()).or_default().1 += 1;
    }
    for (row, (logged, found)) in counts.iter().filter(|(_, (logged, found))| logged != found) {
        let topic = history.topics.get(usize::from(row.topic)).map_or("?", String::as_str);
        verdict.find(
            || format!("{topic} {} ({}, sequence {})", row.id, row.user, row.sequence),
            || format!("{logged} in the log, {found} in the table, amount {} {}", row.amount_minor, row.currency),
        );
    }
    verdict
}

/// What SQL adds up to is what the log holds.
fn money(said: &Said, history: &History) -> Verdict {
    let sentence = "the last sum that SQL gave of each table is the sum of its topic, to the unit";
    let mut verdict = Verdict::open("lake-money", sentence, "tables");
    let last = said.last();
    for (index, topic) in history.topics.iter().enumerate() {
        verdict.examined += 1;
        let own = history.log.iter().filter(|record| usize::from(record.place.topic) == index);
        let logged = own.fold(Total::default(), |sum, record| Total {
            rows: sum.rows + 1,
            amount_minor: sum.amount_minor.saturating_add(record.amount_minor),
        });
        match last.and_then(|totals| totals.get(index)) {
            None => verdict.find(|| topic.clone(), || "SQL gave no answer".to_owned()),
            Some(told) if *told != logged => verdict.find(
                || topic.clone(),
                || {
                    let (rows, amount) = (told.rows, told.amount_minor);
                    format!("SQL: {rows} rows of {amount} won; the log: {} of {}", logged.rows, logged.amount_minor)
                },
            ),
            Some(_) => {}
        }
    }
    verdict
}

/// A row that was seen stays: facts are only ever added, whatever breaks meanwhile. A lake that is killed shows rows again
/// from its last commit on.
fn steady(said: &Said, history: &History, killed_us: &[u64]) -> Verdict {
    let sentence = "no answer of SQL showed fewer rows or less money than one before it of the same process";
    let mut verdict = Verdict::open("lake-steady", sentence, "answers");
    let mut most: Vec<Total> = Vec::new();
    let mut before_us = 0;
    for asked in &said.asked {
        let Some(totals) = &asked.totals else { continue };
        verdict.examined += 1;
        if killed_us.iter().any(|killed_us| (before_us..asked.at_us).contains(killed_us)) {
            most.clear();
        }
        before_us = asked.at_us;
        most.resize(totals.len().max(most.len()), Total::default());
        for (index, (total, most)) in totals.iter().zip(&mut most).enumerate() {
            if total.rows < most.rows || total.amount_minor < most.amount_minor {
                let topic = history.topics.get(index).map_or("?", String::as_str);
                let at = asked.at_us as f64 / 1e6;
                let (rows, amount) = (total.rows, total.amount_minor);
                verdict.find(
                    || format!("{topic} at {at:.3} s"),
                    || format!("{rows} rows of {amount} won, after {} of {}", most.rows, most.amount_minor),
                );
            }
            *most = Total { rows: total.rows.max(most.rows), amount_minor: total.amount_minor.max(most.amount_minor) };
        }
    }
    verdict
}

fn readable<'s>(said: &'s Said, verdict: &mut Verdict) -> Option<&'s [Row]> {
    match &said.rows {
        Some(Ok(rows)) => Some(rows),
        Some(Err(why)) => {
            verdict.find(|| "tables".to_owned(), || why.clone());
            None
        }
        None => {
            verdict.find(|| "tables".to_owned(), || "were not read".to_owned());
            None
        }
    }
}
