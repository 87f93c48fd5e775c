//! The relay between two nodes of Apache Kafka 4.3.1, beside a third node without it and beside MirrorMaker 2, in one
//! run and interleaved. `./x bench relay [PART...]`
//!
//! Parts: `latency`, `throughput`, `copy`, `takeover`; all when none is named. The load is Naru's own raw client, the same
//! on every side, except for `takeover`, where librdkafka shows what a customer's client sees. CPU time is the process's
//! own, user and system, read from /proc.

mod copy;
mod latency;
mod takeover;
mod throughput;
mod world;

use std::path::PathBuf;
use std::process::ExitCode;

use world::{Failure, World};

async fn measure(peers: PathBuf, named: &[String]) -> Result<bool, Failure> {
    let wanted = |part: &str| named.is_empty() || named.iter().any(|name| name == part);
    let mut world = World::start(&peers).await?;
    let mut held = true;
    if wanted("latency") {
        held &= latency::run(&world).await?;
    }
    if wanted("throughput") {
        held &= throughput::run(&world).await?;
    }
    if wanted("copy") {
        held &= copy::run(&mut world).await?;
    }
    if wanted("takeover") {
        held &= takeover::run(&mut world).await?;
    }
    Ok(held)
}

#[allow(clippy::disallowed_methods)] // the benchmark's configuration is read here and nowhere else
fn peers() -> Option<PathBuf> {
    std::env::var_os("NARU_PEERS").map(PathBuf::from)
}

fn main() -> ExitCode {
    let Some(peers) = peers() else {
        eprintln!("NARU_PEERS is not set, so there is no Kafka to compare with: run `./x bench relay`");
        return ExitCode::FAILURE;
    };
    // Cargo adds words of its own, which begin with a dash.
    let named: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let measured = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(Failure::from)
        .and_then(|runtime| runtime.block_on(measure(peers, &named)));
    match measured {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            println!("\na target is MISSED");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("the benchmark could not be run: {error}");
            ExitCode::FAILURE
        }
    }
}
