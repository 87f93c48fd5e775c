//! Publish latency, one batch of one 1 KiB record at a time: direct, through the relay to both sides, and through it to
//! the active side alone.

use std::time::Instant;

use naru_kafka::client::TopicPartition;
use naru_kafka::client::produce::ProduceOptions;

use crate::world::{ASYNC, Batches, Failure, World, create, quantile};

/// Rounds that count, interleaved; the same number before them warms up compilers and caches.
const ROUNDS: usize = 6;
const BATCHES_PER_ROUND: usize = 1_000;

/// Gated p50 may be this many times the direct one, and so many milliseconds more; p99 so many times.
const P50_TIMES: f64 = 2.0;
const P50_MORE_MS: f64 = 0.2;
const P99_TIMES: f64 = 2.5;
/// What an ungated publish may cost more, milliseconds.
const ADDED_MS: f64 = 0.2;

pub async fn run(world: &World) -> Result<bool, Failure> {
    let [(_, direct), (_, relay)] = world.clients()?;
    let ungated = format!("{ASYNC}-latency");
    let mut sides = Vec::new();
    for (name, client, topic) in
        [("direct", &direct, "latency"), ("gated", &relay, "latency"), ("ungated", &relay, ungated.as_str())]
    {
        create(client, topic, 1).await?;
        let batches = Batches::new((1 << 61) + i64::try_from(sides.len())?, 1024)?;
        sides.push((name, client, TopicPartition::new(topic, 0), batches, Vec::new()));
    }
    let options = ProduceOptions::default();
    for round in 0..2 * ROUNDS {
        for (_, client, at, batches, taken_ms) in &mut sides {
            for _ in 0..BATCHES_PER_ROUND {
                let batch = batches.next()?;
                let began = Instant::now();
                client.produce(at, batch, &options).await?;
                if round >= ROUNDS {
                    taken_ms.push(began.elapsed().as_secs_f64() * 1000.0);
                }
            }
        }
    }
    println!(
        "\npublish latency, 1 KiB, acks=all, one at a time, {} of each side, interleaved:",
        ROUNDS * BATCHES_PER_ROUND
    );
    println!("{:<8} {:>8} {:>8} {:>8}", "side", "p50 ms", "p99 ms", "p99.9 ms");
    for (name, _, _, _, taken_ms) in &sides {
        let at = |part| quantile(taken_ms, part);
        println!("{name:<8} {:>8.3} {:>8.3} {:>8.3}", at(0.5), at(0.99), at(0.999));
    }
    let at = |side: usize, part: f64| quantile(&sides[side].4, part);
    let p50 = at(1, 0.5) <= P50_TIMES * at(0, 0.5) + P50_MORE_MS;
    let p99 = at(1, 0.99) <= P99_TIMES * at(0, 0.99);
    let added = at(2, 0.5) - at(0, 0.5) <= ADDED_MS;
    let said = |held| if held { "held" } else { "MISSED" };
    println!("gated p50 <= {P50_TIMES} x direct + {P50_MORE_MS} ms: {}", said(p50));
    println!("gated p99 <= {P99_TIMES} x direct: {}", said(p99));
    println!("ungated p50 - direct p50 <= {ADDED_MS} ms: {}", said(added));
    Ok(p50 && p99 && added)
}
