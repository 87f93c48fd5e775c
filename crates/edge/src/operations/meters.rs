//! What is counted of requests and connections, and shown to Prometheus.
//!
//! A request costs a handful of additions: every counter that it can need is there before it comes, one block for each
//! site. Everything else is read where it stands when somebody scrapes.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use naru_model::Class;
use naru_runtime::telemetry::{Metrics, Observed, Reading};

use crate::adapter::Front;
use crate::decision::SiteName;
use crate::gateway::Gateway;
use crate::policy::{Policy, Reason};
use crate::request;

/// Classes as labels; a request on no route has none.
const CLASSES: [&str; 3] = ["core", "open", "none"];
/// Status classes as labels; none when the client went away before an answer.
const STATUSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];
/// Codes of [`Reason`] begin with 1; 0 is a request that was refused before anything was decided.
const REASONS: usize = Reason::ALL.len() + 1;

/// Upper ends of what is counted of times, milliseconds: in steps of 1, 2 and 5, from what a page of ours takes to the longest
/// that a person waits for one. What takes longer is counted beside them.
const LE_MS: [u64; 14] = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 30_000];
/// The same as labels, in seconds as Prometheus has them.
const LE: [&str; LE_MS.len()] =
    ["0.001", "0.002", "0.005", "0.01", "0.02", "0.05", "0.1", "0.2", "0.5", "1", "2", "5", "10", "30"];

/// What is known of a request that has ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ended<'r> {
    pub class: Option<Class>,
    /// Where it was sent last, if it was.
    pub site: Option<&'r SiteName>,
    /// Why; none when it was refused before a decision.
    pub reason: Option<Reason>,
    /// What it was answered with, if it was.
    pub status: Option<u16>,
    /// How often a server was looked for.
    pub attempts: u32,
    pub took: Duration,
}

/// The requests of one site.
#[derive(Debug)]
pub(crate) struct SiteMeters([[[AtomicU64; STATUSES.len()]; REASONS]; CLASSES.len()]);

impl Default for SiteMeters {
    fn default() -> Self {
        let reason = || std::array::from_fn(|_| AtomicU64::new(0));
        Self(std::array::from_fn(|_| std::array::from_fn(|_| reason())))
    }
}

/// The blocks of the sites of one policy.
pub(crate) type OfSites = Vec<(SiteName, Arc<SiteMeters>)>;

/// The counters of a process.
#[derive(Debug)]
pub struct Meters {
    /// Locked when a policy is made and when somebody scrapes. A site that went keeps its counts.
    sites: Mutex<BTreeMap<SiteName, Arc<SiteMeters>>>,
    /// Requests that were sent nowhere.
    nowhere: SiteMeters,
    took_us: [AtomicU64; CLASSES.len()],
    /// How many took how long, each counted once; the last are those above all of [`LE_MS`].
    took: [[AtomicU64; LE_MS.len() + 1]; CLASSES.len()],
    retries: AtomicU64,
    limited: AtomicU64,
    refused: [AtomicU64; request::Reason::ALL.len()],
    accepted: AtomicU64,
    turned_away: AtomicU64,
}

impl Default for Meters {
    fn default() -> Self {
        let zero = || AtomicU64::new(0);
        Self {
            sites: Mutex::default(),
            nowhere: SiteMeters::default(),
            took_us: std::array::from_fn(|_| zero()),
            took: std::array::from_fn(|_| std::array::from_fn(|_| zero())),
            retries: zero(),
            limited: zero(),
            refused: std::array::from_fn(|_| zero()),
            accepted: zero(),
            turned_away: zero(),
        }
    }
}

fn add(to: &AtomicU64) {
    to.fetch_add(1, Ordering::Relaxed);
}

fn of_class(class: Option<Class>) -> usize {
    match class {
        Some(Class::Core) => 0,
        Some(Class::Open) => 1,
        None => 2,
    }
}

impl Meters {
    /// The blocks of a policy's sites.
    pub(crate) fn of_sites(&self, policy: &Policy) -> OfSites {
        // A map is whole whatever happened to its holder.
        let mut known = self.sites.lock().unwrap_or_else(PoisonError::into_inner);
        let names = policy.sites().iter().map(|site| SiteName::from(site.id()));
        names.map(|name| (name, Arc::clone(known.entry(name).or_default()))).collect()
    }

