//! SIGKILL of capture, relay and lake, alone and together, while the database is written: what the lake has in the end is
//! what the database has, by whoever reads it, and no certificate of that time names a difference.

use std::time::{Duration, Instant};

use naru_audit::certificate::Verdict;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::dump;
use super::process::{PATIENCE, Process};
use super::world::World;
use crate::capture::kills::write;
use crate::variables::number;

/// Rounds of `./x test`; `./x soak lake` asks for more.
const ROUNDS: u64 = 20;
/// Side by side, so that transactions overlap.
const WRITERS: u64 = 2;
/// From one round's end to the next strike: within a copy, a batch, a commit, a rewrite of files.
const BEGINS_MS: std::ops::Range<u64> = 0..700;
/// How long what is killed stays away.
const DEAD_MS: std::ops::Range<u64> = 0..300;

async fn strike(process: &mut Process, dead: Duration) {
    process.kill();
    // Not a wait for something: how long it is away.
    tokio::time::sleep(dead).await;
    process.restart().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_doubled_between_the_database_and_the_lake() {
    let rounds = number("NARU_KILL_ROUNDS").unwrap_or(ROUNDS);
    let seed = number("NARU_KILL_SEED").unwrap_or(1);
    println!("replay: NARU_KILL_SEED={seed} NARU_KILL_ROUNDS={rounds} cargo test -p naru --test it pipeline::kills");
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut world = World::start(2000).await;
    world.until("select count(*) from pay.payments", "2000").await;
    world.start_audit().await;
    let stop = CancellationToken::new();
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        writers.spawn(write(world.postgres.options(), seed, writer, stop.clone()));
    }
    for round in 0..rounds {
        tokio::time::sleep(Duration::from_millis(random.random_range(BEGINS_MS))).await;
        let struck = [[true, false, false], [false, true, false], [false, false, true], [true, false, true], [true; 3]];
        let struck = struck.choose(&mut random).unwrap();
        let dead = Duration::from_millis(random.random_range(DEAD_MS));
        println!("round {round}: capture, relay, lake {struck:?}, away {dead:?}");
        let World { capture, relay, lake, .. } = &mut world;
        let maybe = async |process: &mut Process, is_struck: bool| {
            if is_struck {
                strike(process, dead).await;
            }
        };
        tokio::join!(maybe(capture, struck[0]), maybe(relay, struck[1]), maybe(lake, struck[2]));
    }
    stop.cancel();
    while let Some(ended) = writers.join_next().await {
        ended.unwrap();
    }
    let expect = dump::database(&world).await;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let got = dump::lake(&world).await;
        if got == expect {
            break;
        }
        let (lost, more) = (dump::differences(&expect, &got), dump::differences(&got, &expect));
        assert!(
            Instant::now() < deadline,
            "{} rows, the lake has {}; not there: {lost:?}; too many: {more:?}",
            expect.len(),
            got.len()
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    world.until("select max(rows_in_memory) from naru.freshness", "0").await;
    for reader in ["duckdb", "pyiceberg"] {
        let got = dump::files(&world, reader).await;
        let (lost, more) = (dump::differences(&expect, &got), dump::differences(&got, &expect));
        assert!(got == expect, "{reader}: {} rows; not there: {lost:?}; too many: {more:?}", got.len());
    }
    let position = world.position().await;
    let last = world.certificate(0, "of all of it", |one| one.window.to >= position).await;
    let certificates = world.certificates();
    for one in &certificates {
        assert!(one.verdict <= Verdict::Incomplete, "a false difference: {one:#?}");
    }
    assert_eq!(last.verdict, Verdict::Equal, "{last:#?}");
    let count = certificates.len();
    println!(
        "{rounds} rounds of SIGKILL, {} rows at the end, 0 lost, 0 doubled; {count} certificates without a difference",
        expect.len()
    );
}
