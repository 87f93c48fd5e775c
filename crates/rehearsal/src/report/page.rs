//! The page: one HTML file without scripts and without anything from elsewhere.

use std::fmt::Write as _;

use naru_model::written::thousands;

use super::chart::micros;
use super::svg::escape;
use super::{Conclusion, Report, charts};
use crate::away::{AwayKind, Pause};
use crate::campaign::scale;
use crate::check::Verdict;
use crate::pulse;
use crate::recorder::{Mark, MarkKind};

const STYLE: &str = include_str!("page.css");

/// Writes to a string, which cannot fail.
macro_rules! put {
    ($page:expr, $($argument:tt)+) => {
        writeln!($page, $($argument)+).expect("writing to a string cannot fail")
    };
}

/// The report as a page.
pub fn render(report: &Report) -> String {
    let mut page = String::new();
    let word = if report.passed { "passed" } else { "failed" };
    put!(page, "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">");
    put!(page, "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">");
    put!(page, "<meta name=\"color-scheme\" content=\"light dark\">");
    put!(page, "<title>Rehearsal {}: {word}</title>", escape(&report.scenario));
    put!(page, "<style>\n{STYLE}</style>\n</head>\n<body>\n<main>");
    head(&mut page, report);
    tiles(&mut page, report);
    verdicts(&mut page, report);
    put!(page, "<section>\n<h2>Load</h2>");
    put!(
        page,
        "<p class=\"lead\">Requests per second. The load is open loop: each request is sent at its planned time, whatever \
         became of the ones before. <span class=\"key planned\">planned</span> <span class=\"key acknowledged\">acknowledged\
         </span> <span class=\"key failed\">failed or unknown</span></p>"
    );
    for service in &report.services {
        figure(&mut page, &service.name, &charts::load(report, service));
    }
    put!(page, "</section>\n<section>\n<h2>Latency of the services</h2>");
    put!(
        page,
        "<p class=\"lead\">From the planned time to the answer, by the second in which the request was due; logarithmic. \
         A service commits to its own database and answers; its record follows through an outbox, so an outage of the log \
         should hardly show here.</p>"
    );
    for service in &report.services {
        figure(&mut page, &service.name, &charts::latency(report, service));
    }
    put!(page, "</section>\n<section>\n<h2>Time to the consumers</h2>");
    put!(
        page,
        "<p class=\"lead\">From the planned time until a member of the consumer group was given the record; logarithmic. \
         This is where an outage shows: what was due while the log was away waits for its return.</p>"
    );
    figure(&mut page, "both services", &charts::to_consumer(report));
    put!(page, "</section>\n<section>\n<h2>What waits</h2>");
    put!(
        page,
        "<p class=\"lead\">Records committed by the services that the log has not taken (<span class=\"key outbox\">outbox\
         </span>), and records in the log that the group has not been given (<span class=\"key lag\">lag</span>; \
         interrupted while the log does not answer).</p>"
    );
    figure(&mut page, "records", &charts::backlog(report));
    put!(page, "</section>");
    campaign(&mut page, report);
    edge(&mut page, report);
    sides(&mut page, report);
    tables(&mut page, report);
    environment(&mut page, report);
    put!(page, "</main>\n</body>\n</html>");
    page
}

fn head(page: &mut String, report: &Report) {
    let (conclusion, sentence) = report.conclusion();
    let (class, sign, word) = match conclusion {
        Conclusion::Pass => ("pass", "✓", "PASS"),
        Conclusion::NotValid => ("void", "–", "NOT VALID"),
        Conclusion::Fail => ("fail", "✗", "FAIL"),
        Conclusion::Caught => ("void", "✓", "SABOTAGED, CAUGHT"),
        Conclusion::Missed => ("fail", "✗", "SABOTAGED, NOT CAUGHT"),
    };
    put!(page, "<header>\n<p class=\"eyebrow\">Naru rehearsal · {}</p>", escape(&report.scenario));
    put!(page, "<h1>{}</h1>", escape(&report.title));
    put!(
        page,
        "<p class=\"verdict {class}\"><span class=\"badge\">{sign} {word}</span> {sentence}</p>\n<p class=\"meta\">{} · {} · seed {}</p>\n</header>",
        escape(&report.environment.subject),
        escape(&report.environment.began),
        report.seed
    );
}

fn tiles(page: &mut String, report: &Report) {
    let sum = |pick: fn(&crate::measure::Second) -> u64| report.services.iter().map(|s| pick(&s.whole)).sum::<u64>();
    let (planned, acknowledged) = (sum(|s| s.planned), sum(|s| s.acknowledged));
    let not_good = sum(|s| s.failed) + sum(|s| s.unknown);
    put!(page, "<dl class=\"tiles\">");
    let mut tile = |name: &str, value: &str, note: &str| {
        put!(
            page,
            "<div><dt>{}</dt><dd>{}</dd><dd class=\"note\">{}</dd></div>",
            escape(name),
            escape(value),
            escape(note)
        );
    };
    tile("Requests", &thousands(planned), "planned, open loop");
    tile("Acknowledged", &thousands(acknowledged), &format!("{} failed or unknown", thousands(not_good)));
    tile("Records in the log", &thousands(report.log_records), "read back at the end");
    let slowest = report.services.iter().filter_map(|s| s.whole.latency.map(|l| (l.p99_us, &s.name))).max();
    if let Some((p99_us, name)) = slowest {
        tile("Service p99", &micros(p99_us), &format!("{name}, from the planned time"));
    }
    if let Some(whole) = report.consumers.whole {
        tile("To the consumers", &micros(whole.p50_us), &format!("p50; the longest took {}", micros(whole.max_us)));
    }
    let waiting = report.backlog.iter().filter_map(|sample| sample.outbox).max().unwrap_or(0);
    let outage_us: u64 = outages(report).map(|(from, to)| to - from).sum();
    if let Some(longest) = report.away.iter().filter_map(|away| away.producers).max() {
        let note = format!("the longest pause of producers; {} records waited at most", thousands(waiting));
        tile("Away", &micros(longest.lasts_us), &note);
    } else if outage_us > 0 {
        tile("Log away", &micros(outage_us), &format!("{} records waited at most", thousands(waiting)));
    }
    put!(page, "</dl>");
}

/// From each kill to the broker's first answer, in microseconds.
fn outages(report: &Report) -> impl Iterator<Item = (u64, u64)> + '_ {
    let broker_killed = |mark: &Mark| mark.kind == MarkKind::Killed && mark.subject.starts_with("cluster ");
    report.marks.iter().enumerate().filter(move |(_, mark)| broker_killed(mark)).filter_map(|(index, mark)| {
        let later = report.marks[index..].iter();
        let end = later.clone().find(|end| end.kind == MarkKind::Answering && end.subject == mark.subject)?;
        Some((mark.at_us, end.at_us))
    })
}

fn verdicts(page: &mut String, report: &Report) {
    put!(page, "<section>\n<h2>Verdict</h2>\n<table class=\"verdicts\">");
    put!(
        page,
        "<thead><tr><th>Result</th><th>Check</th><th>What must hold</th><th class=\"number\">Looked at</th></tr></thead>\n<tbody>"
    );
    for verdict in &report.verdicts {
        let (class, word) = if verdict.passed { ("pass", "✓ PASS") } else { ("fail", "✗ FAIL") };
        put!(
            page,
            "<tr><td class=\"{class}\">{word}</td><td class=\"id\">{}</td><td>{}{}</td><td class=\"number\">{} <span class=\"unit\">{}</span></td></tr>",
            escape(&verdict.check),
            escape(&verdict.sentence),
            findings(verdict),
            thousands(verdict.examined),
            escape(&verdict.unit)
        );
    }
    put!(page, "</tbody>\n</table>\n</section>");
}

fn findings(verdict: &Verdict) -> String {
    if verdict.passed {
        return String::new();
    }
    let mut text = String::new();
    let named = verdict.named.len() as u64;
    let rest = match verdict.findings_total - named {
        0 => String::new(),
        _ => format!(", the first {named} of them named here"),
    };
    put!(text, "<details open><summary>{} found{rest}</summary><ul>", thousands(verdict.findings_total));
    for finding in &verdict.named {
        put!(text, "<li><code>{}</code> {}</li>", escape(&finding.record), escape(&finding.detail));
    }
    put!(text, "</ul></details>");
    text
}

fn figure(page: &mut String, caption: &str, picture: &str) {
    put!(page, "<figure><figcaption>{}</figcaption>{picture}</figure>", escape(caption));
}

/// The plan, and what came.
fn campaign(page: &mut String, report: &Report) {
    let Some(campaign) = &report.campaign else { return };
    let plan = &campaign.plan;
    put!(page, "<section>\n<h2>The campaign</h2>");
    put!(
        page,
        "<p class=\"lead\">What the planner said before the run, and what came; at the event day's size: {} times the \
         people, {} times the rates.</p>\n<table class=\"environment\"><tbody>",
        scale::PEOPLE,
        scale::RATE
    );
    let mut row = |name: &str, value: String| row(page, name, &value);
    let (told, came) = (campaign.click_rate_forecast * 100.0, campaign.click_rate * 100.0);
    row("Messages", format!("{}; forecast {told:.2} % come, {came:.2} % came", thousands(campaign.recipients)));
    let [low, middle, high, most] = plan.peak.map(|units| thousands(units as u64));
    row("Peak, forecast", format!("{middle} units/s; 80 % between {low} and {high}, 99 % below {most}"));
    row("Peak, wanted", format!("{} units/s", thousands(campaign.peak as u64)));
    let percent = |ppm: u32| f64::from(ppm) / 1e4;
    let (nodes, price, risk) = (plan.nodes, thousands(plan.committed_won), percent(plan.risk_ppm));
    row("Rented ahead", format!("{nodes} nodes, ₩{price}; risk of overload left {risk:.1} %"));
    row("Always-peak, all day", format!("₩{}", thousands(plan.always_peak_won)));
    let (price, risk) = (thousands(plan.autoscale_only_won), percent(plan.autoscale_only_risk_ppm));
    row("Autoscale only", format!("₩{price}; risk of overload {risk:.1} %"));
    row("Plan", format!("<code>{}</code>", escape(&plan.hash)));
    put!(page, "</tbody></table>\n</section>");
}

/// What the edge did with the promotion, and what gifts noticed of it.
fn edge(page: &mut String, report: &Report) {
    let Some(edge) = &report.edge else { return };
    put!(page, "<section>\n<h2>The edge</h2>");
    put!(
        page,
        "<p class=\"lead\">Answers to visitors of the promotion per second: pages from <span class=\"key owned\">owned sites\
         </span>, from <span class=\"key rented\">rented nodes</span>, and <span class=\"key waiting\">waiting pages</span>; \
         <span class=\"key failed\">errors</span>.</p>"
    );
    figure(page, "promotion", &charts::edge(report, edge));
    put!(page, "<table class=\"environment\"><tbody>");
    let mut row = |name: &str, value: String| row(page, name, &value);
    let whole = edge.whole;
    let (owned, rented, waiting) = (thousands(whole.owned), thousands(whole.rented), thousands(whole.waiting));
    row("Pages", format!("{owned} from owned sites, {rented} from rented nodes; {waiting} waiting pages"));
    let received = thousands(edge.received_by_rented);
    row("Rented nodes", format!("{received} requests received, by their own access logs"));
    let wait = edge.wait.map_or(String::new(), |wait| {
        format!(": half of them for {}, the longest {}", micros(wait.p50_us), micros(wait.max_us))
    });
    row("Visitors", format!("{}, of whom {} waited{wait}", thousands(edge.visitors), thousands(edge.waited)));
    if let Some(gift) = edge.gift {
        let (count, p50, p99) = (thousands(gift.count), micros(gift.p50_us), micros(gift.p99_us));
        let again = thousands(edge.gifts_repeated);
        row("Gifts", format!("{count} claimed: p50 {p50}, p99 {p99}, from their planned times; {again} sent again"));
    }
    put!(page, "</tbody></table>\n</section>");
}

/// The relay's two sides, and how long clients were away.
fn sides(page: &mut String, report: &Report) {
    if report.standings.is_empty() {
        return;
    }
    put!(page, "<section>\n<h2>The two sides</h2>");
    put!(
        page,
        "<p class=\"lead\">The side that orders records, as the relay said it every 200 ms; outlined where it \
         acknowledged alone. Below, the records that the other side lacked (<span class=\"key lag\">lag</span>).</p>"
    );
    figure(page, "sides", &charts::sides(report));
    put!(
        page,
        "<table class=\"away\"><thead><tr><th>At</th><th>Event</th><th class=\"number\">Producers away</th>\
         <th class=\"number\">Consumers away</th></tr></thead>\n<tbody>"
    );
    let shown = |pause: Option<Pause>| match pause {
        None => "did not come back".to_owned(),
        Some(pause) => format!("{} from {:.2} s", micros(pause.lasts_us), pause.from_us as f64 / 1e6),
    };
    for away in &report.away {
        let event = match away.kind {
            AwayKind::Loss => format!("{} lost", away.subject),
            AwayKind::Switch => format!("switched {}", away.subject),
        };
        put!(
            page,
            "<tr><td>{:.3} s</td><td>{}</td><td class=\"number\">{}</td><td class=\"number\">{}</td></tr>",
            away.at_us as f64 / 1e6,
            escape(&event),
            shown(away.producers),
            shown(away.consumers)
        );
    }
    put!(
        page,
        "</tbody></table>\n<p class=\"lead\">The longest pause of any partition until the next event, by pulses of the \
         rehearsal's own producer, due every {} ms. {} records were given to the group again, from its last commit \
         on.</p>\n</section>",
        pulse::EVERY.as_millis(),
        thousands(report.read_again)
    );
}

/// What SQL said while the load ran.
fn tables(page: &mut String, report: &Report) {
    let Some(tables) = &report.tables else { return };
    put!(page, "<section>\n<h2>Asked by SQL</h2>");
    put!(
        page,
        "<p class=\"lead\">The lake makes tables of what the services publish. While the load ran, the judge asked for rows \
         and money as any client would: how long the first acknowledged request that was no row yet had been acknowledged \
         (<span class=\"key lag\">behind</span>; interrupted while there was no answer).</p>"
    );
    figure(page, "behind", &charts::tables(report, tables));
    put!(page, "<table class=\"environment\"><tbody>");
    let mut row = |name: &str, value: String| row(page, name, &value);
    let won = thousands(u64::try_from(tables.amount_minor).unwrap_or(0));
    row("At the end", format!("{} rows, ₩{won}", thousands(tables.rows)));
    if let Some(behind) = tables.behind {
        let (p50, p99, max) = (micros(behind.p50_us), micros(behind.p99_us), micros(behind.max_us));
        row("Behind", format!("p50 {p50}, p99 {p99}, at most {max}, in {} answers", thousands(behind.count)));
    }
    row("Questions without an answer", thousands(tables.unanswered));
    put!(page, "</tbody></table>\n</section>");
}

/// A row of a table of figures.
fn row(page: &mut String, name: &str, value: &str) {
    put!(page, "<tr><th>{name}</th><td>{value}</td></tr>");
}

fn environment(page: &mut String, report: &Report) {
    let environment = &report.environment;
    put!(page, "<section>\n<h2>Play it again</h2>\n<pre><code>{}</code></pre>", escape(&report.replay));
    put!(
        page,
        "<p class=\"lead\">The same seed gives the same requests at the same planned times and the same faults. Every \
         request of this run, with its times and its place in the log, stands in <code>operations.jsonl</code> beside this \
         page; all figures stand in <code>report.json</code>.</p>\n<table class=\"environment\"><tbody>"
    );
    let rows = [
        ("Log", format!("{} ({})", environment.subject, environment.clusters)),
        ("Naru", environment.naru.clone()),
        ("librdkafka", environment.librdkafka.clone()),
        ("Machine", format!("{} cores, {}", environment.cores, environment.kernel)),
        (
            "Observations",
            format!("{} records given to the consumers and the lone reader", thousands(report.observations)),
        ),
    ];
    for (name, value) in rows {
        put!(page, "<tr><th>{name}</th><td>{}</td></tr>", escape(&value));
    }
    for mark in &report.marks {
        let at = mark.at_us as f64 / 1e6;
        put!(page, "<tr><th>{at:.3} s</th><td>{} {}</td></tr>", escape(&mark.subject), mark.kind.name());
    }
    put!(page, "</tbody></table>\n</section>");
}
