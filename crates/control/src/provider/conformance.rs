//! One suite for every provider of machines.

#![allow(clippy::unwrap_used)] // a test panics on failure

use std::time::{Duration, Instant};

use naru_cloud_sim::config::CloudSimConfig;
use naru_runtime::config::Sources;
use naru_runtime::tasks::Tasks;

use super::cloud::Cloud;
use super::local::Local;
use super::{Provider, ProviderError, Seen, SeenState, Shape, Wanted};
use crate::resource::Market;

/// Longer than anything here takes beside a compiler.
const PATIENCE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);

fn wanted(key: &str) -> Wanted {
    let command = vec!["sleep".to_owned(), "600".to_owned()];
    let shape = Shape::Machine { flavor: "small".to_owned(), market: Market::OnDemand, command };
    Wanted { key: key.to_owned(), resource: "suite".to_owned(), shape }
}

async fn alive(provider: &dyn Provider) -> Vec<String> {
    loop {
        match provider.observe().await {
            Ok(seen) => {
                let alive = seen.into_iter().filter(|seen| seen.state != SeenState::Gone);
                let mut keys: Vec<String> = alive.map(|seen| seen.key).collect();
                keys.sort();
                return keys;
            }
            Err(ProviderError::Throttled | ProviderError::Unknown(_)) => tokio::time::sleep(POLL).await,
            Err(error) => panic!("{error}"),
        }
    }
}

/// Waits until exactly these live.
async fn until(provider: &dyn Provider, expect: &[&str]) {
    let end = Instant::now() + PATIENCE;
    loop {
        let alive = alive(provider).await;
        if alive == expect {
            return;
        }
        assert!(Instant::now() < end, "{alive:?} in place of {expect:?}");
        tokio::time::sleep(POLL).await;
    }
}

/// Asks again while an answer is lost, as the reconciler does.
async fn create(provider: &dyn Provider, fence: u64, key: &str) -> Result<Seen, ProviderError> {
    loop {
        match provider.create(fence, &wanted(key)).await {
            Err(ProviderError::Throttled | ProviderError::Unknown(_)) => tokio::time::sleep(POLL).await,
            other => return other,
        }
    }
}

async fn delete(provider: &dyn Provider, fence: u64, seen: &Seen) -> Result<(), ProviderError> {
    loop {
        match provider.delete(fence, seen).await {
            Err(ProviderError::Throttled | ProviderError::Unknown(_)) => tokio::time::sleep(POLL).await,
            other => return other,
        }
    }
}

async fn conforms(provider: &dyn Provider) {
    // A key is one thing, however often it is asked for.
    let first = create(provider, 1, "a").await.unwrap();
    let again = create(provider, 1, "a").await.unwrap();
    assert_eq!((&first.key, &first.id), (&again.key, &again.id));
    let other = create(provider, 1, "b").await.unwrap();
    assert_ne!(first.id, other.id);
    until(provider, &["a", "b"]).await;
    // What is ended stays ended, and ending it again is done.
    delete(provider, 1, &first).await.unwrap();
    delete(provider, 1, &first).await.unwrap();
    until(provider, &["b"]).await;
    assert_eq!(create(provider, 1, "a").await.unwrap().state, SeenState::Gone);
    until(provider, &["b"]).await;
    // Who was replaced changes nothing.
    create(provider, 2, "c").await.unwrap();
    let stale = create(provider, 1, "d").await;
    assert!(matches!(stale, Err(ProviderError::Stale(_))), "{stale:?}");
    let stale = delete(provider, 1, &other).await;
    assert!(matches!(stale, Err(ProviderError::Stale(_))), "{stale:?}");
    until(provider, &["b", "c"]).await;
    let third = create(provider, 2, "c").await.unwrap();
    for seen in [&other, &third] {
        delete(provider, 2, seen).await.unwrap();
    }
    until(provider, &[]).await;
}

#[tokio::test]
async fn local_processes_conform() {
    let directory = tempfile::tempdir().unwrap();
    let owner = format!("suite{}", std::process::id());
    let local = Local::new(directory.path(), &owner).unwrap();
    conforms(&local).await;
}

#[tokio::test]
async fn the_simulated_cloud_conforms_with_lost_answers_late_lists_and_throttling() {
    let directory = tempfile::tempdir().unwrap();
    let text = "listen = '127.0.0.1:0'\nvisible_max = '150ms'\nlost_answer_ppm = 300000\nrequests_burst = 5\n\
                requests_per_second = 40\n[[flavor]]\nname = 'small'\nboot_p50 = '50ms'\n";
    let text = format!("state = '{}'\n{text}", directory.path().display());
    let config = Sources::default().document("cloud.toml", text).load::<CloudSimConfig>().unwrap();
    let tasks = Tasks::new();
    let address = naru_cloud_sim::server::serve(&config, &tasks).await.unwrap();
    let cloud = Cloud::new(address, "suite", Duration::from_millis(200), PATIENCE).unwrap();
    conforms(&cloud).await;
    tasks.stop();
    tasks.drained().await;
}
