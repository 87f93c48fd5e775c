//! Asks every role, moment after moment: what stands on the page is never older than one interval and one wait.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::join_all;
use naru_runtime::clocks::{SystemClock, WallClock as _};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::ask::Asker;
use crate::config::ConsoleConfig;
use crate::history::Points;
use crate::marks;
use crate::part::control::{Control, Meter};
use crate::part::courier::Courier;
use crate::part::edge::Edge;
use crate::part::lake::{Questioner, Table};
use crate::part::process::{Process, violations};
use crate::part::relay::Relay;
use crate::part::watch::Watch;
use crate::part::{Part, ask, control, courier, edge, process, relay, watch};
use crate::server::Desk;

/// Everything at one moment.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// When the answers were in, in milliseconds since 1970.
    pub at_unix_ms: i64,
    /// The relay.
    pub relay: Part<Relay>,
    /// Gateways by name.
    pub edges: Vec<(String, Part<Edge>)>,
    /// The lake's tables.
    pub lake: Part<Vec<Table>>,
    /// Control.
    pub control: Part<Control>,
    /// The cloud's bill.
    pub cloud: Part<Meter>,
    /// The courier.
    pub courier: Part<Courier>,
    /// The watch.
    pub watch: Part<Watch>,
    /// Other roles by name.
    pub processes: Vec<(String, Part<Process>)>,
    /// The numbers of the charts.
    pub points: Points,
}

impl Snapshot {
    /// Who is configured, and whether he answers.
    pub fn presence(&self) -> Vec<(&str, bool)> {
        let mut all = Vec::new();
        let mut add = |name, is_on: bool, is_here| {
            if is_on {
                all.push((name, is_here));
            }
        };
        for (name, edge) in &self.edges {
            add(name.as_str(), edge.is_on(), edge.here().is_some());
        }
        add("relay", self.relay.is_on(), self.relay.here().is_some());
        add("lake", self.lake.is_on(), self.lake.here().is_some());
        add("control", self.control.is_on(), self.control.here().is_some());
        add("cloud", self.cloud.is_on(), self.cloud.here().is_some());
        add("courier", self.courier.is_on(), self.courier.here().is_some());
        add("watch", self.watch.is_on(), self.watch.here().is_some());
        for (name, process) in &self.processes {
            add(name.as_str(), process.is_on(), process.here().is_some());
        }
        all
    }

    /// Times that an invariant did not hold, wherever metrics are read.
    pub fn violations(&self) -> f64 {
        let edges = self.edges.iter().filter_map(|(_, edge)| edge.here()).map(|edge| violations(&edge.samples));
        let processes = self.processes.iter().filter_map(|(_, process)| process.here()).map(Process::violations);
        edges.chain(processes).sum::<f64>() + self.relay.here().map_or(0.0, |relay| violations(&relay.samples))
    }
}

/// Counters as they were, to tell rates.
#[derive(Debug, Default)]
struct Rates {
    at_unix_ms: i64,
    before: BTreeMap<String, f64>,
    now: BTreeMap<String, f64>,
}

impl Rates {
    fn begin(&mut self) {
        self.before = std::mem::take(&mut self.now);
    }

    fn count(&mut self, name: String, value: f64) {
        *self.now.entry(name).or_insert(0.0) += value;
    }

    /// Rates a second since the moment before; a counter that is new or began anew has none.
    fn end(&mut self, at_unix_ms: i64) -> Points {
        let seconds = (at_unix_ms - self.at_unix_ms) as f64 / 1_000.0;
        let is_first = self.at_unix_ms == 0;
        self.at_unix_ms = at_unix_ms;
        if is_first || seconds <= 0.0 {
            return Points::new();
        }
        let rate = |(name, now): (&String, &f64)| {
            let before = self.before.get(name)?;
            (now >= before).then(|| (name.clone(), (now - before) / seconds))
        };
        self.now.iter().filter_map(rate).collect()
    }
}

/// Asks until told to stop.
pub async fn keep_asking(desk: Arc<Desk>, asker: Asker, stop: CancellationToken) {
    let config = &desk.config;
    let mut lake = config.lake.as_ref().and_then(Questioner::new);
    let clock = SystemClock::new();
    let mut every = interval(config.ask_interval);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut rates = Rates::default();
    let mut before: Option<Snapshot> = None;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = every.tick() => {}
        }
        let mut now = tokio::select! {
            () = stop.cancelled() => return,
            now = look(config, &asker, lake.as_mut()) => now,
        };
        now.at_unix_ms = clock.unix_ms();
        now.points = points(&now, &mut rates);
        let mut news = before.as_ref().map(|before| marks::between(before, &now)).unwrap_or_default();
        news.extend(marks::told(&now));
        desk.publish(&now, news);
        before = Some(now);
    }
}

