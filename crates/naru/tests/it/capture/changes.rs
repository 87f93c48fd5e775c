//! Tables that change while they are captured, and values that cannot be.

use super::process::World;
use super::{PAYMENTS, PAYMENTS_ROWS};

/// Two tables, captured and copied.
async fn two(world: &World) -> super::process::Capture {
    world.postgres.run(PAYMENTS).await;
    world.postgres.run("create table other (id int primary key, v int)").await;
    let mut capture = world.capture(&world.config("", &World::tables(&["payments", "other"]))).await;
    capture.until("streaming", |report| report.phase == "streaming").await;
    capture
}

const OTHER_ROWS: &str = "select '[\"' || id || '\"]', id || '|' || v from other";

#[tokio::test]
async fn columns_come_widen_are_renamed_and_go_while_rows_do() {
    let world = World::start().await;
    let mut capture = two(&world).await;
    let mut rows = 0;
    for sql in [
        "insert into other values (1, 10)",
        "alter table other add column note text",
        "insert into other values (2, 20, 'new')",
        "alter table other alter column v type bigint",
        "insert into other values (3, 3000000000, 'wide')",
        "alter table other rename column note to remark",
        "insert into other values (4, 40, 'renamed')",
        "begin; alter table other drop column remark; insert into other values (5, 50); commit",
    ] {
        world.postgres.run(sql).await;
        rows += u64::from(sql.contains("insert"));
        // Before the catalogue is ahead of the stream: a table that changes faster is copied anew.
        let written = |report: &naru_capture::status::Report| report.tables["pay.other"].records == 2 + rows;
        capture.until("the row", written).await;
    }
    // Rows that were written under an older schema keep the columns that they had.
    let expect = "select * from (values ('[\"1\"]', '1|10'), ('[\"2\"]', '2|20|new'), ('[\"3\"]', '3|3000000000|wide'), \
                  ('[\"4\"]', '4|40|renamed'), ('[\"5\"]', '5|50')) as expected(k, v)";
    let log = world.equal("pay.other", expect).await;
    let numbers: Vec<Vec<i64>> = { log.schemas.iter().filter(|schema| schema["topic"] == "pay.other") }
        .map(|schema| {
            let fields = schema["schema"]["fields"][6]["type"][1]["fields"].as_array().unwrap();
            fields.iter().map(|field| field["naru.column"].as_i64().unwrap()).collect()
        })
        .collect();
    assert_eq!(numbers, [vec![1, 2], vec![1, 2, 3], vec![1, 2, 3], vec![1, 2, 3], vec![1, 2]]);
    assert!(capture.stop().await.success());
}

#[tokio::test]
async fn a_new_column_with_a_default_has_the_table_copied_anew() {
    let world = World::start().await;
    let _capture = two(&world).await;
    world.postgres.run("insert into other values (1, 10)").await;
    world.equal("pay.other", OTHER_ROWS).await;
    world.postgres.run("alter table other add column kind text not null default 'plain'").await;
    world.postgres.run("insert into other values (2, 20, 'other')").await;
    world.equal("pay.other", "select '[\"' || id || '\"]', id || '|' || v || '|' || kind from other").await;
}

#[tokio::test]
async fn a_table_that_cannot_go_on_stops_with_its_reason_and_others_go_on() {
    let world = World::start().await;
    let mut capture = two(&world).await;
    let stopped = |report: &naru_capture::status::Report| report.tables["pay.other"].stopped.clone();
    world.postgres.run("insert into other values (1, 10)").await;
    world.equal("pay.other", OTHER_ROWS).await;
    world
        .postgres
        .run("alter table other alter column v type text using 'x' || v; insert into other values (2, 'y')")
        .await;
    let report = capture.until("a stopped table", |report| stopped(report).is_some()).await;
    assert!(stopped(&report).unwrap().contains("type of the column v changed"), "{report:?}");
    world.postgres.run("insert into payments values (1, 'paid', 1, 'goes on')").await;
    world.equal("pay.payments", PAYMENTS_ROWS).await;
    assert!(capture.stop().await.success());
    // The next start copies it.
    let _capture = world.capture(&world.config("", &World::tables(&["payments", "other"]))).await;
    world.equal("pay.other", OTHER_ROWS).await;
}

#[tokio::test]
async fn a_value_that_its_type_cannot_hold_stops_its_table_by_name_and_key() {
    let world = World::start().await;
    let mut capture = two(&world).await;
    world.postgres.run("insert into payments values (7, 'paid', 'NaN', '')").await;
    let stopped = |report: &naru_capture::status::Report| report.tables["pay.payments"].stopped.clone();
    let report = capture.until("a stopped table", |report| stopped(report).is_some()).await;
    let reason = stopped(&report).unwrap();
    assert!(reason.contains("\"amount\"") && reason.contains("[\"7\"]"), "{reason}");
    world.postgres.run("insert into other values (1, 10)").await;
    world.equal("pay.other", OTHER_ROWS).await;
}

