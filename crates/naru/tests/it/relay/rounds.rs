//! SIGKILL and SIGSTOP of two clusters and the relay between them, under load and over each other.
//!
//! A session is one relay and its two stand-ins; each round strikes one to three of the three processes at moments that
//! the seed draws, while idempotent producers write and a consumer group reads through the relay. When the rounds are
//! over, what was acknowledged stands on both sides, once, at its offset and in the order sent, and the group was given
//! all of it, in order and never from below what it had committed.

mod cluster;
mod judge;
mod load;

use std::time::Duration;

use rand::seq::IndexedRandom as _;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use self::cluster::{Cast, Role};
use self::load::Load;
use crate::kill::Plan;

const TOPIC: &str = "rounds";
const PARTITIONS: i32 = 4;

/// Rounds of one relay: enough for takeovers there and back, few enough that reading its log stays short.
const ROUNDS_PER_SESSION: u32 = 20;
/// From the beginning of a round to each of its strikes: apart or over each other.
const BEGINS_MS: std::ops::Range<u64> = 0..800;
/// How long a killed process stays away: sometimes shorter than a takeover takes, sometimes longer.
const DEAD_MS: std::ops::Range<u64> = 0..1_500;
/// How long a stopped process stands still; a second is when the relay suspects a side, three the length of its lease.
const STOPPED_MS: std::ops::Range<u64> = 500..2_000;
/// In how many rounds of a hundred the next one waits until both sides are in sync: the others strike a side that is
/// catching up.
const WHOLE_AFTER_PERCENT: u32 = 50;
/// How long what was struck may take until something is acknowledged, and until both sides are in sync.
const BACK_WITHIN: Duration = Duration::from_secs(60);

/// What happens to one process in one round.
#[derive(Debug, Clone, Copy)]
struct Strike {
    role: Role,
    after_ms: u64,
    kill: bool,
    lasts_ms: u64,
}

fn strikes(rng: &mut ChaCha8Rng) -> Vec<Strike> {
    let count = [1, 1, 1, 2, 2, 3].choose(rng).copied().unwrap();
    let roles: Vec<Role> = Role::ALL.sample(rng, count).copied().collect();
    let strike = |role| {
        let kill = rng.random();
        let lasts_ms = rng.random_range(if kill { DEAD_MS } else { STOPPED_MS });
        Strike { role, after_ms: rng.random_range(BEGINS_MS), kill, lasts_ms }
    };
    roles.into_iter().map(strike).collect()
}

/// Gives what is wrong; empty if nothing is.
async fn session(seed: u64, rounds: u32) -> (Vec<String>, usize) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let cast = Cast::start().await;
    let load = Load::start(&cast.bootstrap().await, rng.random());
    load.history.progress(BACK_WITHIN).await;
    for round in 0..rounds {
        let struck = strikes(&mut rng);
        println!("session {seed}, round {round}: {struck:?}");
        let all = struck.iter().map(|strike| async {
            // Not a wait for something: the moment of the strike, and how long it lasts.
            tokio::time::sleep(Duration::from_millis(strike.after_ms)).await;
            cast.strike(strike.role, strike.kill, Duration::from_millis(strike.lasts_ms)).await;
        });
        join_all(all).await;
        load.history.progress(BACK_WITHIN).await;
        if rng.random_range(0..100) < WHOLE_AFTER_PERCENT {
            cast.await_in_sync(BACK_WITHIN).await;
        }
    }
    cast.await_in_sync(BACK_WITHIN).await;
    let (history, delivered) = load.stop(&cast.bootstrap().await, BACK_WITHIN).await;
    cast.await_settled(BACK_WITHIN).await;
    let found = judge::judge(&cast, &history, &delivered).await;
    if !found.is_empty() {
        println!("the relay's log:\n{}", cast.relay_log().await);
    }
    (found, history.acknowledged().len())
}

async fn join_all(futures: impl Iterator<Item = impl Future<Output = ()>>) {
    let mut waiting: Vec<_> = futures.map(Box::pin).collect();
    std::future::poll_fn(|context| {
        waiting.retain_mut(|future| future.as_mut().poll(context).is_pending());
        if waiting.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_relay_acknowledged_survives_the_loss_of_any_process() {
    let Plan { rounds, seed } = Plan::from_environment();
    let (mut left, mut acknowledged, mut sessions) = (rounds, 0, 0);
    while left > 0 {
        let now = left.min(ROUNDS_PER_SESSION);
        let of_session = seed.wrapping_add(sessions);
        let replay = format!(
            "NARU_KILL_SEED={of_session} NARU_KILL_ROUNDS={now} cargo test -p naru --test it relay::rounds -- --nocapture"
        );
        println!("replay: {replay}");
        let (found, count) = session(of_session, now).await;
        let first = &found[..found.len().min(40)];
        assert!(found.is_empty(), "{} findings, the first: {first:#?}\nreplay: {replay}", found.len());
        (acknowledged, sessions, left) = (acknowledged + count, sessions + 1, left - now);
    }
    println!("{rounds} rounds, {acknowledged} records acknowledged, 0 lost, 0 doubled");
}
