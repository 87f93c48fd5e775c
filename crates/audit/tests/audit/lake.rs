//! Tables of changes, written file by file: Parquet, position deletes, manifests, metadata, a row in a catalogue.

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use apache_avro::types::Value as Avro;
use arrow::array::{
    ArrayRef, Decimal128Array, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use parquet::arrow::ArrowWriter;
use serde_json::json;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};

use crate::world::Change;

/// The names of the table's fields, by id from 1.
const FIELDS: [&str; 8] =
    ["id", "amount", "note", "naru_op", "naru_at", "naru_partition", "naru_position", "naru_sequence"];

/// A table of changes.
pub struct Table {
    directory: PathBuf,
    namespace: String,
    /// Path, kind (0 rows, 1 deletes), lowest and highest position.
    files: Vec<(PathBuf, i32, i64, i64)>,
    commits: i64,
}

impl Table {
    pub async fn create(warehouse: &Path, namespace: &str) -> Self {
        let directory = warehouse.join("payments_changes");
        std::fs::create_dir_all(&directory).unwrap();
        let table = Self { directory, namespace: namespace.to_owned(), files: Vec::new(), commits: 0 };
        let mut connection = table.catalogue().await;
        sqlx::query(
            "create table iceberg_tables (catalog_name text, table_namespace text, table_name text, \
             metadata_location text, previous_metadata_location text, iceberg_type text)",
        )
        .execute(&mut connection)
        .await
        .unwrap();
        sqlx::query("insert into iceberg_tables values ('naru', ?, 'payments_changes', '', '', 'TABLE')")
            .bind(namespace)
            .execute(&mut connection)
            .await
            .unwrap();
        connection.close().await.unwrap();
        table
    }

    async fn catalogue(&self) -> sqlx::SqliteConnection {
        let file = self.directory.parent().unwrap().join("catalogue.db");
        SqliteConnectOptions::new().filename(file).create_if_missing(true).connect().await.unwrap()
    }

    /// Adds rows, and one row twice with a position delete for the second: readers must not see it.
    pub fn append(&mut self, changes: &[Change]) {
        let path = self.directory.join(format!("data-{}.parquet", self.files.len()));
        let mut rows = changes.to_vec();
        rows.push(rows[0].clone());
        write_parquet(&path, &rows_of(&rows));
        let deletes = self.directory.join(format!("deletes-{}.parquet", self.files.len()));
        let field = |name: &str, of| Field::new(name, of, false);
        let schema = Schema::new(vec![field("file_path", DataType::Utf8), field("pos", DataType::Int64)]);
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from(vec![location(&path)])),
            Arc::new(Int64Array::from(vec![changes.len() as i64])),
        ];
        write_parquet(&deletes, &RecordBatch::try_new(Arc::new(schema), columns).unwrap());
        let positions = || changes.iter().map(|change| change.position);
        self.files.push((path, 0, positions().min().unwrap(), positions().max().unwrap()));
        self.files.push((deletes, 1, 0, 0));
    }

    /// Forgets all rows.
    pub fn clear(&mut self) {
        // Names are not used again.
        self.files.retain(|(_, kind, ..)| *kind == 2);
        self.directory = self.directory.parent().unwrap().join(format!("payments_changes_{}", self.commits));
        std::fs::create_dir_all(&self.directory).unwrap();
    }

    /// Makes what was added visible, as complete up to a position.
    pub async fn commit(&mut self, complete: i64) {
        self.commits += 1;
        let number = self.commits;
        let mut manifests = Vec::new();
        for content in 0..2 {
            let path = self.directory.join(format!("manifest-{number}-{content}.avro"));
            let entries = self.files.iter().filter(|(_, kind, ..)| *kind == content).map(entry).collect();
            write_avro(&path, &manifest_schema(), entries);
            manifests.push(Avro::Record(vec![
                ("manifest_path".into(), Avro::String(location(&path))),
                ("content".into(), Avro::Int(content)),
            ]));
        }
        let list = self.directory.join(format!("list-{number}.avro"));
        let list_schema = json!({"type": "record", "name": "manifest_file", "fields": [
            {"name": "manifest_path", "type": "string"}, {"name": "content", "type": "int"}]});
        write_avro(&list, &list_schema, manifests);
        let fields: Vec<_> = { FIELDS.iter().enumerate() }
            .map(|(index, name)| json!({"id": index + 1, "name": name, "required": false, "type": "string"}))
            .collect();
        let summary =
            json!({"operation": "append", "naru.complete": json!({"position": complete, "at": 0}).to_string()});
        let metadata = json!({
            "format-version": 2, "current-snapshot-id": number, "schemas": [{"schema-id": 0, "fields": fields}],
            "snapshots": [{"snapshot-id": number, "manifest-list": location(&list), "summary": summary}],
        });
        let path = self.directory.join(format!("metadata-{number}.json"));
        std::fs::write(&path, metadata.to_string()).unwrap();
        let mut connection = self.catalogue().await;
        sqlx::query("update iceberg_tables set metadata_location = ? where table_namespace = ?")
            .bind(location(&path))
            .bind(&self.namespace)
            .execute(&mut connection)
            .await
            .unwrap();
        connection.close().await.unwrap();
    }
}

