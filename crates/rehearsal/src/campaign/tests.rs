#![allow(clippy::unwrap_used, reason = "a test panics on failure")]

use super::{CampaignFigures, Planned, UnreadablePlan, judge, request};
use crate::crowd::CrowdPlan;
use crate::plan::Plan;
use crate::scenario::tests::day;

const ANSWER: &str = r#"{ "hash": "ab", "plan": { "peak": ["10.5", "20", "30", "40"], "risk_ppm": 4000,
    "cost": { "committed": "7200 KRW", "always_peak": "90000 KRW", "autoscale_only": "5000 KRW",
              "autoscale_only_risk_ppm": 274000, "expected": "1 KRW" },
    "lines": [{ "kind": "send", "count": 600000 }, { "kind": "rent", "count": 12 }, { "kind": "rent", "count": 3 },
              { "kind": "allow", "count": 99 }] } }"#;

#[test]
fn the_planner_is_asked_at_real_size() {
    let scenario = day();
    let (campaign, edge) = (scenario.campaign.clone().unwrap(), scenario.edge.clone().unwrap());
    let text = request(&scenario, &campaign, &edge, 7);
    let asked: toml::Table = text.parse().unwrap();
    let integer = |table: &str, key: &str| asked[table][0][key].as_integer().unwrap();
    assert_eq!(integer("send", "recipients"), i64::from(campaign.recipients) * 100);
    // A tenth of the time for a hundredth of the people.
    let rehearsed = f64::from(campaign.recipients) / campaign.lasts.as_secs_f64();
    assert_eq!(integer("send", "per_minute"), (rehearsed * 10.0 * 60.0).round() as i64);
    let means: Vec<f64> = asked["offer"]["delays"]
        .as_array()
        .unwrap()
        .iter()
        .map(|delay| delay["mean_minutes"].as_float().unwrap())
        .collect();
    assert_eq!(means, [3.0, 25.0, 180.0]);
    assert_eq!(asked["reserved"]["nodes_max"].as_integer().unwrap(), i64::from(edge.nodes));
}

#[test]
fn a_plan_is_read_as_the_planner_prints_it() {
    let plan = Planned::read(ANSWER.as_bytes()).unwrap();
    assert_eq!((plan.nodes, plan.committed_won, plan.peak[0]), (12, 7_200, 10.5));
    let check = |from: &str, to: &str, expect: &str| {
        let wrong = Planned::read(ANSWER.replace(from, to).as_bytes());
        match wrong.unwrap_err() {
            UnreadablePlan::Field { field, .. } => assert_eq!(field, expect),
            UnreadablePlan::Json(error) => assert!(error.to_string().contains(expect), "{error}"),
        }
    };
    check("7200 KRW", "7200 USD", "cost.committed");
    check("\"20\"", "\"many\"", "peak");
    check("\"risk_ppm\": 4000", "\"risk\": 4000", "risk_ppm");
}

#[test]
fn people_come_by_the_click_rate_and_the_delays() {
    let mut scenario = day();
    scenario.phases.iter_mut().for_each(|phase| phase.crowd.visitors = 0.0);
    scenario.phases.last_mut().unwrap().lasts *= 1_000;
    let plan = Plan::draw(&scenario, 3);
    let people = CrowdPlan::draw(&scenario, &plan);
    assert_eq!(people, CrowdPlan::draw(&scenario, &plan), "the same seed gives the same people");
    let campaign = scenario.campaign.as_ref().unwrap();
    let expect = f64::from(campaign.recipients) * campaign.click_rate;
    // Five standard deviations of a Poisson count.
    assert!((people.visitors_us.len() as f64 - expect).abs() < 5.0 * expect.sqrt(), "{}", people.visitors_us.len());
    let begins_us = plan.phases[campaign.phase].0.as_micros() as u64;
    assert!(people.visitors_us.iter().all(|at_us| *at_us >= begins_us));
    assert!(people.visitors_us.is_sorted());
    // Half of the parts' means: 45 % within 18 s and so on, less what comes while messages are still being sent.
    let middle = people.visitors_us[people.visitors_us.len() / 2] - begins_us;
    assert!((10_000_000..120_000_000).contains(&middle), "{middle}");
}

#[test]
fn what_was_rented_is_held_against_the_plan() {
    let scenario = day();
    let (campaign, edge) = (scenario.campaign.clone().unwrap(), scenario.edge.clone().unwrap());
    let check = |nodes: u32, always_peak: &str, expect: &[&str]| {
        let plan = Planned::read(ANSWER.replace("90000 KRW", always_peak).as_bytes()).unwrap();
        let people = CrowdPlan { visitors_us: vec![0; 60], gifts_us: Vec::new() };
        let figures = CampaignFigures::of(&scenario, &campaign, &edge, plan, &people);
        let verdicts = judge(&figures, nodes);
        let failed: Vec<&str> = verdicts.iter().filter(|v| !v.passed).map(|v| v.check.as_str()).collect();
        assert_eq!(failed, expect);
    };
    check(12, "90000 KRW", &[]);
    check(11, "90000 KRW", &["plan-rented"]);
    check(12, "7200 KRW", &["plan-price"]);
}
