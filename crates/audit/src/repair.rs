//! Orders of repair: from a certificate that names differences to what sets them right. Pure, but for the reading of the
//! records that are to be restored.
//!
//! The lake is repaired by rows, through its own commits: the order says what its table must hold, so carrying it out twice
//! is the same as once. A cluster is not written to by anybody but the relay, which rebuilds a topic from the other side
//! when it is gone from one. The source is never repaired: it is what the others are held against.

use std::collections::BTreeMap;

use naru_kafka::client::reader::ReadOptions;
use naru_kafka::client::{Client, ClientError, TopicPartition};
use serde::{Deserialize, Serialize};

use crate::certificate::{Certificate, Difference, NotCanonical, Part, Reader, canonical, sha256};

/// Where orders go.
pub const TOPIC: &str = "naru.repairs";

/// The form that this program writes.
pub const VERSION: u32 = 1;

/// An order for one table; docs/formats/repairs.md.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LakeOrder {
    /// [`VERSION`].
    pub version: u32,
    /// SHA-256 of the canonical form without this member.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub order: String,
    /// The certificate that names the differences.
    pub certificate: u64,
    /// Whose changes.
    pub topic: String,
    /// The table that holds them.
    pub table: String,
    /// What it must hold.
    pub rows: Vec<OrderedRow>,
}

/// One change that a table must hold, or must not.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrderedRow {
    /// Position of the change.
    pub position: u64,
    /// Sequence of the change.
    pub sequence: u64,
    /// Copies: 0 or 1.
    pub wanted: u8,
    /// Partition of the record, where one is wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition: Option<i32>,
    /// Its offset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<i64>,
    /// Its value, hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

