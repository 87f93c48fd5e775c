//! A planned switch of a group whose records one side alone acknowledges: the other first gets all of them.

use std::time::{Duration, Instant};

use naru_relay::Side;
use naru_relay::Side::{A, B};
use naru_relay::status::GroupStatus;

use super::lost_side::{Load, PARTITIONS, RESUME_MAX, ask, await_group_named, check_everywhere, longest_stall};
use super::process::{PATIENCE, Pair};

const GROUP: &str = "stream";

#[tokio::test(flavor = "multi_thread")]
async fn a_planned_switch_of_an_async_group_under_load_loses_and_doubles_nothing() {
    let pair = Pair::start().await;
    pair.create_topic("payments", PARTITIONS).await;
    let settings = format!("[[group]]\nname = '{GROUP}'\ntopics = ['payments']\nmode = 'async'\n");
    let relay = pair.relay("relay", &settings).await;
    let client = relay.await_topic("payments", PARTITIONS as usize).await;
    let state = pair.path("relay").join("state");
    await_group_named(&pair, GROUP, "complete", GroupStatus::is_well).await;

    let load = Load::start(relay.bootstrap());
    for to in [B, A] {
        let before = load.acknowledged();
        let (code, report) = ask(state.clone(), "switch", &["--group", GROUP, "--to", &to.to_string()]).await;
        let group = report.unwrap().groups.into_iter().find(|group| group.name == GROUP).unwrap();
        assert_eq!((code, group.active), (0, to), "{group:?}");
        assert_eq!(ask(state.clone(), "switch", &["--group", GROUP, "--confirm"]).await.0, 0);
        let deadline = Instant::now() + PATIENCE;
        while load.acknowledged() < before + 100 {
            assert!(Instant::now() < deadline, "nothing is acknowledged by {to}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        await_group_named(&pair, GROUP, "well again", GroupStatus::is_well).await;
    }
    let acked = load.end().await;
    let stall = longest_stall(&acked);
    assert!(stall < RESUME_MAX, "producers stood still for {stall:?}");
    let caught_up = |group: &GroupStatus| Side::BOTH.iter().all(|side| group.sides[*side].lag_records == Some(0));
    await_group_named(&pair, GROUP, "caught up", caught_up).await;
    check_everywhere(&pair, &client, &acked).await;
}
