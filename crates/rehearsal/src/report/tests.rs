#![allow(clippy::unwrap_used, reason = "a test panics on failure")]

use super::*;
use crate::away::{AwayKind, Pause};
use crate::campaign::{CampaignFigures, Planned};
use crate::check::Verdict;
use crate::crowd::{EdgeFigures, EdgeSecond};
use crate::measure::{Percentiles, Second};
use crate::recorder::MarkKind;
use crate::relay_status::Standing;
use crate::tables::{Behind, TableFigures};

fn sample() -> Report {
    let latency = |us: u64| Some(Percentiles { count: 9, p50_us: us, p90_us: us * 2, p99_us: us * 5, max_us: us * 9 });
    let second = |n: u64| Second { planned: n, acknowledged: n, failed: 0, unknown: 0, latency: latency(900 + n) };
    let seconds: Vec<Second> = (0..30).map(second).collect();
    let mut lost = Verdict::open("LOG-1", "no acknowledged record is lost", "acknowledged operations");
    lost.find(|| "operation 7 (u<1>)".to_owned(), || "not in the \"log\"".to_owned());
    let mark = |at_us, kind| Mark { at_us, kind, subject: "cluster a".to_owned() };
    let standing = |active: &str, in_sync: &[&str], lag| {
        let in_sync = in_sync.iter().map(|side| (*side).to_owned()).collect();
        Some(Standing { active: active.to_owned(), in_sync, lag })
    };
    Report {
        schema: SCHEMA,
        passed: false,
        scenario: "first".to_owned(),
        title: "A & B <die>".to_owned(),
        seed: 7,
        replay: "naru rehearse --seed 7".to_owned(),
        environment: Environment::here("stand-in".to_owned(), "a: fsync".to_owned(), SystemTime::UNIX_EPOCH),
        phases: vec![
            PhaseSpan { name: "steady".to_owned(), from_s: 0.0, to_s: 20.0 },
            PhaseSpan { name: "a-name-that-is-far-too-long".to_owned(), from_s: 20.0, to_s: 21.0 },
            PhaseSpan { name: "settle".to_owned(), from_s: 21.0, to_s: 30.0 },
        ],
        marks: vec![mark(9_500_000, MarkKind::Killed), mark(12_000_000, MarkKind::Answering)],
        services: vec![ServiceFigures { name: "payment".to_owned(), seconds, whole: second(30) }],
        lateness: latency(40),
        consumers: ConsumerFigures {
            seconds: (0..30).map(|n| if n % 7 == 3 { None } else { latency(5_000 + n) }).collect(),
            whole: latency(5_000),
        },
        backlog: vec![
            BacklogSample { at_us: 500_000, outbox: Some(1), lag: Some(3) },
            BacklogSample { at_us: 1_000_000, outbox: Some(900), lag: None },
        ],
        standings: vec![
            StandingSample { at_us: 100_000, standing: standing("a", &["a", "b"], Some(0)) },
            StandingSample { at_us: 9_700_000, standing: None },
            StandingSample { at_us: 9_900_000, standing: standing("b", &["b"], Some(40)) },
            StandingSample { at_us: 13_900_000, standing: standing("b", &["a", "b"], None) },
        ],
        away: vec![Away {
            kind: AwayKind::Loss,
            subject: "cluster a".to_owned(),
            at_us: 9_500_000,
            producers: Some(Pause { lasts_us: 1_400_000, from_us: 9_490_000 }),
            consumers: None,
        }],
        edge: Some(EdgeFigures {
            seconds: vec![EdgeSecond { owned: 3, rented: 2, waiting: 7, errors: 1, gifts: 1 }],
            whole: EdgeSecond { owned: 3, rented: 2, waiting: 7, errors: 1, gifts: 1 },
            visitors: 9,
            waited: 4,
            wait: Percentiles::of([1_500_000].into_iter()),
            view: None,
            gift: Percentiles::of([120_000].into_iter()),
            gifts_repeated: 0,
            received_by_rented: 2,
        }),
        campaign: Some(CampaignFigures {
            recipients: 1_500_000,
            click_rate: 0.1152,
            click_rate_forecast: 0.06,
            peak: 3_456.0,
            plan: Planned {
                hash: "ab12".to_owned(),
                peak: [1_000.0, 2_000.0, 3_000.0, 4_000.0],
                nodes: 12,
                risk_ppm: 4_000,
                committed_won: 7_200,
                always_peak_won: 90_000,
                autoscale_only_won: 5_000,
                autoscale_only_risk_ppm: 274_000,
            },
        }),
        tables: Some(TableFigures {
            asked: vec![
                Behind { at_us: 500_000, behind_us: Some(0) },
                Behind { at_us: 1_500_000, behind_us: None },
                Behind { at_us: 2_500_000, behind_us: Some(800_000) },
            ],
            behind: Percentiles::of([0, 800_000].into_iter()),
            unanswered: 1,
            rows: 29,
            amount_minor: 1_234_500,
        }),
        read_again: 41,
        verdicts: vec![lost],
        sabotaged: Vec::new(),
        log_records: 29,
        observations: 87,
    }
}

