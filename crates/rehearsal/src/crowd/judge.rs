//! What must hold of an edge, by what the crowd saw and by what others have written down.
//!
//! That no core request and no personal data came to a rented node is shown from three sources that know nothing of each
//! other: the edge's signed decision log, the access logs of the nodes themselves, and the answers that the crowd was
//! given. One of them alone can be wrong: a log that says what its configuration says knows of no mistake in it.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use naru_model::invariant::EDGE_3;
use serde::Deserialize;

use super::{Answer, CrowdHistory, Gift, PROMOTION, View};
use crate::check::Verdict;
use crate::measure::Percentiles;

/// A line of a node's access log, as far as it is judged.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Received {
    /// The path.
    pub path: String,
    /// Names of the headers.
    pub headers: Vec<String>,
    /// Names of the cookies.
    pub cookies: Vec<String>,
    /// Whether the planted personal data was in it.
    pub planted: bool,
}

/// What a rented node wrote down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeLog {
    /// The node, as it names itself in its answers.
    pub node: String,
    /// What it received.
    pub received: Vec<Received>,
    /// Lines that could not be read.
    pub unreadable: u64,
}

/// What `naru edge audit --json` says.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Audit {
    /// Whether the log proves that no core request went to a rented site.
    pub proves: bool,
    /// Decisions by class, kind of site and reason.
    pub decisions: Vec<Decisions>,
    /// Requests that went where they must not.
    pub breaches: u64,
    /// Core requests without a record.
    pub gap_core: u64,
    /// Open requests without one.
    pub gap_open: u64,
    /// Records that should be there and are not.
    pub missing: u64,
}

/// A count of decisions.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Decisions {
    /// "core", "open", "no route".
    pub class: String,
    /// "owned", "rented", "kept".
    pub went: String,
    /// How many.
    pub count: u64,
}

impl Audit {
    fn count(&self, class: &str, went: &str) -> u64 {
        self.decisions.iter().filter(|d| d.class == class && d.went == went).map(|d| d.count).sum()
    }
}

/// Everything that is judged.
#[derive(Debug)]
pub struct Evidence<'e> {
    /// What the crowd saw.
    pub crowd: &'e CrowdHistory,
    /// What the rented nodes wrote down.
    pub nodes: &'e [NodeLog],
    /// What the decision log proves; the error if it could not be read.
    pub audit: &'e Result<Audit, String>,
    /// Bound on the p99 of gifts, from the planned time.
    pub gift_p99_max: Option<Duration>,
    /// When owned sites were lost, on the run's clock.
    pub lost_us: &'e [u64],
}

/// How long before a site's loss a gift may have been due that it strikes: what one takes, and some more.
const STRUCK_BEFORE_US: u64 = 250_000;
/// How long after a site's loss a gift may take longer, since it may have to be claimed again: until the edge has seen
/// that the site is gone, and no longer. The event day allows 10 s.
const STRUCK_AFTER_US: u64 = 2_000_000;

impl Evidence<'_> {
    /// Whether a gift was due when a site was being lost.
    fn is_struck(&self, gift: &Gift) -> bool {
        let struck = |lost: &u64| {
            (lost.saturating_sub(STRUCK_BEFORE_US)..lost.saturating_add(STRUCK_AFTER_US)).contains(&gift.planned_us)
        };
        self.lost_us.iter().any(struck)
    }
}

/// Every verdict on the edge.
pub fn judge(evidence: &Evidence<'_>) -> Vec<Verdict> {
    let mut verdicts = vec![
        by_decisions(evidence),
        by_nodes(evidence),
        planted(evidence),
        by_answers(evidence),
        gifts(evidence),
        promotion(evidence),
        spilled(evidence),
        waited(evidence),
        let_in(evidence),
    ];
    if let Some(bound) = evidence.gift_p99_max {
        verdicts.push(gift_p99(evidence, bound));
    }
    verdicts
}

