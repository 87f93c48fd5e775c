#![allow(clippy::unwrap_used)] // a test panics on failure

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::canonical::Decimal;

fn row(cells: &[Cell<'_>]) -> Vec<u8> {
    let mut bytes = (cells.len() as u16).to_be_bytes().to_vec();
    for cell in cells {
        match cell {
            Cell::Null => bytes.push(b'n'),
            Cell::Kept => bytes.push(b'u'),
            Cell::Text(text) => {
                bytes.push(b't');
                bytes.extend_from_slice(&(text.len() as u32).to_be_bytes());
                bytes.extend_from_slice(text.as_bytes());
            }
        }
    }
    bytes
}

#[test]
fn messages_are_read() {
    let check = |bytes: &[u8], expect: Message<'_>| assert_eq!(read(bytes), Ok(expect));
    let (one, two) = ([Cell::Text("1"), Cell::Kept], [Cell::Text("2"), Cell::Null]);
    let id = [0, 0, 0, 7];
    check(&[b"I", id.as_slice(), b"N", &row(&one)].concat(), Message::Insert(7, one.to_vec()));
    check(&[b"U", id.as_slice(), b"N", &row(&one)].concat(), Message::Update(7, None, one.to_vec()));
    let update = [b"U", id.as_slice(), b"K", &row(&two), b"N", &row(&one)].concat();
    check(&update, Message::Update(7, Some(two.to_vec()), one.to_vec()));
    check(&[b"D", id.as_slice(), b"O", &row(&two)].concat(), Message::Delete(7, two.to_vec()));
    check(b"T\0\0\0\x02\x01\0\0\0\x07\0\0\0\x08", Message::Truncate(vec![7, 8]));
    check(b"Y", Message::Other);
    let relation = [b"R", id.as_slice(), b"public\0t\0d\0\x01\x01id\0\0\0\0\x14\xFF\xFF\xFF\xFF"].concat();
    let columns = vec![Described { name: "id".to_owned(), type_oid: 20, modifier: -1 }];
    let described = Relation { id: 7, schema: "public".to_owned(), name: "t".to_owned(), columns };
    check(&relation, Message::Relation(described));
    assert_eq!(read(b"I\0"), Err(SourceFault::Short("a number")));
    assert_eq!(read(b"D\0\0\0\x07N"), Err(SourceFault::Unknown(b'N', "the kind of a row")));
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
        prop_assert!(read(&bytes).map_or(true, |message| message != Message::Truncate(vec![0; 1 << 20])));
    }
}

#[test]
fn types_are_what_the_log_makes_of_them() {
    let check = |oid, modifier, expect| assert_eq!(kind_of(oid, modifier), expect);
    check(1700, -1, Kind::Text);
    check(1700, ((12 << 16) | 2) + 4, Kind::Decimal { scale: 2 });
    check(1700, ((39 << 16) | 2) + 4, Kind::Text);
    check(1700, ((5 << 16) | 0x7FE) + 4, Kind::Text);
    check(3802, -1, Kind::Text);
}

fn table() -> Table {
    let column = |number, name: &str, kind| Column { number, name: name.to_owned(), kind };
    let columns = vec![
        column(1, "id", Kind::Integer),
        column(2, "amount", Kind::Decimal { scale: 2 }),
        column(4, "note", Kind::Text),
        column(5, "at", Kind::Moment),
    ];
    Table { topic: "pay.t".to_owned(), columns, key: vec![0] }
}

fn written(operation: Operation, cells: &[Cell<'_>], left_out: &[&str]) -> Result<(Vec<u8>, Vec<i128>), SourceFault> {
    let (mut writer, mut sums) = (Writer::new(), Vec::new());
    let left_out: BTreeSet<String> = left_out.iter().map(|name| (*name).to_owned()).collect();
    let what = (Identity { position: 9, sequence: 1 }, operation, 5);
    table().write(what, cells, &left_out, &["amount".to_owned()], &mut writer, &mut sums)?;
    Ok((writer.finish().unwrap().to_vec(), sums))
}

fn expected(operation: Operation, columns: &[(u16, Value<'_>)]) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.begin("pay.t", Identity { position: 9, sequence: 1 }, operation, 5);
    columns.iter().for_each(|(number, value)| writer.column(*number, value));
    writer.finish().unwrap().to_vec()
}

#[test]
fn a_row_has_its_canonical_bytes() {
    let cells = [Cell::Text("1"), Cell::Text("-1.50"), Cell::Kept, Cell::Text("1970-01-01 00:00:01+00")];
    let amount = Value::Decimal(Decimal::from_text("-1.5").unwrap());
    let all = [(1, Value::Integer(1)), (2, amount.clone()), (5, Value::Moment(1_000_000))];
    let (bytes, sums) = written(Operation::Update, &cells, &[]).unwrap();
    assert_eq!((bytes, sums), (expected(Operation::Update, &all), vec![-1_500_000_000]));
    let (bytes, sums) = written(Operation::Update, &cells, &["note", "amount"]).unwrap();
    let fewer = [(1, Value::Integer(1)), (5, Value::Moment(1_000_000))];
    assert_eq!((bytes, sums), (expected(Operation::Update, &fewer), vec![-1_500_000_000]));
    let (bytes, _) = written(Operation::Delete, &cells, &[]).unwrap();
    assert_eq!(bytes, expected(Operation::Delete, &all[..1]));
    let wrong = [Cell::Text("one"), Cell::Null, Cell::Null, Cell::Null];
    assert!(matches!(written(Operation::Insert, &wrong, &[]), Err(SourceFault::Value { .. })));
}

#[test]
fn a_change_of_key_is_known() {
    let check = |old: &[Cell<'_>], new: &[Cell<'_>], expect| assert_eq!(table().key_changes(old, new), expect);
    check(&[Cell::Text("1"), Cell::Null], &[Cell::Text("2"), Cell::Null], true);
    check(&[Cell::Text("1"), Cell::Text("5")], &[Cell::Text("1"), Cell::Null], false);
    check(&[Cell::Text("1")], &[Cell::Kept], false);
}
