//! Sabotages of what is judged beside the log: the run itself, the edge, the lake, the campaign.

use std::time::Duration;

use super::log::forget;
use super::{Deed, Sabotage, Stage, Way};
use crate::away::{AwayKind, away};
use crate::children::Trouble;
use crate::crowd::{Answer, View};
use crate::expectations::{marks_of, subject};
use crate::history::{Claim, Failure, History, Outcome};
use crate::judge::{Observed, SeenAtEdge};
use crate::tables::Asked;

/// What is added to a bound so that it is broken for certain.
const BEYOND: Duration = Duration::from_secs(1);

pub(super) const ALL: [Sabotage; 29] = [
    recorded("send-late", "a request was due a second before the bound on its lateness", &["load"], send_late),
    recorded("refuse-request", "a request was refused, and is nowhere", &["answers"], refuse),
    recorded("drop-request", "a request was never sent, for want of room", &["load", "answers"], drop_request),
    recorded("skip-fault", "the end of a planned fault was not seen", &["faults"], skip_fault),
    recorded("full-outbox", "a record is left in an outbox at the end", &["settled"], |_, observed| {
        observed.settled.outbox = Some(1);
        Some(())
    }),
    recorded("panic", "a process wrote that it panicked", &["children"], |_, observed| {
        let line = "thread 'main' panicked at src/main.rs:1:1".to_owned();
        observed.troubles.push(Trouble { child: "service payment".to_owned(), named: vec![line], total: 1 });
        Some(())
    }),
    Sabotage {
        name: "kill-node",
        does: "a rented node is killed, which no fault of the plan does",
        turns: &["children"],
        also: &[],
        way: Way::System(Deed::NodeKilled),
    },
    recorded(
        "slow-takeover",
        "a partition's producers are away for too long when a side is lost",
        &["takeover"],
        |stage, observed| stall_producers(stage, observed, AwayKind::Loss, stage.scenario.expect.takeover_max?),
    ),
    recorded(
        "slow-switch",
        "a partition's producers are away for too long at a planned switch",
        &["switch-stall"],
        |stage, observed| stall_producers(stage, observed, AwayKind::Switch, stage.scenario.expect.switch_stall_max?),
    ),
    recorded(
        "slow-rejoin",
        "a partition's consumers are away for too long when the sides change",
        &["rejoin"],
        slow_rejoin,
    ),
    recorded("slow-service", "every answer came later by more than the bound", &["service-p99"], slow_service),
    recorded(
        "slow-consumer",
        "every record was given to the group later by more than the bound",
        &["consumer-p99"],
        slow_consumer,
    ),
    recorded("unproved", "the decision log does not prove what it should", &["EDGE-1-log"], |_, observed| {
        let audit = observed.edge.as_mut()?.audit.as_mut().ok()?;
        (audit.proves, audit.breaches) = (false, 1);
        Some(())
    }),
    recorded(
        "core-in-cloud",
        "a rented node's log has a payment, of which the decision log knows as an open request",
        &["EDGE-1-cloud"],
        core_in_cloud,
    ),
    Sabotage {
        name: "gift-to-node",
        does: "a gift is asked of a rented node's address, past the edge",
        turns: &["EDGE-1-cloud"],
        also: &["EDGE-1-log"],
        way: Way::System(Deed::GiftToNode),
    },
    recorded("silent-node", "a rented node has no line of a page that it answered", &["EDGE-1-cloud"], silent_node),
    recorded("leak", "a request to a rented node held the planted personal data", &["planted"], |_, observed| {
        let nodes = &mut observed.edge.as_mut()?.nodes;
        nodes.iter_mut().flat_map(|node| &mut node.received).next()?.planted = true;
        Some(())
    }),
    recorded("gift-by-node", "a gift was answered by a rented node", &["EDGE-1-client"], |_, observed| {
        let SeenAtEdge { crowd, nodes, .. } = observed.edge.as_mut()?;
        crowd.gifts.first_mut()?.served_by.push(nodes.first()?.node.clone());
        Some(())
    }),
    recorded("fail-gift", "a gift was not claimed", &["core-errors"], |_, observed| {
        observed.edge.as_mut()?.crowd.gifts.first_mut()?.answer = Answer::Status(500);
        Some(())
    }),
    recorded("slow-gifts", "every gift took longer by more than the bound", &["gift-p99"], slow_gifts),
    recorded("error-page", "a visitor was shown an error", &["EDGE-3"], |_, observed| {
        let views = &mut observed.edge.as_mut()?.crowd.views;
        let view = View { answer: Answer::Status(502), ..views.first()?.clone() };
        views.insert(0, view);
        Some(())
    }),
    recorded("no-spill", "every page came from an owned site", &["spill"], no_spill),
    recorded("no-waiting", "nobody was shown the waiting room", &["waiting-room"], |_, observed| {
        observed.edge.as_mut()?.crowd.views.retain(|view| view.answer != Answer::Waiting);
        Some(())
    }),
    recorded("turn-away", "a visitor had not seen all of his pages at the end", &["let-in"], |_, observed| {
        observed.edge.as_mut()?.crowd.visits.first_mut()?.done_us = None;
        Some(())
    }),
    recorded("hide-row", "SQL does not show a row", &["lake-rows"], |_, observed| {
        observed.tables.as_mut()?.rows.as_mut()?.as_mut().ok()?.pop().map(|_row| ())
    }),
    recorded("wrong-sum", "SQL's last sum is one won more than the log's", &["lake-money"], |_, observed| {
        let asked = &mut observed.tables.as_mut()?.asked;
        asked.iter_mut().rev().find_map(|asked| asked.totals.as_mut())?.first_mut()?.amount_minor += 1;
        Some(())
    }),
    recorded("forget-rows", "an answer of SQL shows fewer rows than the one before it", &["lake-steady"], forget_rows),
    recorded("fewer-nodes", "other nodes than the plan's were started", &["plan-rented"], |_, observed| {
        let seen = observed.edge.as_mut()?;
        seen.nodes_started = seen.nodes_started.checked_sub(1)?;
        observed.planned.as_ref().map(|_planned| ())
    }),
    recorded("dear-plan", "the plan costs as much as keeping its peak all day", &["plan-price"], |_, observed| {
        let planned = observed.planned.as_mut()?;
        planned.committed_won = planned.always_peak_won;
        Some(())
    }),
];

