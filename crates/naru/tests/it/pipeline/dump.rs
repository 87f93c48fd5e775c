//! The same rows told by different programs: the database, SQL of the lake, and readers of its files.

use std::collections::BTreeMap;

use tokio::process::Command;

use super::world::World;
use crate::outside::{peer, run};

/// Every column that is no token and no time.
const ROWS: &str = "select id, status, amount, coalesce(note, '') from";

/// Rows, and how often each is there.
type Rows = BTreeMap<String, u32>;

fn counted(text: &str) -> Rows {
    let mut rows = Rows::new();
    text.lines().filter(|line| !line.is_empty()).for_each(|line| *rows.entry(line.to_owned()).or_default() += 1);
    rows
}

/// What the database has.
pub(super) async fn database(world: &World) -> Rows {
    let url = format!("postgresql://postgres@127.0.0.1:{}/postgres", world.postgres.port());
    let sql = format!("{ROWS} payments");
    let mut psql = Command::new("psql");
    counted(&run(psql.args(["-X", "-A", "-t", "-w", &url, "-c", &sql]), "").await)
}

/// What SQL of the lake answers.
pub(super) async fn lake(world: &World) -> Rows {
    let (told, error) = world.ask(&format!("{ROWS} pay.payments")).await;
    assert_eq!(error, "");
    counted(&told)
}

/// What a program of others reads from the lake's files.
pub(super) async fn files(world: &World, reader: &str) -> Rows {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/pipeline/dump.py");
    let table = world.warehouse().join("pay/payments");
    let mut python = Command::new(peer("lake/bin/python"));
    counted(&run(python.args([script, reader, table.to_str().unwrap()]), "").await)
}

/// Some of what one has and the other has not, or not as often.
pub(super) fn differences<'r>(one: &'r Rows, other: &Rows) -> Vec<(&'r String, u32, u32)> {
    let of = |(row, count): (&'r String, &'r u32)| (row, *count, other.get(row).copied().unwrap_or(0));
    one.iter().map(of).filter(|(_, count, other)| count != other).take(5).collect()
}
