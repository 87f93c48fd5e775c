//! `naru ledger verify`: what a ledger proves, to somebody who has nothing but its public key.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use naru_control::ledger::{self, LedgerError};
use naru_runtime::causes::with_causes;
use naru_runtime::segments::{Expect, Head, SegmentError};

use crate::public_keys::{self, hex32};

/// The ledger was altered, cut or reordered.
const EXIT_NOT_PROVED: u8 = 1;
/// The user's input is at fault.
const EXIT_BAD_INPUT: u8 = 2;
/// There is no verdict: the ledger could not be read.
const EXIT_NO_VERDICT: u8 = 3;

/// Arguments of `naru ledger`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Verify the chain of a ledger, and print its entries
    Verify(VerifyArgs),
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Exit code: 0 proved, 1 not proved, 2 bad input, 3 no verdict.")]
struct VerifyArgs {
    /// The directory of the ledger
    ledger: PathBuf,
    /// A public key of it, 64 hexadecimal digits; may be repeated, for keys of former years
    #[arg(long = "key", value_name = "HEX", value_parser = hex32, required_unless_present = "keys")]
    public: Vec<[u8; 32]>,
    /// Its own key file, in place of its public keys
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,
    /// The head that the chain must end in, as it was kept elsewhere: shows a chain that was cut
    #[arg(long, value_name = "HEX", value_parser = hex32)]
    head: Option<[u8; 32]>,
    /// The ledger is being written: its last segment may still be without a signature
    #[arg(long)]
    open: bool,
    /// Print each entry as a line of JSON
    #[arg(long)]
    json: bool,
}

/// Verifies.
pub fn run(args: &Args) -> ExitCode {
    let Verb::Verify(args) = &args.verb;
    let keys = match public_keys::verifying(args.keys.as_deref(), &args.public) {
        Ok(keys) => keys,
        Err(error) => {
            eprintln!("naru ledger verify: {}", with_causes(&error));
            return ExitCode::from(EXIT_BAD_INPUT);
        }
    };
    let expect = Expect { open_last: args.open, head: args.head.map(Head::from_bytes), ..Expect::SEALED };
    let mut text = String::new();
    let verified = ledger::verify(&args.ledger, &keys, expect, |entry| {
        let line = match args.json {
            true => serde_json::to_string(&entry).expect("an entry is texts and numbers"),
            false => format!("{:>6}  {}  {}  {}", entry.id().get(), entry.at_ms(), entry.who(), entry.what()),
        };
        text.push_str(&line);
        text.push('\n');
    });
    let code = match verified {
        Ok(summary) => {
            if !args.json {
                let sealed = if summary.sealed { "all of them signed" } else { "the last ones not signed yet" };
                text.push_str(&format!("{} entries, {sealed}; head {}\n", summary.entries, summary.head));
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("naru ledger verify: {}", with_causes(&error));
            let read = !matches!(error, LedgerError::Chain(SegmentError::Io { .. }));
            ExitCode::from(if read { EXIT_NOT_PROVED } else { EXIT_NO_VERDICT })
        }
    };
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => code,
        Err(_) => ExitCode::from(EXIT_NO_VERDICT),
    }
}
