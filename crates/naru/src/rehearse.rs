//! `naru rehearse`.

use std::error::Error;
use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use naru_rehearsal::away::{AwayKind, Pause};
use naru_rehearsal::crowd::EdgeFigures;
use naru_rehearsal::report::{Conclusion, Report};
use naru_rehearsal::run::{self, LogKind, Options, RehearsalError, Rehearsed};
use naru_rehearsal::scenario::Scenario;
use naru_runtime::causes::with_causes;
use naru_runtime::shutdown::Signals;
use naru_runtime::tasks::Tasks;
use naru_runtime::telemetry::{LogFormat, Telemetry, TelemetryConfig};
use tokio_util::sync::CancellationToken;

/// The scenarios that the binary carries, by name; the first is played when none is named.
const BUILT_IN: [(&str, &str); 6] = [
    ("1111", include_str!("../../../scenarios/1111.toml")),
    ("first", include_str!("../../../scenarios/first.toml")),
    ("takeover", include_str!("../../../scenarios/takeover.toml")),
    ("burst", include_str!("../../../scenarios/burst.toml")),
    ("lossy", include_str!("../../../scenarios/lossy.toml")),
    ("misrouted", include_str!("../../../scenarios/misrouted.toml")),
];

/// Some check does not hold.
const EXIT_CHECK_FAILED: u8 = 1;
/// The user's input is at fault.
const EXIT_BAD_INPUT: u8 = 2;
/// There is no verdict: the rehearsal itself could not run, or not the load that was planned.
const EXIT_NO_VERDICT: u8 = 3;

/// Arguments of `naru rehearse`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit code: 0 every check holds, 1 some check does not, 2 bad input, 3 no verdict, or another load than the planned one was sent."
)]
pub struct Args {
    /// A scenario file, or a name: `1111`, `first`, `takeover`, `burst`, `lossy`, `misrouted`, or NAME for scenarios/NAME.toml; without one, `1111`
    scenario: Option<PathBuf>,
    /// What plays the log
    #[arg(long, value_enum, default_value_t = Log::StandIn)]
    log: Log,
    /// Directory of Kafka's jars, for --log kafka and mixed: DIR/kafka-4.3.1/libs, DIR/kafka-3.9.2/libs
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
    /// The command that started this one, for the replay line; it adds --peers and --out by itself
    #[arg(long, value_name = "COMMAND", hide = true)]
    invoked_as: Option<String>,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Log {
    /// The stand-in broker of this binary
    StandIn,
    /// Apache Kafka 4.3.1
    Kafka,
    /// Apache Kafka 3.9.2 as side a of the relay, 4.3.1 as side b
    Mixed,
    /// The control: stand-ins without the relay, one copied to the other behind its clients' back; must fail
    Direct,
}

/// Plays the scenario and says what the judge says.
pub fn run(args: &Args) -> ExitCode {
    let (file, text) = match scenario_text(args.scenario.as_deref()) {
        Ok(found) => found,
        Err(error) => {
            eprintln!("naru rehearse: {}", with_causes(&error));
            return ExitCode::from(EXIT_BAD_INPUT);
        }
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
            match rehearsed.report.conclusion().0 {
                Conclusion::Pass => ExitCode::SUCCESS,
                Conclusion::NotValid => ExitCode::from(EXIT_NO_VERDICT),
                Conclusion::Fail => ExitCode::from(EXIT_CHECK_FAILED),
            }
        }
        Err(error) => {
            eprintln!("naru rehearse: {}", with_causes(&*error));
            let bad_input = error.downcast_ref::<RehearsalError>().is_some_and(RehearsalError::is_bad_input);
            ExitCode::from(if bad_input { EXIT_BAD_INPUT } else { EXIT_NO_VERDICT })
        }
    }
}

