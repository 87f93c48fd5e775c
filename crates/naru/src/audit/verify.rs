//! `naru audit verify`: what a chain of certificates proves, to somebody who has nothing but the public key.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use naru_audit::certificate::{Expected, verify};
use naru_runtime::causes::with_causes;

use super::chain::{BAD_INPUT, NOT_READ};
use crate::public_keys::{self, hex32};

/// The chain is refused.
const REFUSED: u8 = 1;

/// Arguments of `naru audit verify`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit code: 0 whole and signed, 1 refused, 2 bad input, 3 it cannot be read.")]
pub struct Args {
    /// The file of certificates
    file: PathBuf,
    /// A public key of the audit, 64 hexadecimal digits; may be repeated, for keys of former years
    #[arg(long = "key", value_name = "HEX", value_parser = hex32, required_unless_present = "keys")]
    public: Vec<[u8; 32]>,
    /// The audit's own key file, in place of its public keys
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,
    /// The SHA-256 of the last line, as it was kept elsewhere: shows a chain that was cut
    #[arg(long, value_name = "HEX")]
    head: Option<String>,
    /// The SHA-256 of the line before the first one, for the later part of a chain
    #[arg(long, value_name = "HEX")]
    previous: Option<String>,
}

/// Checks a chain.
pub fn run(args: &Args) -> ExitCode {
    let keys = match public_keys::verifying(args.keys.as_deref(), &args.public) {
        Ok(keys) => keys,
        Err(error) => {
            eprintln!("naru audit verify: {}", with_causes(&error));
            return ExitCode::from(BAD_INPUT);
        }
    };
    let text = match std::fs::read_to_string(&args.file) {
        Ok(text) => text,
        Err(error) => {
            eprintln!("naru audit verify: {}: {error}", args.file.display());
            return ExitCode::from(NOT_READ);
        }
    };
    let expected = Expected { previous: args.previous.clone(), head: args.head.clone() };
    let summary = match verify(&text, &keys, &expected) {
        Ok(summary) => summary,
        Err(refused) => {
            eprintln!("naru audit verify: {}: {refused}", args.file.display());
            return ExitCode::from(REFUSED);
        }
    };
    let [equal, incomplete, different, open] = summary.verdicts;
    let counts = format!("{equal} equal, {incomplete} incomplete, {different} different, {open} open");
    let (count, head) = (summary.certificates, summary.head);
    if writeln!(std::io::stdout(), "{count} certificates, {counts}, head {head}").is_err() {
        eprintln!("naru audit verify: the answer could not be printed");
    }
    ExitCode::SUCCESS
}
