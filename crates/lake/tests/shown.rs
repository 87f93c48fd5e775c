//! What a role sees: fifty ways round a mask or a policy of rows, and queries that cost too much.

#![allow(clippy::unwrap_used)] // a test panics on failure

use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray};
use datafusion_postgres::pgwire::api::portal::Format;
use futures::StreamExt as _;
use iceberg::spec::PrimitiveType;
use iceberg::{NamespaceIdent, TableIdent};
use naru_lake::catalogue::Catalogue;
use naru_lake::config::LakeConfig;
use naru_lake::ingest::status::Status;
use naru_lake::sql::guard::Guard;
use naru_lake::sql::session::Sessions;
use naru_lake::sql::syntax::{OPERATORS_MAX, STACK_BYTES, Syntax};
use naru_lake::sql::tables::{Entry, Tables};
use naru_lake::table::columns::{self, Declared, FieldIds, Kind};
use naru_lake::table::state::{Retention, State, new_table_properties};
use naru_runtime::config::Sources;
use tempfile::TempDir;
use tokio::sync::watch;

/// No query of the analyst's may show any of these: masked values, and what stands in rows that are not the analyst's.
const SECRETS: [&str; 6] = ["010-1234-5678", "010-9876-5432", "1234-5678", "kim@example.com", "hidden", "777777"];

const CONFIG: &str = r#"
warehouse = "w"
[log]
bootstrap = ["127.0.0.1:1"]
[[source]]
name = "pay"
[sql]
query_time_max = "3s"
query_memory_max = "16MiB"
[[sql.user]]
name = "analyst"
password = "a"
role = "analysts"
[[sql.user]]
name = "root"
password = "r"
role = "all"
[[sql.role]]
name = "all"
tables = ["*"]
[[sql.user]]
name = "clerk"
password = "c"
role = "clerks"
[[sql.role]]
name = "clerks"
tables = ["pay.payments", "pay.salaries"]
[[sql.role.mask]]
table = "pay.salaries"
column = "renamed"
[[sql.role.policy]]
table = "pay.payments"
rows = "cast(substr(id, 2) as int) > 1"
[[sql.role]]
name = "analysts"
tables = ["pay.payments", "pay.payments_changes"]
[[sql.role.mask]]
table = "pay.payments"
column = "phone"
show = "redact"
[[sql.role.mask]]
table = "pay.*"
column = "email"
[[sql.role.policy]]
table = "pay.payments"
rows = "merchant = 'shop-1'"
"#;

struct World {
    guard: Guard,
    queries_max: u32,
    _kept: (TempDir, Vec<watch::Sender<Option<Arc<naru_lake::table::view::View>>>>),
}

async fn world() -> World {
    let dir = tempfile::tempdir().unwrap();
    let catalogue = Catalogue::open(dir.path()).await.unwrap();
    let (tables, mut kept) = (Tables::default(), Vec::new());
    for name in ["payments", "payments_changes", "salaries"] {
        let (sender, published) = watch::channel(None);
        sender.send_replace(Some(Arc::new(table(&catalogue, name).await.view())));
        let entry = Entry { kind: Kind::Facts, topic: name.to_owned(), published, status: Arc::new(Status::default()) };
        tables.add(("pay".to_owned(), name.to_owned()), entry).unwrap();
        kept.push(sender);
    }
    let config: LakeConfig = Sources::default().document("lake.toml", CONFIG).load().unwrap();
    let queries_max = config.sql.queries_max;
    let sessions = Sessions::new(config.sql, tables).unwrap();
    World { queries_max, guard: Guard::new(Arc::new(sessions)), _kept: (dir, kept) }
}

