//! A captured table as it is at one point of its history, and the Avro schema that its records then have.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::avro::{Kind, crc64};
use crate::change::Op;

/// What stands in the log in place of a column's values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// How it is made: `hmac`, `ff1` or `siv`.
    pub kind: TokenKind,
    /// The field whose key makes it, as the vault calls it.
    pub field: String,
    /// The key's version; without it the newest. A key column needs one, or its rows change their identity when the key
    /// is rotated.
    pub version: Option<u32>,
}

naru_runtime::choice! {
    /// How a token is made.
    pub enum TokenKind {
        /// HMAC-SHA-256: equal values have equal tokens, nothing brings the value back.
        Hmac = "hmac",
        /// FF1: digits stay digits, letters letters.
        Ff1 = "ff1",
        /// AES-SIV: equal values have equal tokens, and who may resolve gets the value back.
        Siv = "siv",
    }
}

impl TokenKind {
    /// As it stands in schemas and in requests to the vault.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hmac => "hmac",
            Self::Ff1 => "ff1",
            Self::Siv => "siv",
        }
    }
}

/// What was decided about a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Leaves {
    /// Its values leave as they are.
    Plain,
    /// Tokens leave.
    Token(Token),
    /// It does not leave.
    Not,
}

/// One column of a captured table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its number in the source (`attnum`), which a rename does not change.
    pub number: i16,
    /// Its name in the source.
    pub name: String,
    /// Its type in the source.
    pub type_oid: u32,
    /// The type's modifier (`atttypmod`), -1 for none.
    pub modifier: i32,
    /// What stands in its place.
    pub token: Option<Token>,
}

impl Column {
    /// What its values are in a record.
    pub fn kind(&self) -> Kind {
        if self.token.is_some() { Kind::Text } else { Kind::of(self.type_oid, self.modifier) }
    }
}

/// A table at one point of its history, ready to encode its rows.
#[derive(Debug, PartialEq, Eq)]
pub struct Table {
    /// Where its records go.
    pub topic: Arc<str>,
    /// Schema in the source.
    pub schema: String,
    /// Name in the source.
    pub name: String,
    /// Its columns in their order in the source, without generated ones.
    pub columns: Vec<Column>,
    /// Where the primary key's columns stand in `columns`, in the key's order.
    pub key: Vec<usize>,
    /// Numbers of columns that do not leave.
    pub omitted: Vec<i16>,
    /// The fingerprint that its records begin with.
    pub fingerprint: u64,
    /// The schema of its records.
    pub avro: Value,
}

impl Table {
    /// Makes the schema and its fingerprint.
    pub fn new(
        topic: Arc<str>,
        (schema, name): (String, String),
        columns: Vec<Column>,
        key: Vec<usize>,
        omitted: Vec<i16>,
    ) -> Self {
        let row = row_schema(&columns, &key, &omitted);
        let told = crc64(format!("{topic} {row}").as_bytes());
        let namespace = format!("naru.c{told:016x}");
        let fingerprint = crc64(canonical(&namespace, &columns).as_bytes());
        let avro = change_schema(&namespace, row);
        Self { topic, schema, name, columns, key, omitted, fingerprint, avro }
    }

    /// The table whose schema this is; none if it is no schema of ours.
    pub fn restored(topic: Arc<str>, named: (String, String), avro: &Value) -> Option<Self> {
        let row = avro.get("fields")?.as_array()?.iter().find(|field| field["name"] == "row")?.get("type")?.get(1)?;
        let columns: Option<Vec<Column>> = row.get("fields")?.as_array()?.iter().map(restored_column).collect();
        let key = row.get("naru.key")?.as_array()?.iter().map(|at| at.as_u64()?.try_into().ok());
        let omitted = row.get("naru.omitted")?.as_array()?.iter().map(|number| number.as_i64()?.try_into().ok());
        Some(Self::new(topic, named, columns?, key.collect::<Option<_>>()?, omitted.collect::<Option<_>>()?))
    }

    /// The fingerprint as the topic of schemas has it.
    pub fn fingerprint_hex(&self) -> String {
        format!("{:016x}", self.fingerprint)
    }

