#![allow(clippy::unwrap_used)] // a test panics on failure

use super::*;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn written(columns: &[(u16, Value<'_>)]) -> Result<String, RecordFault> {
    let mut writer = Writer::new();
    writer.begin("t", Identity { position: 7, sequence: 3 }, Operation::Insert, 1);
    columns.iter().for_each(|(number, value)| writer.column(*number, value));
    writer.finish().map(|bytes| hex(&bytes[27..]))
}

#[test]
fn a_record_begins_with_what_it_is_a_change_of() {
    let mut writer = Writer::new();
    writer.begin("pay.t", Identity { position: 0x0102, sequence: 0x0304 }, Operation::Delete, -1);
    let expect = concat!("01", "0005", "7061792e74", "0000000000000102", "000000000304", "03", "ffffffffffffffff");
    assert_eq!(hex(writer.finish().unwrap()), expect);
}

#[test]
fn each_kind_has_its_bytes() {
    let check = |value: Value<'_>, expect: &str| assert_eq!(written(&[(1, value)]).unwrap(), format!("0001{expect}"));
    check(Value::Boolean(true), "0101");
    check(Value::Integer(-2), "02fffffffffffffffe");
    check(Value::Float(1.5), "033ff8000000000000");
    check(Value::Float(-f64::NAN), "037ff8000000000000");
    check(Value::Decimal(Decimal::from_unscaled(-1250, 2)), "04000000052d31322e35");
    check(Value::Moment(1), "050000000000000001");
    check(Value::Local(1), "060000000000000001");
    check(Value::Date(1), "070000000000000001");
    check(Value::Time(1), "080000000000000001");
    check(Value::Uuid([0xAB; 16]), &format!("09{}", "ab".repeat(16)));
    check(Value::Bytes(&[1, 2]), "0a000000020102");
    check(Value::Text("é"), "0b00000002c3a9");
}

#[test]
fn the_order_of_columns_is_their_numbers() {
    let in_order = written(&[(1, Value::Integer(5)), (2, Value::Text("a")), (9, Value::Boolean(true))]).unwrap();
    assert_eq!(written(&[(9, Value::Boolean(true)), (1, Value::Integer(5)), (2, Value::Text("a"))]).unwrap(), in_order);
    assert_eq!(written(&[(2, Value::Date(1)), (1, Value::Date(1)), (2, Value::Date(1))]), Err(RecordFault::Twice(2)));
}

#[test]
fn a_sequence_that_does_not_fit_is_refused() {
    let mut writer = Writer::new();
    writer.begin("t", Identity { position: 0, sequence: 1 << 48 }, Operation::Insert, 0);
    assert_eq!(writer.finish(), Err(RecordFault::Sequence(1 << 48)));
}

#[test]
fn a_decimal_has_one_form() {
    let check = |text: &str, expect: Option<&str>| {
        assert_eq!(Decimal::from_text(text).as_ref().map(Decimal::as_str), expect, "{text}");
    };
    check("012.500", Some("12.5"));
    check("-0.00", Some("0"));
    check("-0.10", Some("-0.1"));
    check(".5", Some("0.5"));
    check("100", Some("100"));
    check("NaN", None);
    check("1e5", None);
    check("", None);
    check("-", None);
    let of = |unscaled, scale| Decimal::from_unscaled(unscaled, scale).to_string();
    assert_eq!([of(0, 2), of(-5, 2), of(100, 2), of(12345, 3)], ["0", "-0.05", "1", "12.345"]);
    assert_eq!(of(i128::MIN, 0), i128::MIN.to_string());
    assert_eq!(Decimal::from_be_bytes(&[0xFF, 0x38], 2).unwrap().as_str(), "-2");
    assert_eq!(Decimal::from_be_bytes(&[], 2).unwrap().as_str(), "0");
    assert_eq!(Decimal::from_be_bytes(&[0; 17], 2), None);
    assert_eq!(Decimal::from_text("-1.25").unwrap().nanos(), -1_250_000_000);
}

#[test]
fn text_forms_of_the_source_are_read() {
    let check = |got: Option<i64>, expect: Option<i64>| assert_eq!(got, expect);
    check(text::date("1970-01-01"), Some(0));
    check(text::date("2026-11-23"), Some(20_780));
    check(text::date("2000-02-29"), Some(11_016));
    check(text::date("0001-12-31 BC"), Some(-719_163));
    check(text::date("infinity"), None);
    check(text::time("24:00:00"), Some(86_400_000_000));
    check(text::time("00:00:01.25"), Some(1_250_000));
    check(text::local("1970-01-02 00:00:00.000001"), Some(86_400_000_001));
    check(text::moment("1970-01-01 05:30:00+05:30"), Some(0));
    check(text::moment("1969-12-31 23:00:00.5-01"), Some(500_000));
    check(text::moment("2026-11-23 00:00:00"), None);
    assert_eq!(text::bytes("\\x00ff"), Some(vec![0, 255]));
    assert_eq!(text::bytes("\\x0"), None);
    assert_eq!(text::uuid("00000000-0000-0000-0000-0000000000ff").unwrap()[15], 255);
    assert_eq!(text::uuid("00"), None);
    assert_eq!(text::single("0.1"), Some(f64::from(0.1_f32)));
    assert!(text::double("NaN").unwrap().is_nan());
}
