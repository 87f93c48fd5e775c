//! A plan: what is wanted held against what there is, each line with its price and its reason. Pure, and without a clock: the
//! same requests, book and prices give the same hash, whenever it is made.

use std::collections::BTreeMap;

use naru_runtime::hex::to_hex;
use ring::digest;
use serde::{Deserialize, Serialize};

use crate::book::Book;
use crate::config::{Catalogue, FlavorConfig, Placement, TeamConfig};
use crate::resource::{Fault, Life, Market, Resource, Spec};

/// What a line does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Something new.
    Create,
    /// Something that is held becomes what is wanted, and its lease begins anew.
    Change,
}

/// A line of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// What it does.
    pub action: Action,
    /// To what.
    pub spec: Spec,
    /// The version that it changes; 0 for something new.
    pub base_version: u64,
    /// What an hour costs.
    pub krw_per_hour: u64,
    /// What the whole lease costs.
    pub krw: u64,
    /// Why, in plain language.
    pub reason: String,
}

/// A plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// SHA-256 of everything below, in hexadecimal digits: what is approved and applied.
    pub hash: String,
    /// What is to be done, by name.
    pub lines: Vec<Line>,
    /// What it costs, all leases to their ends.
    pub krw: u64,
    /// Teams whose part is above what they may spend without approval.
    pub approval: Vec<String>,
}

/// Why there is no plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Impossible {
    /// The request.
    pub name: String,
    /// What is wrong with it, and what is possible instead.
    pub fault: Fault,
}

/// What an hour of a request costs.
pub fn krw_per_hour(spec: &Spec, catalogue: &Catalogue) -> u64 {
    let Some(machines) = spec.machines() else { return 0 };
    let Some(flavor) = catalogue.flavor(machines.flavor) else { return 0 };
    price(flavor, machines.market).saturating_mul(u64::from(machines.count))
}

/// The price of an hour of one machine.
pub fn price(flavor: &FlavorConfig, market: Market) -> u64 {
    match market {
        Market::Reserved => flavor.reserved_krw_per_hour,
        Market::OnDemand => flavor.on_demand_krw_per_hour,
    }
}

/// What a resource's whole lease costs.
pub fn booked_krw(resource: &Resource, catalogue: &Catalogue) -> u64 {
    let ms = resource.until_unix_ms.saturating_sub(resource.from_unix_ms).max(0);
    let hours = u64::try_from((ms + 3_599_999) / 3_600_000).unwrap_or(0);
    krw_per_hour(&resource.spec, catalogue).saturating_mul(hours)
}

/// Plans the requests of these names; all of them where none is named.
///
/// # Errors
/// Everything that stands in the way, at once.
pub fn make(book: &Book, catalogue: &Catalogue, names: &[String]) -> Result<Plan, Vec<Impossible>> {
    let mut impossible = Vec::new();
    let held = book.held();
    let mut lines = Vec::new();
    for name in names.iter().filter(|name| !book.drafts.contains_key(*name)) {
        let fault = Fault::new("name", "there is no request of this name: naru request -f FILE");
        impossible.push(Impossible { name: name.clone(), fault });
    }
    for (name, draft) in &book.drafts {
        if !names.is_empty() && !names.contains(name) {
            continue;
        }
        let faults = faults(&draft.spec, held.get(name.as_str()).copied(), catalogue);
        if faults.is_empty() {
            lines.push(line(&draft.spec, held.get(name.as_str()).copied(), catalogue));
        }
        impossible.extend(faults.into_iter().map(|fault| Impossible { name: name.clone(), fault }));
    }
    impossible.extend(beyond(&lines, &held, catalogue));
    if !impossible.is_empty() {
        return Err(impossible);
    }
    let mut by_team: BTreeMap<&str, u64> = BTreeMap::new();
    for line in &lines {
        let sum = by_team.entry(line.spec.team()).or_default();
        *sum = sum.saturating_add(line.krw);
    }
    let limit = |team: &str| catalogue.team(team).map_or(0, |team| team.approval_above_krw);
    let approval = by_team.iter().filter(|(team, krw)| **krw > limit(team)).map(|(team, _)| (*team).to_owned());
    let approval = approval.collect();
    let krw = lines.iter().fold(0_u64, |sum, line| sum.saturating_add(line.krw));
    Ok(seal(lines, krw, approval))
}

