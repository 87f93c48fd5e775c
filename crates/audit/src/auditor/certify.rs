//! From the readings of a window to its certificate.

use std::collections::{BTreeMap, BTreeSet};

use naru_model::invariant;
use naru_runtime::clocks::WallClock;
use naru_runtime::keys::SigningKeys;

use super::AuditError;
use super::audited::{Audited, Span, Stopped};
use super::readings::Readings;
use crate::canonical;
use crate::certificate::{Certificate, Chain, Findings, PartProof, Reader, SketchFacts, Window};
use crate::config::AuditConfig;
use crate::gather::Want;
use crate::sketch::ENCODING_VERSION;
use crate::verdict::{Subject, compare, conclude};

/// Compares what was read, looks up what differs, and signs what it comes to.
#[expect(clippy::too_many_arguments, reason = "fields of an auditor, of which the source is borrowed apart")]
pub(super) async fn certify(
    source: &mut Audited,
    chain: &mut Chain,
    signing: &SigningKeys,
    clock: &dyn WallClock,
    config: &AuditConfig,
    window: Window,
    from: &Span,
    readings: &Readings,
) -> Result<Certificate, AuditError> {
    let rules = &readings.rules;
    let mut compared = Vec::new();
    let mut wanted = BTreeMap::new();
    let mut distrusted: BTreeMap<String, BTreeSet<Reader>> = BTreeMap::new();
    for (topic, part) in readings.parts() {
        let outcomes = readings.outcomes(&topic, part, rules);
        let distrusted = distrusted.entry(topic.clone()).or_default();
        let comparison = compare(&outcomes, distrusted)?;
        distrusted.extend(comparison.differing.keys().chain(&comparison.stuck));
        let identities = comparison.identities();
        if !identities.is_empty() {
            wanted.insert((topic.clone(), part), identities);
        }
        compared.push((topic, part, outcomes, comparison));
    }
    let found = if wanted.is_empty() {
        None
    } else {
        let want = Want::Records(wanted);
        let again =
            source.read(&readings.topics, &window, rules, &want, from, Some(&readings.span()), config.wait_max).await;
        match again {
            Ok(found) => Some(found),
            Err(Stopped::Audit(error)) => return Err(error),
            // Not found again: the window stays open.
            Err(Stopped::Cluster(_)) => None,
        }
    };
    let parts: Vec<PartProof> = { compared.into_iter() }
        .map(|(topic, part, outcomes, comparison)| {
            let seen = found.as_ref().map(|found| found.seen(&topic, part)).unwrap_or_default();
            let subject = Subject {
                amounts: rules.amounts_of(&topic).to_vec(),
                left_out: rules.left_out_of(&topic).union(&readings.not_in_log(&topic)).cloned().collect(),
                topic,
                part,
            };
            let proof = conclude(subject, &outcomes, &comparison, &seen);
            invariant!(AUDIT_1, proof.verdict == proof.derived(), "{} {:?}", proof.topic, proof.part);
            proof
        })
        .collect();
    let sketch = SketchFacts {
        record_version: canonical::VERSION,
        sketch_version: ENCODING_VERSION,
        cells: rules.shape.cells() as u64,
        key: format!("{:016x}", rules.key.name()),
    };
    Ok(chain.add(Findings { window, sketch, parts }, clock.unix_ms(), signing)?)
}