    /// How a column leaves, if it is known here.
    pub fn decided(&self, number: i16) -> Option<Leaves> {
        if self.omitted.contains(&number) {
            return Some(Leaves::Not);
        }
        let column = self.columns.iter().find(|column| column.number == number)?;
        Some(column.token.clone().map_or(Leaves::Plain, Leaves::Token))
    }

    /// What a column was called, if it leaves.
    pub fn name_of(&self, number: i16) -> Option<&String> {
        self.columns.iter().find(|column| column.number == number).map(|column| &column.name)
    }

    /// Whether any column leaves as a token.
    pub fn has_tokens(&self) -> bool {
        self.columns.iter().any(|column| column.token.is_some())
    }

    /// As people and statements name it, quoted where it must be.
    pub fn qualified(&self) -> String {
        format!("{}.{}", quoted(&self.schema), quoted(&self.name))
    }
}

/// An identifier in a statement.
pub fn quoted(identifier: &str) -> String {
    format!("\"{}\"", identifier.replace('"', "\"\""))
}

fn is_avro_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// What a column is called in the schema.
fn field_name(column: &Column) -> String {
    if is_avro_name(&column.name) { column.name.clone() } else { format!("_c{}", column.number) }
}

fn row_schema(columns: &[Column], key: &[usize], omitted: &[i16]) -> Value {
    let field = |column: &Column| {
        let mut field = Map::new();
        field.insert("name".to_owned(), field_name(column).into());
        field.insert("type".to_owned(), json!(["null", column.kind().schema()]));
        field.insert("naru.column".to_owned(), column.number.into());
        field.insert("naru.type".to_owned(), json!([column.type_oid, column.modifier]));
        if !is_avro_name(&column.name) {
            field.insert("naru.name".to_owned(), column.name.clone().into());
        }
        if let Some(token) = &column.token {
            let told = json!({"kind": token.kind.name(), "field": token.field, "version": token.version});
            field.insert("naru.token".to_owned(), told);
        }
        Value::Object(field)
    };
    let fields: Vec<Value> = columns.iter().map(field).collect();
    json!({"type": "record", "name": "Row", "naru.key": key, "naru.omitted": omitted, "fields": fields})
}

fn restored_column(field: &Value) -> Option<Column> {
    let token = match field.get("naru.token") {
        Some(token) => {
            let kinds = [TokenKind::Hmac, TokenKind::Ff1, TokenKind::Siv];
            let kind = kinds.into_iter().find(|kind| token["kind"] == kind.name())?;
            let version = token["version"].as_u64().and_then(|version| version.try_into().ok());
            Some(Token { kind, field: token["field"].as_str()?.to_owned(), version })
        }
        None => None,
    };
    Some(Column {
        number: field.get("naru.column")?.as_i64()?.try_into().ok()?,
        name: field.get("naru.name").or_else(|| field.get("name"))?.as_str()?.to_owned(),
        type_oid: field.get("naru.type")?.get(0)?.as_u64()?.try_into().ok()?,
        modifier: field.get("naru.type")?.get(1)?.as_i64()?.try_into().ok()?,
        token,
    })
}

