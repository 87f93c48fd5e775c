//! The live display: bars on a terminal, plain lines elsewhere. Goes to stderr; the verdict goes to stdout.

use std::io::IsTerminal;
use std::sync::atomic::Ordering;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::plan::Plan;
use crate::recorder::{Mark, MarkKind, Recorder};
use crate::scenario::Scenario;

/// How often the figures on a terminal move.
pub const TICK: Duration = Duration::from_millis(500);
/// Ticks between two plain lines: a log wants fewer.
const TICKS_PER_LINE: u64 = 4;

/// Shows where the run is.
#[derive(Debug, Clone)]
pub struct Progress {
    bars: Option<Bars>,
}

#[derive(Debug, Clone)]
struct Bars {
    all: MultiProgress,
    run: ProgressBar,
    services: Vec<ProgressBar>,
    backlog: ProgressBar,
}

/// What was there at the tick before, to make rates of sums.
#[derive(Debug, Default)]
pub struct Before {
    ticks: u64,
    at_us: u64,
    sums: Vec<(u64, u64)>,
}

impl Progress {
    /// Bars if stderr is a terminal and `plain` was not asked for.
    pub fn new(scenario: &Scenario, plain: bool) -> Self {
        if plain || !std::io::stderr().is_terminal() {
            return Self { bars: None };
        }
        let all = MultiProgress::new();
        let style = |template: &str| {
            ProgressStyle::with_template(template).expect("the template is a constant").progress_chars("━╸─")
        };
        let length = u64::try_from(scenario.lasts().as_millis()).unwrap_or(u64::MAX);
        let run =
            all.add(ProgressBar::new(length).with_style(style("{spinner:.cyan} {msg:34!} {bar:40.cyan/dim} {prefix}")));
        run.enable_steady_tick(Duration::from_millis(120));
        let line = |name: &str| {
            let bar =
                ProgressBar::no_length().with_style(style("  {prefix:10.bold} {msg}")).with_prefix(name.to_owned());
            all.add(bar)
        };
        let services = scenario.services.iter().map(|service| line(service.kind.name())).collect();
        let backlog = line("consumers");
        Self { bars: Some(Bars { all, run, services, backlog }) }
    }

    /// Says what is being done outside the phases.
    pub fn stage(&self, text: &str) {
        match &self.bars {
            Some(bars) => bars.run.set_message(text.to_owned()),
            None => self.line(text),
        }
    }

    /// Shows a fault, or its end.
    pub fn mark(&self, mark: &Mark) {
        let sign = match mark.kind {
            MarkKind::Killed | MarkKind::Paused | MarkKind::Left | MarkKind::Switching => "x",
            MarkKind::Answering | MarkKind::Continued | MarkKind::Joined | MarkKind::Switched | MarkKind::Pointed => {
                "+"
            }
        };
        self.line(&format!("{sign} {:7.3} s  {} {}", mark.at_us as f64 / 1e6, mark.subject, mark.kind.name()));
    }

    fn line(&self, text: &str) {
        match &self.bars {
            // A display that cannot be written to is no reason to stop the run.
            Some(bars) => {
                if bars.all.println(text).is_err() {
                    tracing::debug!("the display is gone");
                }
            }
            None => eprintln!("{text}"),
        }
    }

    /// Shows the figures of now.
    pub fn tick(&self, scenario: &Scenario, plan: &Plan, recorder: &Recorder, before: &mut Before) {
        let now_us = recorder.clock().now_us();
        let elapsed = (now_us.saturating_sub(before.at_us)).max(1) as f64 / 1e6;
        let now = Duration::from_micros(now_us);
        let phase = &scenario.phases[plan.phase_at(now)].name;
        before.sums.resize(scenario.services.len(), (0, 0));
        let mut texts = Vec::with_capacity(scenario.services.len());
        for (index, live) in recorder.live().iter().enumerate() {
            let planned_us = before.at_us..now_us;
            let due =
                plan.operations.iter().filter(|o| usize::from(o.service) == index && planned_us.contains(&o.at_us));
            let (sent, acknowledged) = (live.sent.load(Ordering::Relaxed), live.acknowledged.load(Ordering::Relaxed));
            let rate = (acknowledged - before.sums[index].1) as f64 / elapsed;
            let planned = due.count() as f64 / elapsed;
            before.sums[index] = (sent, acknowledged);
            let p99 = recorder.take_p99_us(index).map_or("-".to_owned(), |us| format!("{:.0} ms", us as f64 / 1e3));
            let (failed, unknown) = (live.failed.load(Ordering::Relaxed), live.unknown.load(Ordering::Relaxed));
            texts.push(format!(
                "planned {planned:4.0}/s  acked {rate:4.0}/s  failed {failed}  unknown {unknown}  p99 {p99:>8}"
            ));
        }
        let waiting = |count: Option<u64>| count.map_or("?".to_owned(), |count| count.to_string());
        let backlog = recorder.last_backlog();
        let backlog = format!(
            "outbox {:>5}  lag {:>5}  observations {}",
            waiting(backlog.and_then(|sample| sample.outbox)),
            waiting(backlog.and_then(|sample| sample.lag)),
            recorder.observations()
        );
        before.at_us = now_us;
        before.ticks += 1;
        match &self.bars {
            Some(bars) => {
                bars.run.set_position(u64::try_from(now.as_millis()).unwrap_or(u64::MAX));
                bars.run.set_message(phase.clone());
                bars.run.set_prefix(format!("{:.0} / {:.0} s", now.as_secs_f64(), plan.end().as_secs_f64()));
                for (bar, text) in bars.services.iter().zip(texts) {
                    bar.set_message(text);
                }
                bars.backlog.set_message(backlog);
            }
            None if before.ticks.is_multiple_of(TICKS_PER_LINE) => {
                let services: Vec<String> = scenario
                    .services
                    .iter()
                    .zip(texts)
                    .map(|(service, text)| format!("{}: {text}", service.kind.name()))
                    .collect();
                self.line(&format!("{:5.1} s {phase:8} {} | {backlog}", now.as_secs_f64(), services.join(" | ")));
            }
            None => {}
        }
    }

    /// Clears the bars away.
    pub fn finish(&self) {
        if let Some(bars) = &self.bars {
            bars.run.finish_and_clear();
            bars.services.iter().for_each(ProgressBar::finish_and_clear);
            bars.backlog.finish_and_clear();
        }
    }
}