    /// A request has ended.
    pub(crate) fn ended(&self, of_sites: &OfSites, ended: &Ended<'_>) {
        let block = ended.site.and_then(|site| of_sites.iter().find(|(name, _)| name == site));
        let SiteMeters(counts) = block.map_or(&self.nowhere, |(_, block)| &**block);
        let class = of_class(ended.class);
        let reason = ended.reason.map_or(0, |reason| reason as usize);
        let status = ended.status.map_or(0, |status| usize::from(status / 100).min(STATUSES.len() - 1));
        add(&counts[class][reason][status]);
        self.took_us[class].fetch_add(u64::try_from(ended.took.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
        let took = LE_MS.partition_point(|le_ms| u128::from(*le_ms) * 1000 < ended.took.as_micros());
        add(&self.took[class][took]);
        if ended.attempts > 1 {
            self.retries.fetch_add(u64::from(ended.attempts) - 1, Ordering::Relaxed);
        }
    }

    /// The request check has refused one.
    pub(crate) fn refused(&self, reason: request::Reason) {
        add(&self.refused[reason as usize]);
    }

    /// A client has asked more often than it may.
    pub(crate) fn limited(&self) {
        add(&self.limited);
    }

    /// A connection was taken, or not for a bound.
    pub(crate) fn connected(&self, taken: bool) {
        add(if taken { &self.accepted } else { &self.turned_away });
    }

    /// How many took at most so long, by class: what `histogram_quantile` reads.
    fn within(&self) -> Vec<Reading> {
        let of_class = |(class, counts): (&&str, &[AtomicU64; LE_MS.len() + 1])| {
            let mut sum = 0;
            let mut up_to = |(le, count): (&str, &AtomicU64)| {
                sum += count.load(Ordering::Relaxed);
                reading(&[("class", class), ("le", le)], sum)
            };
            LE.into_iter().chain(["+Inf"]).zip(counts).map(&mut up_to).collect::<Vec<_>>()
        };
        CLASSES.iter().zip(&self.took).flat_map(of_class).collect()
    }

    fn requests(&self) -> Vec<Reading> {
        let mut readings = Vec::new();
        let mut read = |site: &str, SiteMeters(counts): &SiteMeters| {
            for (class, counts) in CLASSES.iter().zip(counts) {
                for (reason, counts) in counts.iter().enumerate() {
                    let reason = reason.checked_sub(1).map_or("refused", |at| Reason::ALL[at].as_str());
                    for (status, count) in STATUSES.iter().zip(counts) {
                        // What never happened takes no line.
                        let value = count.load(Ordering::Relaxed);
                        if value > 0 {
                            let labels = [("class", *class), ("site", site), ("reason", reason), ("status", *status)];
                            readings.push(reading(&labels, value));
                        }
                    }
                }
            }
        };
        read("none", &self.nowhere);
        let sites = self.sites.lock().unwrap_or_else(PoisonError::into_inner);
        sites.iter().for_each(|(name, block)| read(name.as_str(), block));
        readings
    }
}

fn reading(labels: &[(&'static str, &str)], value: u64) -> Reading {
    Reading { labels: labels.iter().map(|(name, label)| (*name, (*label).to_owned().into())).collect(), value }
}

/// Shows all of it from here on.
pub fn show(gateway: &Arc<Gateway>, front: &Arc<Front>, metrics: &Metrics) {
    use Observed::{Counter, Gauge};
    let observe = |name, help, kind, read: fn(&Gateway, &Front) -> Vec<Reading>| {
        let (gateway, front) = (gateway.clone(), front.clone());
        metrics.observe(name, help, kind, move || read(&gateway, &front));
    };
    let help = "Requests that ended, by class, site they were sent to, reason and class of the status";
    observe("edge_requests", help, Counter, |gateway, _| gateway.meters.requests());
    let help = "Time from a request's head to its end, microseconds, by class; over the requests it is the mean";
    observe("edge_requests_us", help, Counter, |gateway, _| {
        let classes = CLASSES.iter().zip(&gateway.meters.took_us);
        classes.map(|(class, took)| reading(&[("class", class)], took.load(Ordering::Relaxed))).collect()
    });
    let help = "Requests that took at most `le` seconds, by class, from a head to the end of its answer";
    observe("edge_requests_within", help, Counter, |gateway, _| gateway.meters.within());
    observe("edge_retries", "Second attempts", Counter, |gateway, _| one(&gateway.meters.retries));
    let help = "Requests refused since their client asked too often";
    observe("edge_requests_limited", help, Counter, |gateway, _| one(&gateway.meters.limited));
    observe("edge_refused", "Requests that the request check refused, by reason", Counter, |gateway, _| {
        let reasons = request::Reason::ALL.iter().zip(&gateway.meters.refused);
        let counted = reasons.map(|(reason, count)| (reason.name(), count.load(Ordering::Relaxed)));
        counted.filter(|(_, count)| *count > 0).map(|(name, count)| reading(&[("reason", name)], count)).collect()
    });
    observe("edge_connections", "Client connections that stand", Gauge, |_, front| {
        vec![reading(&[], front.connections())]
    });
    let help = "Client connections, by whether they were taken or closed for a bound";
    observe("edge_connections_seen", help, Counter, |gateway, _| {
        let outcomes = [("taken", &gateway.meters.accepted), ("bound", &gateway.meters.turned_away)];
        outcomes.map(|(name, count)| reading(&[("outcome", name)], count.load(Ordering::Relaxed))).into()
    });
    let help = "Slots that may be in flight, in thousandths, by site";
    observe("edge_slots_limit", help, Gauge, |gateway, _| {
        let in_force = gateway.in_force();
        let sites = in_force.policy.sites().iter();
        sites.map(|site| reading(&[("site", site.id().as_str())], site.gate().limit().thousandths().into())).collect()
    });
    let help = "Slots in flight, in thousandths, by site and class";
    observe("edge_slots_in_flight", help, Gauge, |gateway, _| {
        let in_force = gateway.in_force();
        let of_site = |site: &Arc<crate::policy::Site>| {
            let held = site.gate().in_flight();
            [("core", held.core), ("open", held.open)].map(|(class, slots)| {
                reading(&[("site", site.id().as_str()), ("class", class)], slots.thousandths().into())
            })
        };
        in_force.policy.sites().iter().flat_map(of_site).collect()
    });
    observe("edge_waiting", "People in the waiting room", Gauge, |gateway, _| {
        vec![reading(&[], gateway.in_force().policy.room().waiting())]
    });
    observe("edge_plan_generation", "The plan in force; 0 while there is none", Gauge, |gateway, _| {
        vec![reading(&[], gateway.in_force().plan)]
    });
    observe("edge_decisions_written", "Records in the decision log", Counter, |gateway, _| {
        vec![reading(&[], gateway.decisions.counters().written)]
    });
    let help = "Records that the decision log lacks, by class; one of core is an alarm";
    observe("edge_decisions_missing", help, Counter, |gateway, _| {
        let counters = gateway.decisions.counters();
        let gaps = [("core", counters.gap_core), ("open", counters.gap_open)];
        gaps.map(|(class, gap)| reading(&[("class", class)], gap)).into()
    });
    observe("edge_decisions_refusals", "Times that the disk refused the decision log", Counter, |gateway, _| {
        vec![reading(&[], gateway.decisions.counters().refusals)]
    });
    let help = "Lines of the access log, by what became of them";
    observe("edge_access_log_lines", help, Counter, |gateway, _| {
        let Some(log) = &gateway.access else { return Vec::new() };
        let counts = log.counts();
        let outcomes = [("written", counts.written), ("dropped", counts.dropped)];
        outcomes.map(|(name, count)| reading(&[("outcome", name)], count)).into()
    });
}

fn one(count: &AtomicU64) -> Vec<Reading> {
    vec![reading(&[], count.load(Ordering::Relaxed))]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_counted_where_it_went_and_for_its_reason() {
        let meters = Meters::default();
        let site = SiteName::from(&naru_model::SiteId::new("idc-1").expect("a name"));
        let of_sites = vec![(site, Arc::clone(meters.sites.lock().expect("not poisoned").entry(site).or_default()))];
        let check = |ended: Ended<'_>, expect: [&str; 4]| {
            let before: u64 = meters.requests().iter().map(|reading| reading.value).sum();
            meters.ended(&of_sites, &ended);
            let readings = meters.requests();
            let labels =
                |reading: &Reading| reading.labels.iter().map(|(_, label)| label.to_string()).collect::<Vec<_>>();
            assert!(readings.iter().any(|reading| labels(reading) == expect), "{expect:?} {readings:?}");
            assert_eq!(readings.iter().map(|reading| reading.value).sum::<u64>(), before + 1);
        };
        let took = Duration::from_millis(3);
        let ended = |class, site, reason, status| Ended { class, site, reason, status, attempts: 1, took };
        check(ended(Some(Class::Core), Some(&site), Some(Reason::First), Some(200)), ["core", "idc-1", "first", "2xx"]);
        check(ended(Some(Class::Open), None, Some(Reason::NoRetry), Some(503)), ["open", "none", "no_retry", "5xx"]);
        check(ended(None, None, Some(Reason::Unrouted), None), ["none", "none", "unrouted", "none"]);
        check(ended(None, None, None, Some(999)), ["none", "none", "refused", "5xx"]);
    }

    #[test]
    fn a_time_is_counted_in_every_bound_that_it_is_within() {
        let check = |took: Duration, expect: [u64; LE_MS.len() + 1]| {
            let meters = Meters::default();
            let ended = Ended { class: Some(Class::Core), site: None, reason: None, status: None, attempts: 1, took };
            meters.ended(&Vec::new(), &ended);
            let within: Vec<u64> = meters.within().iter().map(|reading| reading.value).collect();
            assert_eq!(within[..expect.len()], expect, "{took:?}");
            assert!(within[expect.len()..].iter().all(|count| *count == 0), "{took:?}");
        };
        let from = |first: usize| std::array::from_fn(|at| u64::from(at >= first));
        check(Duration::ZERO, from(0));
        check(Duration::from_millis(1), from(0));
        check(Duration::from_micros(1_001), from(1));
        check(Duration::from_millis(50), from(5));
        check(Duration::from_secs(30), from(13));
        check(Duration::from_secs(31), from(14));
        let labels = LE.map(|le| (le.parse::<f64>().expect("a number") * 1000.0).round() as u64);
        assert_eq!(labels, LE_MS);
    }
}
