//! `naru options`: the option reference of every role, as docs/OPTIONS.md holds it.

use std::io::Write as _;
use std::process::ExitCode;

use clap::{Arg, Command, CommandFactory as _};
use naru_runtime::config::{RoleReference, option_reference};

/// Every role with a configuration, in the order of the reference.
fn roles() -> Vec<RoleReference> {
    vec![
        #[cfg(feature = "audit")]
        RoleReference::of::<naru_audit::config::AuditConfig>(),
        #[cfg(feature = "broker")]
        RoleReference::of::<crate::broker::BrokerConfig>(),
        #[cfg(feature = "edge")]
        RoleReference::of::<naru_edge::config::EdgeConfig>(),
        #[cfg(feature = "lake")]
        RoleReference::of::<naru_lake::config::LakeConfig>(),
        #[cfg(feature = "relay")]
        RoleReference::of::<naru_relay::config::RelayConfig>(),
        #[cfg(feature = "capture")]
        RoleReference::of::<naru_capture::config::CaptureConfig>(),
        #[cfg(feature = "courier")]
        RoleReference::of::<naru_courier::config::CourierConfig>(),
        #[cfg(feature = "vault")]
        RoleReference::of::<naru_vault::config::VaultConfig>(),
        #[cfg(feature = "cloud-sim")]
        RoleReference::of::<naru_cloud_sim::config::CloudSimConfig>(),
        #[cfg(feature = "control")]
        RoleReference::of::<naru_control::config::ControlConfig>(),
        #[cfg(feature = "console")]
        RoleReference::of::<naru_console::config::ConsoleConfig>(),
        #[cfg(feature = "watch")]
        RoleReference::of::<naru_watch::config::WatchConfig>(),
        #[cfg(feature = "sample")]
        RoleReference::of::<crate::sample::SampleConfig>(),
    ]
}

/// Prints the reference.
pub fn run() -> ExitCode {
    match std::io::stdout().write_all(reference().as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        // A reader that went away (`naru options | head`) is no failure of ours, and cannot be told.
        Err(_) => ExitCode::FAILURE,
    }
}

/// The roles with a configuration, and behind them the commands that have only flags.
fn reference() -> String {
    let roles = roles();
    let mut page = option_reference(&roles);
    let mut cli = crate::Cli::command().disable_help_subcommand(true);
    // Until it is built, a command does not know how its flags are written.
    cli.build();
    for command in cli.get_subcommands() {
        if roles.iter().any(|role| role.role() == command.get_name()) {
            let parent = format!("naru {}", command.get_name());
            command.get_subcommands().for_each(|nested| add_command(&mut page, &parent, nested));
        } else {
            add_command(&mut page, "naru", command);
        }
    }
    page
}

/// Adds a command's flags, and those of its own commands.
fn add_command(page: &mut String, parent: &str, command: &Command) {
    let name = format!("{parent} {}", command.get_name());
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    page.push_str(&format!("\n## {name}\n\n{about}.\n"));
    let of_clap = |argument: &Arg| ["help", "version"].contains(&argument.get_id().as_str());
    let mut arguments =
        command.get_arguments().filter(|argument| !of_clap(argument) && !argument.is_hide_set()).peekable();
    if arguments.peek().is_some() {
        page.push_str("\nBy flags only.\n\n| flag | default | meaning |\n|---|---|---|\n");
    }
    for argument in arguments {
        page.push_str(&row(argument));
    }
    let nested = command.get_subcommands().filter(|nested| nested.get_name() != "help");
    nested.for_each(|nested| add_command(page, &name, nested));
}

fn row(argument: &Arg) -> String {
    let escaped = |text: String| text.replace('|', "\\|");
    let default: Vec<_> = argument.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
    let default = match (default.as_slice(), argument.is_required_set()) {
        ([], true) => "required".to_owned(),
        ([], false) => "none".to_owned(),
        (values, _) => format!("`{}`", values.join(" ")),
    };
    let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
    format!("| `{}` | {default} | {} |\n", escaped(argument.to_string()), escaped(help))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_one_that_its_role_takes() {
        for role in roles() {
            assert_eq!(role.wrong_defaults(), [], "{}", role.role());
        }
    }

    #[test]
    fn every_command_is_in_the_reference() {
        let page = reference();
        for command in crate::Cli::command().get_subcommands() {
            assert!(page.contains(&format!("\n## naru {}\n", command.get_name())), "{}", command.get_name());
        }
    }
}
