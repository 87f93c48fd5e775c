//! What callers decide, as pure functions over the book: what changes, and what is answered. Nothing is done here; what is
//! to be made or ended follows from the book, by `reconcile`.

use serde::{Deserialize, Serialize};

use crate::access::{Deed, Grant};
use crate::book::{Book, Change, Draft, PlanRecord};
use crate::config::Catalogue;
use crate::plan::{self, Action, Impossible, Plan, booked_krw};
use crate::resource::{Fault, Item, LEASE_HOURS_MAX, Life, Phase, Resource, Spec};
use naru_runtime::clocks::millis;

const HOUR_MS: i64 = 3_600_000;
/// Most requests that wait for a plan: what a person still looks through, with room for CI.
pub const DRAFTS_MAX: usize = 10_000;

/// Why something was not done. Nothing has changed then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The token does not allow it.
    #[error("{0}")]
    Forbidden(String),
    /// There is no such thing.
    #[error("there is no {0}")]
    Unknown(String),
    /// The request cannot be met as it is.
    #[error("{}", .0.iter().map(|one| format!("{}: {}: {}", one.name, one.fault.field, one.fault.fix)).collect::<Vec<_>>().join("; "))]
    Impossible(Vec<Impossible>),
    /// The plan is not what would be done now.
    #[error("the plan is stale: {}; make a new one", .0.join("; "))]
    Stale(Vec<String>),
    /// Somebody else must agree first.
    #[error("the plan costs more than {0} may spend alone: somebody else must run naru approve HASH")]
    Unapproved(String),
}

/// What changes, and what is answered.
pub type Decided<T> = Result<(Vec<Change>, T), Refusal>;

fn allowed(grant: &Grant, deed: Deed, team: Option<&str>) -> Result<(), Refusal> {
    if !grant.role.may(deed) {
        let verb = match deed {
            Deed::Read => "read",
            Deed::Change => "change what teams hold",
            Deed::Approve => "approve",
        };
        return Err(Refusal::Forbidden(format!("a token of the role {} may not {verb}", grant.role.name())));
    }
    match team {
        Some(team) if !grant.covers(team) => {
            Err(Refusal::Forbidden(format!("the token is for team {}, not for team {team}", grant.team)))
        }
        _ => Ok(()),
    }
}

fn one(name: &str, field: &str, fix: impl Into<String>) -> Refusal {
    Refusal::Impossible(vec![Impossible { name: name.to_owned(), fault: Fault::new(field, fix) }])
}

/// Takes a request in; one of the same name that was not applied is replaced.
///
/// # Errors
/// For a token that does not allow it, and a request that cannot be meant.
pub fn request(book: &Book, catalogue: &Catalogue, grant: &Grant, spec: &Spec) -> Decided<()> {
    allowed(grant, Deed::Change, Some(spec.team()))?;
    let name = spec.name();
    let faults = plan::faults(spec, book.holder(name), catalogue);
    if !faults.is_empty() {
        let impossible = faults.into_iter().map(|fault| Impossible { name: name.to_owned(), fault });
        return Err(Refusal::Impossible(impossible.collect()));
    }
    match book.drafts.get(name) {
        Some(other) if other.spec.team() != spec.team() => {
            return Err(one(name, "name", format!("team {} has asked for it: choose another", other.spec.team())));
        }
        None if book.drafts.len() >= DRAFTS_MAX => {
            return Err(one(name, "name", "too many requests wait: apply or withdraw some"));
        }
        _ => {}
    }
    let draft = Draft { spec: spec.clone(), by: grant.name.clone() };
    let note = Change::Note(grant.name.clone(), format!("asked for {} {name}: {}", spec.kind(), plan::shape(spec)));
    Ok((vec![Change::Draft(name.to_owned(), Some(draft)), note], ()))
}

