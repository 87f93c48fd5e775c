//! `naru campaign`: a campaign's capacity plan, and its score afterwards.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;
use naru_planner::day_time::DayTime;
use naru_planner::plan::{
    CampaignPlan, History, Known, Memory, Outcome, PlanFailed, Price, Request, make, plan_text, score, score_text,
};
use naru_runtime::causes::with_causes;

/// What was asked for is not possible.
const EXIT_IMPOSSIBLE: u8 = 1;
/// The user's input is at fault.
const EXIT_BAD_INPUT: u8 = 2;
/// The answer could not be written.
const EXIT_NOT_WRITTEN: u8 = 3;
/// A file of a campaign that is larger than this is none: a year of minutes is shorter.
const FILE_BYTES_MAX: u64 = 32 << 20;
/// A year: a forecast looks back six weeks.
const HISTORY_MINUTES_MAX: usize = 366 * 1440;

/// Arguments of `naru campaign`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Forecast a campaign, and say what to rent, what must be ready and what it costs
    Plan(PlanArgs),
    /// Rent what a plan says, by control
    #[cfg(feature = "control")]
    Apply(crate::control::CampaignApplyArgs),
    /// Hold a forecast against what happened, and a plan against its bill; learn from it
    Score(ScoreArgs),
}

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit code: 0 planned, 1 not possible (what is possible is said), 2 bad input, 3 could not be written."
)]
struct PlanArgs {
    /// The campaign, as scenarios/campaign-1111.toml has one
    file: PathBuf,
    /// What earlier scores have learned; guesses without it
    #[arg(long, value_name = "FILE")]
    memory: Option<PathBuf>,
    /// The load beside the campaign on days before: a heading, then lines `TIME,units_per_second`, a minute each
    #[arg(long, value_name = "FILE")]
    history: Option<PathBuf>,
    /// The plan that this one is to follow, as --out wrote it
    #[arg(long, value_name = "FILE")]
    parent: Option<PathBuf>,
    /// Where the plan's canonical bytes go, of which its hash is
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Print JSON: the hash and the plan
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Exit code: 0 scored, 2 bad input, 3 could not be written.")]
struct ScoreArgs {
    /// The campaign, as it was planned
    file: PathBuf,
    /// What happened: a heading, then lines `minute,clicks,units_per_second` from the first message on, none left out
    #[arg(long, value_name = "FILE")]
    observed: PathBuf,
    /// The load beside the campaign on days before: a heading, then lines `TIME,units_per_second`, a minute each
    #[arg(long, value_name = "FILE")]
    history: Option<PathBuf>,
    /// The plan that was in force, as `campaign plan --out` wrote it
    #[arg(long, value_name = "FILE")]
    plan: Option<PathBuf>,
    /// What was billed, such as `81000 KRW`
    #[arg(long, value_name = "AMOUNT")]
    billed: Option<String>,
    /// What earlier scores have learned; read if it is there, and written with what this one adds
    #[arg(long, value_name = "FILE")]
    memory: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// No answer.
#[derive(Debug, thiserror::Error)]
enum CampaignError {
    /// A file cannot be read; another path or other rights help.
    #[error("cannot read {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// A file is not what it should be.
    #[error("{}: {detail}", path.display())]
    Malformed { path: PathBuf, detail: String },
    /// An amount is none.
    #[error("--billed")]
    Billed(#[source] naru_model::MoneyError),
    /// No plan for this request.
    #[error("{}: {source}", path.display())]
    Failed { path: PathBuf, source: PlanFailed },
    /// The answer could not be written; trying again may help.
    #[error("cannot write {what}")]
    Write {
        what: String,
        #[source]
        source: std::io::Error,
    },
}

impl CampaignError {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Failed { source: PlanFailed::Impossible(_), .. } => EXIT_IMPOSSIBLE,
            Self::Write { .. } => EXIT_NOT_WRITTEN,
            Self::Read { .. } | Self::Malformed { .. } | Self::Billed(_) | Self::Failed { .. } => EXIT_BAD_INPUT,
        }
    }
}

/// Answers.
pub fn run(args: &Args) -> ExitCode {
    let answered = match &args.command {
        #[cfg(feature = "control")]
        Command::Apply(args) => return crate::control::campaign_apply(args),
        Command::Plan(args) => plan(args),
        Command::Score(args) => score_campaign(args),
    };
    let written = answered.and_then(|text| {
        let stdout = std::io::stdout().write_all(text.as_bytes());
        stdout.map_err(|source| CampaignError::Write { what: "the answer".to_owned(), source })
    });
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // What is possible stands in the message itself, so its causes are not told again.
            match &error {
                CampaignError::Failed { .. } => eprintln!("naru campaign: {error}"),
                _ => eprintln!("naru campaign: {}", with_causes(&error)),
            }
            ExitCode::from(error.exit_code())
        }
    }
}

