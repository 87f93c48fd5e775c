//! DuckDB, PyIceberg and chdb read the lake's files with no Naru running.

use std::time::Duration;

use naru_kafka::node::Signal;
use tokio::process::Command;

use super::process::{PAYMENTS, World, payment};
use crate::outside::{peer, run};

async fn readers(table: &str, column: &str) -> String {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/lake/outside.py");
    let mut python = Command::new(peer("lake/bin/python"));
    run(python.args([script, table, column]), "").await
}

#[tokio::test(flavor = "multi_thread")]
async fn outside_readers_see_the_same_rows_before_and_after_compaction() {
    let mut world = World::start(
        "catalogue_listen = '127.0.0.1:0'",
        &format!("{PAYMENTS}[upkeep]\ninterval = '1s'\nsmall_files_max = 3\n"),
    )
    .await;
    world.topic("payments", 2).await;
    let mut sum = 0;
    for round in 0..10u64 {
        let values: Vec<String> = (0..50).map(|id| payment(round * 50 + id, "shop", id as i64)).collect();
        sum += (0..50).sum::<i64>();
        world.write("payments", (round % 2) as i32, &values).await;
        world.until("select count(*), sum(rows_in_memory) from naru.freshness", "1|0").await;
    }
    let expect = format!("{}|500|{sum}", 500);
    world.until("select count(*), count(distinct id), sum(amount) from pay.payments", &expect).await;
    world.until("select files <= 4 from naru.freshness", "t").await;
    let row = format!("[500, 500, {sum}]");
    let url = format!("http://{}", world.lake.ready_field("catalogue").unwrap());
    assert_eq!(readers(&url, "amount").await.trim(), format!("{{\"rest\": {row}}}"));
    world.lake.signal(Signal::SIGSTOP).unwrap();
    let table = world.warehouse().join("pay/payments");
    let told = readers(table.to_str().unwrap(), "amount").await;
    world.lake.signal(Signal::SIGCONT).unwrap();
    assert_eq!(told.trim(), format!("{{\"chdb\": {row}, \"duckdb\": {row}, \"pyiceberg\": {row}}}"));
    world.lake.stop(Duration::from_secs(20)).await.unwrap();
}
