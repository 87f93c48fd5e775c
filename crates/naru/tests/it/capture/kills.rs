//! Capture is killed again and again, in its copies and in its stream, while writers write; the log folded is the table.

use std::time::Duration;

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use sqlx::Executor as _;
use tokio_util::sync::CancellationToken;

use super::process::World;
use super::{PAYMENTS, PAYMENTS_ROWS};
use crate::variables::variable;

/// Rounds of `./x test`; a soak sets the variable, whose name must not look like an option of capture.
const ROUNDS: &str = "NARU_ROUNDS_CAPTURE";
const ROUNDS_DEFAULT: u32 = 20;
const SEED: &str = "NARU_SEED";
/// Writers side by side, so that transactions overlap.
const WRITERS: u64 = 3;

/// Transactions of all shapes until told to stop.
pub(crate) async fn write(options: sqlx::postgres::PgConnectOptions, seed: u64, writer: u64, stop: CancellationToken) {
    let mut random = ChaCha8Rng::seed_from_u64(seed ^ (writer << 32));
    let mut session =
        sqlx::Connection::connect_with(&options).await.map(|session: sqlx::PgConnection| session).unwrap();
    let mut next = 1_000_000 * (writer + 1);
    while !stop.is_cancelled() {
        let id = 1_000_000 * (writer + 1) + random.random_range(0..=next % 1_000_000);
        let sql = match random.random_range(0..10) {
            0..4 => {
                next += 1;
                format!(
                    "insert into payments values ({next}, 'new', {}, repeat('n', {}))",
                    random.random_range(0..1000),
                    random.random_range(0..50)
                )
            }
            4..7 => format!(
                "update payments set status = 's{}', amount = amount + 1 where id = {id}",
                random.random_range(0..100)
            ),
            7 => format!("delete from payments where id = {id}"),
            8 => {
                let from = next + 1;
                next += random.random_range(10..200);
                format!(
                    "begin; insert into payments select n, 'batch', 1, 'b' from generate_series({from}, {next}) n; \
                     update payments set status = 'moved' where id between {from} and {from} + 5; \
                     delete from payments where id = {from} + 7; commit"
                )
            }
            _ => {
                next += 1;
                format!(
                    "begin; update payments set id = {next} where id = {id}; insert into payments values (-{next}, 'x', 1, ''); rollback"
                )
            }
        };
        session.execute(sqlx::raw_sql(&sql)).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
        tokio::time::sleep(Duration::from_millis(random.random_range(0..4))).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_lose_nothing_and_double_nothing() {
    let rounds = variable(ROUNDS).map_or(ROUNDS_DEFAULT, |rounds| rounds.parse().unwrap());
    let seed: u64 = variable(SEED).map_or(17, |seed| seed.parse().unwrap());
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let world = World::start().await;
    world.postgres.run(PAYMENTS).await;
    world
        .postgres
        .run("insert into payments select n, 'old', n, repeat('o', 100) from generate_series(1, 20000) n")
        .await;
    let stop = CancellationToken::new();
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        writers.spawn(write(world.postgres.options(), seed, writer, stop.clone()));
    }
    let config = world.config("", &World::tables(&["payments"]));
    let mut copied = 0;
    for round in 0..rounds {
        // Every fourth round loses what was copied, so that copies are killed, too.
        let args: &[&str] = if round % 4 == 0 { &["--copy-anew"] } else { &[] };
        let mut capture = world.spawn(&config, args);
        tokio::time::sleep(Duration::from_millis(random.random_range(50..900))).await;
        capture.is_alive();
        capture.kill();
        copied += u32::from(round % 4 == 0);
    }
    stop.cancel();
    while let Some(ended) = writers.join_next().await {
        ended.unwrap();
    }
    let _capture = world.capture(&config).await;
    let log = world.equal("pay.payments", PAYMENTS_ROWS).await;
    let repeats = log.repeats("pay.payments");
    println!("seed {seed}: {rounds} kills, {copied} within or about copies, {repeats} repeats that readers skip");
}