#[tokio::test]
async fn large_values_that_did_not_change_are_kept() {
    let world = World::start().await;
    let _capture = two(&world).await;
    let large = "(select string_agg(md5(n::text), '') from generate_series(1, 500) n)";
    world.postgres.run("alter table payments alter column note set storage external").await;
    world.postgres.run(&format!("insert into payments values (1, 'new', 1, {large})")).await;
    world.postgres.run("update payments set status = 'paid'").await;
    let log = world.equal("pay.payments", PAYMENTS_ROWS).await;
    let update = log.changes["pay.payments"].iter().find(|change| change.op == "update").unwrap();
    assert_eq!(update.kept, [3]);
    // With the whole old row nothing has to be kept, and keys may change.
    world.postgres.run("alter table payments replica identity full; update payments set id = 2").await;
    world.equal("pay.payments", PAYMENTS_ROWS).await;
}

#[tokio::test]
async fn a_lost_slot_says_what_is_missing_and_copying_anew_mends_it() {
    let world = World::start().await;
    let config = world.config("", &World::tables(&["payments"]));
    world.postgres.run(PAYMENTS).await;
    world.postgres.run("insert into payments values (1, 'paid', 1, '')").await;
    let capture = world.capture(&config).await;
    world.equal("pay.payments", PAYMENTS_ROWS).await;
    assert!(capture.stop().await.success());
    world.postgres.run("select pg_drop_replication_slot('naru_pay')").await;
    world.postgres.run("insert into payments values (2, 'missed', 1, '')").await;
    let mut capture = world.spawn(&config, &[]);
    assert!(!capture.ended().await.success());
    assert!(world.said().contains("are missing from the log (positions "), "{}", world.said());
    let _capture = world.spawn(&config, &["--copy-anew"]);
    world.equal("pay.payments", PAYMENTS_ROWS).await;
}

#[tokio::test]
async fn a_database_that_is_killed_and_comes_back_is_gone_on_with() {
    let mut world = World::start().await;
    world.postgres.run(PAYMENTS).await;
    let mut capture = world.capture(&world.config("", &World::tables(&["payments"]))).await;
    capture.until("streaming", |report| report.phase == "streaming").await;
    world.postgres.run("insert into payments values (1, 'paid', 1, '')").await;
    world.postgres.kill();
    capture.until("waiting", |report| report.phase == "waiting").await;
    world.postgres.restart().await;
    world.postgres.run("insert into payments values (2, 'paid', 1, '')").await;
    let log = world.equal("pay.payments", PAYMENTS_ROWS).await;
    assert_eq!(log.repeats("pay.payments"), 0);
}

#[tokio::test]
async fn an_idle_source_is_marked_and_its_slot_moves_on() {
    let world = World::start().await;
    world.postgres.run(PAYMENTS).await;
    world.postgres.run("create table elsewhere (id int)").await;
    let mut capture = world.capture(&world.config("", &World::tables(&["payments"]))).await;
    let before = capture.until("a position", |report| report.position > 0 && report.phase == "streaming").await;
    world.postgres.run("insert into elsewhere select generate_series(1, 10000)").await;
    capture.until("a later position", |report| report.position > before.position + 100_000).await;
    let at = capture.report().await.at;
    capture.until("a later time", |report| report.at > at).await;
}

#[test]
fn preflight_names_what_stands_in_the_way_and_what_mends_it() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let world = runtime.block_on(World::start());
    let check = |sql: &str, tables: &str, code: i32, expect: &[&str]| {
        runtime.block_on(world.postgres.run(sql));
        let (found, said) = world.command(&world.config("", tables), &["preflight"]);
        assert_eq!(found, code, "{said}");
        expect.iter().for_each(|part| assert!(said.contains(part), "{part} is missing in {said}"));
    };
    check(PAYMENTS, &World::tables(&["payments"]), 0, &["capture would take all of this"]);
    check(
        "create table people (id int, customer_name text, 휴대폰 text)",
        &World::tables(&["people", "nowhere"]),
        1,
        &["ADD PRIMARY KEY", "customer_name", "휴대폰", "[[table.column]]", "there is no table public.nowhere"],
    );
    let decided = "[[table]]\nname = 'people'\n[[table.column]]\nname = 'customer_name'\npolicy = 'omit'\n\
                   [[table.column]]\nname = '휴대폰'\npolicy = 'plain'\n";
    check("alter table people add primary key (id)", decided, 0, &[]);
    check("alter table people replica identity nothing", decided, 1, &["REPLICA IDENTITY DEFAULT"]);
    let (code, said) = world.command("source = 'Pay!'", &["preflight"]);
    assert_eq!(code, 2, "{said}");
    let away = world.config("", decided).replace(&world.postgres.port().to_string(), "1");
    assert_eq!(world.command(&away, &["preflight"]).0, 3);
}