fn plan(args: &PlanArgs) -> Result<String, CampaignError> {
    let request = request(&args.file)?;
    let memory = args.memory.as_deref().map_or_else(|| Ok(Memory::default()), json_file)?;
    let parent = args.parent.as_deref().map(planned).transpose()?;
    let parent = parent.map(|parent| (parent.body().generation, parent.hash()));
    let history = args.history.as_deref().map(history).transpose()?;
    let known = Known { memory: &memory, history: history.as_ref() };
    let plan =
        make(&request, known, parent).map_err(|source| CampaignError::Failed { path: args.file.clone(), source })?;
    if let Some(out) = &args.out {
        write(out, plan.canonical())?;
    }
    if !args.json {
        return Ok(plan_text(&plan));
    }
    let hash = plan.hash().to_string();
    Ok(serde_json::json!({ "hash": hash, "plan": plan.body() }).to_string() + "\n")
}

fn score_campaign(args: &ScoreArgs) -> Result<String, CampaignError> {
    let request = request(&args.file)?;
    let faults = request.faults();
    if !faults.is_empty() {
        return Err(CampaignError::Failed { path: args.file.clone(), source: PlanFailed::Faulty(faults) });
    }
    let memory = match &args.memory {
        Some(path) if path.exists() => json_file(path)?,
        _ => Memory::default(),
    };
    let planned = args.plan.as_deref().map(planned).transpose()?;
    let text = read(&args.observed)?;
    let mut outcome =
        observed(&text).map_err(|detail| CampaignError::Malformed { path: args.observed.clone(), detail })?;
    outcome.billed = args.billed.as_deref().map(str::parse).transpose().map_err(CampaignError::Billed)?.map(Price);
    let history = args.history.as_deref().map(history).transpose()?;
    let known = Known { memory: &memory, history: history.as_ref() };
    let score = score(&request, known, &outcome);
    if let Some(path) = &args.memory {
        let bytes = serde_json::to_vec(&score.memory).expect("what is remembered is plain data with text as keys");
        write(path, &bytes)?;
    }
    if !args.json {
        return Ok(score_text(&request, &score, planned.as_ref()));
    }
    let json = serde_json::json!({
        "plan": planned.map(|plan| plan.hash().to_string()),
        "peak": score.peak,
        "peak_forecast": score.peak_forecast,
        "paths_below": score.below,
        "wape": score.wape,
        "expected": score.expected,
        "seen": score.seen,
        "billed": score.billed,
    });
    Ok(json.to_string() + "\n")
}

fn request(path: &Path) -> Result<Request, CampaignError> {
    let text = read(path)?;
    toml::from_str(&text).map_err(|error| malformed(path, &error))
}

fn planned(path: &Path) -> Result<CampaignPlan, CampaignError> {
    CampaignPlan::read(read(path)?.as_bytes()).map_err(|error| malformed(path, &error))
}

fn json_file<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, CampaignError> {
    serde_json::from_str(&read(path)?).map_err(|error| malformed(path, &error))
}

fn malformed(path: &Path, error: &dyn std::error::Error) -> CampaignError {
    CampaignError::Malformed { path: path.to_owned(), detail: error.to_string().trim_end().to_owned() }
}

fn read(path: &Path) -> Result<String, CampaignError> {
    let failed = |source| CampaignError::Read { path: path.to_owned(), source };
    if fs::metadata(path).map_err(failed)?.len() > FILE_BYTES_MAX {
        let detail = format!("is larger than {FILE_BYTES_MAX} bytes");
        return Err(CampaignError::Malformed { path: path.to_owned(), detail });
    }
    fs::read_to_string(path).map_err(failed)
}

/// Writes a file whole or not at all.
fn write(path: &Path, bytes: &[u8]) -> Result<(), CampaignError> {
    let failed = |source| CampaignError::Write { what: path.display().to_string(), source };
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let mut file = fs::File::create(&beside).map_err(failed)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(failed)?;
    fs::rename(&beside, path).map_err(failed)
}

fn history(path: &Path) -> Result<History, CampaignError> {
    loads(&read(path)?).map_err(|detail| CampaignError::Malformed { path: path.to_owned(), detail })
}

/// Reads loads by the minute; a minute that is left out was not observed.
fn loads(text: &str) -> Result<History, String> {
    let mut from = None;
    let mut loads = Vec::new();
    for (number, line) in text.lines().enumerate().skip(1) {
        let wrong = |why: &str| format!("line {}: {why}: {line:?}", number + 1);
        let (time, load) = line.split_once(',').ok_or_else(|| wrong("expected `TIME,UNITS_PER_SECOND`"))?;
        let time: DayTime = time.parse().map_err(|error| wrong(&format!("{error}")))?;
        let load = load.trim().parse::<f64>().ok().filter(|load| *load >= 0.0 && load.is_finite());
        let load = load.ok_or_else(|| wrong("the load is no number"))?;
        let first = *from.get_or_insert(time);
        let minute = usize::try_from((time.seconds() - first.seconds()).div_euclid(60));
        let minute = minute.ok().filter(|minute| (loads.len()..HISTORY_MINUTES_MAX).contains(minute));
        let minute = minute.ok_or_else(|| wrong("times must rise by minutes, within a year"))?;
        loads.resize(minute, f64::NAN);
        loads.push(load);
    }
    let from = from.ok_or_else(|| "there is no line behind the heading".to_owned())?;
    Ok(History::new(from, loads))
}