/// Withdraws a request that was not applied.
///
/// # Errors
/// For a token that does not allow it, and when there is none.
pub fn withdraw(book: &Book, grant: &Grant, name: &str) -> Decided<()> {
    let draft = book.drafts.get(name).ok_or_else(|| Refusal::Unknown(format!("request {name}")))?;
    allowed(grant, Deed::Change, Some(draft.spec.team()))?;
    let note = Change::Note(grant.name.clone(), format!("withdrew the request {name}"));
    Ok((vec![Change::Draft(name.to_owned(), None), note], ()))
}

/// Plans requests: those named, else all of the token's team, else all.
///
/// # Errors
/// For what cannot be met, with what could be.
pub fn plan(book: &Book, catalogue: &Catalogue, grant: &Grant, names: &[String], now_unix_ms: i64) -> Decided<Plan> {
    let ours = |(name, draft): (&String, &Draft)| grant.covers(draft.spec.team()).then(|| name.clone());
    let names: Vec<String> =
        if names.is_empty() { book.drafts.iter().filter_map(ours).collect() } else { names.into() };
    let plan = if names.is_empty() { Ok(plan::none()) } else { plan::make(book, catalogue, &names) };
    let plan = plan.map_err(Refusal::Impossible)?;
    late(&plan, catalogue, now_unix_ms)?;
    let known = book.plans.contains_key(&plan.hash);
    let record = PlanRecord { plan: plan.clone(), made_unix_ms: now_unix_ms, approved_by: None, applied_by: None };
    Ok((if known { Vec::new() } else { vec![Change::Plan(record)] }, plan))
}

/// Refuses capacity that cannot be there in time.
fn late(plan: &Plan, catalogue: &Catalogue, now_unix_ms: i64) -> Result<(), Refusal> {
    let mut impossible = Vec::new();
    for line in &plan.lines {
        let (Some(from), Some(machines)) = (line.spec.from_unix_ms(), line.spec.machines()) else { continue };
        let lead = catalogue.flavor(machines.flavor).map_or(0, lead_ms);
        if from < now_unix_ms.saturating_add(lead) {
            let earliest = now_unix_ms.saturating_add(lead);
            let fix = format!("machines {} take {} s; the earliest is {earliest}", machines.flavor, lead / 1000);
            impossible.push(Impossible { name: line.spec.name().to_owned(), fault: Fault::new("from_unix_ms", fix) });
        }
    }
    if impossible.is_empty() { Ok(()) } else { Err(Refusal::Impossible(impossible)) }
}

/// How long before it is needed a machine is asked for.
pub fn lead_ms(flavor: &crate::config::FlavorConfig) -> i64 {
    millis(flavor.lead)
}

/// Approves a plan that somebody else is to apply.
///
/// # Errors
/// For a token that does not allow it, and an unknown plan.
pub fn approve(book: &Book, grant: &Grant, hash: &str) -> Decided<()> {
    allowed(grant, Deed::Approve, None)?;
    let record = book.plans.get(hash).ok_or_else(|| Refusal::Unknown(format!("plan {hash}")))?;
    if record.approved_by.is_some() {
        return Ok((Vec::new(), ()));
    }
    let note = format!("approved plan {hash}: {} won", record.plan.krw);
    let approved = PlanRecord { approved_by: Some(grant.name.clone()), ..record.clone() };
    Ok((vec![Change::Plan(approved), Change::Note(grant.name.clone(), note)], ()))
}

/// What became of an order to apply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// The plan.
    pub hash: String,
    /// By whom.
    pub by: String,
    /// Whether it had been applied before: nothing was done this time.
    pub already: bool,
    /// What it holds now, by name.
    pub names: Vec<String>,
}

