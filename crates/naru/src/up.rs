//! `naru up`: every role on embedded defaults, each a supervised child process, with its state below one directory.
//!
//! Why processes, and not one: docs/decisions/0007-up-starts-processes.md.

mod access;
mod child;
mod configure;
mod demo;
mod fleet;
mod ports;

use std::error::Error;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use naru_runtime::causes::with_causes;
use naru_runtime::shutdown::{Signals, run_until_stopped};
use naru_runtime::tasks::Tasks;

use self::configure::Member;
use self::fleet::Fleet;
use self::ports::Ports;

/// All members end one after the other within this: a relay and a lake with work in hand take seconds, the rest
/// milliseconds. What has not ended by then is killed.
const DRAIN_MAX: Duration = Duration::from_secs(45);

/// Arguments of `naru up`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Ctrl-C ends everything; the same command again goes on with the same data and ports.")]
pub struct Args {
    /// Directory of everything that the roles keep; made if missing, for one `naru up` at a time
    #[arg(long, value_name = "DIR", default_value = "naru-data")]
    data: PathBuf,
    /// Adds sample services and gentle traffic, a small campaign, and a plan that waits for approval
    #[arg(long)]
    demo: bool,
    /// Address of the console; without it, a free port of 127.0.0.1 that is kept from start to start
    #[arg(long, value_name = "ADDR")]
    console: Option<SocketAddr>,
}

/// Starts everything, and waits until it is told to stop.
pub fn run(args: &Args) -> ExitCode {
    // One thread: the system ends a child when the thread that started it ends, and this one lasts as long as the process.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let served = runtime.map_err(Box::<dyn Error>::from).and_then(|runtime| runtime.block_on(serve(args)));
    served.unwrap_or_else(|failure| {
        eprintln!("naru up: {}", with_causes(&*failure));
        ExitCode::FAILURE
    })
}

async fn serve(args: &Args) -> Result<ExitCode, Box<dyn Error>> {
    // Caught before the first child is there.
    let mut signals = Signals::listen()?;
    std::fs::create_dir_all(&args.data)?;
    let data = args.data.canonicalize()?;
    let mut ports = Ports::open(&data)?;
    if let Some(address) = args.console {
        ports.pin("console", address);
    }
    let tokens = access::grant(&data).await?;
    let members = configure::members(&data, &mut ports, args.demo)?;
    let mut fleet = Fleet::new(std::env::current_exe()?, data.clone());
    let started = tokio::select! {
        started = fleet.start(&members) => started,
        name = signals.next() => {
            eprintln!("naru up: {name} before everything was started");
            fleet.stop().await;
            return Ok(ExitCode::FAILURE);
        }
    };
    if let Err(failure) = started {
        // The others end in order, with what they have on the disk.
        fleet.stop().await;
        return Err(failure.into());
    }
    // Only now: a second `naru up` on this directory fails above, and must not move the ports of the first.
    ports.keep(&data)?;
    let mut out = std::io::stdout();
    out.write_all(table(&members, &data, &tokens, args.demo).as_bytes())?;
    let tasks = Tasks::new();
    if args.demo {
        demo::start(&members, &data, &tokens, &tasks)?;
    }
    tasks.spawn_fallible("fleet", fleet.keep(tasks.stop_token()));
    out.write_all(ready(&members).as_bytes())?;
    out.flush()?;
    let ending = run_until_stopped(&tasks, DRAIN_MAX, async || signals.next().await).await;
    writeln!(out, "everything has ended; the data stays in {}", data.display())?;
    Ok(ending.exit_code())
}

/// The line that a program waits for: `ready NAME.PORT=ADDR ...`.
fn ready(members: &[Member]) -> String {
    let mut line = "ready".to_owned();
    for member in members {
        for port in &member.ports {
            line.push_str(&format!(" {}.{}={}", member.name, port.name, port.address));
        }
    }
    line + "\n"
}

/// What stands where, for people.
fn table(members: &[Member], data: &Path, tokens: &[access::Token], demo: bool) -> String {
    let mut text = format!("{} processes, with their data and logs in {}\n\n", members.len(), data.display());
    for member in members {
        for port in member.ports.iter().filter(|port| !port.meaning.is_empty()) {
            text.push_str(&format!("  {:<13} {:<24} {}\n", member.name, port.shown(), port.meaning));
        }
    }
    text.push_str("\nnot started: capture and audit need a PostgreSQL database, the vault needs certificates\n");
    text.push_str("to change something, log in at the console with one of these tokens:\n");
    for token in tokens.iter().filter(|token| token.is_for_people()) {
        text.push_str(&format!("  {:<18} {}\n", token.name, token.file.display()));
    }
    let console = members.iter().flat_map(|member| &member.ports).find(|port| port.name == configure::PAGE);
    if let Some(console) = console {
        text.push_str(&format!("\nopen {}\n", console.shown()));
    }
    if !demo {
        text.push_str("there is no traffic yet; `naru up --demo` brings some\n");
    }
    text
}
