//! `naru watch status`, `incidents`, `acknowledge`, `postmortem`, `changed`, `act` and `close`: what is asked of a watch.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use naru_watch::api::{AcknowledgeAsked, ActionAsked, Incidents, Overview, Summary, Taken};
use naru_watch::event::{Change, ChangeKind, seconds};
use naru_watch::postmortem::date;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::asking::{AskError, Role};

/// An incident is open, or somebody is away.
const EXIT_NOT_WELL: u8 = 3;

/// Which watch.
#[derive(Debug, clap::Args)]
pub struct Target {
    /// The address that it printed at its start: ready listen=HOST:PORT
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:7580")]
    address: String,
    /// A file with the token of the watch, if it has one
    #[arg(long, value_name = "PATH")]
    token_file: Option<PathBuf>,
}

/// Arguments of `naru watch status` and `incidents`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit code: 0 all is well, 3 an incident is open or somebody is away, 1 it could not be asked.")]
pub struct ShowArgs {
    #[command(flatten)]
    target: Target,
    /// Print everything as JSON
    #[arg(long)]
    json: bool,
}

/// Arguments of `naru watch acknowledge`.
#[derive(Debug, clap::Args)]
pub struct AcknowledgeArgs {
    #[command(flatten)]
    target: Target,
    /// The incident
    #[arg(value_name = "ID")]
    id: u64,
    /// Who takes it on: a handle, for the ledger
    #[arg(long, value_name = "HANDLE")]
    by: String,
}

/// Arguments of `naru watch postmortem`.
#[derive(Debug, clap::Args)]
pub struct PostmortemArgs {
    #[command(flatten)]
    target: Target,
    /// The incident
    #[arg(value_name = "ID")]
    id: u64,
}

/// Arguments of `naru watch changed`.
#[derive(Debug, clap::Args)]
pub struct ChangedArgs {
    #[command(flatten)]
    target: Target,
    /// What kind: plan, config, deploy, restart or other
    #[arg(long, value_name = "KIND", value_parser = kind)]
    kind: ChangeKind,
    /// Who or what changed it: a role, a job or a handle
    #[arg(long, value_name = "HANDLE")]
    by: String,
    /// On which target; may be repeated, all of them without it
    #[arg(long, value_name = "TARGET")]
    on: Vec<String>,
    /// What changed, in words
    #[arg(value_name = "WHAT")]
    what: String,
}

/// Arguments of `naru watch act`.
#[derive(Debug, clap::Args)]
pub struct ActArgs {
    #[command(flatten)]
    target: Target,
    /// The incident
    #[arg(value_name = "ID")]
    id: u64,
    /// Who does it: a handle
    #[arg(long, value_name = "HANDLE")]
    owner: String,
    /// The rehearsal that must pass before it is closed
    #[arg(long, value_name = "NAME")]
    rehearsal: String,
    /// What is to be done
    #[arg(value_name = "WHAT")]
    what: String,
}

/// Arguments of `naru watch close`.
#[derive(Debug, clap::Args)]
pub struct CloseArgs {
    #[command(flatten)]
    target: Target,
    /// The action
    #[arg(value_name = "ACTION")]
    action: u64,
    /// The report.json that the rehearsal wrote
    #[arg(long, value_name = "PATH")]
    report: PathBuf,
}

fn kind(text: &str) -> Result<ChangeKind, String> {
    serde_json::from_value(text.into()).map_err(|_| "write plan, config, deploy, restart or other".to_owned())
}

impl Target {
    fn role(&self) -> Role<'_> {
        Role { name: "watch", address: &self.address }
    }

    fn get<T: DeserializeOwned>(&self, verb: &str, path: &str) -> Result<T, ExitCode> {
        self.role().ask(verb, self.role().get(path))
    }

    async fn post(&self, path: &str, body: Vec<u8>) -> Result<Taken, AskError> {
        let token = self.token_file.as_ref().map(std::fs::read_to_string).transpose()?;
        let answer = self.role().post(path, body, token.as_deref().map(str::trim)).await?;
        self.role().json(answer).await
    }
}

fn pretty(what: &impl Serialize) -> String {
    serde_json::to_string_pretty(what).expect("an answer is numbers, names and lists of them") + "\n"
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    writeln!(out, "{text}").expect("a text takes every line");
}

fn summary(out: &mut String, one: &Summary) {
    let phase = match one.phase {
        naru_watch::incident::Phase::Open => "open, nobody has taken it on".to_owned(),
        naru_watch::incident::Phase::Acknowledged => {
            format!("taken on by {}", one.acknowledged_by.as_deref().unwrap_or("somebody"))
        }
        naru_watch::incident::Phase::Resolved => "over".to_owned(),
    };
    let after = seconds(one.opened_unix_ms - one.began_unix_ms);
    let at = date(one.opened_unix_ms);
    line(out, format_args!("incident {}: {} ({phase}); opened {at}, {after} after the first sign", one.id, one.cause));
    line(out, format_args!("  {}", one.because));
}

