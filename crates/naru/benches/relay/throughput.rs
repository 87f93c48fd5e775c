//! Megabytes per CPU-second of the relay's process on the gated path, and its memory at twice what it can take.

use std::time::Instant;

use naru_kafka::client::{Client, TopicPartition};

use crate::world::{Batches, Failure, World, client, create, quantile, write};

const PARTITIONS: i32 = 4;
/// Odd, so that there is a median.
const ROUNDS: usize = 3;
const ROUND_BYTES: usize = 256 << 20;
const BATCH_BYTES: [usize; 2] = [16 << 10, 256 << 10];
/// Producers at once in the overload: each keeps its partition's pipeline full, where half of them fill the machine.
const OVERLOAD_PRODUCERS: i64 = 64;
const OVERLOAD_BYTES: usize = 512 << 20;
/// Bound of the relay's configuration on batches in flight, and on cached batches, with the process itself.
const RESIDENT_MIB_MAX: u64 = 256 + 256 + 128;

pub async fn run(world: &World) -> Result<bool, Failure> {
    println!(
        "\ngated throughput, {PARTITIONS} partitions, 5 batches in flight each, {} MiB a round:",
        ROUND_BYTES >> 20
    );
    println!("{:<8} {:>10} {:>12} {:>16}", "side", "batch KiB", "MB/s", "relay MB/CPU s");
    let mut number = 0;
    for batch_bytes in BATCH_BYTES {
        let mut per_second = [Vec::new(), Vec::new()];
        let mut per_cpu = Vec::new();
        for _ in 0..ROUNDS {
            for (side, (name, client)) in world.clients()?.into_iter().enumerate() {
                number += 1;
                let topic = format!("throughput-{number}");
                create(&client, &topic, PARTITIONS).await?;
                let (cpu, began) = (world.relay.cpu_time()?, Instant::now());
                let bytes = fill(&client, &topic, batch_bytes, ROUND_BYTES, number).await? as f64 / 1e6;
                per_second[side].push(bytes / began.elapsed().as_secs_f64());
                if name == "relay" {
                    per_cpu.push(bytes / (world.relay.cpu_time()? - cpu).as_secs_f64());
                }
                client.delete_topic(&topic).await?;
            }
        }
        let kib = batch_bytes >> 10;
        println!("{:<8} {kib:>10} {:>12.0} {:>16}", "direct", quantile(&per_second[0], 0.5), "-");
        println!("{:<8} {kib:>10} {:>12.0} {:>16.0}", "relay", quantile(&per_second[1], 0.5), quantile(&per_cpu, 0.5));
    }
    overload(world).await
}

async fn fill(client: &Client, topic: &str, batch: usize, bytes: usize, number: i64) -> Result<u64, Failure> {
    let count = bytes / batch / usize::try_from(PARTITIONS)?;
    let mut writers = Vec::new();
    for partition in 0..PARTITIONS {
        let batches = Batches::new((1 << 60) + number * 1_000 + i64::from(partition), batch)?;
        let at = TopicPartition::new(topic, partition);
        writers.push(async move { write(client, &at, batches, count, 5).await });
    }
    let [first, second, third, fourth] = <[_; 4]>::try_from(writers).map_err(|_| "four partitions")?;
    let (first, second, third, fourth) = tokio::try_join!(first, second, third, fourth)?;
    Ok(first + second + third + fourth)
}

async fn overload(world: &World) -> Result<bool, Failure> {
    let topic = "overload";
    let maker = client(&world.relay.bootstrap)?;
    create(&maker, topic, PARTITIONS).await?;
    let mut writers = tokio::task::JoinSet::new();
    for producer in 0..OVERLOAD_PRODUCERS {
        let bootstrap = world.relay.bootstrap.clone();
        writers.spawn(async move {
            let run = async {
                let client = client(&bootstrap)?;
                let at = TopicPartition::new(topic, i32::try_from(producer)? % PARTITIONS);
                let batch = BATCH_BYTES[1];
                let count = OVERLOAD_BYTES / batch / usize::try_from(OVERLOAD_PRODUCERS)?;
                write(&client, &at, Batches::new((1 << 59) + producer, batch)?, count, 5).await
            };
            run.await.map_err(|error: Failure| error.to_string())
        });
    }
    let mut refused = 0;
    while let Some(ended) = writers.join_next().await {
        // Told to come again is an answer that overload may get; the load here does not.
        refused += usize::from(ended?.is_err());
    }
    let resident = world.relay.resident_bytes_max()? >> 20;
    let held = resident <= RESIDENT_MIB_MAX;
    println!(
        "overload: {OVERLOAD_PRODUCERS} producers, {} MiB: at most {resident} MiB resident (bound {RESIDENT_MIB_MAX}): {}; \
         {refused} producers were told to come again",
        OVERLOAD_BYTES >> 20,
        if held { "held" } else { "MISSED" }
    );
    Ok(held)
}
