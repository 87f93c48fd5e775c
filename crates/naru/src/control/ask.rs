//! The commands that ask control.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use naru_control::api::{CampaignAsked, Overview, PlanAsked, Refused, RenewAsked, Renewed, ResourceView};
use naru_control::config::ClientConfig;
use naru_control::desk::{Applied, TeamCost};
use naru_control::plan::Plan;
use naru_control::resource::Spec;
use naru_model::written::thousands;
use naru_runtime::causes::with_causes;
use naru_runtime::config::{ConfigErrors, Flags};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Control refused: what was asked for cannot be.
const EXIT_REFUSED: u8 = 1;
/// The user's input is at fault.
const EXIT_BAD_INPUT: u8 = 2;
/// No answer; the same command again is harmless.
const EXIT_NO_ANSWER: u8 = 3;
/// Longer than control takes to keep a decision.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// Who asks, and how the answer is shown.
#[derive(Debug, clap::Args)]
pub struct Asking {
    #[command(flatten)]
    flags: Flags<ClientConfig>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

macro_rules! arguments {
    ($($(#[$doc:meta])* $name:ident { $($fields:tt)* })*) => {$(
        $(#[$doc])*
        #[derive(Debug, clap::Args)]
        #[command(after_help = "Exit code: 0 done, 1 refused, 2 bad input, 3 no answer.")]
        pub struct $name {
            $($fields)*
            #[command(flatten)]
            asking: Asking,
        }
    )*};
}

arguments! {
    /// Arguments of `naru request`.
    RequestArgs {
        /// The request, in TOML: kind, name, team, and what it wants
        #[arg(short, long, value_name = "FILE")]
        file: PathBuf,
    }
    /// Arguments of `naru plan`.
    PlanArgs {
        /// Requests by name; all of the team without any
        names: Vec<String>,
    }
    /// Arguments of `naru apply`.
    ApplyArgs {
        /// The hash that was shown
        hash: String,
    }
    /// Arguments of `naru approve`.
    ApproveArgs {
        /// The hash that was shown
        hash: String,
    }
    /// Arguments of `naru get`.
    GetArgs {
        /// One resource; all without it
        name: Option<String>,
    }
    /// Arguments of `naru renew`.
    RenewArgs {
        /// What is held
        name: String,
        /// How many hours longer
        #[arg(long)]
        hours: u32,
    }
    /// Arguments of `naru release`.
    ReleaseArgs {
        /// What is held
        name: String,
    }
    /// Arguments of `naru cost`.
    CostArgs {}
    /// Arguments of `naru campaign apply`.
    CampaignApplyArgs {
        /// The hash of the campaign's plan, as it was shown
        hash: String,
        /// The plan, as `naru campaign plan --out` wrote it
        #[arg(long, value_name = "FILE")]
        plan: PathBuf,
        /// Who pays
        #[arg(long)]
        team: String,
        /// What to rent
        #[arg(long)]
        flavor: String,
    }
}

/// No answer, or no.
#[derive(Debug, thiserror::Error)]
enum AskError {
    #[error("{0}")]
    Config(ConfigErrors),
    #[error("cannot read {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{}: {detail}", path.display())]
    Malformed { path: PathBuf, detail: String },
    #[error("refused: {}", .0.error)]
    Refused(Refused),
    #[error("control at {at} does not answer; the same command again is harmless")]
    Unanswered {
        at: String,
        #[source]
        source: reqwest::Error,
    },
    #[error("the system refused")]
    System(#[from] std::io::Error),
}

impl AskError {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Refused(refused) if refused.retry_helps => EXIT_NO_ANSWER,
            Self::Refused(_) => EXIT_REFUSED,
            Self::Config(_) | Self::Read { .. } | Self::Malformed { .. } => EXIT_BAD_INPUT,
            Self::Unanswered { .. } | Self::System(_) => EXIT_NO_ANSWER,
        }
    }
}

impl Asking {
    fn ask<A: DeserializeOwned>(&self, method: &str, path: &str, body: Option<&impl Serialize>) -> Result<A, AskError> {
        let config = self.flags.load().map_err(AskError::Config)?;
        let at = config.at.to_string();
        let unanswered = |source| AskError::Unanswered { at: at.clone(), source };
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap_or(reqwest::Method::GET);
        let client = reqwest::Client::builder().timeout(ANSWER_MAX).no_proxy().build().map_err(unanswered)?;
        let request = client.request(method, format!("http://{at}{path}")).bearer_auth(config.token.reveal());
        let request = match body {
            Some(body) => request.json(body),
            None => request,
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let answer = request.send().await.map_err(unanswered)?;
            match answer.status().is_success() {
                true => answer.json().await.map_err(unanswered),
                false => Err(AskError::Refused(answer.json().await.map_err(unanswered)?)),
            }
        })
    }

    fn tell<A: Serialize>(&self, answered: Result<A, AskError>, text: impl FnOnce(&A) -> String) -> ExitCode {
        let written = answered.and_then(|answer| {
            let said = match self.json {
                true => serde_json::to_string(&answer).expect("an answer is plain data") + "\n",
                false => text(&answer),
            };
            Ok(std::io::stdout().write_all(said.as_bytes())?)
        });
        match written {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("naru: {}", with_causes(&error));
                ExitCode::from(error.exit_code())
            }
        }
    }
}