/// The first source: the signed decision log.
fn by_decisions(evidence: &Evidence<'_>) -> Verdict {
    let sentence = "the decision log proves that no core request went to a rented node";
    let mut verdict = Verdict::open("EDGE-1-log", sentence, "core decisions");
    let audit = match evidence.audit {
        Ok(audit) => audit,
        Err(why) => {
            verdict.find(|| "decision log".to_owned(), || why.clone());
            return verdict;
        }
    };
    verdict.examined = audit.count("core", "owned") + audit.count("core", "rented") + audit.count("core", "kept");
    if !audit.proves {
        let Audit { breaches, gap_core, missing, .. } = audit;
        let detail = || format!("proves nothing: {breaches} breaches, {gap_core} core gaps, {missing} missing");
        verdict.find(|| "decision log".to_owned(), detail);
    }
    let went = audit.count("open", "rented") + audit.count("core", "rented") + audit.gap_open;
    let came: u64 = evidence.nodes.iter().map(|node| node.received.len() as u64).sum();
    if came > went {
        let detail = || format!("knows of {went} requests to rented nodes, and they received {came}");
        verdict.find(|| "decision log".to_owned(), detail);
    }
    verdict
}

/// The second source: what the rented nodes say they were given.
fn by_nodes(evidence: &Evidence<'_>) -> Verdict {
    let sentence = "by their own access logs the rented nodes were given pages of the promotion and nothing else";
    let mut verdict = Verdict::open("EDGE-1-cloud", sentence, "lines of rented nodes");
    let asked: HashSet<String> = evidence.crowd.views.iter().map(View::path).collect();
    let mut lines: HashMap<(&str, &str), u64> = HashMap::new();
    for node in evidence.nodes {
        for received in &node.received {
            verdict.examined += 1;
            *lines.entry((&node.node, &received.path)).or_default() += 1;
            // A page that is still asked for at the end has no view yet.
            if !asked.contains(&received.path) && !is_page(&received.path) {
                verdict.find(|| node.node.clone(), || format!("was given {}", received.path));
            }
        }
        if node.unreadable > 0 {
            verdict.find(|| node.node.clone(), || format!("{} lines cannot be read", node.unreadable));
        }
    }
    // A log that is silent proves nothing: each answer that came from a node must have its line there.
    for view in &evidence.crowd.views {
        let Answer::Served(by) = &view.answer else { continue };
        let path = view.path();
        if evidence.nodes.iter().any(|node| node.node == *by) && !lines.contains_key(&(by, &path)) {
            verdict.find(|| by.clone(), || format!("answered {path} and has no line of it"));
        }
    }
    verdict
}

/// Whether a path is a page of the promotion that this crowd asks for.
fn is_page(path: &str) -> bool {
    path.strip_prefix(PROMOTION).is_some_and(|rest| rest.starts_with("/v"))
}

/// The planted personal data stayed at home.
fn planted(evidence: &Evidence<'_>) -> Verdict {
    let sentence = "no request to a rented node held the personal data that every request of the crowd carries";
    let mut verdict = Verdict::open("planted", sentence, "lines of rented nodes");
    for node in evidence.nodes {
        for received in &node.received {
            verdict.examined += 1;
            if received.planted {
                let (headers, cookies) = (received.headers.join(", "), received.cookies.join(", "));
                let detail = || format!("{} with headers {headers}; cookies {cookies}", received.path);
                verdict.find(|| node.node.clone(), detail);
            }
        }
    }
    verdict
}

/// The third source: who answered the crowd's own core requests.
fn by_answers(evidence: &Evidence<'_>) -> Verdict {
    let sentence = "no gift was answered by a rented node";
    let mut verdict = Verdict::open("EDGE-1-client", sentence, "answers to gifts");
    let rented: HashSet<&str> = evidence.nodes.iter().map(|node| node.node.as_str()).collect();
    for gift in &evidence.crowd.gifts {
        for by in &gift.served_by {
            verdict.examined += 1;
            if rented.contains(by.as_str()) {
                verdict.find(|| Gift::path(gift.number), || format!("was answered by {by}"));
            }
        }
    }
    verdict
}

/// Core users notice nothing.
fn gifts(evidence: &Evidence<'_>) -> Verdict {
    let mut verdict = Verdict::open("core-errors", "every gift was claimed in the end", "gifts");
    let crowd = evidence.crowd;
    verdict.examined = crowd.gifts_planned as u64;
    for gift in &crowd.gifts {
        let why = match &gift.answer {
            Answer::Served(_) => continue,
            Answer::Waiting => "was shown the waiting room".to_owned(),
            Answer::Status(status) => format!("got {status}"),
            Answer::Nothing(why) => why.clone(),
        };
        let at = gift.planned_us as f64 / 1e6;
        verdict.find(|| Gift::path(gift.number), || format!("due at {at:.3} s: {why}, {} times sent", gift.attempts));
    }
    for _ in crowd.gifts.len()..crowd.gifts_planned {
        verdict.find(|| "a gift".to_owned(), || "had no answer at the end".to_owned());
    }
    verdict
}

