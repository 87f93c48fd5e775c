//! `./x bench`, `./x soak` and `./x fuzz`: what takes longer than a test may.

use std::path::PathBuf;

use crate::peers;
use crate::shell::{TaskError, cargo, command, run};

/// Arguments of `./x bench`.
#[derive(Debug, clap::Args)]
pub struct BenchArgs {
    /// Which benchmark; all when left out
    #[arg(value_parser = ["wire", "broker", "relay", "edge", "lake", "capacity"])]
    name: Option<String>,
    /// Parts or sides of it; all when left out
    parts: Vec<String>,
    /// Demand by the minute for `capacity`: a heading, then lines `YYYY-MM-DD hh:mm:ss,requests`
    #[arg(long, value_name = "FILE", requires = "calendar")]
    trace: Option<PathBuf>,
    /// When events begin, for `capacity`: a heading, then lines `YYYY-MM-DD hh:mm:ss`
    #[arg(long, value_name = "FILE", requires = "trace")]
    calendar: Option<PathBuf>,
}

/// Benchmarks, and the crate that holds each.
const BENCHES: [(&str, &str); 7] = [
    ("wire", "naru-kafka"),
    ("broker", "naru"),
    ("relay", "naru"),
    ("edge", "naru"),
    ("lake", "naru"),
    ("audit", "naru-audit"),
    ("capacity", "naru-planner"),
];

/// Runs the benchmarks in the release profile.
pub fn bench(args: &BenchArgs) -> Result<(), TaskError> {
    for (name, package) in BENCHES {
        if args.name.as_deref().is_some_and(|wanted| wanted != name) {
            continue;
        }
        match name {
            "broker" => peers::kafka(peers::KAFKA_NEWEST)?,
            "relay" => {
                peers::kafka(peers::KAFKA_NEWEST)?;
                peers::mirror_maker()?;
            }
            "edge" => peers::envoy()?,
            _ => {}
        }
        let mut bench = cargo(&["bench", "--quiet", "--package", package, "--bench", name, "--"]);
        bench.args(&args.parts).env("NARU_PEERS", peers::folder());
        if name == "capacity" {
            // Cargo runs a benchmark in its package's folder.
            for (flag, file) in [("--trace", &args.trace), ("--calendar", &args.calendar)] {
                let Some(file) = file else { continue };
                let whole = file.canonicalize().map_err(|source| TaskError::File { path: file.clone(), source })?;
                bench.arg(flag).arg(whole);
            }
        }
        run(bench)?;
    }
    Ok(())
}

/// Arguments of `./x soak`.
#[derive(Debug, clap::Args)]
pub struct SoakArgs {
    /// What to soak
    #[arg(value_parser = ["broker", "relay", "edge-policy", "edge", "lake", "audit", "courier", "day"])]
    subject: String,
    /// How many rounds: of SIGKILL, and for the relay of SIGSTOP too; for the audit of planted faults; for the day, seeds (20)
    #[arg(long)]
    rounds: Option<u32>,
    /// How many decisions of the edge's policy
    #[arg(long, default_value_t = 100_000_000)]
    decisions: u64,
    /// How many live requests of the edge, while servers come and go
    #[arg(long, default_value_t = 1_000_000)]
    requests: u64,
    /// The first world of the edge's policy, to replay one; the first seed of the day
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Seed known faults into the edge's policy instead, and require that each is caught
    #[arg(long)]
    mutants: bool,
    /// Write which sabotages of the day were caught into docs/rehearsal.md
    #[arg(long)]
    table: bool,
}

/// Rounds of what kills, unless told otherwise, and seeds of the day.
const ROUNDS: u32 = 1_000;
const DAY_SEEDS: u32 = 20;

/// Runs the kill -9 test of a subject with many rounds, or the random decisions of the edge's policy.
pub fn soak(args: &SoakArgs) -> Result<(), TaskError> {
    if args.subject == "day" {
        return crate::day::soak(args.rounds.unwrap_or(DAY_SEEDS), args.seed, args.table);
    }
    let rounds = args.rounds.unwrap_or(ROUNDS).to_string();
    if args.subject == "edge-policy" {
        let mut words = vec!["test", "--package", "naru-edge", "--test", "it"];
        words.extend(if args.mutants { &["--features", "mutation"][..] } else { &[] });
        words.extend(["--", "--nocapture", if args.mutants { "mutants::" } else { "decisions::every" }]);
        let mut soak = cargo(&words);
        soak.env("NARU_EDGE_DECISIONS", args.decisions.to_string()).env("NARU_EDGE_SEED", args.seed.to_string());
        return run(soak);
    }
    if args.subject == "edge" {
        let mut soak = cargo(&["test", "--workspace", "--test", "it", "--", "--nocapture", "edge::residency::"]);
        soak.env("NARU_SOAK_REQUESTS", args.requests.to_string());
        return run(soak);
    }
    if args.subject == "audit" {
        let mut soak = cargo(&["test", "--package", "naru-audit", "--test", "audit", "--", "--nocapture", "faults::"]);
        soak.env("NARU_SOAK_AUDIT_SEEDS", &rounds);
        return run(soak);
    }
    let tests: &[&str] = match args.subject.as_str() {
        "relay" => &["relay::rounds::"],
        "courier" => &["courier::nobody"],
        // One after the other: both want the machine.
        "lake" => &["--test-threads=1", "lake::crashes::", "pipeline::kills::"],
        _ => &["kill::"],
    };
    let mut soak = cargo(&[&["test", "--workspace", "--test", "it", "--", "--nocapture"], tests].concat());
    soak.env("NARU_KILL_ROUNDS", &rounds).env("NARU_PEERS", peers::folder());
    run(soak)
}

/// Arguments of `./x fuzz`.
#[derive(Debug, clap::Args)]
pub struct FuzzArgs {
    /// Which target; all when left out
    target: Option<String>,
    /// How long each target runs, in seconds
    #[arg(long, default_value_t = 600)]
    seconds: u32,
}

/// Names of the fuzz targets, as in fuzz/Cargo.toml.
const FUZZ_TARGETS: [&str; 5] = ["frames", "batches", "segments", "requests", "sketches"];

/// Runs the fuzz targets; needs a nightly toolchain, since the sanitizers do.
pub fn fuzz(args: &FuzzArgs) -> Result<(), TaskError> {
    let cargo_fuzz = peers::cargo_fuzz()?;
    let seconds = format!("-max_total_time={}", args.seconds);
    for target in FUZZ_TARGETS {
        if args.target.as_deref().is_some_and(|wanted| wanted != target) {
            continue;
        }
        // New inputs go to the first folder, which git ignores; the checked-in seeds stay small.
        let (found, seeds) = (format!("fuzz/corpus.work/{target}"), format!("fuzz/corpus/{target}"));
        std::fs::create_dir_all(crate::shell::root().join(&found))
            .map_err(|source| TaskError::File { path: found.clone().into(), source })?;
        let own = ["--no-default-features", "--features", target];
        let run_one = ["fuzz", "run", target, &found, &seeds];
        let bounds = ["--", &seconds, "-rss_limit_mb=2048", "-timeout=10"];
        let words = [&run_one[..], &own, &bounds].concat();
        let mut fuzz = command(&cargo_fuzz, &words);
        fuzz.env("RUSTUP_TOOLCHAIN", "nightly");
        run(fuzz)?;
    }
    Ok(())
}
