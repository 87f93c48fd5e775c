//! `naru rehearse`.

use std::error::Error;
use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use naru_rehearsal::report::Report;
use naru_rehearsal::run::{self, LogKind, Options, RehearsalError, Rehearsed};
use naru_rehearsal::scenario::Scenario;
use naru_runtime::shutdown::Signals;
use naru_runtime::tasks::Tasks;
use naru_runtime::telemetry::{LogFormat, Telemetry, TelemetryConfig};
use tokio_util::sync::CancellationToken;

/// The scenario that is played when none is named.
const FIRST: &str = include_str!("../../../scenarios/first.toml");

/// Some check does not hold.
const EXIT_CHECK_FAILED: u8 = 1;
/// The user's input is at fault.
const EXIT_BAD_INPUT: u8 = 2;
/// There is no verdict: the rehearsal itself could not run.
const EXIT_NO_VERDICT: u8 = 3;

/// Arguments of `naru rehearse`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit code: 0 every check holds, 1 some check does not, 2 bad input, 3 no verdict.")]
pub struct Args {
    /// The scenario file; without one, the first scenario of the repository
    scenario: Option<PathBuf>,
    /// What plays the log
    #[arg(long, value_enum, default_value_t = Log::StandIn)]
    log: Log,
    /// Directory of Kafka's jars, for --log kafka: DIR/kafka-4.3.1/libs
    #[arg(long, value_name = "DIR")]
    peers: Option<PathBuf>,
    /// All randomness comes from it; without one, the scenario's own
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Where the report goes; without one, target/rehearsal in a build tree, else rehearsal-out
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Plain progress lines, also on a terminal
    #[arg(long)]
    plain: bool,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Log {
    /// The stand-in broker of this binary
    StandIn,
    /// Apache Kafka 4.3.1
    Kafka,
}

/// Plays the scenario and says what the judge says.
pub fn run(args: &Args) -> ExitCode {
    let (file, text) = match &args.scenario {
        None => ("scenarios/first.toml".to_owned(), FIRST.to_owned()),
        Some(path) => match std::fs::read_to_string(path) {
            Ok(text) => (path.display().to_string(), text),
            Err(error) => {
                eprintln!("naru rehearse: cannot read {}: {error}", path.display());
                return ExitCode::from(EXIT_BAD_INPUT);
            }
        },
    };
    let scenario = match Scenario::parse(&file, &text) {
        Ok(scenario) => scenario,
        Err(mistakes) => {
            eprintln!("{mistakes}");
            return ExitCode::from(EXIT_BAD_INPUT);
        }
    };
    match play(args, scenario) {
        Ok(rehearsed) => {
            // A closed pipe must not turn a verdict into a panic.
            if std::io::stdout().write_all(summary(&rehearsed).as_bytes()).is_err() {
                eprintln!("naru rehearse: the verdict could not be printed; it stands in the report");
            }
            if rehearsed.report.passed { ExitCode::SUCCESS } else { ExitCode::from(EXIT_CHECK_FAILED) }
        }
        Err(error) => {
            eprintln!("naru rehearse: {}", chain(&*error));
            let bad_input = error.downcast_ref::<RehearsalError>().is_some_and(RehearsalError::is_bad_input);
            ExitCode::from(if bad_input { EXIT_BAD_INPUT } else { EXIT_NO_VERDICT })
        }
    }
}

fn play(args: &Args, scenario: Scenario) -> Result<Rehearsed, Box<dyn Error>> {
    let seed = args.seed.unwrap_or(scenario.seed);
    let out = args.out.clone().unwrap_or_else(|| {
        let in_build_tree = Path::new("target").is_dir() && Path::new("Cargo.toml").is_file();
        PathBuf::from(if in_build_tree { "target/rehearsal" } else { "rehearsal-out" })
    });
    let options = Options {
        replay: replay(args, seed),
        scenario,
        seed,
        log: match args.log {
            Log::StandIn => LogKind::StandIn,
            Log::Kafka => LogKind::Kafka,
        },
        exe: std::env::current_exe()?,
        peers: args.peers.clone(),
        out,
        plain: args.plain,
    };
    eprintln!("rehearsing {:?} with seed {seed}: {}", options.scenario.name, options.scenario.title);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let played = runtime.block_on(async {
        // Caught before the first child is started.
        let mut signals = Signals::listen()?;
        let telemetry = Telemetry::start("naru-rehearse", &logs(), &Tasks::new()).await?;
        let stop = CancellationToken::new();
        let mut playing = std::pin::pin!(run::rehearse(options, stop.clone()));
        let played = tokio::select! {
            played = &mut playing => played,
            _signal = signals.next() => {
                stop.cancel();
                playing.await
            }
        };
        telemetry.shutdown().await;
        played.map_err(Box::<dyn Error>::from)
    });
    // Ends what is left of the run's tasks, and with them the last children.
    drop(runtime);
    played
}

/// The progress display is for what goes well: only what somebody must look at is logged.
fn logs() -> TelemetryConfig {
    let (log_format, log) = (LogFormat::Human, "warn".to_owned());
    TelemetryConfig { log_format, log, metrics: None, traces: None, traces_share: 1.0 }
}

fn replay(args: &Args, seed: u64) -> String {
    let mut text = "naru rehearse".to_owned();
    if let Some(scenario) = &args.scenario {
        write!(text, " {}", scenario.display()).expect("writing to a string cannot fail");
    }
    if matches!(args.log, Log::Kafka) {
        text.push_str(" --log kafka --peers DIR");
    }
    write!(text, " --seed {seed}").expect("writing to a string cannot fail");
    text
}

fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        write!(text, ": {error}").expect("writing to a string cannot fail");
        cause = error.source();
    }
    text
}

