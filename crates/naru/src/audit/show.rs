//! `naru audit show`: one certificate, for people.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use naru_audit::certificate::{Certificate, PartProof, Reading, Verdict};
use naru_runtime::causes::with_causes;

use super::chain::{self, NOT_READ};

/// The window's readers differ.
const DIFFERS: u8 = 1;

/// Arguments of `naru audit show`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit code: 0 equal, or equal where it was read; 1 different; 3 there is nothing to show.")]
pub struct Args {
    /// Number of the certificate
    window: u64,
    /// State directory of the audit
    #[arg(long, value_name = "DIR")]
    state: PathBuf,
    /// Print the certificate as it is written
    #[arg(long)]
    json: bool,
}

/// Shows a certificate.
pub fn run(args: &Args) -> ExitCode {
    let certificate = match chain::certificate(&args.state, args.window) {
        Ok(certificate) => certificate,
        Err(error) => {
            eprintln!("naru audit show: {}", with_causes(&error));
            return ExitCode::from(NOT_READ);
        }
    };
    let text = match args.json {
        false => said(&certificate),
        true => match naru_audit::certificate::canonical(&certificate) {
            Ok(line) => format!("{line}\n"),
            Err(error) => format!("{}\n", with_causes(&error)),
        },
    };
    // A reader that went away (`| head`) is no failure of ours, and cannot be told.
    if std::io::stdout().write_all(text.as_bytes()).is_err() {
        return ExitCode::from(NOT_READ);
    }
    match certificate.verdict {
        Verdict::Equal | Verdict::Incomplete => ExitCode::SUCCESS,
        Verdict::Different | Verdict::Open => ExitCode::from(DIFFERS),
    }
}

fn said(certificate: &Certificate) -> String {
    let window = &certificate.window;
    let mut text = format!(
        "certificate {}: {} for {} behind {} up to {}\n",
        certificate.number, certificate.verdict, window.source, window.after, window.to
    );
    for part in &certificate.parts {
        say_part(&mut text, part).unwrap_or_default();
    }
    text
}

fn say_part(text: &mut String, part: &PartProof) -> std::fmt::Result {
    writeln!(text, "{} {:?}: {}", part.topic, part.part, part.verdict)?;
    for (reader, reading) in &part.readings {
        match reading {
            Reading::Read { rows, sums, .. } => {
                let sums: String = sums.iter().map(|(name, sum)| format!(" {name}={sum}")).collect();
                writeln!(text, "  {reader:<6} {rows} records{sums}")?;
            }
            Reading::Absent { why } => writeln!(text, "  {reader:<6} not read: {why}")?,
        }
    }
    if !part.left_out.is_empty() {
        writeln!(text, "  left out: {}", part.left_out.join(", "))?;
    }
    for one in &part.differences {
        let (position, sequence) = (one.position, one.sequence);
        let places = if one.places.is_empty() { String::new() } else { format!(" at {}", one.places.join(", ")) };
        let kind = one.kind();
        let counts = format!("{} of {}", one.found, one.expected);
        writeln!(text, "  {} {kind}: position {position} sequence {sequence}, {counts} copies{places}", one.reader)?;
    }
    if part.unnamed {
        writeln!(text, "  and differences that could not be named")?;
    }
    Ok(())
}