/// The plan that does nothing.
pub fn none() -> Plan {
    seal(Vec::new(), 0, Vec::new())
}

fn seal(lines: Vec<Line>, krw: u64, approval: Vec<String>) -> Plan {
    let unsealed = Plan { hash: String::new(), lines, krw, approval };
    let canonical = serde_json::to_vec(&unsealed).expect("a plan is plain data with text as keys");
    let hash = to_hex(digest::digest(&digest::SHA256, &canonical).as_ref());
    Plan { hash, ..unsealed }
}

/// What is wrong with a request on its own.
pub fn faults(spec: &Spec, holder: Option<&Resource>, catalogue: &Catalogue) -> Vec<Fault> {
    let mut faults = spec.faults();
    let known = |names: Vec<&str>| names.join(", ");
    if catalogue.team(spec.team()).is_none() {
        let teams = catalogue.teams.iter().map(|team| team.name.as_str()).collect();
        faults.push(Fault::new("team", format!("there is no such team; the teams are {}", known(teams))));
    }
    if let Some(machines) = spec.machines() {
        let flavor = catalogue.flavor(machines.flavor);
        if flavor.is_none() {
            let flavors = catalogue.flavors.iter().map(|flavor| flavor.name.as_str()).collect();
            faults.push(Fault::new("flavor", format!("there is no such flavor; the flavors are {}", known(flavors))));
        }
        if let Some(name) = machines.template {
            match (catalogue.template(name), flavor) {
                (None, _) => {
                    let templates = catalogue.templates.iter().map(|template| template.name.as_str()).collect();
                    let fix = format!("there is no such template; the templates are {}", known(templates));
                    faults.push(Fault::new("template", fix));
                }
                (Some(template), Some(flavor)) if template.core && flavor.provider == Placement::Cloud => {
                    let fix =
                        "it carries money or personal data, which never leave owned sites: choose a flavor of ours";
                    faults.push(Fault::new("flavor", fix));
                }
                (Some(template), Some(flavor))
                    if template.command.is_empty() && flavor.provider == Placement::Local =>
                {
                    faults.push(Fault::new("template", "it has no command, so that it runs on no machine of ours"));
                }
                _ => {}
            }
        }
    }
    if let Some(holder) = holder {
        if holder.spec.team() != spec.team() {
            faults.push(Fault::new("name", format!("team {} holds it: choose another", holder.spec.team())));
        } else if holder.life == Life::Releasing {
            faults.push(Fault::new("name", "what held it is still being given back: wait, or choose another"));
        } else if holder.spec.kind() != spec.kind() {
            faults.push(Fault::new("kind", format!("it is held as a {}: choose another name", holder.spec.kind())));
        } else if matches!(spec, Spec::Topic(_)) && unchangeable(&holder.spec) != unchangeable(spec) {
            faults.push(Fault::new("partitions", "a topic that is held keeps its shape: renew it, or ask for another"));
        }
    }
    faults
}

/// A topic but for how long it is held.
fn unchangeable(spec: &Spec) -> Option<(u32, Option<u8>, Option<u32>)> {
    match spec {
        Spec::Topic(topic) => Some((topic.partitions, topic.replication, topic.retention_hours)),
        Spec::Service(_) | Spec::Capacity(_) => None,
    }
}

