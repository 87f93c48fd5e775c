//! Arguments of a role that runs, and also answers verbs.

use clap::Subcommand;
use naru_runtime::config::{Flags, Role};

/// What is asked for, or the options by which the role runs.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct RoleArgs<V: Subcommand, C: Role> {
    #[command(subcommand)]
    pub verb: Option<V>,
    #[command(flatten)]
    pub flags: Flags<C>,
}
