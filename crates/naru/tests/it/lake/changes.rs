//! Change records, as docs/formats/changes.md has them, written by an encoder of the test's own, become a mirror and a
//! table of changes.

use naru_kafka::client::TopicPartition;
use naru_kafka::client::produce::ProduceOptions;
use naru_kafka::wire::{BatchBuilder, Compression};

use super::process::World;

const SOURCE: &str = "[[source]]\nname = 'pay'\nshape = 'both'\n";

/// A column: number in the source, name, type of Avro.
type Column = (i32, &'static str, &'static str);

const BEFORE: [Column; 3] = [(1, "id", "int"), (2, "owner", "string"), (3, "note", "string")];
/// One renamed, one wider, one new, one dropped.
const AFTER: [Column; 3] = [(1, "id", "long"), (2, "holder", "string"), (4, "limit", "double")];

fn schema(columns: &[Column]) -> String {
    let field = |(number, name, kind): &Column| {
        format!(r#"{{"name":"{name}","type":["null","{kind}"],"naru.column":{number}}}"#)
    };
    let fields: Vec<_> = columns.iter().map(field).collect();
    format!(
        r#"{{"topic":"pay.accounts","schema":{{"type":"record","name":"Change","fields":[
        {{"name":"op","type":{{"type":"enum","name":"Op","symbols":["begin","read","end","insert","update","delete","truncate"]}}}},
        {{"name":"position","type":"long"}},{{"name":"sequence","type":"long"}},{{"name":"transaction","type":"long"}},
        {{"name":"at","type":{{"type":"long","logicalType":"timestamp-micros"}}}},
        {{"name":"kept","type":{{"type":"array","items":"int"}}}},
        {{"name":"row","type":["null",{{"type":"record","name":"Row","naru.key":[0],"fields":[{}]}}]}}]}}}}"#,
        fields.join(",")
    )
}

