//! `naru control token`: who may ask. Works on the state directory, beside a control that runs.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use naru_control::access::{Grant, NoRandom, Role, make_token};
use naru_control::server;
use naru_control::store::StoreError;
use naru_runtime::causes::with_causes;
use naru_runtime::clocks::{SystemClock, WallClock as _};

/// Longest life of a token, in days: within a year somebody looks whether it is still needed.
const DAYS_MAX: i64 = 366;

/// Arguments of `naru control token`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Make a token and print it, once; one of the same name ends
    Add(AddArgs),
    /// Remove a token: it ends at once
    Remove(RemoveArgs),
}

#[derive(Debug, clap::Args)]
struct AddArgs {
    /// State directory of control
    #[arg(long, value_name = "DIR")]
    state: PathBuf,
    /// Whose it is: a person, or a job of CI
    #[arg(long)]
    name: String,
    /// What it may do
    #[arg(long, value_parser = ["viewer", "requester", "approver", "admin"])]
    role: String,
    /// For which team; any for admins
    #[arg(long, default_value = "")]
    team: String,
    /// For how many days
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(i64).range(1..=DAYS_MAX))]
    days: i64,
}

#[derive(Debug, clap::Args)]
struct RemoveArgs {
    /// State directory of control
    #[arg(long, value_name = "DIR")]
    state: PathBuf,
    /// Whose it is
    #[arg(long)]
    name: String,
}

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("the system refused")]
    System(#[from] std::io::Error),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    NoRandom(#[from] NoRandom),
    #[error("there is no token of {0}")]
    Unknown(String),
}

/// Makes or removes a token.
pub fn run(args: &Args) -> ExitCode {
    match carry_out(&args.verb) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("naru control token: {}", with_causes(&error));
            ExitCode::FAILURE
        }
    }
}

fn carry_out(verb: &Verb) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match verb {
            Verb::Add(args) => {
                std::fs::create_dir_all(&args.state)?;
                let until_unix_ms = SystemClock::new().unix_ms() + args.days * 86_400_000;
                let role = Role::from_name(&args.role).unwrap_or(Role::Viewer);
                let grant = Grant { name: args.name.clone(), role, team: args.team.clone(), until_unix_ms };
                let token = make_token()?;
                server::add_token(&args.state, &grant, &token).await?;
                writeln!(std::io::stdout(), "{token}")?;
                Ok(())
            }
            Verb::Remove(args) => match server::remove_token(&args.state, &args.name).await? {
                true => Ok(()),
                false => Err(Failure::Unknown(args.name.clone())),
            },
        }
    })
}
