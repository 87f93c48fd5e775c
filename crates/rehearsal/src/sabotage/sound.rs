//! A run in which all is well, with every part that can be judged, for a sabotage to alter.

use std::time::Duration;

use crate::campaign::Planned;
use crate::crowd::judge::{Audit, Decisions, NodeLog, Received};
use crate::crowd::{Answer, CrowdHistory, CrowdPlan, Gift, View, Visit};
use crate::expectations::{Settled, marks_of, subject};
use crate::history::{
    CURRENCY, Claim, Commit, History, LogRecord, Observation, Operation, Outcome, Place, Session, SideCopy,
    fingerprint, user_key,
};
use crate::judge::{Observed, SeenAtEdge};
use crate::observe::{GROUP, LONE, Observers};
use crate::plan::Plan;
use crate::pulse::{Acknowledged, Pulse, PulseRecord};
use crate::recorder::{Mark, topic_of, topics};
use crate::relay_status::Standing;
use crate::scenario::Scenario;
use crate::tables::{Asked, Row, Said, Total};

const PARTITIONS: i32 = 4;
const MEMBERS: usize = 2;
const NODE: &str = "promotion-cloud-1";

/// The event day with every bound that a scenario can have and a planned switch, and shorter, so that a test is quick.
pub(super) fn scenario() -> Scenario {
    let text = include_str!("../../../../scenarios/1111.toml");
    let switch = "\n[[fault]]\nkind = \"switch\"\nto = \"a\"\nphase = \"tail\"\nat_seconds = 2\n\n[expect]\n";
    let bounds = "consumer_p99_ms_max = 5000\nswitch_stall_ms_max = 500\nrejoin_ms_max = 5000\n";
    let text = text.replacen("recipients = 15_000", "recipients = 1_500", 1);
    let text = text.replacen("\n[expect]\n", &format!("{switch}{bounds}"), 1);
    Scenario::parse("1111.toml", &text).unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

/// Everything answered in 20 ms, read 30 ms after that, and in its table a tenth of a second later.
pub(super) fn observed(scenario: &Scenario, plan: &Plan, people: &CrowdPlan) -> Observed {
    let mut history = history(scenario, plan);
    let marks = marks(scenario, plan);
    pulses(&mut history, plan);
    Observed {
        tables: Some(said(&history, plan)),
        marks,
        settled: Settled { outbox: Some(0), lag: Some(0), lone_lag: Some(0), observations_dropped: 0 },
        standing: Some(Standing { active: "a".into(), in_sync: vec!["a".into(), "b".into()], lag: Some(0) }),
        endings: vec![crate::children::Ended {
            child: "service payment".into(),
            code: 0,
            ending: crate::children::Ending::Asked(std::process::ExitStatus::default()),
        }],
        troubles: Vec::new(),
        edge: Some(at_edge(people)),
        planned: Some(Planned {
            hash: "ab".into(),
            peak: [1.0, 2.0, 3.0, 4.0],
            nodes: 1,
            risk_ppm: 1,
            committed_won: 1,
            always_peak_won: 2,
            autoscale_only_won: 1,
            autoscale_only_risk_ppm: 2,
        }),
        history,
    }
}

fn history(scenario: &Scenario, plan: &Plan) -> History {
    let mut history = History { topics: topics(), observers: Observers::names(MEMBERS), ..History::default() };
    let mut ends = vec![0_i64; history.topics.len() * PARTITIONS as usize];
    let mut sequences = std::collections::HashMap::new();
    for (number, planned) in plan.operations.iter().enumerate() {
        let topic = topic_of(scenario.services[usize::from(planned.service)].kind);
        let (key, id): (Box<str>, Box<str>) = (user_key(planned.user).into(), format!("id-{number}").into());
        let sequence: &mut u64 = sequences.entry((topic, planned.user)).or_default();
        *sequence += 1;
        let partition = (planned.user % PARTITIONS as u32) as i32;
        let end = &mut ends[usize::from(topic) * PARTITIONS as usize + partition as usize];
        let place = Place { topic, partition, offset: *end };
        *end += 1;
        let peer: Box<str> = "m1".into();
        history.log.push(LogRecord {
            place,
            claim: Claim::Operation(number as u32),
            fingerprint: fingerprint(key.as_bytes(), id.as_bytes()),
            user: key.clone(),
            key,
            id: id.clone(),
            sequence: *sequence,
            peer: peer.clone(),
            currency: CURRENCY.into(),
            amount_minor: planned.amount_minor,
        });
        history.operations.push(Operation {
            topic,
            user: planned.user,
            peer,
            amount_minor: planned.amount_minor,
            planned_us: planned.at_us,
            sent_us: Some(planned.at_us + 100),
            attempts: 1,
            ended_us: Some(planned.at_us + 20_000),
            outcome: Outcome::Acknowledged { id, sequence: *sequence },
        });
        // Member 0 has the even partitions, and the lone reader has all of them.
        let (observer, fingerprint) = ((partition % 2) as u16, history.log[number].fingerprint);
        let at_us = planned.at_us + 50_000;
        let seen = Observation { observer, session: 1, place, fingerprint, operation: Some(number as u32), at_us };
        assert_eq!((history.observers[usize::from(observer)].group, history.observers[MEMBERS].group), (GROUP, LONE));
        history.observations.push(seen);
        history.observations.push(Observation { observer: MEMBERS as u16, session: 0, ..seen });
    }
    history.log.sort_by_key(|record| record.place);
    let partitions = (0..history.topics.len() as u16)
        .flat_map(|topic| (0..PARTITIONS).map(move |partition| Place { topic, partition, offset: 0 }));
    for (partition, end) in partitions.zip(ends) {
        history.log_starts.push((partition, 0));
        history.committed.push(Place { offset: end, ..partition });
        history.commits.push(Commit { place: Place { offset: end, ..partition }, at_us: 1_000_000_000 });
    }
    history.sessions = (0..MEMBERS as u16).map(|observer| Session { observer, session: 1, at_us: 5 }).collect();
    let side = |name: &str| SideCopy {
        name: name.to_owned(),
        log: history.log.clone(),
        log_starts: history.log_starts.clone(),
        committed: history.committed.clone(),
    };
    history.sides = vec![side("cluster a"), side("cluster b")];
    history
}

fn marks(scenario: &Scenario, plan: &Plan) -> Vec<Mark> {
    let mut marks = Vec::new();
    for fault in &plan.faults {
        let (began, ended) = marks_of(fault.kind);
        let lasts = fault.lasts.max(Duration::from_millis(100));
        for (kind, at) in [(began, fault.at), (ended, fault.at + lasts)] {
            let at_us = at.as_micros() as u64;
            marks.push(Mark { at_us, kind, subject: subject(scenario, fault.kind) });
        }
    }
    marks.sort_by_key(|mark| mark.at_us);
    marks
}

/// One every 100 ms in each partition.
fn pulses(history: &mut History, plan: &Plan) {
    let mut held = Vec::new();
    for beat in 0..plan.end().as_millis() as u64 / 100 {
        for partition in 0..PARTITIONS {
            let (sent_us, offset) = (beat * 100_000, beat as i64);
            held.push(PulseRecord { partition, offset, number: Some(history.pulses.len()) });
            let acknowledged = Some(Acknowledged { offset: Some(offset), at_us: sent_us + 5_000 });
            history.pulses.push(Pulse { partition, sent_us, acknowledged });
            history.pulses_delivered.push((partition, sent_us + 9_000));
        }
    }
    held.sort_by_key(|record| (record.partition, record.offset));
    history.pulse_logs = ["relay", "cluster a", "cluster b"].map(|name| (name.to_owned(), held.clone())).into();
}

fn said(history: &History, plan: &Plan) -> Said {
    let totals = |until_us: u64| {
        let mut totals = vec![Total::default(); history.topics.len()];
        for operation in history.operations.iter().filter(|o| o.ended_us.is_some_and(|at| at + 100_000 <= until_us)) {
            let total = &mut totals[usize::from(operation.topic)];
            *total = Total { rows: total.rows + 1, amount_minor: total.amount_minor + operation.amount_minor };
        }
        Some(totals)
    };
    let seconds = plan.end().as_secs() + 2;
    let asked = (0..seconds).map(|second| Asked { at_us: second * 1_000_000, totals: totals(second * 1_000_000) });
    Said { asked: asked.collect(), rows: Some(Ok(history.log.iter().map(Row::of).collect())) }
}

/// The first page of each visitor comes from an owned site after a waiting page, the second from a node.
fn at_edge(people: &CrowdPlan) -> SeenAtEdge {
    let served = |by: &str| Answer::Served(by.to_owned());
    let mut crowd = CrowdHistory { gifts_planned: people.gifts_us.len(), ..CrowdHistory::default() };
    let mut node = NodeLog { node: NODE.into(), received: Vec::new(), unreadable: 0 };
    for (visitor, came_us) in people.visitors_us.iter().copied().enumerate() {
        for (page, answer) in [(0, Answer::Waiting), (0, served("promotion-owned-1")), (1, served(NODE))] {
            let view = View { visitor, page, sent_us: came_us, ended_us: came_us + 100_000, answer };
            if page == 1 {
                let headers = vec!["accept".to_owned()];
                node.received.push(Received { path: view.path(), headers, cookies: Vec::new(), planted: false });
            }
            crowd.views.push(view);
        }
        let [in_us, done_us] = [100_000, 200_000].map(|after_us| Some(came_us + after_us));
        crowd.visits.push(Visit { came_us: Some(came_us), in_us, done_us });
    }
    for (number, planned_us) in people.gifts_us.iter().copied().enumerate() {
        let by = "gift-owned-1";
        let (ended_us, served_by) = (planned_us + 120_000, vec![by.to_owned()]);
        crowd.gifts.push(Gift { number, planned_us, ended_us, attempts: 1, answer: served(by), served_by });
    }
    let decisions = |class: &str, went: &str, count| Decisions { class: class.into(), went: went.into(), count };
    let audit = Audit {
        proves: true,
        decisions: vec![decisions("core", "owned", 9), decisions("open", "rented", node.received.len() as u64)],
        breaches: 0,
        gap_core: 0,
        gap_open: 0,
        missing: 0,
    };
    SeenAtEdge { crowd, nodes: vec![node], nodes_started: 1, audit: Ok(audit) }
}
