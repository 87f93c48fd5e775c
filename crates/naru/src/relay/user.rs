//! `naru relay user`: the lines of a user, salted.

use std::io::{IsTerminal as _, Read as _, Write as _};
use std::process::ExitCode;

use naru_relay::security::Users;

use naru_runtime::causes::with_causes;

/// Bytes of a password, and of whatever else is given by mistake.
const PASSWORD_BYTES_MAX: u64 = 4 << 10;

/// The user's input is at fault.
const EXIT_BAD_INPUT: u8 = 2;

/// Arguments of `naru relay user`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The user's name
    name: String,
}

/// Prints the lines to add to the file of users.
pub fn run(args: &Args) -> ExitCode {
    if std::io::stdin().is_terminal() {
        eprintln!(
            "naru relay user: a password that is typed here would be shown; give it on standard input:\n  \
             naru relay user {} < password.txt >> users",
            args.name
        );
        return ExitCode::from(EXIT_BAD_INPUT);
    }
    let mut password = String::new();
    if let Err(error) = std::io::stdin().take(PASSWORD_BYTES_MAX).read_to_string(&mut password) {
        eprintln!("naru relay user: the password cannot be read: {error}");
        return ExitCode::from(EXIT_BAD_INPUT);
    }
    let password = password.strip_suffix('\n').unwrap_or(&password);
    let password = password.strip_suffix('\r').unwrap_or(password);
    let lines = match Users::lines(&args.name, password) {
        Ok(lines) => lines.join("\n") + "\n",
        Err(error) => {
            eprintln!("naru relay user: {}", with_causes(&error));
            return ExitCode::from(EXIT_BAD_INPUT);
        }
    };
    match std::io::stdout().write_all(lines.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("naru relay user: the lines cannot be written: {error}");
            ExitCode::FAILURE
        }
    }
}
