//! What was decided about a column, and that no change is missed: through other configurations, other processes, and
//! tables and publications that change under capture.

use naru_capture::status::Report;

use super::process::World;

const PEOPLE: &str = "create table people (id int primary key, memo text, v int); \
                      insert into people select n, 'Hong Gildong ' || n, n from generate_series(1, 20) n";
const OTHER_ROWS: &str = "select '[\"' || id || '\"]', id || '|' || v from other";

fn people(policy: Option<&str>) -> String {
    let policy = policy.map(|policy| format!("[[table.column]]\nname = 'memo'\npolicy = '{policy}'\n"));
    format!("[[table]]\nname = 'people'\n{}", policy.unwrap_or_default())
}

fn is_streaming(report: &Report) -> bool {
    report.phase == "streaming"
}

/// The tables `other` and `payments`, captured and copied.
async fn other(world: &World) -> super::process::Capture {
    world.postgres.run("create table other (id int primary key, v int); insert into other values (1, 10)").await;
    world.postgres.run(super::PAYMENTS).await;
    let mut capture = world.capture(&tables(world)).await;
    capture.until("streaming", is_streaming).await;
    world.equal("pay.other", OTHER_ROWS).await;
    capture
}

fn tables(world: &World) -> String {
    world.config("", &World::tables(&["other", "payments"]))
}

#[tokio::test]
async fn another_policy_copies_the_table_anew_and_the_one_before_does_not_come_back() {
    let world = World::start().await;
    world.postgres.run(PEOPLE).await;
    let plain = "select '[\"' || id || '\"]', concat_ws('|', id, memo, v) from people";
    let omitted = "select '[\"' || id || '\"]', concat_ws('|', id, v) from people";
    let mut begins = 0;
    for (round, policy) in [Some("omit"), Some("plain"), Some("omit"), Some("omit")].into_iter().enumerate() {
        let mut capture = world.capture(&world.config("", &people(policy))).await;
        capture.until("streaming", is_streaming).await;
        world.postgres.run(&format!("insert into people values (100 + {round}, 'Im Kkeokjeong', 1)")).await;
        let log = world.equal("pay.people", if policy == Some("omit") { omitted } else { plain }).await;
        let found = log.changes["pay.people"].iter().filter(|change| change.op == "begin").count();
        let is_copied = found > begins;
        assert_eq!(is_copied, round < 3, "the last start goes on with the policy that it has");
        begins = found;
        assert!(capture.stop().await.success());
    }
    // Taken out without a word it is no decision.
    let mut capture = world.capture(&world.config("", &people(None))).await;
    let stopped = |report: &Report| report.tables["pay.people"].stopped.clone();
    let report = capture.until("a stopped table", |report| stopped(report).is_some()).await;
    assert!(stopped(&report).unwrap().contains("memo of the table public.people was protected"), "{report:?}");
    world.postgres.run("insert into people values (200, 'Seong Chunhyang', 1)").await;
    assert!(capture.stop().await.success());
    let log = world.log().await;
    assert!(!log.bytes.iter().any(|bytes| bytes.windows(5).any(|window| window == b"Seong")));
}

#[tokio::test]
async fn a_second_process_waits_and_copies_when_the_first_has_ended() {
    let world = World::start().await;
    let first = other(&world).await;
    let mut second = world.spawn(&tables(&world), &["--copy-anew"]);
    second.ready().await;
    let waits = |report: &Report| report.waits_for.as_ref().is_some_and(|reason| reason.contains("another process"));
    second.until("the other one", waits).await;
    world.postgres.run("insert into other select n, n from generate_series(2, 500) n").await;
    let log = world.equal("pay.other", OTHER_ROWS).await;
    assert_eq!(log.changes["pay.other"].iter().filter(|change| change.op == "begin").count(), 3);
    first.kill();
    second.until("streaming", is_streaming).await;
    world.postgres.run("delete from other where id < 100").await;
    let log = world.equal("pay.other", OTHER_ROWS).await;
    assert_eq!(log.changes["pay.other"].iter().filter(|change| change.op == "begin").count(), 6);
    assert_eq!(log.repeats("pay.other"), 0);
}