const NOTHING: Option<&()> = None;

fn read(path: &Path) -> Result<String, AskError> {
    fs::read_to_string(path).map_err(|source| AskError::Read { path: path.to_owned(), source })
}

/// Asks for something.
pub fn request(args: &RequestArgs) -> ExitCode {
    let answered = read(&args.file).and_then(|text| {
        let spec: Spec = toml::from_str(&text).map_err(|error| AskError::Malformed {
            path: args.file.clone(),
            detail: error.to_string().trim_end().to_owned(),
        })?;
        args.asking.ask::<serde_json::Value>("PUT", &format!("/v1/requests/{}", spec.name()), Some(&spec))?;
        Ok(spec)
    });
    args.asking.tell(answered, |spec| format!("{} is asked for; see what it would do: naru plan\n", spec.name()))
}

/// Won with commas.
fn won(krw: u64) -> String {
    format!("₩{}", thousands(krw))
}

fn plan_text(plan: &Plan) -> String {
    if plan.lines.is_empty() {
        return "nothing to do: everything that was asked for is held\n".to_owned();
    }
    let mut text = String::new();
    for line in &plan.lines {
        let action = match line.action {
            naru_control::plan::Action::Create => "create",
            naru_control::plan::Action::Change => "change",
        };
        let (kind, name) = (line.spec.kind(), line.spec.name());
        text.push_str(&format!("  {action}  {kind} {name}: {} ({} an hour)\n", won(line.krw), won(line.krw_per_hour)));
        text.push_str(&format!("          {}\n", line.reason));
    }
    text.push_str(&format!("in all {}, leases to their ends\n", won(plan.krw)));
    if !plan.approval.is_empty() {
        text.push_str(&format!("needs approval, for {}: naru approve {}\n", plan.approval.join(", "), plan.hash));
    }
    text.push_str(&format!("naru apply {}\n", plan.hash));
    text
}

/// Shows what would be done.
pub fn plan(args: &PlanArgs) -> ExitCode {
    let asked = PlanAsked { names: args.names.clone() };
    args.asking.tell(args.asking.ask::<Plan>("POST", "/v1/plans", Some(&asked)), plan_text)
}

fn applied_text(applied: &Applied) -> String {
    let how = if applied.already { format!("was applied before, by {}", applied.by) } else { "applied".to_owned() };
    format!("{how}: {}; see how far it is: naru get\n", applied.names.join(", "))
}

/// Does what was shown.
pub fn apply(args: &ApplyArgs) -> ExitCode {
    let answered = args.asking.ask("POST", &format!("/v1/plans/{}/apply", args.hash), NOTHING);
    args.asking.tell(answered, applied_text)
}

