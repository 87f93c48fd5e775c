//! Two batches that should be the same.

use naru_kafka::wire::batch::TimestampType;
use naru_kafka::wire::{Batch, BatchHeader};

use super::{Part, Producers};

/// What two batches at the same place are to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Equal,
    /// The same records under another producer, or encoded otherwise: the copier's work.
    Restamped,
    Differs(Part),
}

/// What the broker sets, made equal.
fn exactly(header: &BatchHeader) -> BatchHeader {
    BatchHeader { base_offset: 0, partition_leader_epoch: 0, ..*header }
}

/// The same with what the copier's stamp may change.
fn but_producer(header: &BatchHeader) -> BatchHeader {
    BatchHeader { producer_id: -1, producer_epoch: -1, base_sequence: -1, crc: 0, ..exactly(header) }
}

/// Compares all but base offset and leader epoch.
pub(super) fn compare(a: &Batch, b: &Batch, producers: Producers, decompressed_bytes_max: usize) -> Verdict {
    let (head_a, head_b) = (a.header(), b.header());
    let same_payload = a.payload() == b.payload();
    if same_payload && exactly(head_a) == exactly(head_b) {
        return Verdict::Equal;
    }
    if head_a.last_offset_delta != head_b.last_offset_delta {
        return Verdict::Differs(Part::Bounds);
    }
    let same_producer = (head_a.producer_id, head_a.producer_epoch, head_a.base_sequence)
        == (head_b.producer_id, head_b.producer_epoch, head_b.base_sequence);
    let may_differ = producers.may_differ(head_a.producer_id, head_b.producer_id);
    if same_payload {
        return match (same_producer, may_differ) {
            _ if but_producer(head_a) != but_producer(head_b) => Verdict::Differs(Part::Header),
            (false, true) => Verdict::Restamped,
            (false, false) => Verdict::Differs(Part::Producer),
            // Same fields, same records, another checksum: one of the two does not fit its own bytes.
            (true, _) => Verdict::Differs(Part::Unreadable),
        };
    }
    match first_difference(a, b, decompressed_bytes_max) {
        Ok(Some(offset)) => Verdict::Differs(Part::Record { offset }),
        Err(Broken) => Verdict::Differs(Part::Unreadable),
        Ok(None) if times(head_a) != times(head_b) => Verdict::Differs(Part::Header),
        Ok(None) if !same_producer && may_differ => Verdict::Restamped,
        Ok(None) => Verdict::Differs(Part::Encoding),
    }
}

fn times(header: &BatchHeader) -> (TimestampType, i64) {
    (header.timestamp_type(), header.max_timestamp)
}

/// A batch that cannot be taken apart.
struct Broken;

/// The offset on side A of the first record that is not the same on both.
fn first_difference(a: &Batch, b: &Batch, decompressed_bytes_max: usize) -> Result<Option<i64>, Broken> {
    let base = (a.header().base_offset, b.header().base_offset);
    let (mut a, mut b) = (a.records(decompressed_bytes_max), b.records(decompressed_bytes_max));
    let mut next = base.0;
    loop {
        let (of_a, of_b) = (a.next().transpose(), b.next().transpose());
        let (Ok(of_a), Ok(of_b)) = (of_a, of_b) else { return Err(Broken) };
        match (of_a, of_b) {
            (None, None) => return Ok(None),
            (Some(of_a), Some(mut of_b)) => {
                of_b.offset += base.0 - base.1;
                if of_a != of_b {
                    return Ok(Some(of_a.offset.min(of_b.offset)));
                }
                next = of_a.offset + 1;
            }
            (Some(_), None) | (None, Some(_)) => return Ok(Some(next)),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test panics on failure

    use naru_kafka::wire::{BatchBuilder, Compression, batch as raw};

    use super::*;

    fn built(codec: Compression, producer: (i64, i16, i32), values: &[&str]) -> Vec<u8> {
        let mut builder = BatchBuilder::new(codec).producer(producer.0, producer.1, producer.2);
        for value in values {
            builder.push(1_000, None, Some(value.as_bytes()), &[]).unwrap();
        }
        builder.build().unwrap().to_vec()
    }

    fn whole(bytes: Vec<u8>) -> Batch {
        Batch::split_first(&mut bytes.into()).unwrap()
    }

    #[test]
    fn a_batch_is_compared_field_by_field() {
        let plain = || built(Compression::None, (7, 0, 0), &["one", "two"]);
        let zstd = || built(Compression::Zstd, (7, 0, 0), &["one", "two"]);
        let check = |a: Vec<u8>, b: Vec<u8>, compared: Verdict, left_out: Verdict| {
            let (a, b) = (whole(a), whole(b));
            assert_eq!(compare(&a, &b, Producers::Compared, 1 << 20), compared);
            assert_eq!(compare(&a, &b, Producers::LeftOut, 1 << 20), left_out);
        };
        let both = |a, b, verdict| check(a, b, verdict, verdict);
        both(plain(), plain(), Verdict::Equal);
        both(zstd(), zstd(), Verdict::Equal);
        let mut elsewhere = plain();
        raw::set_base_offset(&mut elsewhere, 70).unwrap();
        raw::set_partition_leader_epoch(&mut elsewhere, 3).unwrap();
        both(plain(), elsewhere, Verdict::Equal);
        let mut restamped = plain();
        raw::set_producer(&mut restamped, 9, 1, 4).unwrap();
        let under = |copier| compare(&whole(plain()), &whole(restamped.clone()), Producers::Copiers(copier), 1 << 20);
        assert_eq!(under(9), Verdict::Restamped);
        assert_eq!(under(7), Verdict::Restamped, "the copier's on the other side");
        assert_eq!(under(8), Verdict::Differs(Part::Producer), "nobody may write under this producer");
        check(plain(), restamped, Verdict::Differs(Part::Producer), Verdict::Restamped);
        let other = built(Compression::None, (7, 0, 0), &["one", "twO"]);
        both(plain(), other, Verdict::Differs(Part::Record { offset: 1 }));
        let other = built(Compression::Zstd, (7, 0, 0), &["One", "two"]);
        both(zstd(), other, Verdict::Differs(Part::Record { offset: 0 }));
        both(plain(), built(Compression::None, (7, 0, 0), &["one"]), Verdict::Differs(Part::Bounds));
        both(plain(), zstd(), Verdict::Differs(Part::Encoding));
        check(
            plain(),
            built(Compression::Zstd, (9, 1, 4), &["one", "two"]),
            Verdict::Differs(Part::Encoding),
            Verdict::Restamped,
        );
        let mut flipped = zstd();
        *flipped.last_mut().unwrap() ^= 1;
        both(zstd(), flipped, Verdict::Differs(Part::Unreadable));
        let mut wrong_crc = plain();
        wrong_crc[17] ^= 1;
        both(plain(), wrong_crc, Verdict::Differs(Part::Unreadable));
        let mut wrong_time = plain();
        wrong_time[35] ^= 1;
        both(plain(), wrong_time, Verdict::Differs(Part::Header));
    }
}
