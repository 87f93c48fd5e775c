//! Faults planted by seed, past whoever writes in earnest: in one cluster, or in the lake. Each must be named exactly,
//! with its multiplicity; the windows before and behind must be found equal.

use std::collections::BTreeSet;

use naru_audit::certificate::{Certificate, Difference, Part, Reader, Verdict};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

use crate::lake::Table;
use crate::world::{Change, Clusters, PARTITIONS, World, certificates};

/// Seeds in a usual run; with NARU_SOAK_AUDIT_SEEDS as many as it says: `./x soak audit --rounds 300`.
const SEEDS: u64 = 40;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    Drop,
    Double,
    Triple,
    Change,
    SwapKeys,
    DropBatch,
}

const FAULTS: [Fault; 6] =
    [Fault::Drop, Fault::Double, Fault::Triple, Fault::Change, Fault::SwapKeys, Fault::DropBatch];
const WHERE: [Reader; 3] = [Reader::A, Reader::B, Reader::Lake];

fn below(random: &mut ChaCha8Rng, end: usize) -> usize {
    (random.next_u64() % end as u64) as usize
}

/// Transactions behind a position, and one at their end with a change in every partition.
fn changes(random: &mut ChaCha8Rng, after: i64) -> Vec<Change> {
    let mut changes = Vec::new();
    let transactions = 20 + below(random, 60) as i64;
    for number in 1..=transactions {
        let position = after + number * 100;
        let count = if number == transactions { PARTITIONS as i64 } else { 1 + below(random, 5) as i64 };
        for sequence in 0..count {
            let id = position + sequence;
            let partition = if number == transactions { sequence as i32 } else { below(random, 3) as i32 };
            let op = ["insert", "update", "delete"][below(random, 3)];
            let is_delete = op == "delete";
            changes.push(Change {
                partition,
                position,
                sequence,
                at: Change::AT,
                op,
                key: format!("[\"{id}\"]"),
                id,
                cents: (!is_delete).then(|| random.next_u64() as i64 % 1_000_000),
                note: (!is_delete && below(random, 4) > 0).then(|| format!("note {}", random.next_u64())),
            });
        }
    }
    changes
}

/// What must be said of a record: part, position, sequence, kind.
type Said = BTreeSet<(Part, i64, i64, &'static str)>;

/// Plants a fault; the last transaction is left alone, so that the window goes on behind it.
fn plant(random: &mut ChaCha8Rng, right: &[Change], reader: Reader, fault: Fault) -> (Vec<Change>, Said) {
    let mut wrong = right.to_vec();
    let count = right.len() - PARTITIONS as usize;
    let at = below(random, count);
    let one = right[at].clone();
    let both: &[Part] = if reader == Reader::Lake { &[Part::Changes] } else { &[Part::Changes, Part::Log] };
    let said = |change: &Change, parts: &[Part], kind| {
        let of = |part: &Part| (*part, change.position, change.sequence, kind);
        parts.iter().map(of).collect::<Said>()
    };
    // A log's repeats are passed over by whoever reads its changes.
    let repeats: &[Part] = if reader == Reader::Lake { &[Part::Changes] } else { &[Part::Log] };
    let said = match fault {
        Fault::Drop => {
            wrong.remove(at);
            said(&one, both, "missing")
        }
        Fault::Double => {
            wrong.insert(at, one.clone());
            said(&one, repeats, "doubled")
        }
        Fault::Triple => {
            wrong.insert(at, one.clone());
            wrong.insert(at, one.clone());
            said(&one, repeats, "tripled")
        }
        Fault::Change => {
            wrong[at].note = Some("another note".to_owned());
            said(&one, both, "changed")
        }
        Fault::SwapKeys => {
            let other = (at + 1) % count;
            let (first, second) = (right[at].clone(), right[other].clone());
            (wrong[at].id, wrong[other].id) = (second.id, first.id);
            (wrong[at].key, wrong[other].key) = (second.key.clone(), first.key.clone());
            said(&first, both, "changed").into_iter().chain(said(&second, both, "changed")).collect()
        }
        Fault::DropBatch => {
            let end = count.min(at + 1 + below(random, 40));
            let gone: Vec<Change> = wrong.drain(at..end).collect();
            gone.iter().flat_map(|change| said(change, both, "missing")).collect()
        }
    };
    (wrong, said)
}

fn said(certificate: &Certificate, reader: Reader) -> Said {
    let of = |part: Part, one: &Difference| {
        assert_eq!(one.reader, reader, "{one:?}");
        (part, one.position as i64, one.sequence as i64, one.kind())
    };
    certificate.parts.iter().flat_map(|part| part.differences.iter().map(move |one| of(part.part, one))).collect()
}

async fn round(clusters: &Clusters, seed: u64) {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let reader = WHERE[below(&mut random, WHERE.len())];
    let fault = FAULTS[below(&mut random, FAULTS.len())];
    let what = format!("seed {seed}: {fault:?} at {reader}");
    let world = World::new(clusters, &format!("s{seed}")).await;
    let mut table = Table::create(&world.warehouse, &world.name).await;
    let mut auditor = world.auditor("").await;
    let mut position = 0;
    let mut rows = Vec::new();
    let mut planted = Said::new();
    for window in 0..3 {
        let right = changes(&mut random, position);
        position = right.last().unwrap().position;
        let mut copies = [right.clone(), right.clone(), right.clone()];
        if window == 1 {
            let of = WHERE.iter().position(|one| *one == reader).unwrap();
            (copies[of], planted) = plant(&mut random, &right, reader, fault);
        }
        world.write(0, &copies[0]).await;
        world.write(1, &copies[1]).await;
        table.append(&copies[2]);
        table.commit(position).await;
        world.mark(position).await;
        rows.push(right);
        let certificate = auditor.window(0).await.unwrap().unwrap_or_else(|| panic!("{what}: no certificate"));
        if window == 1 {
            assert_eq!(said(&certificate, reader), planted, "{what}");
            assert_eq!(certificate.verdict, Verdict::Different, "{what}");
        } else {
            let named = certificate.parts.iter().map(|part| part.differences.len()).sum::<usize>();
            assert_eq!((certificate.verdict, named), (Verdict::Equal, 0), "{what}, window {window}");
        }
    }
    if reader == Reader::Lake {
        // Repaired: the window that differed is proved again, by itself.
        table.clear();
        rows.iter().for_each(|rows| table.append(rows));
        table.commit(position).await;
        assert!(auditor.window(0).await.unwrap().is_none(), "{what}: there is no new window");
        let last = certificates(&world.state).pop().unwrap();
        assert_eq!((last.number, last.verdict), (3, Verdict::Equal), "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn planted_faults_are_named_exactly_and_clean_windows_are_equal() {
    let clusters = Clusters::start().await;
    for seed in 0..seeds() {
        round(&clusters, seed).await;
    }
    println!("{} rounds: every planted fault named exactly, every clean window equal", seeds());
}

#[allow(clippy::disallowed_methods)] // the tests' configuration is read here
fn seeds() -> u64 {
    let asked = std::env::var("NARU_SOAK_AUDIT_SEEDS").ok();
    asked.map_or(SEEDS, |seeds| seeds.parse().unwrap())
}