/// Agrees to a plan.
pub fn approve(args: &ApproveArgs) -> ExitCode {
    let answered = args.asking.ask::<serde_json::Value>("POST", &format!("/v1/plans/{}/approve", args.hash), NOTHING);
    args.asking.tell(answered, |_| "approved\n".to_owned())
}

fn resource_line(resource: &ResourceView) -> String {
    let life = serde_json::to_value(resource.life).ok().and_then(|life| life.as_str().map(str::to_owned));
    let left_ms = resource.until_unix_ms.saturating_sub(resource.from_unix_ms).max(0);
    format!(
        "{:<24} {:<9} {:<10} {:<10} {:>3} of {:<3} {:>5} h {:>14}  {}\n",
        resource.name,
        resource.kind,
        resource.team,
        life.unwrap_or_default(),
        resource.ready,
        resource.wanted,
        left_ms / 3_600_000,
        won(resource.booked_krw),
        resource.reason
    )
}

/// Shows what is held.
pub fn get(args: &GetArgs) -> ExitCode {
    let Some(name) = &args.name else {
        let answered = args.asking.ask::<Overview>("GET", "/v1/resources", NOTHING);
        return args.asking.tell(answered, |overview| {
            let mut text: String = overview.resources.iter().map(resource_line).collect();
            for request in &overview.requests {
                text.push_str(&format!(
                    "{:<24} {:<9} {:<10} waits for a plan\n",
                    request.spec.name(),
                    request.spec.kind(),
                    request.spec.team()
                ));
            }
            if text.is_empty() { "nothing is held\n".to_owned() } else { text }
        });
    };
    let answered = args.asking.ask::<ResourceView>("GET", &format!("/v1/resources/{name}"), NOTHING);
    args.asking.tell(answered, |resource| {
        let mut text = resource_line(resource);
        for item in &resource.items {
            let id = item.id.as_deref().unwrap_or("-");
            text.push_str(&format!(
                "  {:<12} {:<10} {id} {}\n",
                item.key,
                format!("{:?}", item.phase).to_lowercase(),
                item.note
            ));
        }
        text
    })
}

/// Makes a lease longer.
pub fn renew(args: &RenewArgs) -> ExitCode {
    let asked = RenewAsked { hours: args.hours };
    let answered = args.asking.ask::<Renewed>("POST", &format!("/v1/resources/{}/renew", args.name), Some(&asked));
    args.asking.tell(answered, |_| format!("{} is held {} h longer\n", args.name, args.hours))
}

/// Gives something back.
pub fn release(args: &ReleaseArgs) -> ExitCode {
    let path = format!("/v1/resources/{}/release", args.name);
    let answered = args.asking.ask::<serde_json::Value>("POST", &path, NOTHING);
    args.asking.tell(answered, |_| format!("{} is being given back\n", args.name))
}

/// Shows what teams have booked and used.
pub fn cost(args: &CostArgs) -> ExitCode {
    let answered = args.asking.ask::<Vec<TeamCost>>("GET", "/v1/cost", NOTHING);
    args.asking.tell(answered, |teams| {
        let line = |team: &TeamCost| {
            format!(
                "{:<16} booked {:>14} of {:>14}, used {:>14}\n",
                team.team,
                won(team.booked_krw),
                won(team.budget_krw),
                won(team.used_krw)
            )
        };
        teams.iter().map(line).collect()
    })
}

/// Rents what a campaign's plan says.
pub fn campaign_apply(args: &CampaignApplyArgs) -> ExitCode {
    let answered = read(&args.plan).and_then(|plan| {
        let (hash, team, flavor) = (args.hash.clone(), args.team.clone(), args.flavor.clone());
        let asked = CampaignAsked { hash, plan, team, flavor };
        let plan: Plan = args.asking.ask("POST", "/v1/campaigns", Some(&asked))?;
        args.asking.ask::<Applied>("POST", &format!("/v1/plans/{}/apply", plan.hash), NOTHING)
    });
    args.asking.tell(answered, applied_text)
}