/// Outside of a takeover: what is due in one may be sent again, and has to be claimed all the same.
fn gift_p99(evidence: &Evidence<'_>, bound: Duration) -> Verdict {
    let (bound_ms, struck_s) = (bound.as_secs_f64() * 1e3, STRUCK_AFTER_US as f64 / 1e6);
    let but = if evidence.lost_us.is_empty() {
        String::new()
    } else {
        format!(", but for {struck_s:.0} s when a site is lost")
    };
    let sentence = format!("the gifts' p99 is at most {bound_ms:.0} ms from the planned time{but}");
    let mut verdict = Verdict::open("gift-p99", &sentence, "gifts");
    match gift_latency(evidence.crowd, |gift| !evidence.is_struck(gift)) {
        None => verdict.find(|| "gifts".to_owned(), || "have no latency to compare".to_owned()),
        Some(latency) => {
            verdict.examined = latency.count;
            if u128::from(latency.p99_us) > bound.as_micros() {
                verdict.find(|| "gifts".to_owned(), || format!("p99 is {:.0} ms", latency.p99_us as f64 / 1e3));
            }
        }
    }
    verdict
}

/// How long these gifts took that were claimed, from their planned times; `None` if none was.
pub fn gift_latency(crowd: &CrowdHistory, which: impl Fn(&Gift) -> bool) -> Option<Percentiles> {
    let claimed = crowd.gifts.iter().filter(|gift| matches!(gift.answer, Answer::Served(_)) && which(gift));
    Percentiles::of(claimed.map(|gift| gift.ended_us.saturating_sub(gift.planned_us)))
}

/// EDGE-3: a page or the waiting room.
fn promotion(evidence: &Evidence<'_>) -> Verdict {
    let mut verdict = Verdict::on(&EDGE_3, "requests for the promotion");
    for view in &evidence.crowd.views {
        verdict.examined += 1;
        let why = match &view.answer {
            Answer::Served(_) | Answer::Waiting => continue,
            Answer::Status(status) => format!("got {status}"),
            Answer::Nothing(why) => why.clone(),
        };
        verdict.find(|| view.path(), || format!("sent at {:.3} s: {why}", view.sent_us as f64 / 1e6));
    }
    if evidence.crowd.dropped > 0 {
        let dropped = evidence.crowd.dropped;
        verdict.find(|| "crowd".to_owned(), || format!("{dropped} views did not fit: the judge saw only a part"));
    }
    verdict
}

/// The rented nodes were of use.
fn spilled(evidence: &Evidence<'_>) -> Verdict {
    let sentence = "what the owned sites had no room for went to rented nodes";
    let mut verdict = Verdict::open("spill", sentence, "pages from rented nodes");
    let rented: HashSet<&str> = evidence.nodes.iter().map(|node| node.node.as_str()).collect();
    let by_rented = |view: &&View| matches!(&view.answer, Answer::Served(by) if rented.contains(by.as_str()));
    verdict.examined = evidence.crowd.views.iter().filter(by_rented).count() as u64;
    verdict
}

/// When everything is full, people wait.
fn waited(evidence: &Evidence<'_>) -> Verdict {
    let sentence = "when nothing had room, the waiting room was shown";
    let mut verdict = Verdict::open("waiting-room", sentence, "waiting pages");
    verdict.examined = evidence.crowd.views.iter().filter(|view| view.answer == Answer::Waiting).count() as u64;
    verdict
}

/// And are let in.
fn let_in(evidence: &Evidence<'_>) -> Verdict {
    let sentence = "everybody who came for the promotion had seen all of it at the end";
    let mut verdict = Verdict::open("let-in", sentence, "visitors");
    for (number, visit) in evidence.crowd.visits.iter().enumerate() {
        verdict.examined += 1;
        let why = match (visit.came_us, visit.in_us, visit.done_us) {
            (.., Some(_)) => continue,
            (None, ..) => "did not come in time".to_owned(),
            (Some(came), None, _) => format!("came at {:.3} s and was not let in", came as f64 / 1e6),
            (Some(_), Some(since), _) => format!("let in at {:.3} s, did not see all of it", since as f64 / 1e6),
        };
        verdict.find(|| format!("visitor {number}"), || why);
    }
    verdict
}
