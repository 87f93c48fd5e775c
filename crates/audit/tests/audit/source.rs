//! The source, read by a slot of the audit's own, held against logs and tables that are written from what is known of its
//! transactions.

use naru_audit::certificate::{Certificate, Difference, Part, Reader, Reading, Verdict};

use crate::lake::Table;
use crate::postgres::Postgres;
use crate::world::{Change, Clusters, World};

/// The third column is gone, so that numbers are not places.
const TABLE: &str = "create table payments (id bigint primary key, amount numeric(12, 2), gone int, note text);
    alter table payments drop column gone;
    create publication changes for table payments;";

/// A transaction of one or two changes, and its records.
struct Step {
    sql: String,
    changes: Vec<Change>,
}

fn change(op: &'static str, id: i64, cents: Option<i64>, note: Option<&str>) -> Change {
    let (partition, key, note) = ((id % 3) as i32, format!("[\"{id}\"]"), note.map(str::to_owned));
    Change { partition, position: 0, sequence: 0, at: 0, op, key, id, cents, note }
}

/// Four transactions on rows of their own.
fn steps(base: i64) -> Vec<Step> {
    let (one, two, three) = (base + 1, base + 2, base + 3);
    vec![
        Step {
            sql: format!("insert into payments values ({one}, 12.50, 'first'), ({two}, -0.05, null)"),
            changes: vec![change("insert", one, Some(1250), Some("first")), change("insert", two, Some(-5), None)],
        },
        Step {
            sql: format!("update payments set note = 'é' where id = {two}"),
            changes: vec![change("update", two, Some(-5), Some("é"))],
        },
        Step {
            sql: format!("update payments set id = {three} where id = {one}"),
            changes: vec![change("delete", one, None, None), change("insert", three, Some(1250), Some("first"))],
        },
        Step {
            sql: format!("delete from payments where id = {two}"),
            changes: vec![change("delete", two, None, None)],
        },
    ]
}

struct Running<'a> {
    postgres: Postgres,
    world: World<'a>,
    table: Table,
}

impl<'a> Running<'a> {
    async fn start(clusters: &'a Clusters, name: &str) -> Self {
        let postgres = Postgres::start().await;
        postgres.run(TABLE).await;
        postgres.run("select pg_create_logical_replication_slot('told', 'pgoutput')").await;
        let world = World::new(clusters, name).await;
        let table = Table::create(&world.warehouse, &world.name).await;
        Self { postgres, world, table }
    }

    /// Carries transactions out and writes their records, as capture and lake would; what `alter` says is left out.
    async fn round(&mut self, steps: Vec<Step>, leave_out: Option<(usize, Reader)>) -> Vec<Change> {
        for step in &steps {
            self.postgres.run(&step.sql).await;
        }
        let transactions = self.postgres.transactions().await;
        assert_eq!(transactions.len(), steps.len());
        let mut all = Vec::new();
        for (step, (position, at)) in steps.into_iter().zip(transactions) {
            // A change that says its place has the place behind it.
            let numbered = (0..).zip(step.changes);
            all.extend(numbered.map(|(place, change)| Change {
                position,
                sequence: place + change.sequence,
                at,
                ..change
            }));
        }
        let of = |reader: Reader| {
            let mut changes = all.clone();
            if let Some((index, _)) = leave_out.filter(|(_, whose)| *whose == reader || *whose == Reader::Source) {
                changes.remove(index);
            }
            changes
        };
        self.world.write(0, &of(Reader::A)).await;
        self.world.write(1, &of(Reader::B)).await;
        self.table.append(&of(Reader::Lake));
        let end = all.last().unwrap().position;
        self.table.commit(end).await;
        self.world.mark(end).await;
        all
    }
}

fn changes_of(certificate: &Certificate) -> &naru_audit::certificate::PartProof {
    certificate.parts.iter().find(|part| part.part == Part::Changes).unwrap()
}