/// What is to be done about a certificate.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Orders for the lake.
    pub orders: Vec<LakeOrder>,
    /// Clusters with the topics that the relay should make anew there, and from which side.
    pub clusters: BTreeMap<(Reader, String), Reader>,
    /// What nobody can do from here, and why.
    pub by_hand: Vec<String>,
}

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
pub enum RepairError {
    /// A record to restore could not be read; a retry may help.
    #[error("a record to restore could not be read")]
    Client(#[from] ClientError),
    /// The record to restore is not where the certificate says.
    #[error("{place} holds no record any more")]
    Gone {
        /// Where.
        place: String,
    },
    /// Ours.
    #[error("an order without a canonical form")]
    NotCanonical(#[from] NotCanonical),
}

impl Plan {
    /// From a certificate. `namespaces` gives the lake's namespace of each source.
    pub fn of(certificate: &Certificate, namespace: &str) -> Self {
        let mut plan = Self::default();
        let source = &certificate.window.source;
        for part in &certificate.parts {
            if part.unnamed {
                plan.by_hand.push(format!("{}: not every difference is named; audit the window again", part.topic));
            }
            let differing: Vec<Reader> = part.differences.iter().map(|difference| difference.reader).collect();
            let mut rows = Vec::new();
            for difference in &part.differences {
                match difference.reader {
                    Reader::Lake => match ordered(difference, &differing) {
                        Some(row) => rows.push(row),
                        None => plan.by_hand.push(format!(
                            "{}: position {} sequence {} is in no log that agrees",
                            part.topic, difference.position, difference.sequence
                        )),
                    },
                    side @ (Reader::A | Reader::B) => {
                        let other = if side == Reader::A { Reader::B } else { Reader::A };
                        if !differing.contains(&other) {
                            plan.clusters.insert((side, part.topic.clone()), other);
                        } else if part.part == Part::Changes {
                            plan.by_hand.push(format!("{}: both clusters differ from the source", part.topic));
                        }
                    }
                    Reader::Source => {}
                }
            }
            if !rows.is_empty() {
                let table = part.topic.strip_prefix(source.as_str()).and_then(|rest| rest.strip_prefix('.'));
                let table = format!("{namespace}.{}_changes", table.unwrap_or(&part.topic));
                rows.sort();
                let (certificate, topic) = (certificate.number, part.topic.clone());
                plan.orders.push(LakeOrder { version: VERSION, order: String::new(), certificate, topic, table, rows });
            }
        }
        plan.by_hand.sort();
        plan.by_hand.dedup();
        plan
    }
}

fn ordered(difference: &Difference, differing: &[Reader]) -> Option<OrderedRow> {
    let Difference { position, sequence, .. } = *difference;
    if difference.expected == 0 {
        return Some(OrderedRow { position, sequence, wanted: 0, partition: None, offset: None, value: None });
    }
    // `a:topic-2@991`, of a cluster that does not differ itself.
    let place = difference.places.iter().find_map(|place| {
        let (reader, place) = place.split_once(':')?;
        let agrees = match reader {
            "a" => !differing.contains(&Reader::A),
            "b" => !differing.contains(&Reader::B),
            _ => false,
        };
        let (partition, offset) = place.rsplit_once('@').filter(|_| agrees)?;
        Some((partition.rsplit_once('-')?.1.parse().ok()?, offset.parse().ok()?))
    });
    let (partition, offset) = place?;
    Some(OrderedRow { position, sequence, wanted: 1, partition: Some(partition), offset: Some(offset), value: None })
}

impl LakeOrder {
    /// Reads the records that are wanted from a cluster, and names the order by what it then says.
    ///
    /// # Errors
    /// A record that cannot be read, or is not there any more.
    pub async fn filled(mut self, cluster: &Client) -> Result<Self, RepairError> {
        for row in &mut self.rows {
            let (Some(partition), Some(offset)) = (row.partition, row.offset) else { continue };
            let at = TopicPartition::new(self.topic.as_str(), partition);
            let mut value = None;
            let consume = |record: naru_kafka::wire::Record| {
                value = record.value;
                Ok(())
            };
            cluster.read_records(&at, offset, offset + 1, &ReadOptions::default(), consume).await?;
            let value = value.ok_or_else(|| RepairError::Gone { place: format!("{at}@{offset}") })?;
            row.value = Some(naru_runtime::hex::to_hex(&value));
        }
        self.order = String::new();
        self.order = sha256(canonical(&self)?.as_bytes());
        Ok(self)
    }

    /// Whether the order is named by what it says.
    pub fn is_sound(&self) -> bool {
        let unnamed = Self { order: String::new(), ..self.clone() };
        canonical(&unnamed).is_ok_and(|text| sha256(text.as_bytes()) == self.order)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test panics on failure

    use super::*;
    use crate::certificate::{PartProof, SketchFacts, Verdict, Window};

    fn difference(reader: Reader, position: u64, expected: u64, found: u64, places: &[&str]) -> Difference {
        let places = places.iter().map(|place| (*place).to_owned()).collect();
        Difference { reader, position, sequence: 0, expected, found, changed: 0, places }
    }

    fn plan(differences: Vec<Difference>) -> Plan {
        let part = PartProof {
            topic: "pay.t".to_owned(),
            part: Part::Changes,
            left_out: vec![],
            readings: BTreeMap::new(),
            reference: Some(Reader::A),
            differences,
            unnamed: false,
            verdict: Verdict::Different,
        };
        let certificate = Certificate {
            version: 1,
            number: 17,
            previous: String::new(),
            made_at_ms: 0,
            window: Window { source: "pay".to_owned(), after: 0, to: 9 },
            sketch: SketchFacts { record_version: 1, sketch_version: 1, cells: 4, key: String::new() },
            parts: vec![part],
            verdict: Verdict::Different,
            signature: None,
        };
        Plan::of(&certificate, "money")
    }

    #[test]
    fn the_lake_is_told_what_it_must_hold() {
        let missing = difference(Reader::Lake, 7, 1, 0, &["a:pay.t-2@991"]);
        let extra = difference(Reader::Lake, 5, 0, 2, &["lake:x.parquet#3"]);
        let plan = plan(vec![missing, extra]);
        let order = &plan.orders[0];
        assert_eq!((order.table.as_str(), order.certificate), ("money.t_changes", 17));
        let said: Vec<_> = order.rows.iter().map(|row| (row.position, row.wanted, row.partition, row.offset)).collect();
        assert_eq!(said, [(5, 0, None, None), (7, 1, Some(2), Some(991))]);
        assert!(plan.clusters.is_empty() && plan.by_hand.is_empty());
    }

    #[test]
    fn nothing_is_restored_from_a_log_that_differs() {
        let lake = difference(Reader::Lake, 7, 1, 0, &["a:pay.t-2@991"]);
        let a = difference(Reader::A, 8, 1, 0, &[]);
        let plan = plan(vec![lake, a]);
        assert!(plan.orders.is_empty());
        assert_eq!(plan.clusters, [((Reader::A, "pay.t".to_owned()), Reader::B)].into());
        assert_eq!(plan.by_hand.len(), 1);
    }

    #[test]
    fn a_cluster_is_rebuilt_only_from_one_that_agrees() {
        let both = plan(vec![difference(Reader::A, 8, 1, 0, &[]), difference(Reader::B, 8, 1, 0, &[])]);
        assert!(both.clusters.is_empty());
        assert_eq!(both.by_hand.len(), 1);
    }
}