/// The verdict table, and where the rest is.
fn summary(rehearsed: &Rehearsed) -> String {
    let report = &rehearsed.report;
    let colours = std::io::stdout().is_terminal();
    let mut text = String::new();
    let mut line = |arguments: std::fmt::Arguments<'_>| {
        text.write_fmt(arguments).expect("writing to a string cannot fail");
        text.push('\n');
    };
    line(format_args!("\n{:6} {:12} {:>9}  what must hold", "", "check", "looked at"));
    for verdict in &report.verdicts {
        let word = result(verdict.passed, colours);
        line(format_args!("{word}   {:12} {:>9}  {}", verdict.check, verdict.examined, verdict.sentence));
        if verdict.passed {
            continue;
        }
        for finding in &verdict.named {
            line(format_args!("         - {}: {}", finding.record, finding.detail));
        }
        let more = verdict.findings_total - verdict.named.len() as u64;
        if more > 0 {
            line(format_args!("         - and {more} more"));
        }
    }
    line(format_args!("\n{}", figures(report)));
    for file in &rehearsed.files {
        line(format_args!("  {}", file.display()));
    }
    line(format_args!("replay: {}", report.replay));
    let failed = report.verdicts.iter().filter(|verdict| !verdict.passed).count();
    match failed {
        0 => line(format_args!("{}: all {} checks hold", result(true, colours), report.verdicts.len())),
        _ => line(format_args!("{}: {failed} of {} checks do not hold", result(false, colours), report.verdicts.len())),
    }
    text
}

fn result(passed: bool, colours: bool) -> &'static str {
    match (passed, colours) {
        (true, true) => "\x1b[1;32mPASS\x1b[0m",
        (false, true) => "\x1b[1;31mFAIL\x1b[0m",
        (true, false) => "PASS",
        (false, false) => "FAIL",
    }
}

fn figures(report: &Report) -> String {
    let sum = |pick: fn(&naru_rehearsal::measure::Second) -> u64| -> u64 {
        report.services.iter().map(|service| pick(&service.whole)).sum()
    };
    let millis = |us: u64| us as f64 / 1e3;
    let mut text = format!(
        "{} requests planned, {} acknowledged, {} failed, {} unknown; {} records in the log",
        sum(|s| s.planned),
        sum(|s| s.acknowledged),
        sum(|s| s.failed),
        sum(|s| s.unknown),
        report.log_records
    );
    for service in &report.services {
        if let Some(latency) = service.whole.latency {
            let (p50, p99, max) = (millis(latency.p50_us), millis(latency.p99_us), millis(latency.max_us));
            write!(text, "\n{}: p50 {p50:.1} ms, p99 {p99:.1} ms, max {max:.0} ms from the planned time", service.name)
                .expect("writing to a string cannot fail");
        }
    }
    if let Some(whole) = report.consumers.whole {
        let (p50, p99, max) = (millis(whole.p50_us), millis(whole.p99_us), millis(whole.max_us));
        write!(text, "\nto the consumers: p50 {p50:.1} ms, p99 {p99:.0} ms, max {max:.0} ms")
            .expect("writing to a string cannot fail");
    }
    text
}