/// Applies a plan that was shown. Applying it again changes nothing.
///
/// # Errors
/// For a token that does not allow it, an unknown plan, one that is not what would be done now, and one that lacks approval.
pub fn apply(book: &Book, catalogue: &Catalogue, grant: &Grant, hash: &str, now_unix_ms: i64) -> Decided<Applied> {
    let record = book.plans.get(hash).ok_or_else(|| Refusal::Unknown(format!("plan {hash}: run naru plan")))?;
    allowed(grant, Deed::Change, None)?;
    for line in &record.plan.lines {
        allowed(grant, Deed::Change, Some(line.spec.team()))?;
    }
    let names: Vec<String> = record.plan.lines.iter().map(|line| line.spec.name().to_owned()).collect();
    let answer =
        |by: &str, already: bool| Applied { hash: hash.to_owned(), by: by.to_owned(), already, names: names.clone() };
    if let Some(by) = &record.applied_by {
        return Ok((Vec::new(), answer(by, true)));
    }
    let asked: Vec<String> = names.iter().filter(|name| book.drafts.contains_key(*name)).cloned().collect();
    let now = if asked.is_empty() { Ok(plan::none()) } else { plan::make(book, catalogue, &asked) };
    let now = now.map_err(Refusal::Impossible)?;
    if now.hash != hash {
        return Err(Refusal::Stale(plan::differences(&record.plan, &now)));
    }
    late(&now, catalogue, now_unix_ms)?;
    if !now.approval.is_empty() {
        match &record.approved_by {
            None => return Err(Refusal::Unapproved(now.approval.join(", "))),
            // Two people, whatever their roles.
            Some(by) if *by == grant.name => return Err(Refusal::Unapproved(now.approval.join(", "))),
            Some(_) => {}
        }
    }
    let mut changes = Vec::new();
    let mut next = book.next_resource();
    for line in &now.lines {
        let name = line.spec.name();
        let from_unix_ms = line.spec.from_unix_ms().unwrap_or(now_unix_ms);
        let until_unix_ms = from_unix_ms.saturating_add(i64::from(line.spec.hours()) * HOUR_MS);
        let holder = book.holder(name).filter(|_| line.action == Action::Change);
        let id = holder.map_or(next, |holder| holder.id);
        next += u64::from(holder.is_none());
        changes.push(Change::Resource(Resource {
            id,
            spec: line.spec.clone(),
            version: line.base_version + 1,
            life: Life::Held,
            applied_unix_ms: now_unix_ms,
            from_unix_ms,
            until_unix_ms,
            released_unix_ms: None,
            applied_by: grant.name.clone(),
            plan: hash.to_owned(),
            complete: false,
            reason: line.reason.clone(),
        }));
        changes.push(Change::Draft(name.to_owned(), None));
        let what = format!("applied {} {name} by plan {hash}: {}; {} won", line.spec.kind(), line.reason, line.krw);
        changes.push(Change::Note(grant.name.clone(), what));
    }
    changes.push(Change::Plan(PlanRecord { applied_by: Some(grant.name.clone()), ..record.clone() }));
    Ok((changes, answer(&grant.name, false)))
}

/// Lets a resource go; what it has is given back, a topic after its grace.
///
/// # Errors
/// For a token that does not allow it, and when nothing of the name is held.
pub fn release(book: &Book, grant: &Grant, name: &str, now_unix_ms: i64) -> Decided<()> {
    let holder = book.holder(name).ok_or_else(|| Refusal::Unknown(format!("resource {name}")))?;
    allowed(grant, Deed::Change, Some(holder.spec.team()))?;
    if holder.life == Life::Releasing {
        return Ok((Vec::new(), ()));
    }
    Ok((
        vec![let_go(holder, "released", now_unix_ms), Change::Note(grant.name.clone(), format!("released {name}"))],
        (),
    ))
}

/// A resource that is let go.
pub fn let_go(holder: &Resource, reason: &str, now_unix_ms: i64) -> Change {
    Change::Resource(Resource {
        life: Life::Releasing,
        version: holder.version + 1,
        released_unix_ms: Some(now_unix_ms),
        // Nothing is booked beyond its end.
        until_unix_ms: holder.until_unix_ms.min(now_unix_ms.max(holder.from_unix_ms)),
        reason: reason.to_owned(),
        ..holder.clone()
    })
}

