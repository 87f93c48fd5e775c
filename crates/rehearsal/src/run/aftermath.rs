//! What is looked at when the load has ended: the log as it stands then, and what the children wrote.

use std::path::PathBuf;

use super::clusters::Nodes;
use super::services::Services;
use super::sites::Sites;
use super::{PARTITIONS, RehearsalError, relay, role};
use crate::children::{self, Trouble};
use crate::history::{History, SideCopy};
use crate::observe::Shared;
use crate::read_back::{self, Wanted};
use crate::recorder::topics;
use crate::relay_status::Standing;
use crate::scenario::Scenario;
use crate::state::StateError;

/// Reads the log as clients are shown it, and each side of a relay that is in sync by itself.
pub(super) async fn read_logs(
    scenario: &Scenario,
    shared: &Shared,
    shown_at: &str,
    bootstraps: &[String],
    standing: Option<&Standing>,
    history: &mut History,
) -> Result<(), RehearsalError> {
    let topics = topics();
    let wanted = Wanted {
        topics: &topics,
        partitions: PARTITIONS,
        group: &shared.group,
        pulses: shared.pulses,
        seed: shared.seed,
        operations: shared.operations,
    };
    let cluster = |cluster: usize| format!("cluster {}", scenario.clusters[cluster].name);
    let from = bootstraps.iter().position(|at| at == shown_at).map_or(relay::NAME.to_owned(), cluster);
    let read = async |from: String, at: &str| {
        let held = read_back::read(at, wanted).await;
        held.map_err(|source| RehearsalError::ReadBack { from, source: Box::new(source) })
    };
    let shown = read(from.clone(), shown_at).await?;
    (history.log, history.log_starts, history.committed) = (shown.log, shown.log_starts, shown.committed);
    history.pulse_logs.push((from, shown.pulses));
    let sides = standing.iter().flat_map(|standing| &standing.in_sync);
    for side in sides.filter_map(|side| scenario.relay.as_ref()?.cluster_of(side)) {
        let name = cluster(side);
        let held = read(name.clone(), &bootstraps[side]).await?;
        history.pulse_logs.push((name.clone(), held.pulses));
        history.sides.push(SideCopy { name, log: held.log, log_starts: held.log_starts, committed: held.committed });
    }
    Ok(())
}

/// What the children wrote that somebody must look at.
pub(super) async fn troubles(
    scenario: &Scenario,
    nodes: &Nodes,
    services: &Services,
    sites: Option<&Sites>,
    others: [(&str, &Option<role::Process>); 2],
) -> Result<Vec<Trouble>, StateError> {
    let mut logs = Vec::with_capacity(nodes.len() + services.len() + others.len());
    for (name, process) in others {
        if let Some(process) = process {
            logs.push((name.to_owned(), process.lock().await.log_path()));
        }
    }
    if let Some(sites) = sites {
        logs.extend(sites.logs().await);
    }
    for (cluster, node) in scenario.clusters.iter().zip(nodes.iter()) {
        logs.push((format!("cluster {}", cluster.name), node.lock().await.log_path()));
    }
    for (service, process) in scenario.services.iter().zip(services.iter()) {
        logs.push((format!("service {}", service.kind.name()), process.lock().await.log_path()));
    }
    let read = |(child, path): (String, PathBuf)| {
        children::trouble_of(&child, &path).map_err(|source| StateError::File { path, source })
    };
    logs.into_iter().map(read).collect()
}
