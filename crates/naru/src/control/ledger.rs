//! `naru ledger verify`: what a ledger proves, to somebody who has nothing but its public key.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use naru_control::ledger::{self, LedgerError};
use naru_runtime::causes::with_causes;
use naru_runtime::segments::SegmentError;

use crate::signed_chain::ChainArgs;

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
    #[command(flatten)]
    chain: ChainArgs,
    /// Print each entry as a line of JSON
    #[arg(long)]
    json: bool,
}

/// Verifies.
pub fn run(args: &Args) -> ExitCode {
    let Verb::Verify(args) = &args.verb;
    let keys = match args.chain.keys() {
        Ok(keys) => keys,
        Err(error) => {
            eprintln!("naru ledger verify: {}", with_causes(&error));
            return ExitCode::from(EXIT_BAD_INPUT);
        }
    };
    let mut text = String::new();
    let verified = ledger::verify(&args.ledger, &keys, args.chain.expect(), |entry| {
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