/// Two rows on the disk, two in memory.
async fn table(catalogue: &Catalogue, name: &str) -> State {
    let text =
        |identity, name: &str, kind| Declared { identity, name: name.to_owned(), kind, required: false, is_key: false };
    let declared = [
        text(1, "id", PrimitiveType::String),
        text(2, "merchant", PrimitiveType::String),
        text(3, "phone", PrimitiveType::String),
        text(4, "email", PrimitiveType::String),
        text(5, "amount", PrimitiveType::Long),
    ];
    let (schema, ids) = columns::schema(Kind::Facts, &declared, &FieldIds::new(), 0).unwrap();
    let ident = TableIdent::new(NamespaceIdent::new("pay".to_owned()), name.to_owned());
    let made = catalogue.create(&ident, schema, new_table_properties(Kind::Facts, &ids)).await.unwrap();
    let retention = Retention { age_ms: i64::MAX, snapshots_max: 10 };
    let mut state = State::open(made, name, Kind::Facts, retention).await.unwrap();
    let rows = |rows: [(&str, &str, &str, i64); 2], from: i64| {
        let texts = |of: fn(&(&'static str, &'static str, &'static str, i64)) -> &'static str,
                     rows: &[_]|
         -> ArrayRef { Arc::new(rows.iter().map(of).map(Some).collect::<StringArray>()) };
        let rows: Vec<(&'static str, &'static str, &'static str, i64)> =
            rows.iter().map(|(a, b, c, d)| (leak(a), leak(b), leak(c), *d)).collect();
        let columns: Vec<ArrayRef> = vec![
            texts(|row| row.0, &rows),
            texts(|row| row.1, &rows),
            texts(|row| row.2, &rows),
            Arc::new(StringArray::from(vec![Some("kim@example.com"); 2])),
            Arc::new(rows.iter().map(|row| Some(row.3)).collect::<Int64Array>()),
            Arc::new(Int32Array::from(vec![0; 2])),
            Arc::new(Int64Array::from(vec![from, from + 1])),
        ];
        RecordBatch::try_new(Arc::clone(state.schema()), columns).unwrap()
    };
    let cold = rows([("p1", "shop-1", "010-1234-5678", 100), ("hidden-1", "shop-2", "010-9876-5432", 777_777)], 0);
    let hot = rows([("p2", "shop-1", "010-1234-5678", 200), ("hidden-2", "shop-2", "010-9876-5432", 0)], 2);
    state.append(cold);
    state.commit(catalogue, 1).await.unwrap();
    state.append(hot);
    state
}

fn leak(text: &str) -> &'static str {
    Box::leak(text.to_owned().into_boxed_str())
}

impl World {
    /// Everything that a client is told: rows as text, or the error.
    async fn ask(&self, user: &str, sql: &str) -> Result<String, String> {
        let said = |error: datafusion_postgres::pgwire::error::PgWireError| error.to_string();
        let statements = Syntax::default().statements(sql).map_err(|error| error.to_string())?;
        let mut told = String::new();
        for statement in statements {
            let permit = self.guard.permit().await.map_err(said)?;
            let format = &Format::UnifiedText;
            let mut answer = self.guard.run(user, &statement, None, format, permit).await.map_err(said)?;
            for field in answer.row_schema().iter() {
                told.push_str(field.name());
                told.push('|');
            }
            told.push('\n');
            while let Some(row) = answer.data_rows.next().await {
                let row = row.map_err(said)?;
                // Each value has its length in front: as text that is noise between values.
                told.push_str(&String::from_utf8_lossy(&row.data).replace('\0', ""));
                told.push('\n');
            }
        }
        Ok(told)
    }
}

const SHAPES: [&str; 65] = [
    "select * from pay.payments_changes",
    "select c.phone from pay.payments p join pay.payments_changes c using (id)",
    "select id from pay.payments_changes where merchant = 'shop-2'",
    "select * from pay.payments",
    "select phone from pay.payments",
    "select p.phone from pay.payments p",
    "select upper(phone) from pay.payments",
    "select phone || '' from pay.payments",
    "select substr(phone, 1, 5) || '/' || substr(phone, 6) from pay.payments",
    "select max(phone), min(phone) from pay.payments",
    "select array_agg(phone) from pay.payments",
    "select string_agg(phone, ',') from pay.payments",
    "select distinct phone from pay.payments",
    "select phone, count(*) from pay.payments group by phone",
    "select count(*) from pay.payments group by phone having max(phone) > '0'",
    "select id from pay.payments where phone like '010-1234%'",
    "select id, email from pay.payments where email is not null",
    "select case when phone = '010-1234-5678' then 'yes' else 'no' end from pay.payments where phone <> '****'",
    "select id from pay.payments order by phone",
    "select row_number() over (order by phone), id, phone from pay.payments",
    "select first_value(phone) over (partition by id) from pay.payments",
    "select lag(phone) over (order by id) from pay.payments",
    "with x as (select * from pay.payments) select * from x",
    "with x as (select phone as p from pay.payments), y as (select p from x) select * from y",
    "with recursive x as (select phone from pay.payments union all select phone from x where false) select * from x",
    "select (select max(phone) from pay.payments)",
    "select * from (select phone, merchant from pay.payments) t",
    "select id from pay.payments where phone in (select phone from pay.payments where merchant = 'shop-2')",
    "select 1 where exists (select 1 from pay.payments where merchant = 'shop-2')",
    "select a.id, b.phone from pay.payments a join pay.payments b on a.id = b.id",
    "select a.id, b.id from pay.payments a cross join pay.payments b",
    "select a.id, b.id from pay.payments a full outer join pay.payments b on a.merchant <> b.merchant",
    "select b.id from pay.payments a left join pay.payments b on b.merchant = 'shop-2'",
    "select * from pay.payments where merchant = 'shop-2'",
    "select * from pay.payments where merchant <> 'shop-1' or 1 = 1",
    "select * from pay.payments where true or merchant = 'shop-2'",
    "select * from pay.payments where amount > 100000",
    "select sum(amount), max(amount), count(*) from pay.payments",
    "select 1 / (amount - 777777) from pay.payments",
    "select id, 1 / amount from pay.payments where 1 / amount >= 0",
    "select cast(phone as bigint) from pay.payments",
    "select cast(id as bigint) from pay.payments where merchant = 'shop-2'",
    "select cast(email as date) from pay.payments",
    "select id::int from pay.payments where cast(id as int) > 0",
    "select * from pay.payments union all select * from pay.payments",
    "select phone from pay.payments except select '****'",
    "select phone from pay.payments intersect select '010-1234-5678'",
    "explain select phone from pay.payments where merchant = 'shop-2'",
    "explain analyze select * from pay.payments",
    "explain verbose select phone from pay.payments",
    "select * from pay.salaries",
    "select * from naru.pay.salaries",
    "select * from information_schema.tables where table_name = 'salaries' and table_schema = 'hidden'",
    "select * from information_schema.columns",
    "select * from information_schema.df_settings",
    "select * from pg_catalog.pg_class",
    "select * from pg_catalog.pg_stats",
    "select * from naru.freshness",
    "select * from naru.completeness",
    "copy (select phone from pay.payments) to stdout",
    "copy pay.payments to '/tmp/x.csv'",
    "create view v as select phone from pay.payments",
    "create external table t stored as parquet location '/etc'",
    "select * into t from pay.payments",
    "insert into pay.payments select * from pay.payments",
];

#[tokio::test(flavor = "multi_thread")]
async fn no_shape_of_a_query_goes_round_a_mask_or_a_policy() {
    let world = world().await;
    // They are there, for who may see them: a test that finds nothing must not pass because there is nothing.
    let all = world.ask("root", "select * from pay.payments").await.unwrap();
    for secret in SECRETS {
        assert!(all.contains(secret), "{secret} is not in {all}");
    }
    for shape in SHAPES {
        let told = match world.ask("analyst", shape).await {
            Ok(told) | Err(told) => told,
        };
        // What the asker has said is no secret.
        let told = told.replace("shop-2", "");
        for secret in SECRETS.iter().filter(|secret| !shape.contains(**secret)) {
            assert!(!told.contains(secret), "{shape}\nshows {secret}: {told}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_sees_its_rows_and_columns_and_what_exists_for_it() {
    let world = world().await;
    let check = async |sql: &str, expect: &[&str], never: &[&str]| {
        let told = match world.ask("analyst", sql).await {
            Ok(told) | Err(told) => told,
        };
        assert!(expect.iter().all(|part| told.contains(part)), "{sql}: {told}");
        assert!(!never.iter().any(|part| told.contains(part)), "{sql}: {told}");
    };
    check("select id, phone from pay.payments order by id", &["p1", "p2", "****"], &["hidden"]).await;
    check("select sum(amount) as s from pay.payments", &["300"], &["777"]).await;
    check("select count(*) from pay.payments where email is null", &["2"], &[]).await;
    check("select * from pay.salaries", &["not found"], &["p1"]).await;
    check("select table_name from information_schema.tables", &["payments"], &["salaries"]).await;
    check("select relname from pg_catalog.pg_class", &["payments"], &["salaries"]).await;
    check("select table_name from naru.freshness", &["pay.payments"], &["salaries"]).await;
    check("insert into pay.payments values ('x')", &["read-only"], &[]).await;
    check("drop table pay.payments", &["read-only"], &[]).await;
    check("select 1; delete from pay.payments", &["read-only"], &[]).await;
    assert!(world.ask("nobody", "select 1").await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_costs_too_much_ends_with_a_clear_error_and_the_next_one_is_answered() {
    let world = world().await;
    let deep = format!("select {}1{}", "(".repeat(3000), ")".repeat(3000));
    let unions = vec!["select 1"; 200].join(" union all ");
    let numbers = "select * from generate_series(1, 100000)";
    let cross = format!("select count(*) from ({numbers}) a cross join ({numbers}) b cross join ({numbers}) c");
    let sort = "select * from generate_series(1, 100000000) order by 1 desc".to_owned();
    let group = "select value % 50000000, count(*) from generate_series(1, 100000000) group by 1".to_owned();
    let recursive = "with recursive x as (select 1 as n union all select n + 1 from x) select max(n) from x".to_owned();
    for (sql, expect) in [
        (deep, "nested too deeply"),
        ("select range(0, 10000000000)".to_owned(), "Invalid function"),
        ("select array_repeat(1, 10000000000)".to_owned(), "Invalid function"),
        ("select repeat('x', 2147483647)".to_owned(), "more memory"),
        ("select lpad('x', 2147483647)".to_owned(), "more memory"),
        ("select count(repeat(id, 2147483647)) from pay.payments".to_owned(), "more memory"),
        (cross, "longer than 3s"),
        (sort, "more memory"),
        (group, "more memory"),
        (recursive, ""),
    ] {
        let told = world.ask("root", &sql).await.expect_err("it costs too much");
        assert!(told.contains(expect), "{}: {told}", &sql[..sql.len().min(80)]);
        assert!(world.ask("root", "select 1 as one").await.unwrap().contains("one"));
    }
    world.ask("root", &unions).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subquery_in_a_select_list_is_answered_not_emptied() {
    let world = world().await;
    let check = async |sql: &str, expect: &str| {
        let told = match world.ask("root", sql).await {
            Ok(told) | Err(told) => told,
        };
        assert!(told.contains(expect), "{sql}: {told}");
    };
    let correlated = "select (select count(*) from pay.salaries s where s.merchant = p.merchant) * 1000 + 7 as n \
                      from pay.payments p where p.id = 'p1'";
    check(correlated, "2007").await;
    let plain = "select (select count(*) from pay.salaries s where s.merchant = p.merchant) as n from pay.payments p";
    assert_eq!(world.ask("root", plain).await.unwrap().matches('2').count(), 4);
    check("select (select max(payments.amount) from pay.payments) as n", "777777").await;
    check("select (select amount from pay.payments) as n", "more than one row").await;
    check("select id from pay.payments where amount = (select amount from pay.payments)", "more than one row").await;
    check("select (select amount from pay.payments where id = 'p2') + 1 as n", "201").await;
    check("select coalesce((select amount from pay.payments where id = 'none'), 3131) as n", "3131").await;
    check("select id from pay.payments order by id collate \"C\"", "ollat").await;
    check("select cast(id as regclass) from pay.payments", "REGCLASS").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_or_fails_shows_nothing_of_what_it_hides() {
    let world = world().await;
    let asked = async |sql: &str| match world.ask("clerk", sql).await {
        Ok(told) | Err(told) => told,
    };
    // The policy fails on a row whose id the clerk does not see.
    let told = asked("select id from pay.payments").await;
    assert!(told.contains("could not be read") && !told.contains("idden"), "{told}");
    // The mask's column is gone: the table is hidden, the catalogue goes on.
    let told = asked("select table_name from information_schema.tables").await;
    assert!(told.contains("payments") && !told.contains("salaries"), "{told}");
    assert!(asked("select * from pay.salaries").await.contains("not found"));
    assert!(asked("select relname from pg_catalog.pg_class").await.contains("payments"));
    // Counts of rows that the clerk does not see.
    let sql = "select rows is null and files is null and commits is null as hidden_counts from naru.freshness \
               where table_name = 'pay.payments'";
    assert!(asked(sql).await.ends_with("t\n"), "{}", asked(sql).await);
    assert!(world.ask("root", &sql.replace("is null", "is not null")).await.unwrap().ends_with("t\n"));
}

/// As the port's threads have it.
#[test]
fn the_longest_chain_of_operators_that_is_taken_in_fits_the_stack() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_stack_size(STACK_BYTES)
        .enable_all()
        .build()
        .unwrap();
    let chains = runtime.spawn(async {
        let world = world().await;
        for (first, link) in [("1", "+1"), ("true", " and true"), ("'a'", "||'a'"), ("1", "::int"), ("1", " is null")] {
            let sql = format!("select {first}{}", link.repeat(OPERATORS_MAX));
            // Whatever is answered, the process is there.
            drop(world.ask("root", &sql).await);
            let over = format!("{sql}{link}");
            let told = world.ask("root", &over).await.unwrap_err();
            assert!(told.contains("nested too deeply"), "{told}");
        }
    });
    runtime.block_on(chains).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_nobody_takes_in_gives_its_place_back_when_its_time_is_over() {
    let world = world().await;
    let statement = Syntax::default().statements("select * from generate_series(1, 1000000)").unwrap().remove(0);
    let mut left = Vec::new();
    for _ in 0..world.queries_max {
        let permit = world.guard.permit().await.unwrap();
        left.push(world.guard.run("root", &statement, None, &Format::UnifiedText, permit).await.unwrap());
    }
    // All places are taken by cursors that nobody reads; their time is what the next one waits for.
    let mut asked = world.ask("root", "select 1 as one").await;
    if asked.is_err() {
        asked = world.ask("root", "select 1 as one").await;
    }
    assert!(asked.unwrap().contains("one"));
    let mut rest = left.remove(0).data_rows;
    let mut ended = None;
    while let Some(row) = rest.next().await {
        ended = row.err();
    }
    assert!(ended.unwrap().to_string().contains("longer than 3s"));
}