/// Reads what happened, by the minute.
fn observed(text: &str) -> Result<Outcome, String> {
    let mut outcome = Outcome::default();
    for (number, line) in text.lines().enumerate().skip(1) {
        let minute = outcome.clicks.len();
        let wrong = || format!("line {}: expected `{minute},CLICKS,UNITS_PER_SECOND`, found {line:?}", number + 1);
        let mut cells = line.split(',').map(str::trim);
        let mut next = || cells.next().and_then(|cell| cell.parse::<f64>().ok()).filter(|value| value.is_finite());
        let (at, clicks, load) = (next().ok_or_else(wrong)?, next().ok_or_else(wrong)?, next().ok_or_else(wrong)?);
        if at != minute as f64 || clicks < 0.0 || load < 0.0 {
            return Err(wrong());
        }
        outcome.clicks.push(clicks);
        outcome.load.push(load);
    }
    if outcome.clicks.is_empty() { Err("there is no line behind the heading".to_owned()) } else { Ok(outcome) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test panics on failure

    use super::*;

    const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scenarios/campaign-1111.toml");

    fn plan_args() -> PlanArgs {
        PlanArgs { file: FILE.into(), memory: None, history: None, parent: None, out: None, json: false }
    }

    #[test]
    fn the_event_days_campaign_is_planned_and_scored_and_remembered() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("plan.json");
        let text = plan(&PlanArgs { out: Some(out.clone()), ..plan_args() }).unwrap();
        for part in ["2026-11-11 10:00", "₩", "autoscale-only", "always-peak", "Risk of overload", "\nhash "] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let first = planned(&out).unwrap();
        assert!(text.ends_with(&format!("hash {}\n", first.hash())));

        let observed = dir.path().join("observed.csv");
        let lines: String = (0..60).map(|minute| format!("{minute},{},{}\n", 60_000, 9000)).collect();
        fs::write(&observed, format!("minute,clicks,units_per_second\n{lines}")).unwrap();
        let memory = dir.path().join("memory.json");
        let args = ScoreArgs {
            file: FILE.into(),
            observed,
            history: None,
            plan: Some(out.clone()),
            billed: Some("81000 KRW".to_owned()),
            memory: Some(memory.clone()),
            json: false,
        };
        let text = score_campaign(&args).unwrap();
        for part in ["Peak: 9,000 units/s", "Billed: ₩81,000", "click rate: expected 6 %"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let text = plan(&PlanArgs { memory: Some(memory), parent: Some(out), ..plan_args() }).unwrap();
        assert!(text.contains("plan 2 of") && text.contains("(1 campaigns of class"), "{text}");
    }

    #[test]
    fn a_history_may_have_gaps_and_goes_forwards() {
        let check = |input: &str, expect: Result<&str, &str>| {
            let got = loads(input).map(|history| format!("{history:?}"));
            match (got, expect) {
                (Ok(got), Ok(expect)) => assert!(got.contains(expect), "{got}"),
                (got, expect) => assert_eq!(got, expect.map(str::to_owned).map_err(str::to_owned)),
            }
        };
        check("h\n2026-10-01 00:00Z,5\n2026-10-01 00:02Z,6.5\n", Ok("[5.0, NaN, 6.5]"));
        check("h\n", Err("there is no line behind the heading"));
        let backwards = "line 3: times must rise by minutes, within a year: \"2026-10-01 00:00Z,5\"";
        check("h\n2026-10-01 00:00Z,5\n2026-10-01 00:00Z,5\n", Err(backwards));
        check("h\n2026-10-01 00:00Z,-5\n", Err("line 2: the load is no number: \"2026-10-01 00:00Z,-5\""));
    }

    #[test]
    fn a_broken_line_of_what_happened_is_named() {
        let check = |input: &str, expect: &str| assert_eq!(observed(input).unwrap_err(), expect);
        check("h\n", "there is no line behind the heading");
        check("h\n0,1,2\n2,1,2\n", "line 3: expected `1,CLICKS,UNITS_PER_SECOND`, found \"2,1,2\"");
        check("h\n0,-1,2\n", "line 2: expected `0,CLICKS,UNITS_PER_SECOND`, found \"0,-1,2\"");
        check("h\n0,NaN,2\n", "line 2: expected `0,CLICKS,UNITS_PER_SECOND`, found \"0,NaN,2\"");
    }
}
