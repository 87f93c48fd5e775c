#![allow(clippy::unwrap_used)] // a test panics on failure
//! What forgets offsets, beside commits that the log has not written yet.

use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::task::Poll;

use super::*;
use crate::standin::storage::DiskConfig;

async fn is_pending(mut future: Pin<&mut impl Future>) -> bool {
    std::future::poll_fn(|context| Poll::Ready(future.as_mut().poll(context).is_pending())).await
}

#[tokio::test]
async fn a_commit_on_its_way_to_the_log_is_neither_expired_nor_deleted_nor_overlooked() {
    let data = tempfile::tempdir().unwrap();
    let mut config = StandinConfig::new(data.path(), SocketAddr::from(([127, 0, 0, 1], 0)));
    config.offsets_retention = Duration::ZERO;
    let disk = Disk::start(&DiskConfig::default());
    let mut coordinator = Coordinator::open(&config, &disk, Arc::new(Clock::new()), &["t".to_owned()]).await.unwrap();
    // The log's place is taken by this test.
    let (journal, mut commands) = mpsc::channel(COMMANDS_MAX);
    coordinator.journal = journal;
    coordinator.found();
    let committed =
        Committed { offset: 5, leader_epoch: -1, metadata: String::new(), committed_at_ms: 0, expires_at_ms: None };
    let claim = Claim { generation: -1, member_id: "", instance: None };
    let mut commit = pin!(coordinator.commit("g", claim, vec![("t".to_owned(), 0, committed)]));
    assert!(is_pending(commit.as_mut()).await);

    assert_eq!(coordinator.delete("g").await, Err(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS));
    coordinator.expire().await;
    let mut forget = pin!(coordinator.forget_topic("t"));
    assert!(is_pending(forget.as_mut()).await);

    let mut sent = Vec::new();
    while let Ok(command) = commands.try_recv() {
        let mut state = lock(&coordinator.state);
        for change in &command.changes {
            let Change::Offset { committed, .. } = change else { panic!("{change:?}") };
            sent.push(committed.as_ref().map(|committed| committed.offset));
            state.apply(change);
            state.settled(change);
        }
        command.done.unwrap().send(Ok(())).unwrap();
    }
    assert_eq!(sent, [Some(5), None], "the commit, then what forgets it; nothing of the group's expiry");
    assert_eq!(commit.await, Ok(()));
    forget.await;
    assert_eq!(coordinator.look("g", |entry| (entry.offsets.len(), entry.committing.len())), Some((0, 0)));
    assert_eq!(coordinator.delete("g").await, Ok(()));
}
