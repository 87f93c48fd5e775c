//! Everything that was observed of a run, and every verdict on it: a pure function over what others have written down.
//!
//! What the subject says of itself stands in [`Observed`] only where somebody else's word is beside it.

use std::time::Duration;

use crate::away::{self, Away};
use crate::campaign::{self, CampaignFigures, Planned};
use crate::check::{self, Verdict};
use crate::children::{self, Ended, Trouble};
use crate::crowd::judge::{Audit, Evidence, NodeLog};
use crate::crowd::{self, CrowdHistory, CrowdPlan, EdgeFigures};
use crate::expectations::{self, Settled};
use crate::history::History;
use crate::measure::{self, ConsumerFigures, Percentiles, ServiceFigures};
use crate::plan::Plan;
use crate::recorder::{Mark, MarkKind};
use crate::relay_status::Standing;
use crate::scenario::Scenario;
use crate::tables::{self, Said, TableFigures};

/// How marks name the lake.
pub const LAKE: &str = "lake";

/// What was seen of a run by everybody who looked.
#[derive(Debug, Clone)]
pub struct Observed {
    /// What clients and consumers saw, and what the log holds.
    pub history: History,
    /// What the run did to its parts.
    pub marks: Vec<Mark>,
    /// How the wait for rest ended.
    pub settled: Settled,
    /// How the relay stood then, if there is one and it answered.
    pub standing: Option<Standing>,
    /// How each process ended.
    pub endings: Vec<Ended>,
    /// What each process wrote that somebody must look at.
    pub troubles: Vec<Trouble>,
    /// The edge, if there is one.
    pub edge: Option<SeenAtEdge>,
    /// What the lake's tables said, if there is a lake.
    pub tables: Option<Said>,
    /// The campaign's plan, if there is a campaign.
    pub planned: Option<Planned>,
}

/// What the crowd saw of the edge, and what was written down behind it.
#[derive(Debug, Clone)]
pub struct SeenAtEdge {
    /// By the crowd.
    pub crowd: CrowdHistory,
    /// By the rented nodes.
    pub nodes: Vec<NodeLog>,
    /// How many of them were started.
    pub nodes_started: u32,
    /// What the decision log proves; the error if it could not be read.
    pub audit: Result<Audit, String>,
}

/// Every verdict, and the figures that a report shows beside them.
#[derive(Debug)]
pub struct Judged {
    /// In the order in which they are shown.
    pub verdicts: Vec<Verdict>,
    /// Each service.
    pub services: Vec<ServiceFigures>,
    /// The consumer group.
    pub consumers: ConsumerFigures,
    /// How late requests were sent.
    pub lateness: Option<Percentiles>,
    /// How long clients were away.
    pub away: Vec<Away>,
    /// The edge.
    pub edge: Option<EdgeFigures>,
    /// The tables.
    pub tables: Option<TableFigures>,
    /// The campaign.
    pub campaign: Option<CampaignFigures>,
}

/// When subjects were killed.
fn killed(marks: &[Mark], whom: impl Fn(&str) -> bool) -> Vec<u64> {
    let found = marks.iter().filter(|mark| mark.kind == MarkKind::Killed && whom(&mark.subject));
    found.map(|mark| mark.at_us).collect()
}

/// Judges a run by every check of its scenario. `people` is who was planned to come to the edge.
pub fn judge(scenario: &Scenario, plan: &Plan, people: Option<&CrowdPlan>, observed: &Observed) -> Judged {
    let Observed { history, marks, .. } = observed;
    let services = measure::services(history, scenario, plan);
    let consumers = measure::consumers(history, plan);
    let away = away::away(history, scenario, marks);
    let lateness = measure::lateness(history);
    let mut verdicts: Vec<Verdict> = check::judge(history);
    if scenario.relay.is_some() {
        verdicts.extend(check::judge_relay(history));
        verdicts.push(expectations::in_sync(observed.standing.as_ref()));
    }
    verdicts.push(expectations::load(history, scenario.expect.lateness_max, lateness));
    verdicts.push(expectations::answers(history, scenario));
    verdicts.push(expectations::faults(plan, scenario, marks));
    verdicts.push(expectations::settled(&observed.settled, scenario.settle_max));
    verdicts.push(children::check(&observed.endings, &observed.troubles));
    verdicts.extend(expectations::away(scenario, &away));
    verdicts.extend(expectations::bounds(scenario, &services, &consumers));
    let edge = observed.edge.as_ref().map(|seen| at_edge(seen, scenario.expect.service_p99_max, marks));
    let edge = figures(&mut verdicts, edge);
    let tables = figures(&mut verdicts, observed.tables.as_ref().map(|said| by_sql(said, history, marks)));
    let campaign = figures(&mut verdicts, by_plan(scenario, people, observed));
    if scenario.is_part {
        verdicts.retain(|verdict| verdict.examined > 0);
    }
    expectations::refuse_empty(&mut verdicts, plan);
    Judged { verdicts, services, consumers, lateness, away, edge, tables, campaign }
}

fn at_edge(seen: &SeenAtEdge, gift_p99_max: Option<Duration>, marks: &[Mark]) -> (Vec<Verdict>, EdgeFigures) {
    let SeenAtEdge { crowd, nodes, audit, .. } = seen;
    let lost_us = killed(marks, |subject| subject.starts_with("site "));
    let evidence = Evidence { crowd, nodes, audit, gift_p99_max, lost_us: &lost_us };
    (crowd::judge::judge(&evidence), EdgeFigures::of(&evidence))
}

fn by_sql(said: &Said, history: &History, marks: &[Mark]) -> (Vec<Verdict>, TableFigures) {
    let killed_us = killed(marks, |subject| subject == LAKE);
    (tables::judge::judge(said, history, &killed_us), TableFigures::of(said, history))
}

fn by_plan(
    scenario: &Scenario,
    people: Option<&CrowdPlan>,
    observed: &Observed,
) -> Option<(Vec<Verdict>, CampaignFigures)> {
    let (campaign, edge) = (scenario.campaign.as_ref()?, scenario.edge.as_ref()?);
    let (seen, planned) = (observed.edge.as_ref()?, observed.planned.clone()?);
    let figures = CampaignFigures::of(scenario, campaign, edge, planned, people?);
    Some((campaign::judge(&figures, seen.nodes_started), figures))
}

/// Puts the verdicts on a part among the others, and gives its figures.
fn figures<F>(verdicts: &mut Vec<Verdict>, seen: Option<(Vec<Verdict>, F)>) -> Option<F> {
    let (own, figures) = seen?;
    verdicts.extend(own);
    Some(figures)
}
