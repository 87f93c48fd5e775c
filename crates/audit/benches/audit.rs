//! What sketching costs: rows per second of one core, and taking a difference apart.
//! `cargo bench -p naru-audit --bench audit`
//!
//! Rows have canonical bytes of 100 bytes (a payment: eight columns). Sketching is hashing and adding to the standard
//! sketch, by CPU time of this thread. The difference is 300 missing, 60 doubled and 5 tripled among a million rows.

use std::hint::black_box;
use std::process::ExitCode;
use std::time::Duration;

use naru_audit::canonical::Identity;
use naru_audit::sketch::{Key, Shape, Sketch};
use nix::time::{ClockId, clock_gettime};

const ROWS: u64 = 1_000_000;
const ROW_BYTES: usize = 100;
/// The median is shown. Odd, so that there is one.
const ROUNDS: usize = 11;
const PEELS: u32 = 200;

/// What is aimed at, per core.
const ROWS_PER_SECOND_MIN: f64 = 5e6;
const PEEL_MAX: Duration = Duration::from_millis(1);
const BYTES_MAX: usize = 64 << 10;

fn cpu() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("the thread has a clock").into()
}

fn median(mut rounds: Vec<Duration>) -> Duration {
    rounds.sort_unstable();
    rounds[rounds.len() / 2]
}

fn add(sketch: &mut Sketch, key: &Key, row: &mut [u8; ROW_BYTES], number: u64) {
    row[8..16].copy_from_slice(&number.to_be_bytes());
    let identity = Identity { position: number, sequence: 0 };
    sketch.add(identity, key.hash(black_box(row)), &[i128::from(number)]);
}

fn main() -> ExitCode {
    let key = Key::new(&[7; 16]);
    let shape = Shape::STANDARD.with_sums(1).expect("one sum");
    let mut row = [0x5A; ROW_BYTES];
    let mut source = Sketch::new(&key, shape);
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        source = Sketch::new(&key, shape);
        let begin = cpu();
        (0..ROWS).for_each(|number| add(&mut source, &key, &mut row, number));
        rounds.push(cpu() - begin);
    }
    let rate = ROWS as f64 / median(rounds).as_secs_f64();

    let mut copy = Sketch::new(&key, shape);
    for number in 0..ROWS {
        let times = match (number % 2_700, number / 2_700) {
            (0, 0..300) => 0,
            (1, 0..60) => 2,
            (2, 0..5) => 3,
            _ => 1,
        };
        (0..times).for_each(|_| add(&mut copy, &key, &mut row, number));
    }
    let (source, copy) = (source.encode(), copy.encode());
    let mut rounds = Vec::new();
    let mut named = 0;
    for _ in 0..PEELS {
        let begin = cpu();
        let mut difference = Sketch::decode(&key, black_box(&copy)).expect("a sketch");
        let other = Sketch::decode(&key, black_box(&source)).expect("a sketch");
        difference.subtract(&other).expect("alike");
        named = difference.peel().map_or(0, |named| named.len());
        rounds.push(cpu() - begin);
    }
    let peel = median(rounds);
    println!("sketched: {:.1} million rows/s of one core ({ROW_BYTES} bytes each)", rate / 1e6);
    println!(
        "sketch: {} bytes; both decoded, subtracted and {named} of 365 named in {:.3} ms",
        copy.len(),
        peel.as_secs_f64() * 1e3
    );
    let met = rate >= ROWS_PER_SECOND_MIN && peel < PEEL_MAX && copy.len() <= BYTES_MAX && named == 365;
    println!("{}", if met { "met: 5 million rows/s, 1 ms, 64 KiB" } else { "MISSED: 5 million rows/s, 1 ms, 64 KiB" });
    if met { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
