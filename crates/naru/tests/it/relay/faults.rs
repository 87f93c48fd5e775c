//! What can happen to a side, or to the relay, beside its death: each under load, after each the sides are equal and hold
//! what was acknowledged.

use std::time::{Duration, Instant};

use naru_kafka::node::{Node, NodeKind, NodeOptions, Signal};
use naru_relay::Side;
use naru_relay::Side::{A, B};
use naru_relay::status::{AlarmStatus, GroupStatus, Mode};

use super::lost_side::{Load, PARTITIONS, ask, await_group, check_everywhere, longest_stall};
use super::preflight::write;
use super::process::{PATIENCE, Pair};

/// For as long as the fault is there.
const ALWAYS: u64 = 1_000_000;
/// Longer than the lease, ten seconds.
const BEYOND_LEASE: Duration = Duration::from_secs(12);

fn duplex(group: &GroupStatus) -> bool {
    group.mode == Mode::Duplex && group.alarms.is_empty()
}

fn alarms(group: &GroupStatus) -> Vec<&str> {
    group.alarms.iter().map(|alarm| alarm.name.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_side_that_answers_and_takes_nothing_is_gone_on_without_and_comes_back() {
    let full = r#"{"disk_full": true}"#.to_owned();
    let refusing = |error: &str| format!(r#"{{"api": "Produce", "count": {ALWAYS}, "error": "{error}"}}"#);
    let slow = format!(r#"{{"api": "Produce", "count": {ALWAYS}, "delay_ms": 20000}}"#);
    let policy = refusing("POLICY_VIOLATION");
    let faults = [&full, &refusing("NOT_ENOUGH_REPLICAS"), &policy, &slow];

    let pair = Pair::start().await;
    pair.create_topic("payments", PARTITIONS).await;
    let relay = pair.relay("relay", "").await;
    let client = relay.await_topic("payments", PARTITIONS as usize).await;
    let mut before = await_group(&pair, "duplex", duplex).await;
    let load = Load::start(relay.bootstrap());
    for fault in faults {
        for side in Side::BOTH {
            // What the active side refuses for good is the client's to hear, as it would without a relay.
            if fault == &policy && side == before.active {
                continue;
            }
            pair.fault(side, fault).await;
            let without = format!("without {side} on {fault}");
            let group =
                await_group(&pair, &without, |group| group.mode == Mode::Solo && group.active == side.other()).await;
            assert!(alarms(&group).contains(&"solo"), "{without}: {group:?}");
            let last = |of: &GroupStatus| of.last_takeover.as_ref().map(|takeover| takeover.at_ms);
            let moved = last(&group) != last(&before);
            assert_eq!(moved, before.active == side, "{without}: {group:?}");
            pair.mend(side).await;
            before = await_group(&pair, &format!("duplex again after {fault} at {side}"), duplex).await;
        }
    }
    let acked = load.end().await;
    check_everywhere(&pair, &client, &acked).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_past_the_relay_is_undone_and_leaves_a_trace() {
    let pair = Pair::start().await;
    pair.create_topic("payments", PARTITIONS).await;
    let relay = pair.relay("relay", "").await;
    let client = relay.await_topic("payments", PARTITIONS as usize).await;
    let before = await_group(&pair, "complete", GroupStatus::is_well).await;
    assert_eq!(before.last_rebuild, None);
    write(&pair.clients[before.active.other()], "payments", &["past the relay"]).await;
    // It shows when the relay writes there next.
    let load = Load::start(relay.bootstrap());
    let rebuilt = |group: &GroupStatus| group.is_well() && group.last_rebuild.is_some();
    let rebuild = await_group(&pair, "rebuilt", rebuilt).await.last_rebuild.unwrap();
    assert_eq!((rebuild.side, rebuild.topics.first), (before.active.other(), vec!["payments".to_owned()]));
    assert!(rebuild.because.contains("payments-0"), "{}", rebuild.because);
    assert_eq!(relay.metric("relay_topics_rebuilt_total").await, rebuild.topics_in_all);
    let acked = load.end().await;
    check_everywhere(&pair, &client, &acked).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_side_is_waited_for() {
    let pair = Pair::start().await;
    pair.create_topic("payments", PARTITIONS).await;
    // A test beside compilers may be held up for as long as the relay waits by default.
    let relay = pair.relay("relay", "suspect_after = '10s'\ntakeover_after = '10s'\nrequest_timeout = '20s'").await;
    let client = relay.await_topic("payments", PARTITIONS as usize).await;
    let before = await_group(&pair, "duplex", duplex).await;
    let load = Load::start(relay.bootstrap());
    for side in Side::BOTH {
        pair.fault(side, r#"{"api": "Produce", "count": 10, "delay_ms": 1500}"#).await;
    }
    let deadline = Instant::now() + PATIENCE;
    while load.acknowledged() < 60 {
        assert!(Instant::now() < deadline, "{} acknowledged", load.acknowledged());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let after = await_group(&pair, "duplex", duplex).await;
    assert_eq!((before.active, None), (after.active, after.last_takeover), "no change of sides");
    assert!(!relay.log().contains("acknowledges alone"), "the slow side was left out for a while");
    let acked = load.end().await;
    check_everywhere(&pair, &client, &acked).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_slept_beyond_its_lease_goes_on_with_a_new_one() {
    let pair = Pair::start().await;
    pair.create_topic("payments", PARTITIONS).await;
    let relay = pair.relay("relay", "").await;
    let client = relay.await_topic("payments", PARTITIONS as usize).await;
    await_group(&pair, "duplex", duplex).await;
    let load = Load::start(relay.bootstrap());
    let deadline = Instant::now() + PATIENCE;
    for round in 1..=2 {
        relay.signal(Signal::SIGSTOP);
        let before = load.acknowledged();
        // Not a wait for something: how long it sleeps.
        tokio::time::sleep(BEYOND_LEASE).await;
        assert!(load.acknowledged() <= before + 1, "nobody else acknowledges");
        relay.signal(Signal::SIGCONT);
        while load.acknowledged() < before + 20 {
            assert!(Instant::now() < deadline, "round {round}: {} acknowledged", load.acknowledged());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    await_group(&pair, "duplex", duplex).await;
    let acked = load.end().await;
    assert!(longest_stall(&acked) >= BEYOND_LEASE);
    check_everywhere(&pair, &client, &acked).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_cluster_behind_a_sides_address_is_neither_written_nor_read() {
    let mut pair = Pair::start().await;
    pair.create_topic("payments", PARTITIONS).await;
    let relay = pair.relay("relay", "").await;
    let client = relay.await_topic("payments", PARTITIONS as usize).await;
    await_group(&pair, "duplex", duplex).await;
    let load = Load::start(relay.bootstrap());
    for (side, other) in [(B, A), (A, B)] {
        let port = pair.nodes[side].address().port();
        pair.nodes[side].kill().unwrap();
        let kind = NodeKind::StandIn { exe: env!("CARGO_BIN_EXE_naru").into() };
        let mut options = NodeOptions::new(kind, pair.path(&format!("stranger-{side}")));
        options.port = Some(port);
        let stranger = Node::start(options).await.unwrap();
        let group = await_group(&pair, "on one side, with the alarm", |group| {
            group.active == other && group.mode == Mode::Solo && alarms(group).contains(&"wrong-cluster")
        })
        .await;
        assert_eq!(ask(pair.path("relay").join("state"), "status", &[]).await.0, 3, "{group:?}");
        let says_id = |alarm: &AlarmStatus| alarm.name == "wrong-cluster" && alarm.text.contains(": it shows the id ");
        assert!(group.alarms.iter().any(says_id), "what to set `cluster_id` to: {group:?}");
        let there = super::process::client(stranger.address());
        let topics = there.metadata(None).await.unwrap().topics;
        assert!(topics.is_empty(), "made on the wrong cluster: {topics:?}");
        drop(stranger);
        pair.nodes[side].restart().await.unwrap();
        await_group(&pair, "duplex again", duplex).await;
    }
    let acked = load.end().await;
    check_everywhere(&pair, &client, &acked).await;
}