fn change_schema(namespace: &str, row: Value) -> Value {
    json!({
        "type": "record",
        "name": "Change",
        "namespace": namespace,
        "fields": [
            {"name": "op", "type": {"type": "enum", "name": "Op", "symbols": Op::NAMES}},
            {"name": "position", "type": "long"},
            {"name": "sequence", "type": "long"},
            {"name": "transaction", "type": "long"},
            {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
            {"name": "kept", "type": {"type": "array", "items": "int"}},
            {"name": "row", "type": ["null", row]},
        ],
    })
}

/// The parsing canonical form of [`change_schema`].
fn canonical(namespace: &str, columns: &[Column]) -> String {
    let fields = |names: &mut dyn Iterator<Item = (String, String)>| {
        let fields: Vec<_> = names.map(|(name, of)| format!(r#"{{"name":"{name}","type":{of}}}"#)).collect();
        fields.join(",")
    };
    let of = |column: &Column| (field_name(column), format!(r#"["null","{}"]"#, column.kind().primitive()));
    let row = fields(&mut columns.iter().map(of));
    let symbols = Op::NAMES.map(|name| format!("\"{name}\"")).join(",");
    let outer = [
        ("op", format!(r#"{{"name":"{namespace}.Op","type":"enum","symbols":[{symbols}]}}"#)),
        ("position", r#""long""#.to_owned()),
        ("sequence", r#""long""#.to_owned()),
        ("transaction", r#""long""#.to_owned()),
        ("at", r#""long""#.to_owned()),
        ("kept", r#"{"type":"array","items":"int"}"#.to_owned()),
        ("row", format!(r#"["null",{{"name":"{namespace}.Row","type":"record","fields":[{row}]}}]"#)),
    ];
    let outer = fields(&mut outer.into_iter().map(|(name, of)| (name.to_owned(), of)));
    format!(r#"{{"name":"{namespace}.Change","type":"record","fields":[{outer}]}}"#)
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)] // a test panics on failure

    use super::*;

    pub(crate) fn column(number: i16, name: &str, type_oid: u32, modifier: i32) -> Column {
        Column { number, name: name.to_owned(), type_oid, modifier, token: None }
    }

    pub(crate) fn table(columns: Vec<Column>, key: Vec<usize>) -> Table {
        named("pay.payments", columns, key)
    }

    fn named(topic: &str, columns: Vec<Column>, key: Vec<usize>) -> Table {
        Table::new(topic.into(), ("public".to_owned(), "payments".to_owned()), columns, key, vec![9])
    }

    /// One of each kind, and names that Avro does not take.
    pub(crate) fn every_kind() -> Vec<Column> {
        let oids = [20, 16, 23, 700, 701, 17, 25, 1184, 1114, 1082, 1083, 2950, 1700];
        let modifier = |oid| if oid == 1700 { ((12 << 16) | 2) + 4 } else { -1 };
        let plain = { oids.iter().zip(1..) }.map(|(oid, n)| column(n, &format!("column_{n}"), *oid, modifier(*oid)));
        let mut columns: Vec<_> = plain.collect();
        columns.push(column(20, "이름", 25, -1));
        let token = Token { kind: TokenKind::Siv, field: "phone".to_owned(), version: None };
        columns.push(Column { token: Some(token), ..column(21, "phone number", 20, -1) });
        columns
    }

    #[test]
    fn the_fingerprint_is_that_of_the_schema_that_readers_are_given() {
        let table = table(every_kind(), vec![0]);
        // apache-avro leaves a primitive with a logical type as {"type":"long"}, and keeps what a decimal has: the
        // specification's canonical form has neither.
        let mut form = apache_avro::Schema::parse(&table.avro).unwrap().canonical_form();
        form = form.replace(r#","precision":12,"scale":2"#, "");
        for primitive in ["int", "long", "string", "bytes"] {
            form = form.replace(&format!(r#"{{"type":"{primitive}"}}"#), &format!("\"{primitive}\""));
        }
        assert_eq!(crc64(form.as_bytes()), table.fingerprint, "{form}");
    }

    #[test]
    fn a_table_is_restored_from_its_schema() {
        let table = table(every_kind(), vec![13, 0]);
        let named = (table.schema.clone(), table.name.clone());
        assert_eq!(Table::restored(table.topic.clone(), named, &table.avro), Some(table));
    }

    #[test]
    fn schemas_that_differ_in_a_property_alone_have_fingerprints_of_their_own() {
        let money = |scale| vec![column(1, "id", 20, -1), column(2, "amount", 1700, ((12 << 16) | scale) + 4)];
        let prints = [
            table(money(2), vec![0]).fingerprint,
            table(money(3), vec![0]).fingerprint,
            table(money(2), vec![0, 1]).fingerprint,
            named("pay.other", money(2), vec![0]).fingerprint,
        ];
        let distinct: std::collections::BTreeSet<_> = prints.iter().collect();
        assert_eq!(distinct.len(), prints.len());
    }
}