fn play(args: &Args, scenario: Scenario) -> Result<Rehearsed, Box<dyn Error>> {
    let seed = args.seed.unwrap_or(scenario.seed);
    let program = std::env::args_os().next().unwrap_or_else(|| "naru".into()).to_string_lossy().into_owned();
    let out = args.out.clone().unwrap_or_else(|| {
        let in_build_tree = Path::new("target").is_dir() && Path::new("Cargo.toml").is_file();
        PathBuf::from(if in_build_tree { "target/rehearsal" } else { "rehearsal-out" })
    });
    let options = Options {
        replay: replay(args, &program, seed),
        scenario,
        seed,
        log: match args.log {
            Log::StandIn => LogKind::StandIn,
            Log::Kafka => LogKind::Kafka,
            Log::Mixed => LogKind::Mixed,
            Log::Direct => LogKind::Direct,
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

/// There is no such scenario; another path or name helps.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {} (the names 1111, first, takeover, burst, lossy and misrouted are built in)", path.display())]
struct NoScenario {
    path: PathBuf,
    #[source]
    source: std::io::Error,
}

/// Where the scenario stands, for messages, and its text.
fn scenario_text(named: Option<&Path>) -> Result<(String, String), NoScenario> {
    let named = named.unwrap_or(Path::new(BUILT_IN[0].0));
    // A bare name is never a file of the working directory, so that it means the same everywhere.
    let name = named.to_str().filter(|name| !name.contains('/') && !name.ends_with(".toml"));
    let path = name.map_or_else(|| named.to_owned(), |name| PathBuf::from(format!("scenarios/{name}.toml")));
    if let Some((_, text)) = BUILT_IN.iter().find(|(built_in, _)| name == Some(*built_in)) {
        return Ok((path.display().to_string(), (*text).to_owned()));
    }
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok((path.display().to_string(), text)),
        Err(source) => Err(NoScenario { path, source }),
    }
}

/// The command that plays this again, to be pasted into a shell.
fn replay(args: &Args, program: &str, seed: u64) -> String {
    let mut words = vec![args.invoked_as.clone().unwrap_or_else(|| format!("{} rehearse", quoted(program)))];
    words.extend(args.scenario.iter().map(|scenario| quoted(&scenario.to_string_lossy())));
    match args.log {
        Log::StandIn => {}
        Log::Kafka => words.push("--log kafka".to_owned()),
        Log::Mixed => words.push("--log mixed".to_owned()),
        Log::Direct => words.push("--log direct".to_owned()),
    }
    if let (Some(peers), None) = (&args.peers, &args.invoked_as) {
        words.push(format!("--peers {}", quoted(&peers.to_string_lossy())));
    }
    words.push(format!("--seed {seed}"));
    words.join(" ")
}

/// A word as a shell reads it back.
fn quoted(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/+:=@%,".contains(&byte);
    if !word.is_empty() && word.bytes().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
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
    let (conclusion, sentence) = report.conclusion();
    let word = match conclusion {
        Conclusion::Pass => result(true, colours),
        Conclusion::NotValid => "NOT VALID",
        Conclusion::Fail => result(false, colours),
    };
    line(format_args!("{word}: {sentence}"));
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
    let shown = |pause: Option<Pause>| match pause {
        None => "for good".to_owned(),
        Some(pause) => format!("{:.0} ms from {:.2} s", millis(pause.lasts_us), pause.from_us as f64 / 1e6),
    };
    for away in &report.away {
        let (producers, consumers) = (shown(away.producers), shown(away.consumers));
        let at = away.at_us as f64 / 1e6;
        let event = match away.kind {
            AwayKind::Loss => format!("{} lost", away.subject),
            AwayKind::Switch => format!("switched {}", away.subject),
        };
        write!(text, "\n{event} at {at:.1} s: producers away {producers}, consumers {consumers}")
            .expect("writing to a string cannot fail");
    }
    if let Some(edge) = &report.edge {
        edge_figures(&mut text, edge).expect("writing to a string cannot fail");
    }
    if let Some(campaign) = &report.campaign {
        let plan = &campaign.plan;
        let [_, middle, high, _] = plan.peak;
        write!(
            text,
            "\ncampaign: forecast peak {middle:.0} units/s, one in ten above {high:.0}; wanted {:.0}; {} nodes rented ahead for {} won (always-peak {}, autoscale-only {} at a risk of {:.1} %)",
            campaign.peak,
            plan.nodes,
            plan.committed_won,
            plan.always_peak_won,
            plan.autoscale_only_won,
            f64::from(plan.autoscale_only_risk_ppm) / 1e4
        )
        .expect("writing to a string cannot fail");
    }
    if let Some(tables) = &report.tables {
        let behind = tables.behind.map_or(String::new(), |behind| {
            let (p50, p99, max) = (millis(behind.p50_us), millis(behind.p99_us), millis(behind.max_us));
            format!("; behind p50 {p50:.0} ms, p99 {p99:.0} ms, max {max:.0} ms")
        });
        let (rows, won, unanswered) = (tables.rows, tables.amount_minor, tables.unanswered);
        write!(text, "\nby SQL: {rows} rows, {won} won{behind}; {unanswered} questions without an answer")
            .expect("writing to a string cannot fail");
    }
    if let Some(whole) = report.consumers.whole {
        let (p50, p99, max) = (millis(whole.p50_us), millis(whole.p99_us), millis(whole.max_us));
        write!(text, "\nto the consumers: p50 {p50:.1} ms, p99 {p99:.0} ms, max {max:.0} ms")
            .expect("writing to a string cannot fail");
    }
    text
}

/// What the edge did.
fn edge_figures(text: &mut String, edge: &EdgeFigures) -> std::fmt::Result {
    let millis = |us: u64| us as f64 / 1e3;
    let EdgeFigures { whole, visitors, waited, received_by_rented, gifts_repeated, .. } = edge;
    write!(
        text,
        "\npromotion: {} pages from owned sites, {} from rented nodes (which received {received_by_rented}), {} waiting pages, {} errors",
        whole.owned, whole.rented, whole.waiting, whole.errors
    )?;
    write!(text, "\n{visitors} visitors, {waited} of them waited")?;
    if let Some(wait) = edge.wait {
        write!(text, ": p50 {:.1} s, the longest {:.1} s", millis(wait.p50_us) / 1e3, millis(wait.max_us) / 1e3)?;
    }
    if let Some(view) = edge.view {
        write!(text, "\npages: p50 {:.0} ms, p99 {:.0} ms", millis(view.p50_us), millis(view.p99_us))?;
    }
    if let Some(gift) = edge.gift {
        let (p50, p99, max) = (millis(gift.p50_us), millis(gift.p99_us), millis(gift.max_us));
        write!(text, "\ngifts: p50 {p50:.0} ms, p99 {p99:.0} ms, max {max:.0} ms from the planned time")?;
        write!(text, "; {gifts_repeated} sent again")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    fn args(words: &[&str]) -> Args {
        let words = ["naru", "rehearse"].iter().chain(words);
        match crate::Cli::try_parse_from(words).expect("arguments").role {
            crate::Role::Rehearse(args) => args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_replay_line_can_be_pasted_into_a_shell() {
        let check = |words: &[&str], expect: &str| assert_eq!(replay(&args(words), "./my bin/naru", 7), expect);
        check(&[], "'./my bin/naru' rehearse --seed 7");
        check(&["lossy", "--out", "o"], "'./my bin/naru' rehearse lossy --seed 7");
        check(&["it's/s.toml"], r"'./my bin/naru' rehearse 'it'\''s/s.toml' --seed 7");
        check(&["--log", "kafka", "--peers", "p q"], "'./my bin/naru' rehearse --log kafka --peers 'p q' --seed 7");
        check(&["takeover", "--log", "mixed"], "'./my bin/naru' rehearse takeover --log mixed --seed 7");
        check(&["takeover", "--log", "direct"], "'./my bin/naru' rehearse takeover --log direct --seed 7");
        let by_script = ["a/s.toml", "--log", "kafka", "--peers", "p", "--invoked-as", "./x rehearse"];
        check(&by_script, "./x rehearse a/s.toml --log kafka --seed 7");
    }

    #[test]
    fn a_scenario_is_found_by_name_or_by_path() {
        let check = |named: Option<&str>, expect: Result<&str, &str>| {
            let found = scenario_text(named.map(Path::new)).map(|(file, _)| file).map_err(|error| error.path);
            assert_eq!(found, expect.map(str::to_owned).map_err(PathBuf::from));
        };
        check(None, Ok("scenarios/1111.toml"));
        check(Some("lossy"), Ok("scenarios/lossy.toml"));
        check(Some("takeover"), Ok("scenarios/takeover.toml"));
        check(Some("absent"), Err("scenarios/absent.toml"));
        check(Some("absent.toml"), Err("absent.toml"));
        check(Some("./lossy"), Err("./lossy"));
    }
}
