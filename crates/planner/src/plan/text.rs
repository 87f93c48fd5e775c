//! A plan and a score as people read them.

use std::fmt::Write as _;

use naru_model::Currency;
use naru_model::written::thousands;

use super::document::{CampaignPlan, LineKind, PlanBody};
use super::make::percent;
use super::request::{Price, Request};
use super::score::Score;
use crate::day_time::DayTime;

/// An amount of money: `₩1,234,000`, and other currencies by their code.
pub(super) fn won(price: Price) -> String {
    let money = price.0;
    if money.currency() != Currency::KRW {
        return money.to_string();
    }
    let sign = if money.minor() < 0 { "-" } else { "" };
    format!("{sign}₩{}", thousands(money.minor().unsigned_abs()))
}

fn share(ppm: u64) -> String {
    percent(ppm as f64 / 1e6)
}

/// A load without decimals.
fn load(units: naru_model::Units) -> String {
    thousands(units.thousandths().div_ceil(1000))
}

/// The plan as a person wants to read it.
pub fn plan_text(plan: &CampaignPlan) -> String {
    let mut text = String::new();
    write_plan(&mut text, plan).expect("writing to a string cannot fail");
    text
}

fn write_plan(text: &mut String, plan: &CampaignPlan) -> std::fmt::Result {
    let body = plan.body();
    let local = |at: DayTime| at.in_zone(body.zone);
    writeln!(text, "{}: {}", body.campaign, body.title)?;
    writeln!(text, "plan {} of {} ({})", body.generation, local(body.decided_at), body.zone)?;
    let [q10, q50, q90, q99] = body.peak.map(load);
    writeln!(text, "\nPeak: {q50} units/s; one time in ten below {q10} and one in ten above {q90}; 99 % below {q99}.")?;
    writeln!(text, "Owned sites take {}, a rented node {}.", load(body.owned), load(body.node))?;
    writeln!(text, "Risk of overload: {} (accepted: {}).", share(body.risk_ppm), share(body.risk_ppm_max))?;
    writeln!(text, "\nWhat to do")?;
    for line in &body.lines {
        let from = local(line.from);
        writeln!(text, "  {}", headline(body, line, &from.to_string()))?;
        writeln!(text, "      {}", line.reason)?;
    }
    writeln!(text, "\nHour by hour (highest load, units/s)")?;
    writeln!(text, "  {:16} {:>8} {:>8} {:>8} {:>8} {:>6}  risk", "from", "10 %", "50 %", "90 %", "99 %", "nodes")?;
    for hour in &body.hours {
        let (q10, q50) = (load(hour.load_q10), load(hour.load_q50));
        let (q90, q99) = (load(hour.load_q90), load(hour.load_q99));
        let (from, nodes, risk) = (local(hour.from), hour.ready_nodes, share(hour.risk_ppm));
        writeln!(text, "  {from:16} {q10:>8} {q50:>8} {q90:>8} {q99:>8} {nodes:>6}  {risk}")?;
    }
    let cost = &body.cost;
    writeln!(text, "\nWhat it costs")?;
    writeln!(text, "  {:34} {:>12}", "for sure", won(cost.committed))?;
    writeln!(text, "  {:34} {:>12}", "expected", won(cost.expected))?;
    writeln!(text, "  {:34} {:>12}", "nine times in ten at most", won(cost.q90))?;
    writeln!(text, "  {:34} {:>12}", "always-peak, all day", won(cost.always_peak))?;
    writeln!(
        text,
        "  {:34} {:>12}  (risk of overload {})",
        "autoscale-only",
        won(cost.autoscale_only),
        share(cost.autoscale_only_risk_ppm)
    )?;
    writeln!(
        text,
        "  a node costs {} an hour rented ahead, {} on demand",
        won(body.reserved_price),
        won(body.on_demand_price)
    )?;
    writeln!(text, "\nIt rests on")?;
    body.assumptions.iter().try_for_each(|assumption| writeln!(text, "  - {assumption}"))?;
    writeln!(text, "\nhash {}", plan.hash())
}

fn headline(body: &PlanBody, line: &super::document::Line, from: &str) -> String {
    let local = |at: DayTime| at.in_zone(body.zone);
    let (until, ask_by) = (local(line.until), local(line.ask_by));
    let (count, price) = (thousands(line.count), won(line.price));
    match line.kind {
        LineKind::Send => format!("send    {from} to {}: {count} a minute", until.clock()),
        LineKind::Rent => format!("rent    {from} to {until}: {count} nodes, {price}; ask by {ask_by}"),
        LineKind::Order => format!("order   {from} to {until}: {count} nodes on demand, {price}; ask by {ask_by}"),
        LineKind::Allow => format!("allow   {from} to {until}: up to {count} nodes on demand, at most {price}"),
        LineKind::Buy if line.count > 0 => format!("buy     {count} machines, {price}; for this campaign by {ask_by}"),
        LineKind::Buy => format!("buy     nothing; for this campaign it would have had to be by {ask_by}"),
    }
}

/// The score as a person wants to read it.
pub fn score_text(request: &Request, score: &Score, planned: Option<&CampaignPlan>) -> String {
    let mut text = String::new();
    write_score(&mut text, request, score, planned).expect("writing to a string cannot fail");
    text
}

fn write_score(
    text: &mut String,
    request: &Request,
    score: &Score,
    planned: Option<&CampaignPlan>,
) -> std::fmt::Result {
    let round = |value: f64| thousands(value.max(0.0).round() as u64);
    let [q10, q50, q90] = score.peak_forecast.map(round);
    let inside = (score.peak_forecast[0]..=score.peak_forecast[2]).contains(&score.peak);
    writeln!(text, "{}: {}", request.name, request.title)?;
    writeln!(
        text,
        "\nPeak: {} units/s; forecast {q50}, eight times in ten between {q10} and {q90}.",
        round(score.peak)
    )?;
    let verdict = if inside { "inside the interval" } else { "outside of the interval" };
    writeln!(text, "It was {verdict}: {} of the paths stayed below.", percent(score.below))?;
    writeln!(text, "\n  {:16} {:>8} {:>8} {:>8} {:>8}", "from", "10 %", "50 %", "90 %", "was")?;
    let first = request.begins().in_zone(request.zone).hour_begins();
    for hour in &score.hours {
        let from = first.plus_seconds(hour.hour as i64 * 3600).in_zone(request.zone);
        let [q10, q50, q90] = hour.forecast.map(round);
        writeln!(text, "  {from:16} {q10:>8} {q50:>8} {q90:>8} {:>8}", round(hour.actual))?;
    }
    writeln!(text, "  weighted error of the medians: {}", percent(score.wape))?;
    if let Some(plan) = planned {
        let cost = &plan.body().cost;
        writeln!(
            text,
            "\nPlan {}: expected {}, nine times in ten at most {}.",
            plan.hash(),
            won(cost.expected),
            won(cost.q90)
        )?;
        if let Some(billed) = score.billed {
            let (always, auto) = (won(cost.always_peak), won(cost.autoscale_only));
            writeln!(text, "Billed: {}. Always-peak would have been {always}, autoscale-only {auto}.", won(billed))?;
        }
    } else if let Some(billed) = score.billed {
        writeln!(text, "\nBilled: {}.", won(billed))?;
    }
    writeln!(text, "\nLearned for class {:?}:", request.offer.class)?;
    let next = score.memory.class(&request.offer.class, request.guess()).expected_kernel();
    writeln!(
        text,
        "  click rate: expected {}, was {}; the next campaign is expected at {}",
        percent(score.expected.click_rate),
        percent(score.seen.click_rate),
        percent(next.click_rate)
    )
}
