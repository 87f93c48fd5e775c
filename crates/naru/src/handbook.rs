//! `naru completions` and `naru manual`: what a package brings along, made from the commands themselves.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Command, CommandFactory as _};
use clap_complete::Shell;

/// Arguments of `naru completions`.
#[derive(Debug, clap::Args)]
pub struct CompletionsArgs {
    /// The shell that completes
    shell: Shell,
}

/// Arguments of `naru manual`.
#[derive(Debug, clap::Args)]
pub struct ManualArgs {
    /// Directory for the pages; made when there is none
    #[arg(value_name = "DIR")]
    out: PathBuf,
}

/// Prints the completions of a shell.
pub fn completions(args: &CompletionsArgs) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut crate::Cli::command(), "naru", &mut script);
    // A reader that went away is no failure of ours, and cannot be told.
    if io::stdout().write_all(&script).is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Writes a manual page for naru and for each of its commands: `naru.1`, `naru-relay.1`, `naru-relay-status.1`.
pub fn manual(args: &ManualArgs) -> ExitCode {
    let mut naru = crate::Cli::command().disable_help_subcommand(true);
    naru.build();
    match fs::create_dir_all(&args.out).and_then(|()| write_pages(&naru, "naru", &args.out)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("naru manual: {}: {error}", args.out.display());
            ExitCode::FAILURE
        }
    }
}

fn write_pages(command: &Command, name: &str, out: &Path) -> io::Result<()> {
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone()).title(name).render(&mut page)?;
    fs::write(out.join(format!("{name}.1")), page)?;
    for nested in command.get_subcommands().filter(|nested| !nested.is_hide_set()) {
        write_pages(nested, &format!("{name}-{}", nested.get_name()), out)?;
    }
    Ok(())
}
