//! `naru audit status`: how far the audit is.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use naru_audit::auditor::{STATUS_FILE, SourceStatus};
use naru_audit::certificate::{Verdict, sha256};
use naru_runtime::causes::with_causes;

use super::chain::{self, ChainFailure, NOT_READ};

/// Something wants attention.
const ATTENTION: u8 = 1;

/// Arguments of `naru audit status`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit code: 0 all is well; 1 a window differs, or waits for a reader; 3 there is no status.")]
pub struct Args {
    /// State directory of the audit
    #[arg(long, value_name = "DIR")]
    state: PathBuf,
}

/// Says how far it is.
pub fn run(args: &Args) -> ExitCode {
    match read(args) {
        Ok((text, is_well)) => {
            // A reader that went away (`| head`) is no failure of ours, and cannot be told.
            let told = std::io::stdout().write_all(text.as_bytes()).is_ok();
            if is_well && told { ExitCode::SUCCESS } else { ExitCode::from(ATTENTION) }
        }
        Err(error) => {
            eprintln!("naru audit status: {}", with_causes(&error));
            ExitCode::from(NOT_READ)
        }
    }
}

fn read(args: &Args) -> Result<(String, bool), ChainFailure> {
    let path = args.state.join(STATUS_FILE);
    let bytes = std::fs::read(&path).map_err(|source| ChainFailure::Io { path: path.clone(), source })?;
    let sources: BTreeMap<String, SourceStatus> =
        serde_json::from_slice(&bytes).map_err(|source| ChainFailure::Line { path, source })?;
    let chain = chain::text(&args.state)?;
    let mut text = String::new();
    let mut is_well = true;
    for (name, status) in &sources {
        let [equal, incomplete, different, open] = status.verdicts;
        is_well &= status.unresolved == 0 && status.waiting_for.is_empty();
        let behind = status.newest_mark.saturating_sub(status.certified);
        let counts = format!("{equal} equal, {incomplete} incomplete, {different} different, {open} open");
        let (certified, held) = (status.certified, status.wal_held_bytes);
        let line =
            format!("{name}: certified up to {certified}, {behind} bytes of WAL behind the newest mark; {counts}");
        writeln!(text, "{line}; its slot holds {held} bytes").unwrap_or_default();
        if !status.waiting_for.is_empty() {
            writeln!(text, "  waits for: {}", status.waiting_for).unwrap_or_default();
        }
    }
    let head = chain.lines().last().map_or_else(|| "none".to_owned(), |line| sha256(line.as_bytes()));
    writeln!(text, "{} certificates, head {head}", chain.lines().count()).unwrap_or_default();
    for line in chain.lines() {
        let Ok(one) = serde_json::from_str::<naru_audit::certificate::Certificate>(line) else { continue };
        if one.verdict >= Verdict::Different {
            let number = one.number;
            writeln!(text, "certificate {number}: {}; naru audit show {number}", one.verdict).unwrap_or_default();
        }
    }
    Ok((text, is_well))
}