fn location(path: &Path) -> String {
    format!("file://{}", path.display())
}

fn rows_of(changes: &[Change]) -> RecordBatch {
    let of = [
        DataType::Int64,
        DataType::Decimal128(12, 2),
        DataType::Utf8,
        DataType::Utf8,
        DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into())),
        DataType::Int32,
        DataType::Int64,
        DataType::Int64,
    ];
    let field = |(index, of): (usize, DataType)| {
        let id = HashMap::from([("PARQUET:field_id".to_owned(), (index + 1).to_string())]);
        Field::new(FIELDS[index], of, true).with_metadata(id)
    };
    let schema = Schema::new(of.into_iter().enumerate().map(field).collect::<Vec<_>>());
    let each = || changes.iter();
    let has_row = |change: &&Change| change.op != "truncate";
    let cents: Decimal128Array = each().map(|change| change.cents.map(i128::from)).collect();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(each().map(|change| has_row(&change).then_some(change.id)).collect::<Int64Array>()),
        Arc::new(cents.with_precision_and_scale(12, 2).unwrap()),
        Arc::new(each().map(|change| change.note.clone()).collect::<StringArray>()),
        Arc::new(each().map(|change| Some(change.op)).collect::<StringArray>()),
        Arc::new(TimestampMicrosecondArray::from_iter_values(each().map(|change| change.at)).with_timezone("+00:00")),
        Arc::new(Int32Array::from_iter_values(each().map(|change| change.partition))),
        Arc::new(Int64Array::from_iter_values(each().map(|change| change.position))),
        Arc::new(Int64Array::from_iter_values(each().map(|change| change.sequence))),
    ];
    RecordBatch::try_new(Arc::new(schema), columns).unwrap()
}

fn write_parquet(path: &Path, batch: &RecordBatch) {
    let mut writer = ArrowWriter::try_new(File::create(path).unwrap(), batch.schema(), None).unwrap();
    writer.write(batch).unwrap();
    writer.close().unwrap();
}

fn manifest_schema() -> serde_json::Value {
    let bound = |name: &str| {
        json!({"type": "array", "items": {"type": "record", "name": name, "fields": [
            {"name": "key", "type": "int"}, {"name": "value", "type": "bytes"}]}})
    };
    json!({"type": "record", "name": "manifest_entry", "fields": [
        {"name": "status", "type": "int"},
        {"name": "data_file", "type": {"type": "record", "name": "r2", "fields": [
            {"name": "content", "type": "int"},
            {"name": "file_path", "type": "string"},
            {"name": "file_format", "type": "string"},
            {"name": "lower_bounds", "type": ["null", bound("low")]},
            {"name": "upper_bounds", "type": ["null", bound("high")]},
        ]}},
    ]})
}

fn entry((path, kind, low, high): &(PathBuf, i32, i64, i64)) -> Avro {
    let bound = |position: &i64| {
        let item = vec![("key".into(), Avro::Int(7)), ("value".into(), Avro::Bytes(position.to_le_bytes().to_vec()))];
        Avro::Union(1, Box::new(Avro::Array(vec![Avro::Record(item)])))
    };
    let file = vec![
        ("content".into(), Avro::Int(*kind)),
        ("file_path".into(), Avro::String(location(path))),
        ("file_format".into(), Avro::String("PARQUET".into())),
        ("lower_bounds".into(), bound(low)),
        ("upper_bounds".into(), bound(high)),
    ];
    Avro::Record(vec![("status".into(), Avro::Int(1)), ("data_file".into(), Avro::Record(file))])
}

fn write_avro(path: &Path, schema: &serde_json::Value, records: Vec<Avro>) {
    let schema = apache_avro::Schema::parse(schema).unwrap();
    let mut writer = apache_avro::Writer::new(&schema, File::create(path).unwrap());
    writer.extend(records).unwrap();
    writer.flush().unwrap();
}