fn said(certificate: &Certificate) -> Vec<(Reader, u64, &'static str)> {
    let of = |one: &Difference| (one.reader, one.position, one.kind());
    changes_of(certificate).differences.iter().map(of).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_is_held_against_logs_and_tables() {
    let clusters = Clusters::start().await;
    let mut running = Running::start(&clusters, "pay").await;
    let more = running.postgres.config();
    let mut auditor = running.world.auditor(&more).await;

    // The first window begins before the audit's slot: the source is not read, and the certificate says so.
    running.round(steps(0), None).await;
    let first = auditor.window(0).await.unwrap().unwrap();
    assert_eq!((first.verdict, said(&first)), (Verdict::Incomplete, vec![]));
    assert!(matches!(changes_of(&first).readings[&Reader::Source], Reading::Absent { .. }));

    running.round(steps(10), None).await;
    let second = auditor.window(0).await.unwrap().unwrap();
    assert_eq!((second.verdict, said(&second)), (Verdict::Equal, vec![]), "{second:#?}");
    for reader in Reader::ALL {
        let Reading::Read { rows, sums, .. } = &changes_of(&second).readings[&reader] else { panic!("{reader}") };
        assert_eq!((*rows, sums["amount"].as_str()), (6, "24.9"), "{reader}");
    }

    // A record that cluster A has lost.
    let all = running.round(steps(20), Some((1, Reader::A))).await;
    let third = auditor.window(0).await.unwrap().unwrap();
    assert_eq!(said(&third), [(Reader::A, all[1].position as u64, "missing")]);

    // A change that the database has, and nobody else.
    let all = running.round(steps(30), Some((2, Reader::Source))).await;
    let fourth = auditor.window(0).await.unwrap().unwrap();
    let missing = |reader| (reader, all[2].position as u64, "missing");
    assert_eq!(said(&fourth), [missing(Reader::A), missing(Reader::B), missing(Reader::Lake)]);

    // Another audit goes on where this one ended, by the same slot.
    drop(auditor);
    let mut auditor = running.world.auditor(&more).await;
    running.round(steps(40), None).await;
    let last = auditor.window(0).await.unwrap().unwrap();
    assert_eq!((last.number, last.verdict, said(&last)), (4, Verdict::Equal, vec![]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_holds_back_too_much_is_dropped_and_certificates_say_so() {
    let clusters = Clusters::start().await;
    let mut running = Running::start(&clusters, "held").await;
    let more = format!("{}wal_held_max = '16MiB'\n", running.postgres.config());
    let mut auditor = running.world.auditor(&more).await;
    running.round(steps(0), None).await;
    auditor.window(0).await.unwrap().unwrap();
    // Nothing is certified meanwhile: there is no mark behind it.
    running.postgres.run("create table other as select repeat('x', 1000) from generate_series(1, 40000)").await;
    assert!(auditor.window(0).await.unwrap().is_none());
    let slots: i64 = sqlx::query_scalar("select count(*) from pg_replication_slots where slot_name = 'naru_audit'")
        .fetch_one(&mut running.postgres.connect().await)
        .await
        .unwrap();
    assert_eq!(slots, 0);
    running.postgres.transactions().await;
    running.round(steps(10), None).await;
    let certificate = auditor.window(0).await.unwrap().unwrap();
    assert_eq!(certificate.verdict, Verdict::Incomplete);
    let Reading::Absent { why } = &changes_of(&certificate).readings[&Reader::Source] else { panic!("it was read") };
    assert!(why.contains("was dropped"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_that_comes_with_the_row_that_was_counts_two() {
    let clusters = Clusters::start().await;
    let mut running = Running::start(&clusters, "full").await;
    let more = running.postgres.config();
    let mut auditor = running.world.auditor(&more).await;
    running.postgres.run("alter table payments replica identity full, alter note set storage external").await;
    let large = "x".repeat(9000);
    let insert = format!("insert into payments values (1, 1, '{large}')");
    let step = |sql: &str, changes| Step { sql: sql.to_owned(), changes };
    running.round(vec![step(&insert, vec![change("insert", 1, Some(100), Some(&large))])], None).await;
    auditor.window(0).await.unwrap().unwrap();
    // The large value is not sent again, and is known from the row that was.
    let behind = Change { sequence: 1, ..change("update", 1, Some(250), Some(&large)) };
    running.round(vec![step("update payments set amount = 2.5", vec![behind])], None).await;
    let certificate = auditor.window(0).await.unwrap().unwrap();
    assert_eq!((certificate.verdict, said(&certificate)), (Verdict::Equal, vec![]), "{certificate:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_of_the_publication_that_no_log_knows_is_not_passed_over() {
    let clusters = Clusters::start().await;
    let mut running = Running::start(&clusters, "unknown").await;
    running.postgres.run("create table other (id int primary key); alter publication changes add table other").await;
    let more = running.postgres.config();
    let mut auditor = running.world.auditor(&more).await;
    running.round(steps(0), None).await;
    auditor.window(0).await.unwrap().unwrap();
    running.postgres.run("insert into other values (1)").await;
    running.postgres.transactions().await;
    running.round(steps(10), None).await;
    let certificate = auditor.window(0).await.unwrap().unwrap();
    let part = certificate.parts.iter().find(|part| part.topic == "unknown.other").unwrap();
    let named: Vec<_> = part.differences.iter().map(|one| (one.reader, one.kind())).collect();
    assert_eq!(named, [(Reader::A, "missing"), (Reader::B, "missing")]);
    assert_eq!(certificate.verdict, Verdict::Different);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_that_is_too_large_takes_nothing_from_the_ones_behind_it() {
    let clusters = Clusters::start().await;
    let mut running = Running::start(&clusters, "large").await;
    let more = format!("{}window_bytes_max = '1MiB'\n", running.postgres.config());
    let mut auditor = running.world.auditor(&more).await;
    running.round(steps(0), None).await;
    auditor.window(0).await.unwrap().unwrap();
    let large = "x".repeat(600_000);
    let insert = |id: i64| Step {
        sql: format!("insert into payments values ({id}, 1, '{large}')"),
        changes: vec![change("insert", id, Some(100), Some(&large))],
    };
    running.round((100..103).map(insert).collect(), None).await;
    let window = auditor.window(0).await.unwrap().unwrap();
    let Reading::Absent { why } = &changes_of(&window).readings[&Reader::Source] else { panic!("it was read") };
    assert!(why.contains("bytes of changes in one window"), "{why}");
    assert_eq!((window.verdict, said(&window)), (Verdict::Incomplete, vec![]));
    running.round(steps(20), None).await;
    let window = auditor.window(0).await.unwrap().unwrap();
    assert_eq!((window.verdict, said(&window)), (Verdict::Equal, vec![]), "{window:#?}");
}
