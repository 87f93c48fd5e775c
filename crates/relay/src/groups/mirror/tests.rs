//! A mirror between two clusters that do not answer.

#![allow(clippy::unwrap_used)] // a test panics on failure

use naru_kafka::client::ClientConfig;

use super::*;
use crate::side::SideSet;

async fn mirror(groups_max: usize) -> (Mirror, Tasks, tempfile::TempDir) {
    let tasks = Tasks::new();
    // Discard: nothing listens.
    let clients = SideMap::from_fn(|_| Client::new(ClientConfig::new(["127.0.0.1:9".to_owned()])).unwrap());
    let held = Standing { active: Side::A, in_sync: SideSet::only(Side::A), epoch: 1 };
    let group = GroupConfig {
        settle_ms: SETTLE_MS,
        retry_ms: RETRY_MS,
        suspect_after_ms: 1_000,
        waiting_max: WAITING_MAX,
        #[cfg(feature = "mutation")]
        mutant: None,
    };
    let directory = tempfile::tempdir().unwrap();
    let state = Arc::new(State::open(directory.path()).await.unwrap());
    let config = MirrorConfig { group, settled_at: 0, adopts: false };
    let mirror = Mirror::new(config, clients, SideMap::default(), held, state, &tasks);
    (Mirror { groups_max, ..mirror }, tasks, directory)
}

async fn ready(mirror: &Mirror, name: &str) {
    let mut status = mirror.group(name).unwrap().watch();
    status.wait_for(|status| status.view.ready).await.unwrap();
}

#[tokio::test]
async fn names_that_nobody_has_make_room_again_and_what_is_held_stays() {
    let (mirror, _tasks, _directory) = mirror(3).await;
    for name in ["asked", "held", "used"] {
        ready(&mirror, name).await;
    }
    assert_eq!(mirror.group("new").unwrap_err(), ErrorCode::COORDINATOR_NOT_AVAILABLE);
    let asked_at = clock::now();
    mirror.let_go(asked_at);
    assert!(mirror.group("new").is_err(), "they were asked for a moment ago");

    let held = mirror.group("held").unwrap();
    let gone = mirror.group("asked").unwrap().watch();
    mirror.groups().get_mut("used").unwrap().used = asked_at + 1_000;
    mirror.let_go(asked_at + UNUSED_MS_MAX + 500);
    let mut names: Vec<_> = mirror.groups().keys().map(ToString::to_string).collect();
    names.sort();
    assert_eq!(names, ["held", "used"]);
    assert!(held.watch().has_changed().is_ok());
    let mut gone = gone;
    while gone.changed().await.is_ok() {}
    assert!(mirror.group("new").is_ok());
}
