//! How much waits between the services and the consumers: sampled while the load runs, awaited at its end.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::ANSWER_WITHIN;
use crate::expectations::Settled;
use crate::load::Target;
use crate::observe::{self, GROUP, LONE, Lag, LagProbe};
use crate::recorder::Recorder;

/// How often the services and the log are asked how much waits.
const EVERY: Duration = Duration::from_millis(500);

/// Asks the services how many records wait in their outboxes.
#[derive(Clone)]
pub(super) struct StatusProbe {
    client: reqwest::Client,
    urls: Vec<String>,
}

#[derive(serde::Deserialize)]
struct Status {
    outbox_pending: u64,
}

impl StatusProbe {
    pub(super) fn new(targets: &[Target]) -> Result<Self, reqwest::Error> {
        let client = reqwest::Client::builder().no_proxy().timeout(ANSWER_WITHIN).build()?;
        Ok(Self { client, urls: targets.iter().map(|target| format!("{}/status", target.status_url)).collect() })
    }

    /// Of all services together; `None` if one of them gave no answer.
    async fn outbox(&self) -> Option<u64> {
        let mut sum = 0;
        for url in &self.urls {
            let response = self.client.get(url).send().await.and_then(reqwest::Response::error_for_status).ok()?;
            sum += response.json::<Status>().await.ok()?.outbox_pending;
        }
        Some(sum)
    }
}

/// Knows how much waits where.
#[derive(Clone)]
pub(super) struct Backlog {
    pub(super) status: StatusProbe,
    pub(super) probe: Arc<LagProbe>,
    pub(super) recorder: Arc<Recorder>,
}

impl Backlog {
    /// Until `over`.
    pub(super) async fn sample(self, over: CancellationToken) {
        let mut every = tokio::time::interval(EVERY);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                _ = every.tick() => {}
                () = over.cancelled() => return,
            }
            let (outbox, lag, _) = self.look().await;
            self.recorder.backlog(outbox, lag.map(|lag| lag.behind));
        }
    }

    /// Outbox, the group's lag, the lone reader's lag.
    async fn look(&self) -> (Option<u64>, Option<Lag>, Option<Lag>) {
        let outbox = self.status.outbox().await;
        let probe = Arc::clone(&self.probe);
        // librdkafka's question for a partition's end blocks. A panic in it is an unknown lag.
        let ends = tokio::task::spawn_blocking(move || probe.ends()).await.ok().flatten();
        let lag = |group| ends.as_ref().map(|ends| observe::lag(&self.recorder, group, ends));
        (outbox, lag(GROUP), lag(LONE))
    }

    /// Waits until nothing waits any more, up to `bound`; `shown` is called between two looks.
    pub(super) async fn settle(&self, bound: Duration, mut shown: impl FnMut()) -> Settled {
        let deadline = tokio::time::Instant::now() + bound;
        let mut every = tokio::time::interval(EVERY);
        loop {
            every.tick().await;
            let (outbox, lag, lone_lag) = self.look().await;
            let (lag, lone_lag) = (lag.map(Lag::from_rest), lone_lag.map(Lag::from_rest));
            let at_rest = [outbox, lag, lone_lag].iter().all(|left| *left == Some(0));
            if at_rest || tokio::time::Instant::now() >= deadline {
                return Settled { outbox, lag, lone_lag, observations_dropped: 0 };
            }
            shown();
        }
    }
}