fn line(spec: &Spec, holder: Option<&Resource>, catalogue: &Catalogue) -> Line {
    let krw_per_hour = krw_per_hour(spec, catalogue);
    let krw = krw_per_hour.saturating_mul(u64::from(spec.hours()));
    let (action, base_version, reason) = match holder {
        None => (Action::Create, 0, format!("nothing of this name is held; {}", shape(spec))),
        Some(holder) => {
            let same =
                krw_per_hour == self::krw_per_hour(&holder.spec, catalogue) && holder.spec.count() == spec.count();
            let what =
                if same { "its lease begins anew".to_owned() } else { format!("{} so far", shape(&holder.spec)) };
            (Action::Change, holder.version, format!("{what}; {}", shape(spec)))
        }
    };
    Line { action, spec: spec.clone(), base_version, krw_per_hour, krw, reason }
}

/// A request in a few words.
pub fn shape(spec: &Spec) -> String {
    match spec {
        Spec::Service(service) => {
            format!("{} machines {} for {}, {} h", service.count, service.flavor, service.template, service.hours)
        }
        Spec::Capacity(capacity) => format!("{} machines {}, {} h", capacity.count, capacity.flavor, capacity.hours),
        Spec::Topic(topic) => format!("{} partitions, {} h", topic.partitions, topic.hours),
    }
}

/// What is beyond a team's quotas and budget, with what would still fit.
fn beyond(lines: &[Line], held: &BTreeMap<&str, &Resource>, catalogue: &Catalogue) -> Vec<Impossible> {
    let mut beyond = Vec::new();
    for team in &catalogue.teams {
        let ours: Vec<&Line> = lines.iter().filter(|line| line.spec.team() == team.name).collect();
        let Some(last) = ours.last() else { continue };
        let changed = |name: &str| ours.iter().any(|line| line.spec.name() == name);
        let kept = || held.values().filter(|held| held.spec.team() == team.name && !changed(held.spec.name()));
        let specs = || kept().map(|held| &held.spec);
        let mut check = |field: &str, what: &str, have: u64, more: u64, most: u64| {
            if have.saturating_add(more) > most {
                let left = most.saturating_sub(have);
                let fix = format!(
                    "team {} holds {have} of {most} {what}; {more} more are asked for, {left} are possible",
                    team.name
                );
                beyond.push(Impossible { name: last.spec.name().to_owned(), fault: Fault::new(field, fix) });
            }
        };
        let machines = |spec: &Spec| spec.machines().map_or(0, |machines| u64::from(machines.count));
        let topics = |spec: &Spec| u64::from(matches!(spec, Spec::Topic(_)));
        let TeamConfig { machines_max, topics_max, budget_krw, .. } = team;
        let more: u64 = ours.iter().map(|line| machines(&line.spec)).sum();
        check("count", "machines", specs().map(machines).sum(), more, u64::from(*machines_max));
        let more: u64 = ours.iter().map(|line| topics(&line.spec)).sum();
        check("name", "topics", specs().map(topics).sum(), more, u64::from(*topics_max));
        let have = kept().map(|held| booked_krw(held, catalogue)).fold(0, u64::saturating_add);
        let more = ours.iter().map(|line| line.krw).fold(0, u64::saturating_add);
        check("hours", "won", have, more, *budget_krw);
    }
    beyond
}

/// What differs between two plans, in words: why a hash is stale.
pub fn differences(shown: &Plan, now: &Plan) -> Vec<String> {
    let mut differences = Vec::new();
    let by_name = |plan: &Plan| -> BTreeMap<String, Line> {
        plan.lines.iter().map(|line| (line.spec.name().to_owned(), line.clone())).collect()
    };
    let (shown, now) = (by_name(shown), by_name(now));
    for (name, line) in &shown {
        match now.get(name) {
            None => differences.push(format!("{name} is no longer asked for")),
            Some(other) if other.spec != line.spec => {
                differences.push(format!("{name} was {}, is {}", shape(&line.spec), shape(&other.spec)));
            }
            Some(other) if other.krw != line.krw => {
                differences.push(format!("{name} cost {} won, costs {}", line.krw, other.krw));
            }
            Some(other) if other != line => differences.push(format!("{name} has been changed meanwhile")),
            Some(_) => {}
        }
    }
    differences.extend(now.keys().filter(|name| !shown.contains_key(*name)).map(|name| format!("{name} is new")));
    differences
}
