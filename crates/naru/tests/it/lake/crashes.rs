//! kill -9 of a lake, again and again, anywhere between a fetch and a commit: rows are what was written, once each.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use tokio::task::JoinSet;

use super::process::{PAYMENTS, World, payment, write};
use crate::variables::number;

const PARTITIONS: i32 = 3;
const ROUNDS: u64 = 20;
/// What a round lasts at most before the kill: a few commits.
const ROUND_MS_MAX: u64 = 900;

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_doubled_over_rounds_of_kill_9() {
    let rounds = number("NARU_KILL_ROUNDS").unwrap_or(ROUNDS);
    let seed = number("NARU_TEST_SEED").unwrap_or(7);
    println!("NARU_TEST_SEED={seed}");
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let upkeep = "[upkeep]\ninterval = '1s'\nsmall_files_max = 3\norphan_age = '1s'\nsnapshots_max = 5";
    let mut world = World::start("idle_commit_interval = '1s'", &format!("{PAYMENTS}{upkeep}")).await;
    world.topic("payments", PARTITIONS).await;
    let (stop, written, total) =
        (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let mut writer = JoinSet::new();
    {
        let (stop, written, total, client) = (stop.clone(), written.clone(), total.clone(), world.client.clone());
        writer.spawn(async move {
            let mut next = 0u64;
            while !stop.load(Ordering::Relaxed) {
                let count = 1 + next % 37;
                let values: Vec<String> =
                    (next..next + count).map(|id| payment(id, "shop", (id % 1000) as i64)).collect();
                write(&client, "payments", (next % 3) as i32, &values).await;
                next += count;
                written.store(next, Ordering::Relaxed);
                total.store((0..next).map(|id| id % 1000).sum(), Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
    }
    for _ in 0..rounds {
        tokio::time::sleep(Duration::from_millis(random.random_range(0..ROUND_MS_MAX))).await;
        world.lake.kill().unwrap();
        world.lake.restart().await.unwrap();
    }
    stop.store(true, Ordering::Relaxed);
    writer.join_next().await.unwrap().unwrap();
    let (count, sum) = (written.load(Ordering::Relaxed), total.load(Ordering::Relaxed));
    println!("{rounds} rounds, {count} records");
    let sql = "select count(*), count(distinct id), sum(amount) from pay.payments";
    world.until(sql, &format!("{count}|{count}|{sum}")).await;
    world.until("select rows_in_memory from naru.freshness", "0").await;
    assert_eq!(world.ask(sql).await, format!("{count}|{count}|{sum}"));
}
