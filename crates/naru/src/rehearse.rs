//! `naru rehearse`.

mod summary;

use std::error::Error;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use naru_rehearsal::report::Conclusion;
use naru_rehearsal::run::{self, LogKind, Options, RehearsalError, Rehearsed};
use naru_rehearsal::sabotage::{Chosen, Sabotage};
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
/// What was done wrong on purpose was not caught by the checks that are there for it.
const EXIT_NOT_CAUGHT: u8 = 4;

/// Arguments of `naru rehearse`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit code: 0 every check holds, 1 some check does not, 2 bad input, 3 no verdict, or another load than the planned one was sent. A sabotaged run: 1 caught, 4 not caught."
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
    /// The same in about a minute: phases cut short, two faults, the same rates
    #[arg(long)]
    quick: bool,
    /// Play this phase alone; checks that find nothing to look at are left out
    #[arg(long, value_name = "PHASE")]
    only: Option<String>,
    /// One fault more, as often as given: NAME@FROM or NAME@FROM..UNTIL, as `kill-relay@send+4`; a wrong name lists them
    #[arg(long, value_name = "NAME@TIME")]
    fault: Vec<String>,
    /// Where the report goes; without one, target/rehearsal in a build tree, else rehearsal-out
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Plain progress lines, also on a terminal
    #[arg(long)]
    plain: bool,
    /// Do something wrong on purpose, and see who notices: a name, `every` (each that alters records, on one run), or `list`
    #[arg(long, value_name = "NAME")]
    sabotage: Option<String>,
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
    if args.sabotage.as_deref() == Some("list") {
        return printed(&summary::sabotages(), ExitCode::SUCCESS);
    }
    let sabotage = match args.sabotage.as_deref().map(chosen).transpose() {
        Ok(sabotage) => sabotage,
        Err(error) => {
            eprintln!("naru rehearse: {error}");
            return ExitCode::from(EXIT_BAD_INPUT);
        }
    };
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
    let scenario = match changed(args, scenario) {
        Ok(scenario) => scenario,
        Err(error) => {
            eprintln!("naru rehearse: {error}");
            return ExitCode::from(EXIT_BAD_INPUT);
        }
    };
    match play(args, scenario, sabotage) {
        Ok(rehearsed) => {
            let code = match rehearsed.report.conclusion().0 {
                Conclusion::Pass => ExitCode::SUCCESS,
                Conclusion::NotValid => ExitCode::from(EXIT_NO_VERDICT),
                Conclusion::Fail | Conclusion::Caught => ExitCode::from(EXIT_CHECK_FAILED),
                Conclusion::Missed => ExitCode::from(EXIT_NOT_CAUGHT),
            };
            printed(&summary::summary(&rehearsed), code)
        }
        Err(error) => {
            eprintln!("naru rehearse: {}", with_causes(&*error));
            let bad_input = error.downcast_ref::<RehearsalError>().is_some_and(RehearsalError::is_bad_input);
            ExitCode::from(if bad_input { EXIT_BAD_INPUT } else { EXIT_NO_VERDICT })
        }
    }
}

/// What the flags make of a scenario.
fn changed(args: &Args, scenario: Scenario) -> Result<Scenario, Box<dyn Error>> {
    let mut scenario = if args.quick { scenario.quick() } else { scenario };
    if let Some(phase) = &args.only {
        scenario = scenario.only(phase)?;
    }
    for fault in &args.fault {
        scenario = scenario.with_fault(fault)?;
    }
    Ok(scenario)
}

/// A closed pipe must not turn a verdict into a panic.
fn printed(text: &str, code: ExitCode) -> ExitCode {
    if std::io::stdout().write_all(text.as_bytes()).is_err() {
        eprintln!("naru rehearse: the verdict could not be printed; it stands in the report");
    }
    code
}

/// There is no such sabotage; another name helps.
#[derive(Debug, thiserror::Error)]
#[error("no sabotage is called {0:?}: `--sabotage list` names them")]
struct NoSabotage(String);

fn chosen(name: &str) -> Result<Chosen, NoSabotage> {
    match name {
        "every" => Ok(Chosen::Every),
        name => Sabotage::named(name).map(Chosen::One).ok_or_else(|| NoSabotage(name.to_owned())),
    }
}

fn play(args: &Args, scenario: Scenario, sabotage: Option<Chosen>) -> Result<Rehearsed, Box<dyn Error>> {
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
        sabotage,
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
    words.extend(args.quick.then(|| "--quick".to_owned()));
    words.extend(args.only.iter().map(|phase| format!("--only {}", quoted(phase))));
    words.extend(args.fault.iter().map(|fault| format!("--fault {}", quoted(fault))));
    words.extend(args.sabotage.iter().map(|name| format!("--sabotage {}", quoted(name))));
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
        check(&["--sabotage", "lose-record"], "'./my bin/naru' rehearse --sabotage lose-record --seed 7");
        check(&["--fault", "kill-relay@send+4"], "'./my bin/naru' rehearse --fault kill-relay@send+4 --seed 7");
        check(&["--quick", "--only", "send"], "'./my bin/naru' rehearse --quick --only send --seed 7");
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