#[derive(Clone, Copy)]
enum Cell {
    Null,
    Whole(i64),
    Text(&'static str),
    Real(f64),
}

fn zigzag(out: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    while rest >= 0x80 {
        out.push((rest as u8) | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// A change; `op` by its number.
fn change(schema: u64, op: i64, (position, sequence): (i64, i64), kept: &[i64], row: Option<&[Cell]>) -> Vec<u8> {
    let mut out = vec![0xC3, 0x01];
    out.extend(schema.to_le_bytes());
    [op, position, sequence, 7, 1_700_000_000_000_000].into_iter().for_each(|number| zigzag(&mut out, number));
    if !kept.is_empty() {
        zigzag(&mut out, kept.len() as i64);
        kept.iter().for_each(|ordinal| zigzag(&mut out, *ordinal));
    }
    zigzag(&mut out, 0);
    zigzag(&mut out, i64::from(row.is_some()));
    for cell in row.into_iter().flatten() {
        zigzag(&mut out, i64::from(!matches!(cell, Cell::Null)));
        match cell {
            Cell::Null => {}
            Cell::Whole(number) => zigzag(&mut out, *number),
            Cell::Text(text) => {
                zigzag(&mut out, text.len() as i64);
                out.extend(text.as_bytes());
            }
            Cell::Real(number) => out.extend(number.to_le_bytes()),
        }
    }
    out
}

async fn send(world: &World, topic: &str, partition: i32, records: &[(&str, Vec<u8>)]) {
    let mut batch = BatchBuilder::new(Compression::None);
    for (key, value) in records {
        batch.push(1, Some(key.as_bytes()), Some(value), &[]).unwrap();
    }
    let at = TopicPartition::new(topic, partition);
    world.client.produce(&at, batch.build().unwrap(), &ProduceOptions::default()).await.unwrap();
}

const BEGIN: i64 = 0;
const READ: i64 = 1;
const END: i64 = 2;
const INSERT: i64 = 3;
const UPDATE: i64 = 4;
const DELETE: i64 = 5;
const TRUNCATE: i64 = 6;

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_follows_copies_changes_repeats_columns_and_truncates() {
    use Cell::{Null, Real, Text, Whole};
    let world = World::start("", SOURCE).await;
    world.topic("pay.schemas", 1).await;
    world.topic("pay.marks", 1).await;
    world.topic("pay.accounts", 2).await;
    send(&world, "pay.schemas", 0, &[("00000000000000aa", schema(&BEFORE).into_bytes())]).await;
    let old = |op, place, kept: &[i64], row: Option<&[Cell]>| change(0xaa, op, place, kept, row);
    let row = |id, owner, note| [Whole(id), Text(owner), Text(note)];
    // A copy that did not come to its end, then one that did; rows of the first come late, as repeats.
    let first = ("[\"1\"]", old(READ, (10, 0), &[], Some(&row(1, "lost", "x"))));
    send(&world, "pay.accounts", 0, &[("", old(BEGIN, (10, 0), &[], None)), first.clone()]).await;
    let copy = [
        ("", old(BEGIN, (20, 0), &[], None)),
        ("[\"1\"]", old(READ, (20, 0), &[], Some(&row(1, "kim", "long note")))),
        ("[\"3\"]", old(READ, (20, 1), &[], Some(&row(3, "lee", "b")))),
        ("", old(END, (20, 2), &[], None)),
        first,
    ];
    send(&world, "pay.accounts", 0, &copy).await;
    send(&world, "pay.accounts", 1, &[("", old(BEGIN, (20, 0), &[], None)), ("", old(END, (20, 2), &[], None))]).await;
    let all = "select id, owner, note from pay.accounts order by id";
    world.until(all, "1|kim|long note\n3|lee|b").await;
    world.until("select rows_in_memory from naru.freshness where kind = 'mirror'", "0").await;
    // The note of 1 is kept, out of the committed file; 3 goes; 2 comes and changes its key to 4; a repeat does nothing.
    let changes = [
        ("[\"1\"]", old(UPDATE, (30, 0), &[2], Some(&[Whole(1), Text("park"), Null]))),
        ("[\"3\"]", old(DELETE, (31, 0), &[], Some(&[Whole(3), Null, Null]))),
        ("[\"1\"]", old(UPDATE, (30, 0), &[], Some(&row(1, "wrong", "wrong")))),
    ];
    send(&world, "pay.accounts", 0, &changes).await;
    let changes = [
        ("[\"2\"]", old(INSERT, (32, 0), &[], Some(&row(2, "choi", "c")))),
        ("[\"2\"]", old(DELETE, (33, 0), &[], Some(&[Whole(2), Null, Null]))),
        ("[\"4\"]", old(INSERT, (33, 1), &[], Some(&row(4, "choi", "d")))),
        ("[\"4\"]", old(UPDATE, (34, 0), &[2], Some(&[Whole(4), Text("jung"), Null]))),
    ];
    send(&world, "pay.accounts", 1, &changes).await;
    world.until(all, "1|park|long note\n4|jung|d").await;
    let mark = r#"{"position":34,"at":1700000000000000,"transactions":4,"records":{"pay.accounts":6}}"#;
    send(&world, "pay.marks", 0, &[("", mark.as_bytes().to_vec())]).await;
    world
        .until(
            "select table_name from naru.completeness where source_position = 34 order by 1",
            "pay.accounts\npay.accounts_changes",
        )
        .await;
    // Columns: renamed, wider, new, dropped. A partition that is behind still writes with the old ones.
    send(&world, "pay.schemas", 0, &[("00000000000000bb", schema(&AFTER).into_bytes())]).await;
    let new = |op, place, row: Option<&[Cell]>| change(0xbb, op, place, &[], row);
    send(&world, "pay.accounts", 0, &[("[\"1\"]", new(UPDATE, (40, 0), Some(&[Whole(1), Text("park"), Real(1.5)])))])
        .await;
    world.until("select id, holder, \"limit\" from pay.accounts order by id", "1|park|1.5\n4|jung|").await;
    send(&world, "pay.accounts", 1, &[("[\"4\"]", old(UPDATE, (41, 0), &[], Some(&row(4, "han", "e"))))]).await;
    world.until("select id, holder, \"limit\" from pay.accounts order by id", "1|park|1.5\n4|han|").await;
    let big = 5_000_000_000;
    send(&world, "pay.accounts", 1, &[("[\"5\"]", new(INSERT, (42, 0), Some(&[Whole(big), Text("yoo"), Null])))]).await;
    world.until("select max(id) from pay.accounts", "5000000000").await;
    // Each partition voids its own rows.
    send(&world, "pay.accounts", 0, &[("", new(TRUNCATE, (50, 0), None))]).await;
    world.until("select id from pay.accounts order by id", "4\n5000000000").await;
    send(&world, "pay.accounts", 1, &[("", new(TRUNCATE, (50, 0), None))]).await;
    world.until("select count(*) from pay.accounts", "0").await;
    let log = "select naru_op, count(*) from pay.accounts_changes group by 1 order by 1";
    world.until(log, "begin|3\ndelete|2\ninsert|3\nread|3\ntruncate|2\nupdate|4").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_is_no_change_stops_its_table_alone_and_says_where() {
    let world = World::start("", SOURCE).await;
    world.topic("pay.schemas", 1).await;
    world.topic("pay.accounts", 1).await;
    send(&world, "pay.schemas", 0, &[("00000000000000aa", schema(&BEFORE).into_bytes())]).await;
    send(&world, "pay.accounts", 0, &[("", b"{}".to_vec())]).await;
    world.until("select distinct stage from naru.freshness", "stopped").await;
    let reason = world.ask("select reason from naru.freshness where kind = 'mirror'").await;
    assert!(reason.contains("pay.accounts/0 at offset 0"), "{reason}");
    assert_eq!(world.ask("select 1").await, "1");
}
