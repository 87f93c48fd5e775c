//! `naru edge audit`: what a decision log proves, to somebody who has nothing of the edge but its public key.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use naru_edge::decision::{self, Audit, AuditError, BREACHES_MAX, Findings, Record};
use naru_edge::policy::{Network, OwnedNetworks};
use naru_model::{Class, SiteKind};
use naru_runtime::causes::with_causes;
use naru_runtime::segments::SegmentError;
use serde::Serialize;

use crate::signed_chain::ChainArgs;

/// The log proves nothing, or proves a breach.
const EXIT_NOT_PROVED: u8 = 1;
/// The user's input is at fault.
const EXIT_BAD_INPUT: u8 = 2;
/// There is no verdict: the log could not be read.
const EXIT_NO_VERDICT: u8 = 3;

/// Arguments of `naru edge audit`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit code: 0 proved, 1 not proved, 2 bad input, 3 no verdict.")]
pub struct Args {
    /// The directory of the log
    log: PathBuf,
    #[command(flatten)]
    chain: ChainArgs,
    /// A network of the owned sites; may be repeated. Each core request must then have gone to an address in one
    #[arg(long = "owned", value_name = "NETWORK")]
    owned: Vec<Network>,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

/// Reads a log and says what it proves.
pub fn run(args: &Args) -> ExitCode {
    let keys = match args.chain.keys() {
        Ok(keys) => keys,
        Err(error) => {
            eprintln!("naru edge audit: {}", with_causes(&error));
            return ExitCode::from(EXIT_BAD_INPUT);
        }
    };
    let networks = OwnedNetworks::new(args.owned.iter().copied());
    let is_owned = |address: IpAddr| networks.contain(address);
    let is_owned: Option<&dyn Fn(IpAddr) -> bool> = if args.owned.is_empty() { None } else { Some(&is_owned) };
    let audit = match decision::audit(&args.log, &keys, args.chain.expect(), is_owned) {
        Ok(audit) => audit,
        Err(error) => {
            eprintln!("naru edge audit: {}", with_causes(&error));
            let refused = matches!(error, AuditError::NoBlock { .. } | AuditError::Chain(SegmentError::Refused { .. }));
            return ExitCode::from(if refused { EXIT_NOT_PROVED } else { EXIT_NO_VERDICT });
        }
    };
    let text = if args.json { json(&audit) } else { said(&audit) };
    // A closed pipe must not turn a verdict into a panic.
    if std::io::stdout().write_all(text.as_bytes()).is_err() {
        eprintln!("naru edge audit: the verdict could not be printed");
    }
    if audit.findings.proves() { ExitCode::SUCCESS } else { ExitCode::from(EXIT_NOT_PROVED) }
}

fn class(class: Option<Class>) -> &'static str {
    match class {
        Some(Class::Core) => "core",
        Some(Class::Open) => "open",
        None => "no route",
    }
}

fn went(kind: Option<SiteKind>) -> &'static str {
    match kind {
        Some(SiteKind::Owned) => "owned",
        Some(SiteKind::Rented) => "rented",
        None => "kept",
    }
}

fn verdict(findings: &Findings) -> &'static str {
    match findings {
        _ if findings.breach_count > 0 => "NOT PROVED: requests went where they must not",
        _ if !findings.proves() => "NOT PROVED: records are missing that could say otherwise",
        _ => "PROVED: no core request went to a rented site",
    }
}

fn said(audit: &Audit) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    say(audit, &mut text).unwrap_or_default();
    text
}

fn say(audit: &Audit, text: &mut String) -> std::fmt::Result {
    let Audit { chain, findings } = audit;
    let signed = if chain.sealed { "all signed" } else { "the last segment not signed yet" };
    writeln!(text, "{} segments, {} blocks, {signed}, head {}", chain.segments, chain.entries, chain.head)?;
    let (first, last) = findings.unix_ms.unwrap_or_default();
    writeln!(text, "{} decisions, from unix_ms {first} to {last}", findings.decision_count())?;
    for ((of, kind, reason), count) in &findings.decisions {
        writeln!(text, "  {:8} {:7} {:12} {count}", class(*of), went(*kind), reason.as_str())?;
    }
    writeln!(text, "core requests went to {} servers", findings.core_places.len())?;
    for place in &findings.core_places {
        writeln!(text, "  {} {} ({})", place.site, place.address, went(Some(place.kind)))?;
    }
    for breach in &findings.breaches {
        let Record { request_id, unix_ms, class: of, place, .. } = breach.record;
        let at = place.map(|place| format!("{} {} ({})", place.site, place.address, went(Some(place.kind))));
        writeln!(
            text,
            "breach: segment {}, block {}: request {request_id:032x} ({}) at unix_ms {unix_ms} went to {}",
            breach.segment,
            breach.entry,
            class(of),
            at.unwrap_or_default()
        )?;
    }
    if findings.breach_count > BREACHES_MAX as u64 {
        writeln!(text, "{} breaches in all", findings.breach_count)?;
    }
    let Findings { gap_core, gap_open, missing, runs, runs_unended, .. } = findings;
    writeln!(
        text,
        "not recorded: {gap_core} core, {gap_open} open; missing: {missing}; runs: {runs}, {runs_unended} without an end"
    )?;
    writeln!(text, "{}", verdict(findings))
}

/// The report as programs read it.
#[derive(Serialize)]
struct Report {
    proves: bool,
    segments: u64,
    blocks: u64,
    signed: bool,
    head: String,
    decisions: Vec<Count>,
    core_servers: Vec<String>,
    breaches: u64,
    gap_core: u64,
    gap_open: u64,
    missing: u64,
    runs: u64,
    runs_unended: u64,
}

#[derive(Serialize)]
struct Count {
    class: &'static str,
    went: &'static str,
    reason: &'static str,
    count: u64,
}

fn json(Audit { chain, findings }: &Audit) -> String {
    let counts = findings.decisions.iter();
    let report = Report {
        proves: findings.proves(),
        segments: chain.segments,
        blocks: chain.entries,
        signed: chain.sealed,
        head: chain.head.to_string(),
        decisions: counts
            .map(|((of, kind, reason), count)| Count {
                class: class(*of),
                went: went(*kind),
                reason: reason.as_str(),
                count: *count,
            })
            .collect(),
        core_servers: findings.core_places.iter().map(|place| format!("{} {}", place.site, place.address)).collect(),
        breaches: findings.breach_count,
        gap_core: findings.gap_core,
        gap_open: findings.gap_open,
        missing: findings.missing,
        runs: findings.runs,
        runs_unended: findings.runs_unended,
    };
    serde_json::to_string_pretty(&report).expect("texts and numbers") + "\n"
}
