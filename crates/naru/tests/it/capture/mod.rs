//! `naru capture` from a real PostgreSQL to a log, judged by a reader of its own.

mod changes;
mod keeps;
pub(crate) mod kills;
pub(crate) mod log;
pub(crate) mod process;
pub(crate) mod tokens;

use process::World;

/// A table as a payment service has it.
const PAYMENTS: &str = "create table payments (id bigint primary key, status text not null, amount numeric(12, 2), note text, \
                        at timestamptz not null default now())";
/// Its rows as a folded log shows them.
const PAYMENTS_ROWS: &str = "select '[\"' || id || '\"]', concat_ws('|', id, status, (amount * 100)::bigint, coalesce(note, ''), \
                             (extract(epoch from at) * 1000000)::bigint) from payments";

#[tokio::test]
async fn rows_that_were_there_and_changes_after_them_are_on_the_log_once() {
    let world = World::start().await;
    world.postgres.run(PAYMENTS).await;
    world
        .postgres
        .run("insert into payments select n, 'paid', n * 1.25, 'tab\tand\\N ' || n from generate_series(1, 1000) n")
        .await;
    let mut capture = world.capture(&world.config("", &World::tables(&["payments"]))).await;
    capture.until("streaming", |report| report.phase == "streaming").await;
    for sql in [
        "insert into payments values (2001, 'new', 0.01, null)",
        "update payments set status = 'sent' where id <= 10",
        "update payments set id = id + 5000 where id between 20 and 25",
        "delete from payments where id between 30 and 40",
        "begin; insert into payments values (3000, 'gone', 1, ''); rollback",
        "begin; insert into payments select n, 'batch', 1, 'b' from generate_series(4000, 4500) n; delete from payments where id = 4001; commit",
    ] {
        world.postgres.run(sql).await;
    }
    let log = world.equal("pay.payments", PAYMENTS_ROWS).await;
    assert_eq!(log.repeats("pay.payments"), 0);
    let begins = log.changes["pay.payments"].iter().filter(|change| change.op == "begin").count();
    assert_eq!(begins, 3, "one in each partition");
    world.postgres.run("truncate payments").await;
    world.equal("pay.payments", PAYMENTS_ROWS).await;
    assert!(capture.stop().await.success());
}

#[tokio::test]
async fn a_capture_that_was_killed_goes_on_where_the_log_ends() {
    let world = World::start().await;
    world.postgres.run(PAYMENTS).await;
    let config = world.config("", &World::tables(&["payments"]));
    for round in 0..4 {
        let mut capture = world.capture(&config).await;
        let insert = |from: i32| {
            format!("insert into payments select n, 'paid', 1, 'x' from generate_series({from}, {from} + 499) n")
        };
        world.postgres.run(&insert(round * 1000)).await;
        capture.until("a position", |report| report.position > 0).await;
        world.postgres.run(&insert(round * 1000 + 500)).await;
        capture.kill();
    }
    let _capture = world.capture(&config).await;
    let log = world.equal("pay.payments", PAYMENTS_ROWS).await;
    assert_eq!(log.repeats("pay.payments"), 0);
}
