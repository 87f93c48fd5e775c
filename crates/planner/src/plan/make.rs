//! Makes a plan.

use naru_model::written::thousands;

use super::decide::{HourDecision, HourNeed, Prices, Resource, decide};
use super::document::{CampaignPlan, Cost, HourRow, Line, LineKind, PlanBody, PlanHash, money, ppm, rounded};
use super::forecast::{Forecast, HOUR, STEP, obtainable};
use super::history::Known;
use super::impossible::{Impossible, alternatives};
use super::request::{Fault, Request, units};
use super::score::Memory;
use crate::campaign::BINS;
use crate::day_time::DayTime;
use crate::normal;

/// How long the first clicks are watched before they decide anything, in seconds.
const NOWCAST_SECONDS: i64 = 180;
/// How far a nowcast is off, as a standard deviation of its logarithm: measured after 3 minutes on simulated campaigns
/// outside of the forecast's family (`./x simulate campaigns`), whose median error of 8 % is two thirds of it.
const NOWCAST_DEVIATION: f64 = 0.12;

/// No plan. Whoever asks is at fault in both cases, and a retry with the same request does not help.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PlanFailed {
    /// The request cannot be planned with.
    #[error("the request is faulty: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Faulty(Vec<Fault>),
    /// What is asked for cannot be had in time; what could be is said.
    #[error("{0}")]
    Impossible(Box<Impossible>),
}

/// Makes the first plan for a request, or with `parent` (its generation and hash) the next one.
///
/// # Errors
/// For a faulty request, and for one that cannot be met in time within its risk.
pub fn make(request: &Request, known: Known<'_>, parent: Option<(u64, PlanHash)>) -> Result<CampaignPlan, PlanFailed> {
    let faults = request.faults();
    if !faults.is_empty() {
        return Err(PlanFailed::Faulty(faults));
    }
    let memory = known.memory;
    let forecast = Forecast::of(request, known, 1.0);
    let safe = safe(request);
    let all = 0..Forecast::hour(request.hours as usize).start;
    let peaks = forecast.highest(all.clone());
    let most = obtainable(request);
    let needed = forecast.paths.quantile(&peaks, memory.calibration.level(safe));
    if needed > most {
        return Err(PlanFailed::Impossible(Box::new(alternatives(request, known, needed, most))));
    }
    let seasonal = known.history.is_some();
    Ok(Making { request, memory, seasonal, forecast, peaks, safe }.plan(parent))
}

/// The quantile that keeps to a request's risk: half of the risk is for what must be ready before the first clicks, half for
/// what can still come after them.
pub(super) fn safe(request: &Request) -> f64 {
    1.0 - request.overload_risk_max / 2.0
}

struct Making<'a> {
    request: &'a Request,
    memory: &'a Memory,
    seasonal: bool,
    forecast: Forecast,
    peaks: Vec<f64>,
    safe: f64,
}

