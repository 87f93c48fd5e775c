//! `naru edge check`: whether an edge would start with a configuration, and everything that stands in the way.

use std::path::PathBuf;
use std::process::ExitCode;

use naru_edge::config::EdgeConfig;
use naru_model::{Class, SiteKind};

use super::{configuration, print};

/// Arguments of `naru edge check`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit code: 0 it would start, 2 it is refused.")]
pub struct Args {
    /// The edge's configuration
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

/// Reads the configuration and says what it is.
pub fn run(args: &Args) -> ExitCode {
    match configuration(&args.config) {
        Ok(config) => print("check", &said(&config)),
        Err(errors) => {
            eprintln!("{errors}");
            errors.exit_code()
        }
    }
}

fn said(config: &EdgeConfig) -> String {
    let blueprint = config.blueprint();
    let sites = |kind: SiteKind| blueprint.sites.iter().filter(|site| site.tier.kind() == kind).count();
    let routes = |class: Class| blueprint.routes.iter().filter(|route| route.class == class).count();
    format!(
        "sound: {} owned and {} rented sites, {} core and {} open routes; no core route can reach a rented server\n",
        sites(SiteKind::Owned),
        sites(SiteKind::Rented),
        routes(Class::Core),
        routes(Class::Open),
    )
}
