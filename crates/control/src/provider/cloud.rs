//! Machines of a cloud with an EC2-like API: docs/api/cloud-sim.json.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{Provider, ProviderError, Seen, SeenState, Shape, Wanted};
use crate::resource::Market;

/// The tag that says in whose name a machine was rented.
const OWNER: &str = "naru-owner";
/// The tag of our own name for it.
const KEY: &str = "naru-key";

/// A cloud.
#[derive(Debug)]
pub struct Cloud {
    client: reqwest::Client,
    address: SocketAddr,
    owner: String,
    /// From asking: what was asked is done at the latest when its answer is waited for no more.
    settle: Duration,
}

#[derive(Serialize)]
struct Fence<'a> {
    owner: &'a str,
    number: u64,
}

#[derive(Deserialize)]
struct Machines {
    machines: Vec<Machine>,
}

#[derive(Deserialize)]
struct Machine {
    id: String,
    state: String,
    tags: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Refused {
    code: String,
    message: String,
}

impl Machine {
    fn seen(self) -> Option<Seen> {
        let state = match self.state.as_str() {
            "pending" => SeenState::Booting,
            "running" => SeenState::Ready,
            _ => SeenState::Gone,
        };
        Some(Seen { key: self.tags.get(KEY)?.clone(), id: self.id, state })
    }
}

impl Cloud {
    /// Rents at this address in the name of `owner`; its lists are late by `settle` at most. An answer that takes longer than
    /// `answer_max` is not waited for: asking again is harmless by the client token.
    ///
    /// # Errors
    /// When the system gives no resources for asking.
    pub fn new(
        address: SocketAddr,
        owner: &str,
        settle: Duration,
        answer_max: Duration,
    ) -> Result<Self, reqwest::Error> {
        let client = reqwest::Client::builder().timeout(answer_max).no_proxy().build()?;
        Ok(Self { client, address, owner: owner.to_owned(), settle: settle + answer_max })
    }

    async fn ask<A: for<'de> Deserialize<'de>>(
        &self,
        what: &str,
        body: &serde_json::Value,
    ) -> Result<A, ProviderError> {
        let unknown = |error: reqwest::Error| ProviderError::Unknown(naru_runtime::causes::with_causes(&error));
        let answer = self.client.post(format!("http://{}/{what}", self.address)).json(body).send().await;
        let answer = answer.map_err(unknown)?;
        if answer.status().is_success() {
            return answer.json().await.map_err(unknown);
        }
        let refused: Refused = answer.json().await.map_err(unknown)?;
        Err(match refused.code.as_str() {
            "RequestLimitExceeded" => ProviderError::Throttled,
            "InsufficientInstanceCapacity" => ProviderError::NoCapacity(refused.message),
            "StaleFence" => ProviderError::Stale(refused.message),
            "Unavailable" => ProviderError::Unknown(refused.message),
            _ => ProviderError::Refused(refused.message),
        })
    }
}

#[async_trait]
impl Provider for Cloud {
    fn settle(&self) -> Duration {
        self.settle
    }

    async fn create(&self, fence: u64, wanted: &Wanted) -> Result<Seen, ProviderError> {
        let Shape::Machine { flavor, market, .. } = &wanted.shape else {
            return Err(ProviderError::Refused("a cloud makes machines only".to_owned()));
        };
        let market = match market {
            Market::Reserved => "reserved",
            Market::OnDemand => "on_demand",
        };
        let body = serde_json::json!({
            "client_token": format!("{}-{}", self.owner, wanted.key),
            "flavor": flavor,
            "market": market,
            "count": 1,
            "tags": { OWNER: self.owner, KEY: wanted.key, "naru-resource": wanted.resource },
            "fence": Fence { owner: &self.owner, number: fence },
        });
        let machines: Machines = self.ask("run", &body).await?;
        let machine = machines.machines.into_iter().find_map(Machine::seen);
        machine.ok_or_else(|| ProviderError::Unknown("the answer names no machine".to_owned()))
    }

    async fn observe(&self) -> Result<Vec<Seen>, ProviderError> {
        let body = serde_json::json!({ "tags": { OWNER: self.owner } });
        let machines: Machines = self.ask("describe", &body).await?;
        Ok(machines.machines.into_iter().filter_map(Machine::seen).collect())
    }

    async fn delete(&self, fence: u64, seen: &Seen) -> Result<(), ProviderError> {
        let body = serde_json::json!({ "ids": [seen.id], "fence": Fence { owner: &self.owner, number: fence } });
        self.ask::<serde_json::Value>("terminate", &body).await.map(|_| ())
    }
}
