//! What happened, as marks on the charts: told from how the roles stand now and how they stood a moment ago.

use std::collections::VecDeque;

use serde::Serialize;

use crate::gather::Snapshot;
use crate::part::Part;
use crate::part::relay::Group;
use crate::words::Lang;

/// Marks that are kept: more would stand on top of each other.
const KEPT_MAX: usize = 200;

/// What kind of thing it is: it has a sign and a colour of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Something is lost or away.
    Fault,
    /// It is there again.
    Mended,
    /// Somebody has decided something.
    Plan,
    /// The watch has opened an incident.
    Incident,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Mark {
    /// When, in seconds since 1970.
    pub t: f64,
    /// What kind of thing.
    pub kind: Kind,
    /// In English.
    pub en: String,
    /// In Korean.
    pub ko: String,
}

/// The newest of them, in their order.
#[derive(Debug, Default)]
pub struct Marks(VecDeque<Mark>);

impl Marks {
    /// Adds those that are not there yet.
    pub fn add(&mut self, marks: impl IntoIterator<Item = Mark>) {
        for mark in marks {
            if self.0.contains(&mark) {
                continue;
            }
            let place = self.0.partition_point(|had| had.t <= mark.t);
            self.0.insert(place, mark);
            if self.0.len() > KEPT_MAX {
                self.0.pop_front();
            }
        }
    }

    /// All of them, in order.
    pub fn all(&self) -> impl DoubleEndedIterator<Item = &Mark> {
        self.0.iter()
    }
}

/// What the watch tells of: it knows the times by itself, so that these are the same whenever they are told.
pub fn told(now: &Snapshot) -> Vec<Mark> {
    let mut marks = Vec::new();
    let mut add = |at_unix_ms: i64, kind, text: &str| {
        marks.push(Mark { t: at_unix_ms as f64 / 1_000.0, kind, en: text.to_owned(), ko: text.to_owned() });
    };
    let Some(watch) = now.watch.here() else { return Vec::new() };
    for incident in &watch.incidents {
        let name = format!("#{} {}", incident.id, incident.cause);
        add(incident.opened_unix_ms, Kind::Incident, &name);
        if let Some(resolved) = incident.resolved_unix_ms {
            add(resolved, Kind::Mended, &name);
        }
    }
    for change in &watch.changes {
        add(change.at_unix_ms, Kind::Plan, &format!("{}: {} ({})", change.kind, change.what, change.by));
    }
    marks
}

/// What is new.
pub fn between(before: &Snapshot, now: &Snapshot) -> Vec<Mark> {
    let mut found = Found { t: now.at_unix_ms as f64 / 1_000.0, marks: Vec::new() };
    for (name, was, is) in before.presence().into_iter().zip(now.presence()).map(|(a, b)| (b.0, a.1, b.1)) {
        match (was, is) {
            (true, false) => found.add(Kind::Fault, format!("{name} is away"), format!("{name} 응답 없음")),
            (false, true) => found.add(Kind::Mended, format!("{name} is back"), format!("{name} 복귀")),
            _ => {}
        }
    }
    if let (Part::Here(was), Part::Here(is)) = (&before.relay, &now.relay) {
        for group in is.shown() {
            if let Some(was) = was.groups.iter().find(|was| was.name == group.name) {
                found.group(was, group);
            }
        }
    }
    for ((name, was), (_, is)) in before.edges.iter().zip(&now.edges) {
        let (Part::Here(was), Part::Here(is)) = (was, is) else { continue };
        if was.state.plan != is.state.plan {
            let plan = is.state.plan;
            found.add(Kind::Plan, format!("{name}: plan {plan}"), format!("{name}: 계획 {plan}"));
        }
        for site in &is.state.sites {
            let before = was.state.sites.iter().find(|before| before.name == site.name);
            match (before.is_some_and(|before| before.draining), site.draining) {
                (false, true) => {
                    found.add(Kind::Plan, format!("{} drains", site.name), format!("{} 비우기 시작", site.name));
                }
                (true, false) => {
                    found.add(Kind::Plan, format!("{} takes again", site.name), format!("{} 다시 받음", site.name));
                }
                _ => {}
            }
        }
    }
    if let (Part::Here(was), Part::Here(is)) = (&before.control, &now.control) {
        for held in &is.resources {
            if !was.resources.iter().any(|before| before.name == held.name) {
                found.add(Kind::Plan, format!("applied: {}", held.name), format!("적용: {}", held.name));
            }
        }
    }
    found.marks
}

