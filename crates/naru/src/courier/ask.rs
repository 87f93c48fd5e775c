//! `naru courier status`, `send`, `stop` and `resume`: what is asked of a running courier.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use naru_courier::api::Refused;
use naru_courier::status::Report;
use naru_runtime::causes::with_causes;

/// It could not be asked, or refused.
const EXIT_REFUSED: u8 = 1;
/// Something raises an alarm.
const EXIT_NOT_WELL: u8 = 3;

/// Arguments of `naru courier status`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit code: 0 without alarms, 3 with, 1 it could not be asked.")]
pub struct StatusArgs {
    /// The address that it printed at its start: ready listen=HOST:PORT
    #[arg(long, value_name = "HOST:PORT")]
    address: String,
    /// Print everything as JSON
    #[arg(long)]
    json: bool,
}

/// Arguments of `naru courier send`.
#[derive(Debug, clap::Args)]
pub struct SendArgs {
    /// The address that it printed at its start: ready listen=HOST:PORT
    #[arg(long, value_name = "HOST:PORT")]
    address: String,
    /// The campaign, as docs/api/courier.json has it
    #[arg(long, value_name = "PATH")]
    file: PathBuf,
}

/// Arguments of `naru courier stop` and `resume`.
#[derive(Debug, clap::Args)]
pub struct CampaignArgs {
    /// The address that it printed at its start: ready listen=HOST:PORT
    #[arg(long, value_name = "HOST:PORT")]
    address: String,
    /// The campaign's name
    #[arg(value_name = "ID")]
    id: String,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
enum AskError {
    #[error("the system refused")]
    System(#[from] std::io::Error),
    #[error("the courier cannot be asked")]
    Http(#[from] reqwest::Error),
    #[error("refused: {0}")]
    Refused(String),
}

fn asked<T>(verb: &str, ask: impl Future<Output = Result<T, AskError>>) -> Result<T, ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(AskError::from).and_then(|runtime| runtime.block_on(ask)).map_err(|error| {
        eprintln!("naru courier {verb}: {}", with_causes(&error));
        ExitCode::from(EXIT_REFUSED)
    })
}

async fn post(url: String, body: String) -> Result<(), AskError> {
    let request = reqwest::Client::new().post(url).header("content-type", "application/json").body(body);
    let answer = request.send().await?;
    if answer.status().is_success() {
        return Ok(());
    }
    let status = answer.status();
    let refused = answer.json::<Refused>().await.map(|refused| refused.error);
    Err(AskError::Refused(refused.unwrap_or_else(|_| status.to_string())))
}

/// Shows the status.
pub fn status(args: &StatusArgs) -> ExitCode {
    let url = format!("http://{}/v1/status", args.address);
    let ask = async { Ok(reqwest::get(url).await?.error_for_status()?.json::<Report>().await?) };
    let report = match asked("status", ask) {
        Ok(report) => report,
        Err(code) => return code,
    };
    let text = match args.json {
        true => serde_json::to_string_pretty(&report).expect("a report is numbers, names and lists of them") + "\n",
        false => said(&report),
    };
    print!("{text}");
    if report.alarms.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(EXIT_NOT_WELL) }
}

/// Takes a campaign on.
pub fn send(args: &SendArgs) -> ExitCode {
    let url = format!("http://{}/v1/campaigns", args.address);
    let ask = async { post(url, std::fs::read_to_string(&args.file)?).await };
    match asked("send", ask) {
        Ok(()) => ExitCode::SUCCESS,
        Err(code) => code,
    }
}

/// Stops a campaign, or lets it go on.
pub fn stop(args: &CampaignArgs, verb: &str) -> ExitCode {
    let url = format!("http://{}/v1/campaigns/{}/{verb}", args.address, args.id);
    match asked(verb, post(url, String::new())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(code) => code,
    }
}

fn said(report: &Report) -> String {
    let mut out = String::new();
    let mut line = |text: std::fmt::Arguments<'_>| writeln!(out, "{text}").expect("a text takes every line");
    line(format_args!("campaigns at {} messages a minute ({})", report.campaign_per_minute, report.pace));
    for (id, campaign) in &report.campaigns {
        let states: Vec<String> = campaign.lines.iter().map(|(state, count)| format!("{count} {state}")).collect();
        line(format_args!("  {id}: {}; {}", campaign.phase, states.join(", ")));
    }
    let usage = &report.usage;
    line(format_args!(
        "notifications: {} durable, {} accepted, {} delivered, {} failed, {} dead",
        usage.persisted, usage.accepted, usage.delivered, usage.failed, usage.dead
    ));
    line(format_args!("batches: {} open, {} of them in doubt", report.open_batches, report.in_doubt));
    report.alarms.iter().for_each(|alarm| line(format_args!("  alarm: {alarm}")));
    out
}
