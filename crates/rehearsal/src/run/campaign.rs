//! The campaign's plan, asked of `naru campaign plan`.

use std::process::Stdio;
use std::time::Duration;

use super::{Options, RehearsalError, role};
use crate::campaign::{Planned, request};
use crate::scenario::{Campaign, Edge};
use crate::state::State;

/// How long planning may take: a second on a quiet machine.
const PLAN_WITHIN: Duration = Duration::from_secs(60);
/// As errors name it.
const NAME: &str = "campaign";

/// Asks for the plan. The request stays beside what the children keep.
pub(super) async fn plan(
    options: &Options,
    state: &State,
    campaign: &Campaign,
    seed: u64,
) -> Result<Planned, RehearsalError> {
    let edge = options.scenario.edge.as_ref();
    let edge = edge.ok_or_else(|| RehearsalError::Unfit("the scenario has a campaign and no edge".to_owned()))?;
    let text = request(&options.scenario, campaign, edge, seed);
    let file = role::write(NAME, &state.child(NAME), "request.toml", &text)?;
    let mut command = tokio::process::Command::new(&options.exe);
    command.args(["campaign", "plan", "--json"]).arg(&file).stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(PLAN_WITHIN, command.output()).await;
    let output = output.map_err(|elapsed| RehearsalError::Plan(elapsed.into()))?;
    let output = output.map_err(|source| RehearsalError::Plan(source.into()))?;
    if !output.status.success() {
        let said = [&output.stderr[..], &output.stdout[..]].concat();
        let said = format!("{}: {}", output.status, String::from_utf8_lossy(&said).trim());
        return Err(RehearsalError::Plan(said.into()));
    }
    Planned::read(&output.stdout).map_err(|source| RehearsalError::Plan(source.into()))
}

/// The edge with as many nodes as the plan rents.
pub(super) fn rented(edge: &Edge, planned: Option<&Planned>) -> Edge {
    Edge { nodes: planned.map_or(edge.nodes, |planned| planned.nodes), ..edge.clone() }
}
