#![allow(clippy::unwrap_used)] // a test panics on failure

use apache_avro::types::Value as Avro;
use proptest::prelude::*;
use serde_json::json;

use super::*;

fn schema() -> Json {
    let field =
        |number: u64, of: Json| json!({"name": format!("c{number}"), "type": ["null", of], "naru.column": number});
    let logical = |of: &str, logical: &str| json!({"type": of, "logicalType": logical});
    let mut token = field(12, json!("string"));
    token["naru.token"] = json!({"kind": "hmac", "field": "phone"});
    token["naru.name"] = json!("phone number");
    let fields = [
        field(1, json!("long")),
        field(2, json!("boolean")),
        field(3, json!("float")),
        field(4, json!("double")),
        field(5, json!("bytes")),
        field(6, json!({"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 2})),
        field(7, logical("string", "uuid")),
        field(8, logical("long", "timestamp-micros")),
        field(9, logical("long", "local-timestamp-micros")),
        field(10, logical("int", "date")),
        field(11, logical("long", "time-micros")),
        token,
    ];
    json!({
        "type": "record", "name": "Change", "namespace": "naru.c1",
        "fields": [
            {"name": "op", "type": {"type": "enum", "name": "Op",
                "symbols": ["begin", "read", "end", "insert", "update", "delete", "truncate"]}},
            {"name": "position", "type": "long"},
            {"name": "sequence", "type": "long"},
            {"name": "transaction", "type": "long"},
            {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
            {"name": "kept", "type": {"type": "array", "items": "int"}},
            {"name": "row", "type": ["null", {"type": "record", "name": "Row", "naru.key": [0], "fields": fields}]},
        ],
    })
}

fn ours() -> Schema {
    Schema::parse(json!({"topic": "pay.t", "schema": schema()}).to_string().as_bytes()).unwrap()
}

/// A body as another encoder writes it.
fn body(operation: (u32, &str), kept: Vec<i32>, row: Option<Vec<Option<Avro>>>) -> Vec<u8> {
    let parsed = apache_avro::Schema::parse(&schema()).unwrap();
    let union = |value: Option<Avro>| match value {
        None => Avro::Union(0, Box::new(Avro::Null)),
        Some(value) => Avro::Union(1, Box::new(value)),
    };
    let named = |(index, value): (usize, Option<Avro>)| (format!("c{}", index + 1), union(value));
    let row = row.map(|row| Avro::Record(row.into_iter().enumerate().map(named).collect()));
    let value = Avro::Record(vec![
        ("op".into(), Avro::Enum(operation.0, operation.1.into())),
        ("position".into(), Avro::Long(1 << 33)),
        ("sequence".into(), Avro::Long(5)),
        ("transaction".into(), Avro::Long(77)),
        ("at".into(), Avro::TimestampMicros(-3)),
        ("kept".into(), Avro::Array(kept.into_iter().map(Avro::Int).collect())),
        ("row".into(), union(row)),
    ]);
    apache_avro::to_avro_datum(&parsed, value).unwrap()
}

fn read(body: &[u8], left_out: &[&str]) -> Result<(Head, Vec<u8>, Vec<i128>), AvroFault> {
    let left_out = left_out.iter().map(|name| (*name).to_owned()).collect();
    let (mut writer, mut sums) = (Writer::new(), Vec::new());
    let head = ours().read(body, &left_out, &["c6".to_owned(), "c1".to_owned()], &mut writer, &mut sums)?;
    Ok((head, writer.finish()?.to_vec(), sums))
}

fn written(operation: Operation, columns: &[(u16, Value<'_>)]) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.begin("pay.t", Identity { position: 1 << 33, sequence: 5 }, operation, -3);
    columns.iter().for_each(|(number, value)| writer.column(*number, value));
    writer.finish().unwrap().to_vec()
}

#[test]
fn a_record_of_another_encoder_has_its_canonical_bytes() {
    let uuid = "00000000-0000-0000-0000-0000000000ff";
    let row = vec![
        Some(Avro::Long(-7)),
        Some(Avro::Boolean(true)),
        Some(Avro::Float(0.5)),
        Some(Avro::Double(0.25)),
        Some(Avro::Bytes(vec![0, 255])),
        Some(Avro::Decimal(apache_avro::Decimal::from([0xFF_u8, 0x38]))),
        Some(Avro::Uuid(uuid.parse().unwrap())),
        Some(Avro::TimestampMicros(8)),
        Some(Avro::LocalTimestampMicros(9)),
        Some(Avro::Date(10)),
        Some(Avro::TimeMicros(11)),
        Some(Avro::String("tok_é".to_owned())),
    ];
    let bytes = body((3, "insert"), vec![], Some(row));
    let mut uuid = [0; 16];
    uuid[15] = 255;
    let mut columns = vec![
        (1, Value::Integer(-7)),
        (2, Value::Boolean(true)),
        (3, Value::Float(0.5)),
        (4, Value::Float(0.25)),
        (5, Value::Bytes(&[0, 255])),
        (6, Value::Decimal(Decimal::from_text("-2").unwrap())),
        (7, Value::Uuid(uuid)),
        (8, Value::Moment(8)),
        (9, Value::Local(9)),
        (10, Value::Date(10)),
        (11, Value::Time(11)),
        (12, Value::Text("tok_é")),
    ];
    let (head, got, sums) = read(&bytes, &[]).unwrap();
    assert_eq!(head.which, Which::Change(Operation::Insert));
    assert_eq!(got, written(Operation::Insert, &columns));
    assert_eq!(sums, [-2_000_000_000, -7_000_000_000]);
    columns.pop();
    assert_eq!(read(&bytes, &["phone number"]).unwrap().1, written(Operation::Insert, &columns));
    assert_eq!(ours().tokens(), ["phone number"].into());
}

#[test]
fn nulls_and_kept_columns_are_left_out() {
    let mut row = vec![None; 12];
    row[0] = Some(Avro::Long(1));
    let (_, got, _) = read(&body((4, "update"), vec![4, 11], Some(row)), &[]).unwrap();
    assert_eq!(got, written(Operation::Update, &[(1, Value::Integer(1))]));
    let (head, got, _) = read(&body((6, "truncate"), vec![], None), &[]).unwrap();
    assert_eq!((head.which, got), (Which::Change(Operation::Truncate), written(Operation::Truncate, &[])));
    assert_eq!(read(&body((0, "begin"), vec![], None), &[]).unwrap().0.which, Which::Begin);
}

#[test]
fn what_is_no_record_is_refused() {
    let whole = body((6, "truncate"), vec![], None);
    assert_eq!(read(&whole[..whole.len() - 1], &[]).unwrap_err(), AvroFault::Short("a union"));
    assert_eq!(read(&[whole.as_slice(), &[0]].concat(), &[]).unwrap_err(), AvroFault::Behind(1));
    assert_eq!(split(b"\xC3\x02").unwrap_err(), AvroFault::NoObject);
    assert_eq!(split(&[0xC3, 1, 1, 0, 0, 0, 0, 0, 0, 0, 9]).unwrap(), (1, [9].as_slice()));
    assert!(Schema::parse(b"{}").is_err());
    assert!(Schema::parse(b"no").is_err());
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
        prop_assert!(read(&bytes, &[]).map_or(true, |(_, written, _)| !written.is_empty()));
    }
}