/// Asks everybody at once.
async fn look(config: &ConsoleConfig, asker: &Asker, lake: Option<&mut Questioner>) -> Snapshot {
    let token = config.control.as_ref().and_then(|control| control.token.as_ref());
    let edges = join_all(config.edges.iter().map(async |source| {
        (source.name.clone(), ask(Some(source), async |source| edge::ask(asker, source).await).await)
    }));
    let processes = join_all(config.processes.iter().map(async |source| {
        (source.name.clone(), ask(Some(source), async |source| process::ask(asker, source).await).await)
    }));
    let tables = async {
        match lake {
            None => Part::Off,
            Some(lake) => match lake.freshness(config.answer_max).await {
                Ok(tables) => Part::Here(tables),
                Err(why) => Part::Away(why.to_string()),
            },
        }
    };
    let (relay, edges, lake, control, cloud, courier, watch, processes) = tokio::join!(
        ask(config.relay.as_ref(), async |source| relay::ask(asker, source).await),
        edges,
        tables,
        ask(config.control.as_ref(), async |source| control::ask(asker, source, token).await),
        ask(config.cloud.as_ref(), async |source| control::ask_cloud(asker, source).await),
        ask(config.courier.as_ref(), async |source| courier::ask(asker, source).await),
        ask(config.watch.as_ref(), async |source| watch::ask(asker, source).await),
        processes,
    );
    Snapshot { relay, edges, lake, control, cloud, courier, watch, processes, ..Snapshot::default() }
}

/// The numbers of the charts. Names of lines: what they measure, a slash, and of whom.
fn points(now: &Snapshot, rates: &mut Rates) -> Points {
    rates.begin();
    let mut points = Points::new();
    let (mut free, mut limit, mut waiting) = (BTreeMap::new(), BTreeMap::new(), 0);
    for edge in now.edges.iter().filter_map(|(_, edge)| edge.here()) {
        for sample in edge.samples.iter().filter(|sample| sample.name == "naru_edge_requests_total") {
            let (class, site) = (sample.label("class"), sample.label("site"));
            rates.count(format!("class/{class}"), sample.value);
            rates.count(format!("site/{}", if site.is_empty() { "none" } else { site }), sample.value);
            if sample.label("status") == "5xx" {
                rates.count(format!("errors/{class}"), sample.value);
            }
        }
        for class in &edge.headroom {
            *free.entry(class.class.as_str()).or_insert(0) += class.free;
            *limit.entry(class.class.as_str()).or_insert(0) += class.limit;
        }
        waiting += edge.state.waiting_room.waiting;
    }
    if now.edges.iter().any(|(_, edge)| edge.here().is_some()) {
        points.insert("waiting".to_owned(), waiting as f64);
    }
    for (class, limit) in limit.into_iter().filter(|(_, limit)| *limit > 0) {
        points.insert(format!("room/{class}"), 100.0 * free[class] as f64 / limit as f64);
    }
    if let Some(relay) = now.relay.here() {
        for group in relay.shown() {
            for (side, status) in &group.sides {
                let lag = status.lag_records.map(|records| records as f64);
                points.extend(lag.map(|lag| (format!("lag/{}/{}", group.name, side.to_uppercase()), lag)));
            }
        }
        for sample in relay.samples.iter().filter(|sample| sample.name == "naru_relay_produced_bytes_total") {
            rates.count("log/bytes".to_owned(), sample.value);
        }
    }
    for table in now.lake.here().into_iter().flatten() {
        if let Some(behind) = table.behind {
            points.insert(format!("behind/{}", table.name), behind as f64);
        }
    }
    if let Some(courier) = now.courier.here() {
        // Of a campaign, lines by how they stand now; of notifications, everything that ever was.
        let sent = ["accepted", "delivered", "failed"];
        let campaigns: u64 = courier.campaigns.values().map(|campaign| campaign.count(&sent)).sum();
        rates.count("sent/campaigns".to_owned(), campaigns as f64 * 60.0);
        let notices = courier.usage.get("accepted").copied().unwrap_or_default();
        rates.count("sent/notices".to_owned(), notices as f64 * 60.0);
    }
    points.extend(rates.end(now.at_unix_ms));
    points
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_have_gaps_where_counters_begin() {
        let mut rates = Rates::default();
        let mut step = |at_unix_ms: i64, value: Option<f64>, expect: Option<f64>| {
            rates.begin();
            if let Some(value) = value {
                rates.count("a".to_owned(), value);
            }
            assert_eq!(rates.end(at_unix_ms).get("a").copied(), expect, "{at_unix_ms}");
        };
        step(1_000, Some(5.0), None);
        step(2_000, Some(9.0), Some(4.0));
        step(4_000, Some(10.0), Some(0.5));
        step(5_000, Some(1.0), None);
        step(6_000, None, None);
        step(7_000, Some(3.0), None);
        step(8_000, Some(3.0), Some(0.0));
    }
}