const fn recorded(
    name: &'static str,
    does: &'static str,
    turns: &'static [&'static str],
    alter: super::Alter,
) -> Sabotage {
    Sabotage { name, does, turns, also: &[], way: Way::Records(alter) }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn send_late(stage: Stage<'_>, observed: &mut Observed) -> Option<()> {
    let late_us = micros(stage.scenario.expect.lateness_max + BEYOND);
    let is_fit = |sent_us: Option<u64>| sent_us.is_some_and(|sent_us| sent_us > late_us);
    let operation = observed.history.operations.iter_mut().find(|operation| is_fit(operation.sent_us))?;
    operation.planned_us = operation.sent_us? - late_us;
    Some(())
}

/// An acknowledged operation and its record, gone from everywhere but the plan.
fn without_record(history: &History) -> Option<(usize, usize)> {
    history.log.iter().enumerate().skip(1).find_map(|(index, record)| match record.claim {
        Claim::Operation(number) => Some((index, number as usize)),
        Claim::Stranger(_) => None,
    })
}

fn refuse(_: Stage<'_>, observed: &mut Observed) -> Option<()> {
    let (index, number) = without_record(&observed.history)?;
    forget(observed, index);
    observed.history.operations[number].outcome = Outcome::Failed { why: Failure::Refused(422) };
    Some(())
}

fn drop_request(_: Stage<'_>, observed: &mut Observed) -> Option<()> {
    let (index, number) = without_record(&observed.history)?;
    forget(observed, index);
    let operation = &mut observed.history.operations[number];
    (operation.sent_us, operation.outcome) = (None, Outcome::Failed { why: Failure::NotSent });
    Some(())
}

fn skip_fault(stage: Stage<'_>, observed: &mut Observed) -> Option<()> {
    let fault = stage.plan.faults.last()?;
    let (_, ended) = marks_of(fault.kind);
    let whom = subject(stage.scenario, fault.kind);
    let last = observed.marks.iter().rposition(|mark| mark.kind == ended && mark.subject == whom)?;
    observed.marks.remove(last);
    Some(())
}

/// Moves signs of life that come within the bound after an event behind it.
fn stalled(at_us: u64, event_us: u64, stall_us: u64) -> u64 {
    if (event_us..event_us + stall_us).contains(&at_us) { event_us + stall_us } else { at_us }
}

fn stall_producers(stage: Stage<'_>, observed: &mut Observed, kind: AwayKind, bound: Duration) -> Option<()> {
    let events = away(&observed.history, stage.scenario, &observed.marks);
    let event_us = events.iter().find(|event| event.kind == kind)?.at_us;
    let partition = observed.history.pulses.first()?.partition;
    let own = observed.history.pulses.iter_mut().filter(|pulse| pulse.partition == partition);
    for acknowledged in own.filter_map(|pulse| pulse.acknowledged.as_mut()) {
        acknowledged.at_us = stalled(acknowledged.at_us, event_us, micros(bound + BEYOND));
    }
    Some(())
}

fn slow_rejoin(stage: Stage<'_>, observed: &mut Observed) -> Option<()> {
    let bound = stage.scenario.expect.rejoin_max?;
    let event_us = away(&observed.history, stage.scenario, &observed.marks).first()?.at_us;
    let delivered = &mut observed.history.pulses_delivered;
    let first = delivered.first()?.0;
    for (_, at_us) in delivered.iter_mut().filter(|(partition, _)| *partition == first) {
        *at_us = stalled(*at_us, event_us, micros(bound + BEYOND));
    }
    Some(())
}

fn slow_service(stage: Stage<'_>, observed: &mut Observed) -> Option<()> {
    let more_us = micros(stage.scenario.expect.service_p99_max? + BEYOND);
    for ended_us in observed.history.operations.iter_mut().filter_map(|operation| operation.ended_us.as_mut()) {
        *ended_us += more_us;
    }
    Some(())
}

fn slow_consumer(stage: Stage<'_>, observed: &mut Observed) -> Option<()> {
    let more_us = micros(stage.scenario.expect.consumer_p99_max? + BEYOND);
    observed.history.observations.iter_mut().for_each(|seen| seen.at_us += more_us);
    Some(())
}

fn core_in_cloud(_: Stage<'_>, observed: &mut Observed) -> Option<()> {
    let SeenAtEdge { nodes, audit, .. } = observed.edge.as_mut()?;
    let received = &mut nodes.iter_mut().find(|node| !node.received.is_empty())?.received;
    let line = received.first()?.clone();
    received.push(crate::crowd::judge::Received { path: "/payments".to_owned(), ..line });
    let open = audit.as_mut().ok()?.decisions.iter_mut().find(|d| (&*d.class, &*d.went) == ("open", "rented"))?;
    open.count += 1;
    Some(())
}

fn silent_node(_: Stage<'_>, observed: &mut Observed) -> Option<()> {
    let SeenAtEdge { crowd, nodes, .. } = observed.edge.as_mut()?;
    let node = nodes.iter_mut().find(|node| {
        let answered = |view: &View| matches!(&view.answer, Answer::Served(by) if *by == node.node);
        crowd.views.iter().any(answered)
    })?;
    let answered = |view: &&View| matches!(&view.answer, Answer::Served(by) if *by == node.node);
    let path = crowd.views.iter().find(answered)?.path();
    node.received.retain(|received| received.path != path);
    Some(())
}

fn slow_gifts(stage: Stage<'_>, observed: &mut Observed) -> Option<()> {
    let more_us = micros(stage.scenario.expect.service_p99_max? + BEYOND);
    observed.edge.as_mut()?.crowd.gifts.iter_mut().for_each(|gift| gift.ended_us += more_us);
    Some(())
}

fn no_spill(_: Stage<'_>, observed: &mut Observed) -> Option<()> {
    let SeenAtEdge { crowd, nodes, .. } = observed.edge.as_mut()?;
    let rented: Vec<&str> = nodes.iter().map(|node| node.node.as_str()).collect();
    for view in &mut crowd.views {
        if matches!(&view.answer, Answer::Served(by) if rented.contains(&by.as_str())) {
            view.answer = Answer::Served("promotion-owned-1".to_owned());
        }
    }
    Some(())
}

fn forget_rows(_: Stage<'_>, observed: &mut Observed) -> Option<()> {
    let asked = &mut observed.tables.as_mut()?.asked;
    let has_rows = |asked: &Asked| asked.totals.iter().flatten().any(|total| total.rows > 0);
    let full = asked.iter().position(has_rows)?;
    // Not the last word: that one is held against the log's sum.
    let after = full + 1;
    (after < asked.len()).then_some(())?;
    let mut less = asked[full].clone();
    less.at_us += 1;
    less.totals.as_mut()?.iter_mut().filter(|total| total.rows > 0).for_each(|total| total.rows -= 1);
    asked.insert(after, less);
    Some(())
}
