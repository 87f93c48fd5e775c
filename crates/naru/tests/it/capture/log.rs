//! What stands on the log, read as docs/formats/changes.md says and by nothing of capture's own: apache-avro decodes.

use std::collections::BTreeMap;

use apache_avro::Schema;
use apache_avro::types::Value;
use bytes::Bytes;
use naru_kafka::client::offsets::OffsetAt;
use naru_kafka::client::reader::ReadOptions;
use naru_kafka::client::{Client, TopicPartition};
use naru_kafka::wire::Record;

/// Columns by name; null is none.
type Row = Vec<(String, Option<String>)>;

/// One change record.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Change {
    pub(crate) partition: i32,
    pub(crate) key: String,
    pub(crate) op: String,
    pub(crate) place: (i64, i64),
    pub(crate) kept: Vec<usize>,
    pub(crate) row: Option<Vec<(String, Option<String>)>>,
}

/// A source's topics.
pub(crate) struct Log {
    pub(crate) changes: BTreeMap<String, Vec<Change>>,
    pub(crate) marks: Vec<serde_json::Value>,
    pub(crate) schemas: Vec<serde_json::Value>,
    /// Every byte of every key and value.
    pub(crate) bytes: Vec<Bytes>,
}

async fn partition(client: &Client, topic: &str, partition: i32) -> Vec<Record> {
    let at = TopicPartition::new(topic, partition);
    let end = client.list_offset(&at, OffsetAt::Latest).await.unwrap().offset.unwrap();
    let mut records = Vec::new();
    let take = |record| {
        records.push(record);
        Ok(())
    };
    client.read_records(&at, 0, end, &ReadOptions::default(), take).await.unwrap();
    records
}

impl Log {
    pub(crate) async fn read(client: &Client, source: &str) -> Self {
        let metadata = client.metadata(None).await.unwrap();
        let mut log = Self { changes: BTreeMap::new(), marks: Vec::new(), schemas: Vec::new(), bytes: Vec::new() };
        let mut records = Vec::new();
        for topic in metadata.topics.iter().filter(|topic| topic.name.starts_with(&format!("{source}."))) {
            for number in 0..i32::try_from(topic.partitions.len()).unwrap() {
                for record in partition(client, &topic.name, number).await {
                    log.bytes.extend(record.key.iter().chain(&record.value).cloned());
                    records.push((topic.name.to_string(), number, record));
                }
            }
        }
        let json =
            |record: &Record| serde_json::from_slice::<serde_json::Value>(record.value.as_ref().unwrap()).unwrap();
        // The schemas are read last, or a record's may be missing that came between.
        let mut schemas = BTreeMap::new();
        for record in partition(client, &format!("{source}.schemas"), 0).await {
            let value = json(&record);
            let print = String::from_utf8(record.key.unwrap().to_vec()).unwrap();
            schemas.insert(u64::from_str_radix(&print, 16).unwrap(), Schema::parse(&value["schema"]).unwrap());
            log.schemas.push(value);
        }
        for (topic, number, record) in records {
            if topic == format!("{source}.marks") {
                log.marks.push(json(&record));
            } else if topic != format!("{source}.schemas") {
                let change = change(&schemas, number, &record);
                log.changes.entry(topic).or_default().push(change);
            }
        }
        log
    }