/// Makes a lease longer by some hours.
///
/// # Errors
/// For a token that does not allow it, when nothing of the name is held, and beyond the bound or the team's budget.
pub fn renew(
    book: &Book,
    catalogue: &Catalogue,
    grant: &Grant,
    name: &str,
    hours: u32,
    now_unix_ms: i64,
) -> Decided<i64> {
    let holder = book.holder(name).ok_or_else(|| Refusal::Unknown(format!("resource {name}")))?;
    allowed(grant, Deed::Change, Some(holder.spec.team()))?;
    if holder.life != Life::Held {
        return Err(one(name, "name", "it is being given back: ask for it anew"));
    }
    let until_unix_ms = holder.until_unix_ms.saturating_add(i64::from(hours) * HOUR_MS);
    let longest = now_unix_ms.max(holder.from_unix_ms).saturating_add(i64::from(LEASE_HOURS_MAX) * HOUR_MS);
    if hours == 0 || until_unix_ms > longest {
        return Err(one(name, "hours", format!("a lease ends at most {LEASE_HOURS_MAX} h from now")));
    }
    let team = holder.spec.team();
    let more = plan::krw_per_hour(&holder.spec, catalogue).saturating_mul(u64::from(hours));
    let held = book.held();
    let ours = held.values().filter(|held| held.spec.team() == team);
    let have = ours.map(|held| booked_krw(held, catalogue)).fold(0, u64::saturating_add);
    let (budget, alone) = catalogue.team(team).map_or((0, 0), |team| (team.budget_krw, team.approval_above_krw));
    if have.saturating_add(more) > budget {
        let left = budget.saturating_sub(have);
        return Err(one(
            name,
            "hours",
            format!("{more} won more; {left} of team {team}'s budget of {budget} are left"),
        ));
    }
    if more > alone {
        let fix = format!("{more} won are more than team {team} may spend alone: ask for it by a request and a plan");
        return Err(one(name, "hours", fix));
    }
    let renewed = Resource { until_unix_ms, version: holder.version + 1, ..holder.clone() };
    let note = format!("renewed {name} by {hours} h: {more} won");
    Ok((vec![Change::Resource(renewed), Change::Note(grant.name.clone(), note)], until_unix_ms))
}

/// What one team's things cost.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TeamCost {
    /// The team.
    pub team: String,
    /// What is booked: all leases that are held, to their ends.
    pub booked_krw: u64,
    /// What has been used: each hour begun of each machine, those that are gone included.
    pub used_krw: u64,
    /// What it may book.
    pub budget_krw: u64,
}

/// What every team's things cost.
pub fn cost(book: &Book, catalogue: &Catalogue, now_unix_ms: i64) -> Vec<TeamCost> {
    let of = |team: &crate::config::TeamConfig| {
        let mut cost = TeamCost { team: team.name.clone(), budget_krw: team.budget_krw, ..TeamCost::default() };
        for resource in book.resources.values().filter(|resource| resource.spec.team() == team.name) {
            if resource.life == Life::Held {
                cost.booked_krw = cost.booked_krw.saturating_add(booked_krw(resource, catalogue));
            }
            let Some(machines) = resource.spec.machines() else { continue };
            let Some(flavor) = catalogue.flavor(machines.flavor) else { continue };
            let price = plan::price(flavor, machines.market);
            let used = book.items_of(resource.id).map(|item| hours(item, now_unix_ms).saturating_mul(price)).sum();
            cost.used_krw = cost.used_krw.saturating_add(used);
        }
        cost
    };
    catalogue.teams.iter().map(of).collect()
}

/// Hours begun of a thing.
fn hours(item: &Item, now_unix_ms: i64) -> u64 {
    let Some(since) = item.since_unix_ms else { return 0 };
    let until = if item.phase == Phase::Gone { item.ended_unix_ms.unwrap_or(now_unix_ms) } else { now_unix_ms };
    u64::try_from((until - since).max(0) / HOUR_MS + 1).unwrap_or(1)
}

#[cfg(test)]
mod tests;
