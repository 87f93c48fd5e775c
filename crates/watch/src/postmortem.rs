//! A postmortem, drafted from the ledger: every sentence names the entries that it rests on, and nobody is blamed in it.

use std::fmt::Write as _;

use naru_model::written;

use crate::event::seconds;
use crate::incident::{Incident, Line};

/// The draft, in Markdown: made of the entries up to the incident's end, so that its digest in the ledger stays true.
pub fn draft(incident: &Incident) -> String {
    let end = incident.resolved_unix_ms.unwrap_or(i64::MAX);
    let last = incident.timeline.iter().rposition(|line| line.at_unix_ms <= end && line.said.ends_with("is over"));
    let lines = match last {
        Some(last) => &incident.timeline[..=last],
        None => &incident.timeline[..],
    };
    let mut page = format!("# Incident {}: {}\n\n## What happened\n\n", incident.id, incident.cause);
    let mut say = |sentence: String, cites: &[u64]| {
        let cites: Vec<String> = cites.iter().map(|cite| format!("[#{cite}]")).collect();
        writeln!(page, "- {sentence} {}", cites.join(" ")).expect("a text takes every line");
    };
    let opened = lines.first().map_or(0, |line| line.entry);
    let first = incident.signals.iter().min_by_key(|one| one.signal.since_unix_ms);
    if let Some(first) = first {
        let said = format!(
            "The first sign was at {}: {}, {}.",
            date(first.signal.since_unix_ms),
            first.signal.id,
            first.signal.detail
        );
        say(said, &[first.entry]);
        let after = seconds(incident.opened_unix_ms - first.signal.since_unix_ms);
        say(format!("The incident opened itself {after} later."), &[opened, first.entry]);
    }
    if incident.cause_entry > 0 {
        say(
            format!("The most likely cause by the rule is `{}`: {}.", incident.cause, incident.because),
            &[incident.cause_entry],
        );
    }
    if let (Some(well), Some(last)) = (incident.well_since_unix_ms, lines.last()) {
        let lasted = seconds(well - incident.began_unix_ms);
        say(format!("Everything was well again at {}, {lasted} after the first sign.", date(well)), &[last.entry]);
    }
    page.push_str("\n## What had changed just before\n\n");
    let mut say = |sentence: String, cite: u64| {
        writeln!(page, "- {sentence} [#{cite}]").expect("a text takes every line");
    };
    for line in &incident.changes {
        let before = seconds(incident.began_unix_ms - line.at_unix_ms);
        let (by, what) = (&line.change.by, &line.change.what);
        say(format!("{before} before the first sign, by {by}: {what}."), line.entry);
    }
    if incident.changes.is_empty() {
        say("Nothing was told, or seen, to have changed within the window before it opened.".to_owned(), opened);
    }
    page.push_str("\n## Timeline\n\n");
    for Line { entry, at_unix_ms, said } in lines {
        writeln!(page, "- {} {said}. [#{entry}]", date(*at_unix_ms)).expect("a text takes every line");
    }
    page
}

/// The draft, and behind it what is to be done, as it stands now.
pub fn document(incident: &Incident) -> String {
    let mut page = draft(incident);
    page.push_str("\n## Actions\n\n");
    for one in &incident.actions {
        let (state, cite) = match one.closed_entry {
            Some(closed) => ("closed", format!("[#{}] [#{closed}]", one.entry)),
            None => ("open", format!("[#{}]", one.entry)),
        };
        let line = format!(
            "- {} ({state}), {}: {}, until `{}` passes. {cite}\n",
            one.action, one.owner, one.what, one.rehearsal
        );
        page.push_str(&line);
    }
    if incident.actions.is_empty() {
        page.push_str("None yet.\n");
    }
    page
}

/// A date of the calendar, UTC: `2026-11-11 01:02:03.456`.
pub fn date(unix_ms: i64) -> String {
    let (days, ms) = (unix_ms.div_euclid(86_400_000), unix_ms.rem_euclid(86_400_000));
    let (year, month, day) = written::date(days);
    let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{:03}", ms % 1000)
}

/// What of a rehearsal's report is looked at: docs/REPORT.md.
#[derive(serde::Deserialize)]
struct Report {
    passed: bool,
    scenario: String,
}

/// Whether a report says that this rehearsal passed; otherwise, what would do.
///
/// # Errors
/// What to send, in words.
pub fn passed(report: &[u8], rehearsal: &str) -> Result<(), String> {
    let Ok(report) = serde_json::from_slice::<Report>(report) else {
        return Err("send the report.json that the rehearsal wrote, whole".to_owned());
    };
    match report {
        Report { scenario, .. } if scenario != rehearsal => {
            Err(format!("that is the report of {scenario:?}; it is closed by {rehearsal:?}"))
        }
        Report { passed: false, .. } => Err(format!("{rehearsal:?} did not pass; it is closed when it does")),
        Report { .. } => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        let check = |unix_ms: i64, expect: &str| assert_eq!(date(unix_ms), expect);
        check(0, "1970-01-01 00:00:00.000");
        check(-1, "1969-12-31 23:59:59.999");
        check(951_782_400_000, "2000-02-29 00:00:00.000");
        check(1_794_358_923_456, "2026-11-11 01:02:03.456");
    }

    #[test]
    fn an_action_is_closed_by_its_own_rehearsal_that_passed() {
        let check = |report: &str, expect: Result<(), &str>| {
            let said = passed(report.as_bytes(), "takeover");
            assert_eq!(said.is_ok(), expect.is_ok(), "{said:?}");
            if let (Err(said), Err(part)) = (said, expect) {
                assert!(said.contains(part), "{said}");
            }
        };
        check(r#"{"schema":4,"passed":true,"scenario":"takeover","seed":7}"#, Ok(()));
        check(r#"{"schema":4,"passed":false,"scenario":"takeover"}"#, Err("did not pass"));
        check(r#"{"schema":4,"passed":true,"scenario":"first"}"#, Err("is the report of"));
        check(r#"{"scenario":"takeover"}"#, Err("report.json"));
        check("", Err("report.json"));
    }
}