/// Shows the status.
pub fn status(args: &ShowArgs) -> ExitCode {
    let overview: Overview = match args.target.get("status", "/v1/status") {
        Ok(overview) => overview,
        Err(code) => return code,
    };
    let mut out = String::new();
    if args.json {
        out = pretty(&overview);
    } else {
        for target in &overview.targets {
            let site = target.site.as_ref().map_or(String::new(), |site| format!(" ({site})"));
            match (target.away_since_unix_ms, target.seen_unix_ms) {
                (Some(since), _) => line(&mut out, format_args!("{}{site}: AWAY since {}", target.name, date(since))),
                (None, Some(_)) => line(&mut out, format_args!("{}{site}: there", target.name)),
                (None, None) => line(&mut out, format_args!("{}{site}: not looked at yet", target.name)),
            }
        }
        for limit in &overview.limits {
            let level = limit.level.map_or("no level".to_owned(), |level| format!("{level:.3} of {}", limit.full));
            let time = |of: f64| seconds((of * 1000.0) as i64);
            let end = limit.forecast.map_or("no end in sight".to_owned(), |forecast| {
                let late = forecast.late_s.map_or("never".to_owned(), time);
                format!("runs out in {} ({} to {late})", time(forecast.likely_s), time(forecast.early_s))
            });
            line(&mut out, format_args!("{} ({}): {level}, {end}", limit.name, limit.kind));
        }
        overview.open.iter().for_each(|one| summary(&mut out, one));
        let waiting = overview.ledger_waiting;
        line(&mut out, format_args!("{} series, {waiting} entries wait for the disk", overview.series));
    }
    print!("{out}");
    let away = overview.targets.iter().any(|target| target.away_since_unix_ms.is_some());
    if overview.open.is_empty() && !away { ExitCode::SUCCESS } else { ExitCode::from(EXIT_NOT_WELL) }
}

/// Lists incidents.
pub fn incidents(args: &ShowArgs) -> ExitCode {
    let list: Incidents = match args.target.get("incidents", "/v1/incidents") {
        Ok(list) => list,
        Err(code) => return code,
    };
    let mut out = String::new();
    match args.json {
        true => out = pretty(&list),
        false => list.incidents.iter().for_each(|one| summary(&mut out, one)),
    }
    print!("{out}");
    let open = list.incidents.iter().any(|one| one.phase != naru_watch::incident::Phase::Resolved);
    if open { ExitCode::from(EXIT_NOT_WELL) } else { ExitCode::SUCCESS }
}

fn told(verb: &str, target: &Target, path: &str, body: &impl Serialize, said: &str) -> ExitCode {
    let body = serde_json::to_vec(body).expect("a request is texts");
    sent(verb, target, path, Ok(body), said)
}

fn sent(verb: &str, target: &Target, path: &str, body: std::io::Result<Vec<u8>>, said: &str) -> ExitCode {
    match target.role().ask(verb, async { target.post(path, body?).await }) {
        Ok(taken) => {
            let disk = if taken.durable { "" } else { "; it waits for the disk" };
            println!("{said} {}{disk}", taken.id);
            ExitCode::SUCCESS
        }
        Err(code) => code,
    }
}

/// Takes an incident on.
pub fn acknowledge(args: &AcknowledgeArgs) -> ExitCode {
    let asked = AcknowledgeAsked { by: args.by.clone() };
    told("acknowledge", &args.target, &format!("/v1/incidents/{}/acknowledge", args.id), &asked, "taken on: incident")
}

/// Prints a draft.
pub fn postmortem(args: &PostmortemArgs) -> ExitCode {
    let path = format!("/v1/incidents/{}/postmortem", args.id);
    match args.target.role().ask("postmortem", args.target.role().text(&path)) {
        Ok(text) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(code) => code,
    }
}

/// Tells of a change.
pub fn changed(args: &ChangedArgs) -> ExitCode {
    let change = Change { kind: args.kind, what: args.what.clone(), by: args.by.clone(), on: args.on.clone() };
    told("changed", &args.target, "/v1/changes", &change, "entry")
}

/// Says what is to be done.
pub fn act(args: &ActArgs) -> ExitCode {
    let asked = ActionAsked { what: args.what.clone(), owner: args.owner.clone(), rehearsal: args.rehearsal.clone() };
    told("act", &args.target, &format!("/v1/incidents/{}/actions", args.id), &asked, "action")
}

/// Closes an action.
pub fn close(args: &CloseArgs) -> ExitCode {
    let path = format!("/v1/actions/{}/close", args.action);
    sent("close", &args.target, &path, std::fs::read(&args.report), "closed: action")
}
