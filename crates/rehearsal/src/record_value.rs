//! The value of a record as the sample services write it.

use serde::Deserialize;

use crate::history::{Claim, LogRecord, Place, claim, fingerprint, shortened};
use crate::load::text;

#[derive(Deserialize)]
struct Value {
    id: serde_json::Value,
    sequence: u64,
    idempotency_key: String,
    user: String,
    /// A payment's record names the merchant, a transfer's who gets it.
    #[serde(alias = "to")]
    merchant: String,
    amount: Amount,
}

#[derive(Deserialize)]
struct Amount {
    currency: String,
    minor: i64,
}

/// What `key` and `value` say, in a run of `operations` operations. A value that cannot be read makes a stranger, never an
/// error: the judge names it.
pub fn read(seed: u64, operations: usize, place: Place, key: &[u8], value: &[u8]) -> LogRecord {
    let fingerprint = fingerprint(key, value);
    let key_text = shortened(&String::from_utf8_lossy(key));
    match serde_json::from_slice::<Value>(value) {
        Ok(value) => LogRecord {
            place,
            claim: claim(seed, operations, &value.idempotency_key),
            key: key_text,
            id: text(&value.id),
            sequence: value.sequence,
            user: shortened(&value.user),
            peer: shortened(&value.merchant),
            currency: shortened(&value.amount.currency),
            amount_minor: value.amount.minor,
            fingerprint,
        },
        Err(_) => LogRecord {
            place,
            // Its place is in the text, so that two unreadable records are not one another's doubles.
            claim: Claim::Stranger(format!("unreadable value at {}/{}", place.partition, place.offset).into()),
            key: key_text,
            id: format!("unreadable {}/{}", place.partition, place.offset).into(),
            sequence: 0,
            user: Box::default(),
            peer: Box::default(),
            currency: Box::default(),
            amount_minor: 0,
            fingerprint,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::idempotency_key;

    const PLACE: Place = Place { topic: 0, partition: 1, offset: 7 };

    #[test]
    fn a_record_is_matched_with_its_operation() {
        let key = idempotency_key(9, 3);
        let value = format!(
            r#"{{"id":"p1","sequence":4,"idempotency_key":"{key}","user":"u1","to":"u2","amount":{{"currency":"KRW","minor":5}},"more":1}}"#
        );
        let record = read(9, 10, PLACE, b"u1", value.as_bytes());
        assert_eq!(record.claim, Claim::Operation(3));
        assert_eq!((&*record.id, record.sequence, record.amount_minor), ("p1", 4, 5));
        assert_eq!((&*record.user, &*record.peer, &*record.currency), ("u1", "u2", "KRW"));
        // The same record is a stranger to a run with another seed, and to one with fewer operations.
        assert!(matches!(read(8, 10, PLACE, b"u1", value.as_bytes()).claim, Claim::Stranger(_)));
        assert!(matches!(read(9, 3, PLACE, b"u1", value.as_bytes()).claim, Claim::Stranger(_)));
    }

    #[test]
    fn what_cannot_be_read_is_a_stranger() {
        for value in [&b"\xff\x00"[..], b"{}", b"", br#"{"id":1,"sequence":-4}"#] {
            assert!(matches!(read(9, 10, PLACE, b"u1", value).claim, Claim::Stranger(_)));
        }
    }
}
