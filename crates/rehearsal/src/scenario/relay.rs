//! The relay of a scenario, and the control that does without it.

use std::time::Duration;

use super::fields::{Fields, Reader};
use super::{Fault, FaultKind, Scenario, Via, Victim};

/// Two clusters that a `naru relay` makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relay {
    /// Index into [`Scenario::clusters`] of side a, which is active first.
    pub a: usize,
    /// The same of side b.
    pub b: usize,
    /// The service group that all topics and consumer groups belong to.
    pub group: String,
}

/// One cluster is copied to another behind its back, as one does without a relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Copier {
    /// Index into [`Scenario::clusters`]: what the clients use until it is lost.
    pub from: usize,
    /// What they are pointed at then.
    pub to: usize,
}

impl Relay {
    /// The name that the relay knows a cluster by.
    pub fn side_of(&self, cluster: usize) -> Option<&'static str> {
        match cluster {
            _ if cluster == self.a => Some("a"),
            _ if cluster == self.b => Some("b"),
            _ => None,
        }
    }

    /// The cluster that the relay calls by this name.
    pub fn cluster_of(&self, side: &str) -> Option<usize> {
        match side {
            "a" => Some(self.a),
            "b" => Some(self.b),
            _ => None,
        }
    }
}

impl Scenario {
    /// The control: the same load without the relay. Services write to side a alone, a copier follows it, and when a is
    /// lost the clients are pointed at what the copier has brought to b. What comes after the first loss of a, and what
    /// only a relay can do, is left out; so is the lake. `None` without a relay to leave out.
    #[must_use]
    pub fn as_control(mut self) -> Option<Self> {
        let relay = self.relay.take()?;
        self.lake = None;
        self.copier = Some(Copier { from: relay.a, to: relay.b });
        for service in &mut self.services {
            service.via = Via::Cluster(relay.a);
        }
        self.consumers.via = Via::Cluster(relay.a);
        let mut order: Vec<&Fault> = self.faults.iter().collect();
        order.sort_by_key(|fault| (fault.phase, fault.at));
        let loss = order.into_iter().find(|fault| is_loss_of(fault.kind, relay.a)).cloned();
        self.faults.retain(|fault| {
            let of_no_control = matches!(fault.kind, FaultKind::Switch { .. })
                || matches!(fault.kind.victim(), Some(Victim::Relay | Victim::Lake));
            let later = loss.as_ref().is_some_and(|loss| (fault.phase, fault.at) > (loss.phase, loss.at));
            !of_no_control && !later
        });
        self.expect.takeover_max = None;
        self.expect.switch_stall_max = None;
        self.expect.rejoin_max = None;
        Some(self)
    }
}

fn is_loss_of(kind: FaultKind, cluster: usize) -> bool {
    matches!(kind, FaultKind::Kill { victim: Victim::Cluster(killed), .. } if killed == cluster)
}

pub(super) fn relay(reader: &mut Reader<'_>, mut fields: Fields<'_, '_>, clusters: &[String]) -> Option<Relay> {
    let a = fields.refers(reader, "a", "cluster", clusters, None);
    let b = fields.refers(reader, "b", "cluster", clusters, None);
    if let (Some(a), Some(b)) = (a, b)
        && a == b
    {
        reader.mistake(fields.span_of("b"), "both sides of the relay are one cluster", "name another cluster for `b`");
    }
    let group = match fields.find("group") {
        None => Some("default".to_owned()),
        Some(_) => fields.name(reader, "group", "pay").map(|(group, _)| group.to_owned()),
    };
    fields.finish(reader);
    Some(Relay { a: a?, b: b?, group: group? })
}

/// Where a client publishes or reads: through the relay if there is one, else to the cluster that it names.
pub(super) fn via(
    reader: &mut Reader<'_>,
    fields: &mut Fields<'_, '_>,
    clusters: &[String],
    through_relay: bool,
) -> Option<Via> {
    if !through_relay {
        return fields.refers(reader, "cluster", "cluster", clusters, None).map(Via::Cluster);
    }
    if fields.find("cluster").is_some() {
        reader.mistake(
            fields.span_of("cluster"),
            "there is a [relay], and a client of its cluster would go past it",
            "remove `cluster`: services and consumers use the relay",
        );
    }
    Some(Via::Relay)
}

/// The side that a planned switch makes active.
pub(super) fn switch(
    reader: &mut Reader<'_>,
    fields: &mut Fields<'_, '_>,
    clusters: &[String],
    relay: Option<&Relay>,
) -> Option<FaultKind> {
    let to = fields.refers(reader, "to", "cluster", clusters, None)?;
    match relay {
        Some(relay) if relay.side_of(to).is_none() => {
            let sides = format!("`{}` or `{}`", clusters[relay.a], clusters[relay.b]);
            reader.mistake(fields.span_of("to"), "that cluster is no side of the relay", format!("write {sides}"));
        }
        _ => {}
    }
    Some(FaultKind::Switch { to })
}

/// Bounds that only a run with a relay can keep or break: takeover, switch, rejoin.
pub(super) fn bounds(
    reader: &mut Reader<'_>,
    fields: &mut Fields<'_, '_>,
    through_relay: bool,
) -> [Option<Duration>; 3] {
    ["takeover_ms_max", "switch_stall_ms_max", "rejoin_ms_max"].map(|key| {
        let bound = fields.millis(reader, key);
        if bound.is_some() && !through_relay {
            let fix = format!("remove `{key}`, or add a [relay]");
            reader.mistake(fields.span_of(key), format!("`{key}` without a [relay] bounds nothing"), fix);
        }
        bound
    })
}
