//! Looks at targets: whether they take connections, whether they answer, and what they show.

use std::time::Duration;

use naru_runtime::clocks::{SystemClock, WallClock as _, millis};
use naru_runtime::config::HostPort;
use naru_runtime::exposition::{Sample, parse};
use tokio::net::TcpStream;
use tokio::sync::mpsc::Sender;
use tokio::time::{MissedTickBehavior, interval_at, timeout};
use tokio_util::sync::CancellationToken;

use crate::config::TargetConfig;
use crate::engine::Scrape;

/// Longest text of metrics; a gateway with all its sites has a tenth of it.
const TEXT_BYTES_MAX: usize = 4 << 20;

/// Time as the watch tells it: the date at its start and what has passed since, so that a clock that is set moves nothing.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    clock: SystemClock,
    start_unix_ms: i64,
}

impl Times {
    /// From now.
    pub fn new() -> Self {
        let clock = SystemClock::new();
        Self { start_unix_ms: clock.unix_ms(), clock }
    }

    /// Now, in milliseconds since 1970, UTC.
    pub fn now_ms(&self) -> i64 {
        self.start_unix_ms + millis(self.clock.monotonic())
    }
}

impl Default for Times {
    fn default() -> Self {
        Self::new()
    }
}

/// Looks at one target until told to stop, and tells what it found.
pub async fn run(
    (place, target): (usize, TargetConfig),
    (every, answer_max): (Duration, Duration),
    times: Times,
    http: reqwest::Client,
    found: Sender<Scrape>,
    stop: CancellationToken,
) {
    // Spread over the interval, so that a hundred targets are not asked in one instant.
    let offset = every.mul_f64((place % 16) as f64 / 16.0);
    let mut ticks = interval_at(tokio::time::Instant::now() + offset, every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let at_unix_ms = times.now_ms();
        let scrape = tokio::select! {
            () = stop.cancelled() => return,
            (missing, samples) = look(&target, answer_max, &http) => Scrape { target: place, at_unix_ms, missing, samples },
        };
        // The engine has ended with the process.
        if found.send(scrape).await.is_err() {
            return;
        }
    }
}

/// One look: everything at once, each within `answer_max`.
async fn look(
    target: &TargetConfig,
    answer_max: Duration,
    http: &reqwest::Client,
) -> (Option<&'static str>, Vec<Sample>) {
    let probe = async {
        match &target.probe {
            Some(at) => connects(at, answer_max).await,
            None => true,
        }
    };
    let metrics = async {
        match &target.metrics {
            Some(at) => read(http, &format!("http://{at}/metrics"), answer_max).await.map(|text| parse(&text).samples),
            None => Some(Vec::new()),
        }
    };
    let status = async {
        match &target.status {
            Some(page) => read(http, &format!("http://{page}"), answer_max).await.is_some(),
            None => true,
        }
    };
    let (probe, metrics, status) = tokio::join!(probe, metrics, status);
    let missing = match (probe, &metrics, status) {
        (false, ..) => Some("port"),
        (_, None, _) => Some("metrics"),
        (.., false) => Some("status"),
        _ => None,
    };
    (missing, metrics.unwrap_or_default())
}

async fn connects(at: &HostPort, answer_max: Duration) -> bool {
    matches!(timeout(answer_max, TcpStream::connect((at.host.as_str(), at.port))).await, Ok(Ok(_)))
}

/// A page, if it is given whole, in time and within the bound.
async fn read(http: &reqwest::Client, url: &str, answer_max: Duration) -> Option<String> {
    let answer = http.get(url).timeout(answer_max).send().await.ok()?;
    let mut answer = answer.error_for_status().ok()?;
    let mut text = Vec::new();
    while let Some(chunk) = answer.chunk().await.ok()? {
        if text.len() + chunk.len() > TEXT_BYTES_MAX {
            return None;
        }
        text.extend_from_slice(&chunk);
    }
    String::from_utf8(text).ok()
}