    /// The rows of a topic: key to its columns' texts, joined by `|`; null is nothing between.
    pub(crate) fn rows(&self, topic: &str) -> BTreeMap<String, String> {
        let mut rows: BTreeMap<(i32, String), Row> = BTreeMap::new();
        let mut last = BTreeMap::new();
        for change in self.changes.get(topic).into_iter().flatten() {
            let place = last.entry(change.partition).or_insert((-1, -1));
            if change.place <= *place {
                continue;
            }
            *place = change.place;
            let at = (change.partition, change.key.clone());
            match change.op.as_str() {
                "begin" | "truncate" => rows.retain(|(partition, _), _| *partition != change.partition),
                "end" => {}
                "delete" => {
                    rows.remove(&at);
                }
                _ => {
                    let mut row = change.row.clone().unwrap();
                    for ordinal in &change.kept {
                        row[*ordinal] = rows[&at][*ordinal].clone();
                    }
                    rows.insert(at, row);
                }
            }
        }
        let text = |row: Vec<(String, Option<String>)>| {
            row.into_iter().map(|(_, value)| value.unwrap_or_default()).collect::<Vec<_>>().join("|")
        };
        rows.into_iter().map(|((_, key), row)| (key, text(row))).collect()
    }

    /// Records that do not rise above those before them: each must be a copy of one of them.
    pub(crate) fn repeats(&self, topic: &str) -> usize {
        let mut repeats = 0;
        let mut seen: BTreeMap<i32, BTreeMap<(i64, i64), &Change>> = BTreeMap::new();
        for change in self.changes.get(topic).into_iter().flatten() {
            let seen = seen.entry(change.partition).or_default();
            if seen.last_key_value().is_some_and(|(last, _)| change.place <= *last) {
                assert_eq!(seen.get(&change.place), Some(&change), "a repeat is what it repeats");
                repeats += 1;
            }
            seen.insert(change.place, change);
        }
        repeats
    }
}

fn change(schemas: &BTreeMap<u64, Schema>, partition: i32, record: &Record) -> Change {
    let value = record.value.as_ref().unwrap();
    assert_eq!(value[..2], [0xc3, 0x01]);
    let print = u64::from_le_bytes(value[2..10].try_into().unwrap());
    let schema = schemas.get(&print).expect("each record's schema is there before it");
    let mut body = &value[10..];
    let decoded = apache_avro::from_avro_datum(schema, &mut body, None).unwrap();
    assert!(body.is_empty());
    let Value::Record(fields) = decoded else { panic!("a record") };
    let field = |name: &str| fields.iter().find(|(field, _)| field == name).unwrap().1.clone();
    let long = |name: &str| if let Value::Long(value) = field(name) { value } else { panic!("{name}") };
    let Value::Enum(_, op) = field("op") else { panic!("op") };
    let Value::Array(kept) = field("kept") else { panic!("kept") };
    let row = match field("row") {
        Value::Union(1, row) => {
            let Value::Record(columns) = *row else { panic!("row") };
            Some(columns.into_iter().map(|(name, value)| (name, text(value))).collect())
        }
        _ => None,
    };
    Change {
        partition,
        key: String::from_utf8(record.key.as_ref().unwrap().to_vec()).unwrap(),
        op,
        place: (long("position"), long("sequence")),
        kept: kept.into_iter().map(|at| if let Value::Int(at) = at { at as usize } else { panic!("kept") }).collect(),
        row,
    }
}

/// A value as a test writes it: numbers in decimal, a decimal as its unscaled value, times in microseconds.
fn text(value: Value) -> Option<String> {
    Some(match value {
        Value::Union(0, _) => return None,
        Value::Union(_, value) => return text(*value),
        Value::Int(value) | Value::Date(value) => value.to_string(),
        Value::Long(value) | Value::TimestampMicros(value) | Value::LocalTimestampMicros(value) => value.to_string(),
        Value::Boolean(value) => value.to_string(),
        Value::Double(value) => value.to_string(),
        Value::String(value) => value,
        Value::Uuid(value) => value.to_string(),
        Value::Decimal(value) => {
            let bytes: Vec<u8> = (&value).try_into().unwrap();
            let sign = if bytes[0] & 0x80 == 0 { 0 } else { 0xff };
            let mut wide = [sign; 16];
            wide[16 - bytes.len()..].copy_from_slice(&bytes);
            i128::from_be_bytes(wide).to_string()
        }
        other => panic!("{other:?}"),
    })
}
