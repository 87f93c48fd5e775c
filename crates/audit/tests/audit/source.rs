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
    sql: &'static str,
    changes: Vec<Change>,
}

fn change(op: &'static str, id: i64, cents: Option<i64>, note: Option<&str>) -> Change {
    let (partition, key, note) = ((id % 3) as i32, format!("[\"{id}\"]"), note.map(str::to_owned));
    Change { partition, position: 0, sequence: 0, at: 0, op, key, id, cents, note }
}

fn steps() -> Vec<Step> {
    vec![
        Step {
            sql: "insert into payments values (1, 12.50, 'first'), (2, -0.05, null)",
            changes: vec![change("insert", 1, Some(1250), Some("first")), change("insert", 2, Some(-5), None)],
        },
        Step {
            sql: "update payments set note = 'é' where id = 2",
            changes: vec![change("update", 2, Some(-5), Some("é"))],
        },
        Step {
            sql: "update payments set id = 3 where id = 1",
            changes: vec![change("delete", 1, None, None), change("insert", 3, Some(1250), Some("first"))],
        },
        Step { sql: "delete from payments where id = 2", changes: vec![change("delete", 2, None, None)] },
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
            self.postgres.run(step.sql).await;
        }
        let transactions = self.postgres.transactions().await;
        assert_eq!(transactions.len(), steps.len());
        let mut all = Vec::new();
        for (step, (position, at)) in steps.into_iter().zip(transactions) {
            let numbered = (0..).zip(step.changes);
            all.extend(numbered.map(|(sequence, change)| Change { position, sequence, at, ..change }));
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
    let mut auditor = running.world.auditor_with(&more).await;

    // Before the audit's slot began, the source is not read, and the certificate says so.
    running.round(steps(), None).await;
    let first = auditor.window(0).await.unwrap().unwrap();
    assert_eq!(first.verdict, Verdict::Incomplete);
    assert!(matches!(changes_of(&first).readings[&Reader::Source], Reading::Absent { .. }));

    running.postgres.run("truncate payments").await;
    running.postgres.transactions().await;
    let insert = |sql| Step { sql, changes: vec![] };
    drop(insert);
    let truncated = Step { sql: "truncate payments", changes: vec![Change { partition: 0, ..change("truncate", 0, None, None) }] };
    drop(truncated);
}
