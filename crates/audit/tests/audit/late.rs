//! A cluster that has a mark before what is in front of it, as one that catches up has; and a chain that is gone.

use std::sync::Arc;
use std::time::Duration;

use naru_audit::auditor::{AuditError, Auditor};
use naru_audit::certificate::Verdict;
use naru_runtime::clocks::SystemClock;

use crate::lake::Table;
use crate::world::{Change, Clusters, World, certificates};

fn change(position: i64) -> Change {
    Change {
        partition: 0,
        position,
        sequence: 0,
        at: Change::AT,
        op: "insert",
        key: format!("[\"{position}\"]"),
        id: position,
        cents: Some(position),
        note: None,
    }
}

/// Everybody has it, but for the second cluster, and all are told that they do.
async fn without_b(world: &World<'_>, table: &mut Table, position: i64) {
    world.write(0, &[change(position)]).await;
    table.append(&[change(position)]);
    table.commit(position).await;
    world.mark(position).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_catches_up_is_waited_for() {
    let clusters = Clusters::start().await;
    let world = World::new(&clusters, "settle").await;
    let mut table = Table::create(&world.warehouse, &world.name).await;
    let mut config = world.config("");
    config.settle_max = Duration::from_secs(60);
    let mut auditor = Auditor::open(config, Arc::new(SystemClock::new())).await.unwrap();
    without_b(&world, &mut table, 1).await;
    // The window is in hand for as long as nothing comes.
    let b = [change(1)];
    let late = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        world.write(1, &b).await;
    };
    let (certificate, ()) = tokio::join!(auditor.window(0), late);
    assert_eq!(certificate.unwrap().unwrap().verdict, Verdict::Equal);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_too_late_is_proved_again_and_is_not_of_the_next_window() {
    let clusters = Clusters::start().await;
    let world = World::new(&clusters, "late").await;
    let mut table = Table::create(&world.warehouse, &world.name).await;
    let mut auditor = world.auditor("").await;
    without_b(&world, &mut table, 1).await;
    assert_eq!(auditor.window(0).await.unwrap().unwrap().verdict, Verdict::Different);
    world.write(1, &[change(1)]).await;
    assert!(auditor.window(0).await.unwrap().is_none());
    without_b(&world, &mut table, 2).await;
    world.write(1, &[change(2)]).await;
    auditor.window(0).await.unwrap().unwrap();
    let verdicts: Vec<_> = certificates(&world.state).iter().map(|one| (one.window.to, one.verdict)).collect();
    assert_eq!(verdicts, [(1, Verdict::Different), (1, Verdict::Equal), (2, Verdict::Equal)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_that_stays_different_keeps_no_other_from_being_proved_again() {
    let clusters = Clusters::start().await;
    let world = World::new(&clusters, "queue").await;
    let mut table = Table::create(&world.warehouse, &world.name).await;
    let mut auditor = world.auditor("").await;
    for position in [1, 2] {
        without_b(&world, &mut table, position).await;
        // The first is never mended.
        assert_eq!(auditor.window(0).await.unwrap().unwrap().verdict, Verdict::Different);
    }
    world.write(1, &[change(2)]).await;
    for _ in 0..2 {
        auditor.window(0).await.unwrap();
    }
    let last = certificates(&world.state).pop().unwrap();
    assert_eq!((last.window.to, last.verdict), (2, Verdict::Equal));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_that_was_cut_is_not_continued() {
    let clusters = Clusters::start().await;
    let world = World::new(&clusters, "cut").await;
    let mut table = Table::create(&world.warehouse, &world.name).await;
    let mut auditor = world.auditor("").await;
    for position in [1, 2] {
        without_b(&world, &mut table, position).await;
        auditor.window(0).await.unwrap().unwrap();
    }
    let chain = auditor.certificates().to_owned();
    drop(auditor);
    let text = std::fs::read_to_string(&chain).unwrap();
    let open = async || Auditor::open(world.config(""), Arc::new(SystemClock::new())).await;
    for (left, expect) in [("", 0), (text.split_inclusive('\n').next().unwrap(), 1)] {
        std::fs::write(&chain, left).unwrap();
        let refused = open().await;
        assert!(matches!(refused, Err(AuditError::Cut { found, written: 2, .. }) if found == expect), "{refused:?}");
    }
    std::fs::write(&chain, text).unwrap();
    open().await.unwrap();
}