#[tokio::test]
async fn a_table_that_is_made_again_or_renamed_while_it_is_captured_is_not_lost() {
    let world = World::start().await;
    let mut capture = other(&world).await;
    world
        .postgres
        .run("drop table other; create table other (id int primary key, v int); insert into other values (7, 70)")
        .await;
    world.equal("pay.other", OTHER_ROWS).await;
    capture.until("streaming", is_streaming).await;
    world.postgres.run("alter table other rename to former; insert into former values (8, 80)").await;
    let stopped = |report: &Report| report.tables["pay.other"].stopped.clone();
    let report = capture.until("a stopped table", |report| stopped(report).is_some()).await;
    assert!(stopped(&report).unwrap().contains("public.other is not there"), "{report:?}");
    world.postgres.run("insert into payments values (1, 'goes on', 1, '')").await;
    world.equal("pay.payments", super::PAYMENTS_ROWS).await;
    world.postgres.run("alter table former rename to other").await;
    assert!(capture.stop().await.success());
    let capture = world.capture(&tables(&world)).await;
    world.equal("pay.other", OTHER_ROWS).await;
    assert!(capture.stop().await.success());
    // The same while nobody looks.
    world
        .postgres
        .run("drop table other; create table other (id int primary key, v int); insert into other values (9, 90)")
        .await;
    let _capture = world.capture(&tables(&world)).await;
    world.equal("pay.other", OTHER_ROWS).await;
}

#[tokio::test]
async fn what_a_publication_kept_back_is_copied_when_it_does_so_no_more() {
    let world = World::start().await;
    let mut capture = other(&world).await;
    for (number, sql) in [
        "alter publication naru_pay set (publish = 'insert'); update other set v = v + 1",
        "alter publication naru_pay drop table other; insert into other values (2, 20)",
        "alter publication naru_pay set table other where (id > 1000), payments; insert into other values (3, 30)",
    ]
    .into_iter()
    .enumerate()
    {
        world.postgres.run(sql).await;
        let log = world.equal("pay.other", OTHER_ROWS).await;
        let begins = log.changes["pay.other"].iter().filter(|change| change.op == "begin").count();
        assert_eq!(begins, 6 + 3 * number, "{sql}");
        capture.until("streaming", is_streaming).await;
    }
}

#[tokio::test]
async fn a_topic_that_is_made_anew_is_filled_again() {
    let world = World::start().await;
    let capture = other(&world).await;
    assert!(capture.stop().await.success());
    world.client.delete_topic("pay.other").await.unwrap();
    let _capture = world.capture(&tables(&world)).await;
    let deadline = std::time::Instant::now() + super::process::PATIENCE;
    // The log is read whole, and for a moment there is no such topic.
    while world.client.topic("pay.other").await.is_err() {
        assert!(std::time::Instant::now() < deadline);
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    }
    world.equal("pay.other", OTHER_ROWS).await;
}

#[tokio::test]
async fn a_table_that_stays_refused_says_why_at_each_start_and_rows_with_long_keys_keep_them() {
    let world = World::start().await;
    let capture = other(&world).await;
    world.postgres.run("insert into payments values (7, 'paid', 'NaN', '')").await;
    assert!(capture.stop().await.success());
    for _ in 0..2 {
        let mut capture = world.capture(&tables(&world)).await;
        let stopped = |report: &Report| report.tables["pay.payments"].stopped.is_some() && is_streaming(report);
        let report = capture.until("a stopped table", stopped).await;
        assert!(report.tables["pay.payments"].stopped.as_ref().unwrap().contains("[\"7\"]"), "{report:?}");
        assert!(capture.stop().await.success());
    }
    // As long as an index takes, and stored out of line.
    world
        .postgres
        .run(
            "create table long (k text primary key, v int); alter table long alter column k set storage external; \
             insert into long select string_agg(md5(n::text), ''), 1 from generate_series(1, 80) n",
        )
        .await;
    let mut capture = world.capture(&world.config("", &World::tables(&["other", "long"]))).await;
    capture.until("streaming", is_streaming).await;
    world.postgres.run("update long set v = 2").await;
    world.equal("pay.long", "select '[\"' || k || '\"]', k || '|' || v from long").await;
}
