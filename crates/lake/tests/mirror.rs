//! A mirror beside a map: whatever is put, removed, voided, committed, rewritten, opened anew or widened, the rows are the
//! map's, in memory and on disk.

#![allow(clippy::unwrap_used)] // a test panics on failure

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::{AsArray as _, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{Int32Type, Int64Type};
use futures::TryStreamExt as _;
use iceberg::spec::PrimitiveType;
use iceberg::{NamespaceIdent, TableIdent};
use naru_lake::catalogue::Catalogue;
use naru_lake::error::LakeError;
use naru_lake::table::columns::{self, Declared, FieldIds, Kind};
use naru_lake::table::read;
use naru_lake::table::state::{Retention, State, Step, new_table_properties};
use naru_lake::table::view::View;
use proptest::prelude::*;

const TOPIC: &str = "pay.accounts";
const RETENTION: Retention = Retention { age_ms: i64::MAX, snapshots_max: 5 };

/// Key to (value, partition).
type Model = BTreeMap<i64, (String, i32)>;

#[derive(Debug, Clone)]
enum Act {
    Put {
        partition: i32,
        rows: Vec<(i64, u8)>,
    },
    Remove {
        partition: i32,
        keys: Vec<i64>,
    },
    Void {
        partition: i32,
    },
    Commit,
    Reopen,
    /// Rewrites; the changes come in between reading and exchange.
    Rewrite(Vec<(i64, u8)>),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let rows = prop::collection::vec((0..20i64, any::<u8>()), 1..8);
    let act = prop_oneof![
        6 => (0..3i32, rows.clone()).prop_map(|(partition, rows)| Act::Put { partition, rows }),
        3 => (0..3i32, prop::collection::vec(0..20i64, 1..4)).prop_map(|(partition, keys)| Act::Remove { partition, keys }),
        1 => (0..3i32).prop_map(|partition| Act::Void { partition }),
        4 => Just(Act::Commit),
        1 => Just(Act::Reopen),
        2 => rows.prop_map(Act::Rewrite),
    ];
    prop::collection::vec(act, 1..25)
}

fn declared(wide: bool) -> Vec<Declared> {
    let column = |identity, name: &str, kind, is_key| Declared {
        identity,
        name: name.to_owned(),
        kind,
        required: false,
        is_key,
    };
    let key = if wide { PrimitiveType::Long } else { PrimitiveType::Int };
    let mut columns = vec![column(1, "id", key, true), column(2, "value", PrimitiveType::String, false)];
    if wide {
        columns[1].name = "said".to_owned();
        columns.push(column(3, "more", PrimitiveType::Boolean, false));
    }
    columns
}

struct World {
    catalogue: Catalogue,
    table: TableIdent,
    state: State,
    model: Model,
    now: i64,
}

impl World {
    async fn new(dir: &std::path::Path) -> Self {
        let catalogue = Catalogue::open(dir).await.unwrap();
        let table = TableIdent::new(NamespaceIdent::new("pay".to_owned()), "accounts".to_owned());
        let (schema, ids) = columns::schema(Kind::Mirror, &declared(false), &FieldIds::new(), 0).unwrap();
        let made = catalogue.create(&table, schema, new_table_properties(Kind::Mirror, &ids)).await.unwrap();
        let state = State::open(made, TOPIC, Kind::Mirror, RETENTION).await.unwrap();
        Self { catalogue, table, state, model: Model::new(), now: 1 }
    }

    fn rows(&self, partition: i32, rows: &[(i64, String)]) -> RecordBatch {
        let schema = self.state.schema();
        let columns = schema.fields().iter().map(|field| -> arrow::array::ArrayRef {
            let ids = rows.iter().map(|(id, _)| *id);
            match field.name().as_str() {
                "id" if field.data_type() == &arrow::datatypes::DataType::Int32 => {
                    Arc::new(ids.map(|id| id as i32).collect::<Int32Array>())
                }
                "id" => Arc::new(ids.collect::<Int64Array>()),
                "value" | "said" => Arc::new(rows.iter().map(|(_, text)| Some(text.as_str())).collect::<StringArray>()),
                columns::PARTITION => Arc::new(Int32Array::from(vec![partition; rows.len()])),
                columns::POSITION | columns::SEQUENCE => Arc::new(Int64Array::from(vec![self.now; rows.len()])),
                _ => arrow::array::new_null_array(field.data_type(), rows.len()),
            }
        });
        RecordBatch::try_new(Arc::clone(schema), columns.collect()).unwrap()
    }

    fn put(&mut self, partition: i32, rows: &[(i64, u8)]) {
        // A key is of one partition for ever.
        let rows: Vec<_> = rows.iter().filter(|(id, _)| id % 3 == i64::from(partition)).collect();
        let rows: Vec<_> = rows.into_iter().map(|(id, value)| (*id, format!("{value}-{}", self.now))).collect();
        let batch = self.rows(partition, &rows);
        let steps: Vec<_> = self.state.keys_of(&batch).unwrap().into_iter().map(Step::Put).collect();
        self.state.apply(partition, batch, &steps);
        self.model.extend(rows.into_iter().map(|(id, value)| (id, (value, partition))));
        self.moved();
    }

    fn moved(&mut self) {
        self.now += 1;
        self.state.progress.offsets.insert(0, self.now);
    }

    async fn act(&mut self, act: Act) {
        match act {
            Act::Put { partition, rows } => self.put(partition, &rows),
            Act::Remove { partition, keys } => {
                let keys: Vec<_> = keys.into_iter().filter(|id| id % 3 == i64::from(partition)).collect();
                let batch = self.rows(partition, &keys.iter().map(|id| (*id, String::new())).collect::<Vec<_>>());
                let steps: Vec<_> = self.state.keys_of(&batch).unwrap().into_iter().map(Step::Remove).collect();
                self.state.apply(partition, batch.slice(0, 0), &steps);
                keys.iter().for_each(|id| {
                    self.model.remove(id);
                });
                self.moved();
            }
            Act::Void { partition } => {
                let none = self.rows(partition, &[]);
                self.state.apply(partition, none, &[Step::Void]);
                self.model.retain(|_, (_, of)| *of != partition);
                self.moved();
            }
            Act::Commit => self.state.commit(&self.catalogue, self.now).await.unwrap(),
            Act::Reopen => {
                self.state.commit(&self.catalogue, self.now).await.unwrap();
                self.reopen().await;
            }
            Act::Rewrite(rows) => {
                let Some(rewrite) = self.state.worth_rewriting(1, 1 << 30) else { return };
                let done = rewrite.run().await.unwrap();
                for partition in 0..3 {
                    self.put(partition, &rows);
                }
                self.state.replace(&self.catalogue, done, self.now).await.unwrap();
            }
        }
    }

    async fn reopen(&mut self) {
        let table = self.catalogue.find(&self.table).await.unwrap().unwrap();
        self.state = State::open(table, TOPIC, Kind::Mirror, RETENTION).await.unwrap();
    }

    async fn check(&self) {
        assert_eq!(rows_of(&self.state.view()).await, self.model);
    }
}

async fn rows_of(view: &View) -> Model {
    let mut batches = Vec::new();
    for file in &view.files {
        let rows = read::rows(view.table.file_io(), file, &view.schema).await.unwrap();
        batches.extend(rows.try_collect::<Vec<_>>().await.unwrap());
    }
    let all: Vec<usize> = (0..view.schema.fields().len()).collect();
    batches.extend(view.hot.iter().map(|hot| hot.living(&all).unwrap()));
    of_batches(&batches)
}

fn of_batches(batches: &[RecordBatch]) -> Model {
    let mut model = Model::new();
    for batch in batches {
        let text = batch.column_by_name("value").or(batch.column_by_name("said")).unwrap().as_string::<i32>().clone();
        let ids =
            arrow::compute::cast(batch.column_by_name("id").unwrap(), &arrow::datatypes::DataType::Int64).unwrap();
        let partitions = batch.column_by_name(columns::PARTITION).unwrap().as_primitive::<Int32Type>().clone();
        for row in 0..batch.num_rows() {
            let (id, value) = (ids.as_primitive::<Int64Type>().value(row), text.value(row).to_owned());
            let before = model.insert(id, (value, partitions.value(row)));
            assert_eq!(before, None, "{id} is there twice");
        }
    }
    model
}

/// As anybody reads it who knows nothing of us.
async fn by_iceberg(world: &World) -> Model {
    let table = world.catalogue.find(&world.table).await.unwrap().unwrap();
    let rows = table.scan().build().unwrap().to_arrow().await.unwrap();
    of_batches(&rows.try_collect::<Vec<_>>().await.unwrap())
}

fn run(acts: Vec<Act>) {
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let mut world = World::new(dir.path()).await;
        for act in acts {
            world.act(act).await;
            world.check().await;
        }
        world.state.commit(&world.catalogue, world.now).await.unwrap();
        assert_eq!(by_iceberg(&world).await, world.model);
        assert!(world.state.table().metadata().snapshots().count() <= 5);
        world.reopen().await;
        world.check().await;
        assert_eq!(world.state.progress.offsets.get(&0).copied().unwrap_or(1), world.now);
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn a_mirror_holds_what_was_put_and_not_removed(acts in acts()) {
        run(acts);
    }
}

#[tokio::test]
async fn columns_come_get_names_and_grow_wider_under_rows_that_stay() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::new(dir.path()).await;
    world.put(1, &[(1, 1), (4, 2)]);
    world.act(Act::Commit).await;
    world.put(2, &[(2, 3)]);
    world.state.evolve_to(&world.catalogue, &declared(true), 1, 5).await.unwrap();
    assert_eq!(world.state.schema_order(), 1);
    world.check().await;
    // The same key, wider: it is found where it was.
    world.put(1, &[(1, 9)]);
    world.check().await;
    world.act(Act::Commit).await;
    assert_eq!(by_iceberg(&world).await, world.model);
    let refused = world.state.evolve_to(&world.catalogue, &declared(false), 2, 6).await.unwrap_err();
    assert!(matches!(refused, LakeError::Schema { .. }), "{refused}");
}

#[tokio::test]
async fn a_second_committer_is_fenced() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::new(dir.path()).await;
    world.put(0, &[(0, 1), (3, 2)]);
    let table = world.catalogue.find(&world.table).await.unwrap().unwrap();
    let mut other = State::open(table, TOPIC, Kind::Mirror, RETENTION).await.unwrap();
    world.act(Act::Commit).await;
    other.progress.offsets = BTreeMap::from([(0, 99)]);
    let refused = other.commit(&world.catalogue, 9).await.unwrap_err();
    assert!(matches!(refused, LakeError::Fenced { .. }), "{refused}");
    assert_eq!(by_iceberg(&world).await, world.model);
    let properties: HashMap<String, String> =
        world.state.table().metadata().current_snapshot().unwrap().summary().additional_properties.clone();
    assert_eq!(properties["naru.offsets"], "{\"0\":2}");
}