struct Found {
    t: f64,
    marks: Vec<Mark>,
}

impl Found {
    fn add(&mut self, kind: Kind, en: String, ko: String) {
        self.marks.push(Mark { t: self.t, kind, en, ko });
    }

    fn group(&mut self, was: &Group, is: &Group) {
        let name = &is.name;
        if was.active != is.active {
            let to = is.active.to_uppercase();
            self.add(Kind::Plan, format!("{name}: {to} is active now"), format!("{name}: {to} 활성"));
        }
        if was.mode != is.mode {
            let kind = if is.mode == "duplex" { Kind::Mended } else { Kind::Fault };
            let [en, ko] = Lang::ALL.map(|lang| format!("{name}: {}", lang.words().mode(&is.mode)));
            self.add(kind, en, ko);
        }
        for alarm in &is.alarms {
            if !was.alarms.iter().any(|before| before.name == alarm.name) {
                self.add(Kind::Fault, format!("{name}: {}", alarm.name), format!("{name}: {}", alarm.name));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::part::relay::Relay;
    use crate::part::watch::{Change, Incident, Watch};

    fn relay(active: &str, mode: &str) -> Snapshot {
        let group =
            Group { name: "pay".to_owned(), active: active.to_owned(), mode: mode.to_owned(), ..Group::default() };
        Snapshot { relay: Part::Here(Relay { groups: vec![group], ..Relay::default() }), ..Snapshot::default() }
    }

    #[test]
    fn what_changes_is_marked_and_what_stays_is_not() {
        let check = |before: &Snapshot, now: &Snapshot, expect: &[(Kind, &str)]| {
            let marks = between(before, now);
            let found: Vec<_> = marks.iter().map(|mark| (mark.kind, mark.en.as_str())).collect();
            assert_eq!(found, expect);
        };
        let duplex = relay("a", "duplex");
        check(&duplex, &duplex, &[]);
        check(&duplex, &relay("b", "solo"), &[(Kind::Plan, "pay: B is active now"), (Kind::Fault, "pay: solo")]);
        check(&relay("b", "solo"), &relay("b", "duplex"), &[(Kind::Mended, "pay: duplex")]);
        let away = Snapshot { relay: Part::Away("no connection".to_owned()), ..Snapshot::default() };
        check(&duplex, &away, &[(Kind::Fault, "relay is away")]);
        check(&away, &duplex, &[(Kind::Mended, "relay is back")]);
    }

    #[test]
    fn what_the_watch_tells_stands_once_and_at_its_own_time() {
        let incident = Incident {
            id: 7,
            cause: "cluster-a-away".to_owned(),
            opened_unix_ms: 2_000,
            resolved_unix_ms: Some(9_000),
            ..Incident::default()
        };
        let change =
            Change { at_unix_ms: 1_000, kind: "deploy".to_owned(), what: "edge 1.4".to_owned(), by: "ci".to_owned() };
        let watch = Watch { incidents: vec![incident], changes: vec![change], ..Watch::default() };
        let now = Snapshot { watch: Part::Here(watch), ..Snapshot::default() };
        let mut marks = Marks::default();
        marks.add(told(&now));
        marks.add(told(&now));
        let all: Vec<_> = marks.all().map(|mark| (mark.t, mark.kind, mark.en.as_str())).collect();
        assert_eq!(
            all,
            [
                (1.0, Kind::Plan, "deploy: edge 1.4 (ci)"),
                (2.0, Kind::Incident, "#7 cluster-a-away"),
                (9.0, Kind::Mended, "#7 cluster-a-away"),
            ]
        );
        assert_eq!(told(&Snapshot::default()), []);
    }

    #[test]
    fn the_oldest_marks_go_first() {
        let mut marks = Marks::default();
        let mark = |t| Mark { t, kind: Kind::Plan, en: String::new(), ko: String::new() };
        marks.add((0..KEPT_MAX + 5).map(|t| mark(t as f64)));
        assert_eq!((marks.all().count(), marks.all().next().map(|mark| mark.t)), (KEPT_MAX, Some(5.0)));
    }
}
