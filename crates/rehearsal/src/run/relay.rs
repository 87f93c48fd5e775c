//! The relay of a run: started between its clusters, asked, switched, stopped.

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use super::role::{self, Process};
use super::{ANSWER_WITHIN, Options, PARTITIONS, RehearsalError};
use crate::recorder::Recorder;
use crate::relay_status::{self, Standing};
use crate::scenario::Relay;
use crate::service_process::Listen;
use crate::state::State;

/// As the report names it.
pub(super) const NAME: &str = "relay";
/// How often the relay is asked how it stands: fine enough for a picture of a takeover.
const ASK_EVERY: Duration = Duration::from_millis(200);
/// How long the relay may take to show the topics that were made on its clusters.
const TOPICS_WITHIN: Duration = Duration::from_secs(30);
/// How long a planned switch may take before it counts as one that did not happen.
const SWITCH_WITHIN: Duration = Duration::from_secs(60);

/// Writes the relay's configuration, starts it, and waits until it shows every topic.
pub(super) async fn start(
    options: &Options,
    state: &State,
    relay: &Relay,
    bootstraps: &[String],
    topics: &[String],
) -> Result<Process, RehearsalError> {
    let dir = state.child(NAME);
    let text = configuration(relay, &dir.join("state"), &bootstraps[relay.a], &bootstraps[relay.b]);
    let listen = Listen::Flag(Ipv4Addr::LOCALHOST.into());
    let process = role::start(options, NAME, (dir, listen), &text).await?;
    await_topics(&process.address().to_string(), topics).await?;
    Ok(Arc::new(Mutex::new(process)))
}

/// Everything belongs to one service group: a scenario moves all of it together.
fn configuration(relay: &Relay, state: &Path, a: &str, b: &str) -> String {
    format!(
        "state = {state:?}\n\
         # Topics are made on both clusters before the relay starts.\n\
         discovery_interval = \"200ms\"\n\n\
         [a]\nbootstrap = [{a:?}]\n\n[b]\nbootstrap = [{b:?}]\n\n\
         [[group]]\nname = {:?}\ntopics = [\"*\"]\nconsumers = [\"*\"]\n",
        relay.group
    )
}

async fn await_topics(bootstrap: &str, topics: &[String]) -> Result<(), RehearsalError> {
    let failed = |source| RehearsalError::RelayTopics { source };
    let config = naru_kafka::client::ClientConfig::new([bootstrap]);
    let client = naru_kafka::client::Client::new(config).map_err(failed)?;
    for topic in topics {
        client.await_topic(topic, PARTITIONS.unsigned_abs() as usize, TOPICS_WITHIN).await.map_err(failed)?;
    }
    if !client.shutdown(ANSWER_WITHIN).await {
        tracing::debug!("connections to the relay were cut");
    }
    Ok(())
}

/// Asks the relay over HTTP.
#[derive(Debug, Clone)]
pub(super) struct Asker {
    process: Process,
    http: reqwest::Client,
    group: String,
}

impl Asker {
    pub(super) fn new(process: &Process, relay: &Relay) -> Result<Self, reqwest::Error> {
        let http = reqwest::Client::builder().no_proxy().timeout(SWITCH_WITHIN).build()?;
        Ok(Self { process: Arc::clone(process), http, group: relay.group.clone() })
    }

    /// The address changes with every start; a relay that is being started has none to ask.
    fn url(&self, path: &str) -> Option<String> {
        let process = self.process.try_lock().ok()?;
        let address = process.ready_field("status")?;
        Some(format!("http://{address}{path}"))
    }

    /// How the group stands; `None` if the relay gave no answer.
    pub(super) async fn standing(&self) -> Option<Standing> {
        let asked = self.http.get(self.url("/status")?).timeout(ANSWER_WITHIN).send().await;
        let answer = asked.and_then(reqwest::Response::error_for_status).ok()?;
        relay_status::standing_of(&answer.json().await.ok()?, &self.group)
    }

    /// Makes a side the active one, in order. An error is what the relay said, or that it said nothing.
    pub(super) async fn switch(&self, to: &str) -> Result<(), String> {
        let url = self.url("/switch").ok_or("it has no address to ask")?;
        let order = serde_json::json!({ "group": self.group, "to": to });
        let answer = self.http.post(url).json(&order).send().await.map_err(|error| error.to_string())?;
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        let said = answer.text().await.map_err(|error| error.to_string())?;
        Err(format!("{status}: {said}"))
    }

    /// Notes how the group stands, until `over`.
    pub(super) async fn sample(self, recorder: Arc<Recorder>, over: CancellationToken) {
        let mut every = tokio::time::interval(ASK_EVERY);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                _ = every.tick() => {}
                () = over.cancelled() => return,
            }
            recorder.standing(self.standing().await);
        }
    }

    /// Waits until both sides are in sync, up to `bound`, and gives the last answer.
    pub(super) async fn settle(&self, bound: Duration) -> Option<Standing> {
        let deadline = tokio::time::Instant::now() + bound;
        let mut every = tokio::time::interval(ASK_EVERY);
        loop {
            every.tick().await;
            let standing = self.standing().await;
            let is_whole = standing.as_ref().is_some_and(|standing| standing.in_sync.len() == 2);
            if is_whole || tokio::time::Instant::now() >= deadline {
                return standing;
            }
        }
    }
}