impl Making<'_> {
    fn plan(&self, parent: Option<(u64, PlanHash)>) -> CampaignPlan {
        let request = self.request;
        let resource = self.resource();
        let hours = request.hours as usize;
        let reserved_in_time =
            request.decided_at.plus_seconds(i64::from(request.reserved.lead_seconds)) <= self.forecast.from;
        let rentable = if reserved_in_time { request.reserved.nodes_max } else { 0 };
        // In flight a nowcast decides, and its error has to fit, too.
        let margin = (normal::quantile(self.safe) * NOWCAST_DEVIATION).exp();
        let highest: Vec<Vec<f64>> = (0..hours).map(|hour| self.forecast.highest(Forecast::hour(hour))).collect();
        let blind = self.blind();
        let decisions: Vec<HourDecision> = highest
            .iter()
            .zip(&blind)
            .map(|(highest, ready)| {
                decide(&resource, &HourNeed::new(highest.iter().map(|load| load * margin).collect(), *ready))
            })
            .collect();
        let rented: Vec<u64> = decisions.iter().map(|decision| decision.rented.min(rentable)).collect();
        let ordered: Vec<u64> =
            decisions.iter().zip(&rented).map(|(decision, rented)| decision.ready.saturating_sub(*rented)).collect();
        let room = |hour: usize| request.on_demand.nodes_max.saturating_sub(ordered[hour]);
        let allowed: Vec<u64> = (0..hours)
            .map(|hour| {
                let load = self.quantile(&highest[hour], self.safe) * margin;
                resource.nodes(load).saturating_sub(rented[hour] + ordered[hour]).min(room(hour))
            })
            .collect();
        let rows: Vec<HourRow> = (0..hours)
            .map(|hour| {
                let ready = rented[hour] + ordered[hour];
                let limit = resource.owned + resource.node * (ready + room(hour)) as f64;
                HourRow {
                    from: self.hour_from(hour),
                    load_q10: rounded(self.quantile(&highest[hour], 0.1)),
                    load_q50: rounded(self.quantile(&highest[hour], 0.5)),
                    load_q90: rounded(self.quantile(&highest[hour], 0.9)),
                    load_q99: rounded(self.quantile(&highest[hour], 0.99)),
                    ready_nodes: ready,
                    risk_ppm: ppm(self.hour_risk(hour, ready, limit)),
                }
            })
            .collect();
        let risk = self.risk(&resource, &rented, &ordered);
        let cost = self.cost(&resource, &highest, &rented, &ordered);
        let mut lines = self.sending_lines();
        lines.extend(self.rent_lines(&decisions, &rented));
        lines.extend(self.order_lines(&ordered));
        lines.extend(self.allow_lines(&allowed));
        lines.extend(self.buy_line(&rented));
        let (generation, parent) = match parent {
            None => (1, None),
            Some((generation, hash)) => (generation.saturating_add(1), Some(hash.to_string())),
        };
        CampaignPlan::seal(PlanBody {
            version: 1,
            generation,
            parent,
            campaign: request.name.clone(),
            title: request.title.clone(),
            zone: request.zone,
            decided_at: request.decided_at,
            owned: request.owned_units_per_second,
            node: request.reserved.node_units_per_second,
            reserved_price: request.reserved.price_per_node_hour,
            on_demand_price: request.on_demand.price_per_node_hour,
            lines,
            hours: rows,
            peak: [0.1, 0.5, 0.9, 0.99].map(|level| rounded(self.quantile(&self.peaks, level))),
            cost,
            risk_ppm: ppm(risk),
            risk_ppm_max: ppm(request.overload_risk_max),
            assumptions: self.assumptions(),
        })
    }

    fn resource(&self) -> Resource {
        let minor = |supply: &super::request::RentedSupply| supply.price_per_node_hour.0.minor() as f64;
        Resource {
            share: 1.0,
            owned: units(self.request.owned_units_per_second),
            node: units(self.request.reserved.node_units_per_second),
            floor: 0,
            prices: Prices { reserved: minor(&self.request.reserved), on_demand: minor(&self.request.on_demand) },
        }
    }

    fn quantile(&self, values: &[f64], level: f64) -> f64 {
        self.forecast.paths.quantile(values, self.memory.calibration.level(level))
    }

    fn hour_from(&self, hour: usize) -> DayTime {
        self.forecast.from.plus_seconds(hour as i64 * HOUR)
    }

    /// The steps during which nothing more can come: from each first message on, the nowcast and the boot of a node.
    fn blind_steps(&self) -> Vec<std::ops::Range<usize>> {
        let span = NOWCAST_SECONDS + i64::from(self.request.on_demand.lead_seconds);
        let of = |at: DayTime| {
            let step = (at.seconds() - self.forecast.from.seconds()).max(0) / STEP;
            step as usize..(step + (span + STEP - 1) / STEP) as usize + 1
        };
        self.request.send.iter().map(|send| of(send.at)).collect()
    }

    /// By hour, the load that must be ready before anything is learned.
    fn blind(&self) -> Vec<f64> {
        let ranges = self.blind_steps();
        (0..self.request.hours as usize)
            .map(|hour| {
                let hour = Forecast::hour(hour);
                let within = ranges.iter().map(|range| range.start.max(hour.start)..range.end.min(hour.end));
                let loads = within
                    .filter(|range| range.start < range.end)
                    .map(|range| self.quantile(&self.forecast.highest(range), self.safe));
                loads.fold(0.0, f64::max)
            })
            .collect()
    }

    fn hour_risk(&self, hour: usize, ready: u64, limit: f64) -> f64 {
        let resource = self.resource();
        let fixed = resource.owned + resource.node * ready as f64;
        let hour = Forecast::hour(hour);
        let blind = self.blind_steps();
        let over = self.forecast.loads.iter().map(|path| {
            let end = hour.end.min(path.len());
            let over = (hour.start.min(end)..end)
                .any(|step| path[step] > if blind.iter().any(|range| range.contains(&step)) { fixed } else { limit });
            if over { 1.0 } else { 0.0 }
        });
        self.forecast.paths.mean(&over.collect::<Vec<f64>>())
    }

    fn risk(&self, resource: &Resource, rented: &[u64], ordered: &[u64]) -> f64 {
        let blind = self.blind_steps();
        let length = (HOUR / STEP) as usize;
        let over = self.forecast.loads.iter().map(|path| {
            let over = path.iter().enumerate().any(|(step, load)| {
                let hour = step / length;
                let ready = rented[hour] + ordered[hour];
                let more = if blind.iter().any(|range| range.contains(&step)) {
                    0
                } else {
                    self.request.on_demand.nodes_max.saturating_sub(ordered[hour])
                };
                *load > resource.owned + resource.node * (ready + more) as f64
            });
            if over { 1.0 } else { 0.0 }
        });
        self.forecast.paths.mean(&over.collect::<Vec<f64>>())
    }

    fn cost(&self, resource: &Resource, highest: &[Vec<f64>], rented: &[u64], ordered: &[u64]) -> Cost {
        let Prices { reserved, on_demand } = resource.prices;
        let committed = rented.iter().sum::<u64>() as f64 * reserved + ordered.iter().sum::<u64>() as f64 * on_demand;
        let count = self.forecast.loads.len();
        let by_path = |ready: &dyn Fn(usize) -> u64| -> Vec<f64> {
            (0..count)
                .map(|path| {
                    let more = highest.iter().enumerate();
                    let more = more.map(|(hour, highest)| resource.nodes(highest[path]).saturating_sub(ready(hour)));
                    more.sum::<u64>() as f64 * on_demand
                })
                .collect()
        };
        let extra = by_path(&|hour| rented[hour] + ordered[hour]);
        let autoscaled = by_path(&|_| 0);
        let peak_nodes = resource.nodes(self.quantile(&self.peaks, self.safe));
        let like = self.request.reserved.price_per_node_hour;
        let begins = self.request.begins();
        // Without a plan nodes are asked for once the load is there, and that is the boot time after it.
        let late =
            (begins.seconds() - self.forecast.from.seconds() + i64::from(self.request.on_demand.lead_seconds)) / STEP;
        let early = self.forecast.highest(0..late.max(0) as usize);
        Cost {
            committed: money(committed, like),
            expected: money(committed + self.forecast.paths.mean(&extra), like),
            q90: money(committed + self.quantile(&extra, 0.9), like),
            always_peak: money(peak_nodes as f64 * 24.0 * reserved, like),
            autoscale_only: money(self.forecast.paths.mean(&autoscaled), like),
            autoscale_only_risk_ppm: ppm(1.0 - self.forecast.paths.share_at_most(&early, resource.owned)),
        }
    }

    fn sending_lines(&self) -> Vec<Line> {
        let free = money(0.0, self.request.reserved.price_per_node_hour);
        let of = |send: &super::request::Send| {
            let seconds = (send.recipients as f64 / send.per_minute as f64 * 60.0).ceil() as i64;
            let until = send.at.plus_seconds(seconds);
            let reason = format!(
                "{} messages at {} a minute; the rate of sending sets the peak, and it is paced when the clicks say so",
                thousands(send.recipients),
                thousands(send.per_minute)
            );
            Line {
                kind: LineKind::Send,
                from: send.at,
                until,
                ask_by: send.at,
                count: send.per_minute,
                price: free,
                reason,
            }
        };
        self.request.send.iter().map(of).collect()
    }

    /// Hours with the same number of nodes, put together.
    fn runs(counts: &[u64]) -> Vec<(std::ops::Range<usize>, u64)> {
        let mut runs: Vec<(std::ops::Range<usize>, u64)> = Vec::new();
        for (hour, count) in counts.iter().enumerate() {
            match runs.last_mut() {
                Some((range, same)) if same == count => range.end = hour + 1,
                _ => runs.push((hour..hour + 1, *count)),
            }
        }
        runs.retain(|(_, count)| *count > 0);
        runs
    }

    fn line(
        &self,
        kind: LineKind,
        run: std::ops::Range<usize>,
        count: u64,
        lead: u32,
        each: f64,
        reason: String,
    ) -> Line {
        let from = self.hour_from(run.start);
        Line {
            kind,
            from,
            until: self.hour_from(run.end),
            ask_by: from.plus_seconds(-i64::from(lead)),
            count,
            price: money(each * count as f64 * run.len() as f64, self.request.reserved.price_per_node_hour),
            reason,
        }
    }

    fn rent_lines(&self, decisions: &[HourDecision], rented: &[u64]) -> Vec<Line> {
        let resource = self.resource();
        let share = crate::rent::level(resource.prices.reserved, resource.prices.on_demand);
        let runs = Self::runs(rented).into_iter().map(|(run, count)| {
            let decision = decisions[run.start];
            let reason = if decision.ready > decision.by_price {
                format!(
                    "must be ready before the first clicks can be read and a node boots: with {} nodes the risk of \
                     overload until then is below {}; by price alone {} would do",
                    decision.ready,
                    percent(1.0 - self.safe),
                    decision.by_price
                )
            } else {
                format!(
                    "one hour costs {} rented and {} on demand, so renting pays up to the {} quantile of the need",
                    self.request.reserved.price_per_node_hour.0,
                    self.request.on_demand.price_per_node_hour.0,
                    percent(share)
                )
            };
            self.line(LineKind::Rent, run, count, self.request.reserved.lead_seconds, resource.prices.reserved, reason)
        });
        runs.collect()
    }

    fn order_lines(&self, ordered: &[u64]) -> Vec<Line> {
        let price = self.resource().prices.on_demand;
        let runs = Self::runs(ordered).into_iter().map(|(run, count)| {
            let reason =
                "must be ready before the first clicks can be read, and cannot be rented ahead: too late or too many"
                    .to_owned();
            self.line(LineKind::Order, run, count, self.request.on_demand.lead_seconds, price, reason)
        });
        runs.collect()
    }

    fn allow_lines(&self, allowed: &[u64]) -> Vec<Line> {
        let runs = Self::runs(allowed).into_iter().map(|(run, count)| {
            let reason = format!(
                "asked for only if the first clicks call for them: they are ready {} s later; in {} of the cases no more are needed",
                self.request.on_demand.lead_seconds,
                percent(self.safe)
            );
            self.line(LineKind::Allow, run, count, self.request.on_demand.lead_seconds, self.resource().prices.on_demand, reason)
        });
        runs.collect()
    }

    /// Advice to buy: whether machines of our own would be cheaper for campaigns like this one, and whether they could
    /// be there for it.
    fn buy_line(&self, rented: &[u64]) -> Option<Line> {
        let bought = &self.request.bought;
        let node_hours = rented.iter().sum::<u64>();
        let nodes = *rented.iter().max().filter(|nodes| **nodes > 0)?;
        let node = units(self.request.reserved.node_units_per_second);
        let machines = (nodes as f64 * node / units(bought.node_units_per_second)).ceil() as u64;
        let like = self.request.reserved.price_per_node_hour;
        let price = bought.price_per_node.0.minor() as f64 * machines as f64;
        let years = f64::from(bought.years);
        let rent = node_hours as f64 * self.resource().prices.reserved * f64::from(bought.campaigns_per_year) * years;
        let arrives = self.request.decided_at.plus_seconds(i64::from(bought.lead_days) * 86_400);
        let ask_by = self.request.begins().plus_seconds(-i64::from(bought.lead_days) * 86_400);
        let when = if arrives <= self.request.begins() {
            "ordered now they would be there for this campaign".to_owned()
        } else {
            format!("ordered now they would be there on {}, after this campaign", arrives.in_zone(self.request.zone))
        };
        let (verdict, count) = if price < rent { ("buy", machines) } else { ("do not buy", 0) };
        let reason = format!(
            "{verdict}: {machines} machines in place of {nodes} rented nodes cost {} over {} years, renting them for {} campaigns a \
             year {}; {when}",
            plain_money(price, like),
            bought.years,
            bought.campaigns_per_year,
            plain_money(rent, like)
        );
        let until = arrives.plus_seconds((years * 365.0 * 86_400.0) as i64);
        let price = money(if count > 0 { price } else { 0.0 }, like);
        Some(Line { kind: LineKind::Buy, from: arrives, until, ask_by, count, price, reason })
    }

    fn assumptions(&self) -> Vec<String> {
        let request = self.request;
        let class = self.memory.class(&request.offer.class, request.guess());
        let expected = class.expected_kernel();
        let early: f64 =
            (0..BINS).filter(|bin| crate::campaign::bin_minutes(*bin).1 <= 18.0).map(|bin| expected.shares[bin]).sum();
        vec![
            format!(
                "{} of the recipients click, {} of them within 18 minutes ({} campaigns of class {:?} were scored; the guess was {})",
                percent(expected.click_rate),
                percent(early),
                class.campaigns(),
                request.offer.class,
                percent(request.offer.click_rate)
            ),
            format!(
                "a click makes {} requests of {} units within {} s",
                request.offer.requests_per_click, request.offer.units_per_request, request.offer.visit_seconds
            ),
            format!(
                "the load beside the campaign is as {}, give or take {}",
                if self.seasonal { "said, and beside that as the days before let expect" } else { "said" },
                percent(request.base_deviation)
            ),
            format!(
                "the first clicks are read after {NOWCAST_SECONDS} s, and a node on demand is ready {} s later",
                request.on_demand.lead_seconds
            ),
            format!(
                "{} scenario paths from seed {}; every hour begun is billed whole",
                self.forecast.loads.len(),
                request.seed
            ),
        ]
    }
}

/// A share as people read it.
pub(super) fn percent(share: f64) -> String {
    let text = format!("{:.2}", share * 100.0);
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text} %")
}

fn plain_money(minor: f64, like: super::request::Price) -> String {
    super::text::won(money(minor, like))
}