#[test]
fn the_document_is_read_back_as_it_was_written() {
    let report = sample();
    let text = serde_json::to_string(&report).unwrap();
    assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), report);
    assert!(text.starts_with("{\"schema\":1,"), "the version comes first");
}

#[test]
fn the_page_needs_nothing_from_elsewhere() {
    let page = render(&sample());
    for foreign in ["http:", "https:", "<script", "src=", "url(", "@import", "<link", "javascript:"] {
        assert!(!page.contains(foreign), "the page contains {foreign:?}");
    }
}

#[test]
fn a_load_that_was_not_sent_as_planned_shows_nothing_of_the_subject() {
    let mut load = Verdict::open("load", "sent in time", "planned requests");
    load.examined = 10;
    load.find(|| "operation 1".to_owned(), || "sent 474 ms later".to_owned());
    let mut report = sample();
    let lost = std::mem::replace(&mut report.verdicts, vec![load.clone()]);
    assert_eq!(report.conclusion().0, Conclusion::NotValid);
    let page = render(&report);
    assert!(page.contains("– NOT VALID</span>") && page.contains("1 of 10 requests"), "{page}");
    report.verdicts.extend(lost);
    assert_eq!(report.conclusion(), (Conclusion::Fail, "2 of 2 checks do not hold".to_owned()));
    report.verdicts.clear();
    assert_eq!(report.conclusion().0, Conclusion::Pass);
}

#[test]
fn the_page_names_the_findings_and_escapes_them() {
    let page = render(&sample());
    assert!(page.contains("operation 7 (u&lt;1&gt;)"));
    assert!(page.contains("A &amp; B &lt;die&gt;"));
    assert!(page.contains("1 of 1 checks do not hold"));
    assert!(page.contains("cluster a killed") && page.contains("answers again"));
    assert!(!page.contains("far-too-long"), "a name that does not fit is left out");
}

#[test]
fn the_page_shows_which_side_was_active_and_how_long_clients_were_away() {
    let page = render(&sample());
    assert!(page.contains("b active, alone") && page.contains("band side-a"));
    assert!(page.contains("41 records were given to the group again"));
    assert!(page.contains("1.4 s from 9.49 s") && page.contains("did not come back"));
    let mut without_relay = sample();
    without_relay.standings.clear();
    assert!(!render(&without_relay).contains("The two sides"));
}

#[test]
fn the_page_shows_who_answered_visitors() {
    let page = render(&sample());
    assert!(page.contains("3 from owned sites, 2 from rented nodes; 7 waiting pages"));
    assert!(page.contains("of whom 4 waited: half of them for 1.5 s"), "{page}");
    let mut without_edge = sample();
    without_edge.edge = None;
    assert!(!render(&without_edge).contains("The edge"));
}

#[test]
fn every_element_of_the_page_is_closed() {
    let page = render(&sample());
    for tag in ["svg", "section", "table", "figure", "details", "text", "title", "div", "p", "main"] {
        let opened = page.matches(&format!("<{tag}>")).count() + page.matches(&format!("<{tag} ")).count();
        assert_eq!(opened, page.matches(&format!("</{tag}>")).count(), "<{tag}>");
    }
}

#[test]
fn an_empty_run_still_has_a_page() {
    let mut report = sample();
    report.services.clear();
    report.consumers = ConsumerFigures { seconds: Vec::new(), whole: None };
    report.backlog.clear();
    report.marks.clear();
    report.standings.clear();
    report.away.clear();
    report.edge = None;
    report.phases.clear();
    assert!(render(&report).contains("</html>"));
}
