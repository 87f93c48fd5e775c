#![allow(clippy::unwrap_used)] // a test panics on failure

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::super::message::Wish;
use super::*;
use crate::policy::share::Share;

const SAFE: u32 = 250_000;
const SETTLE_MS: Millis = 3_000;
const TERMS: Terms = Terms { gateways: 2, safe: SAFE, settle_ms: SETTLE_MS };

fn question(number: u32, sequence: u64, granted: u32, held: u32, demand: u32) -> Question {
    let wishes = vec![Wish { site: "idc-1".to_owned(), granted, held, demand }];
    Question { number, run: u64::from(number), sequence, gateways: 2, safe: SAFE, leaves: false, wishes }
}

/// A ledger that knows all there is to know.
fn settled() -> (Ledger, Millis) {
    (Ledger::new(TERMS, 0), LEASE_MS + SETTLE_MS)
}

fn ask(ledger: &mut Ledger, now: Millis, question: &Question) -> u32 {
    ledger.ask(now, question).unwrap()[0].1
}

#[test]
fn what_is_above_the_safe_parts_goes_where_requests_are() {
    let (mut ledger, now) = settled();
    assert_eq!(ask(&mut ledger, now, &question(1, 1, SAFE, SAFE, 300_000)), 750_000, "nobody else asks");
    assert_eq!(ask(&mut ledger, now, &question(2, 1, SAFE, SAFE, 100_000)), SAFE, "nothing is free");
    let less = ask(&mut ledger, now + 100, &question(1, 2, 750_000, 750_000, 300_000));
    assert!((620_000..630_000).contains(&less), "{less}");
    assert_eq!(ask(&mut ledger, now + 100, &question(2, 2, SAFE, SAFE, 100_000)), SAFE, "the first may still have it");
    ask(&mut ledger, now + 200, &question(1, 3, less, 700_000, 300_000));
    assert_eq!(
        ask(&mut ledger, now + 200, &question(2, 3, SAFE, SAFE, 100_000)),
        300_000,
        "its requests still hold it"
    );
    ask(&mut ledger, now + 300, &question(1, 4, less, less, 300_000));
    let more = ask(&mut ledger, now + 300, &question(2, 4, 300_000, 300_000, 100_000));
    assert!(more > 370_000 && more + less <= WHOLE, "{more}");
}

#[test]
fn what_a_gateway_had_that_is_heard_of_no_more_is_free_behind_lease_and_settling_but_for_its_safe_part() {
    let (mut ledger, now) = settled();
    ask(&mut ledger, now, &question(1, 1, SAFE, SAFE, 300_000));
    let over = now + LEASE_MS + SETTLE_MS;
    assert_eq!(ask(&mut ledger, over - 1, &question(2, 1, SAFE, SAFE, 100_000)), SAFE);
    assert_eq!(ask(&mut ledger, over, &question(2, 2, SAFE, SAFE, 100_000)), WHOLE - SAFE);
}

#[test]
fn a_coordinator_that_has_just_begun_takes_nothing_away_and_gives_nothing_more() {
    let mut ledger = Ledger::new(TERMS, 50_000);
    assert_eq!(ask(&mut ledger, 50_000, &question(1, 9, 700_000, 700_000, 1)), 700_000, "it keeps what it has");
    let mut ledger = Ledger::new(TERMS, 50_000);
    assert_eq!(ask(&mut ledger, 50_000, &question(1, 9, 300_000, 300_000, 900_000)), 300_000);
    assert_eq!(ask(&mut ledger, 50_010, &question(2, 9, SAFE, 650_000, 0)), SAFE);
    let more = ask(&mut ledger, 50_100, &question(1, 10, 300_000, 300_000, 900_000));
    assert_eq!(more, WHOLE - 650_000, "all are known by now");
}

#[test]
fn questions_that_are_old_of_others_or_by_other_numbers_get_no_answer() {
    let (mut ledger, now) = settled();
    let first = question(1, 5, SAFE, SAFE, 1);
    ledger.ask(now, &first).unwrap();
    let check = |ledger: &mut Ledger, asked: Question, later: Millis, expect: Result<(), Refused>| {
        assert_eq!(ledger.ask(now + later, &asked).map(drop), expect, "{asked:?}");
    };
    check(&mut ledger, first.clone(), 1, Err(Refused::Old));
    check(&mut ledger, Question { sequence: 4, ..first.clone() }, 1, Err(Refused::Old));
    check(&mut ledger, Question { number: 3, ..first.clone() }, 1, Err(Refused::Terms));
    check(&mut ledger, Question { number: 0, ..first.clone() }, 1, Err(Refused::Terms));
    check(&mut ledger, Question { gateways: 3, ..first.clone() }, 1, Err(Refused::Terms));
    check(&mut ledger, Question { safe: 1, ..first.clone() }, 1, Err(Refused::Terms));
    let other = Question { run: 77, sequence: 1, ..first.clone() };
    check(&mut ledger, other.clone(), 1, Err(Refused::Number));
    check(&mut ledger, Question { sequence: 6, leaves: true, ..first }, 2, Ok(()));
    check(&mut ledger, other, 3, Ok(()));
}

/// A gateway of the simulation: requests are parts of the site that are held until a time.
struct Gateway {
    run: u64,
    sequence: u64,
    share: Share,
    requests: Vec<(u32, Millis)>,
    /// Neither heard nor hears until then.
    cut_until: Millis,
    /// Does nothing until then; its requests end all the same.
    stopped_until: Millis,
    /// Sent at, and the answer if it comes.
    on_its_way: Option<(Millis, u64, u32)>,
}

impl Gateway {
    fn held(&self) -> u32 {
        self.requests.iter().map(|(part, _)| part).sum()
    }
}

/// Whatever is lost, late, stopped, cut off or begun again: requests never hold more than the whole.
#[test]
fn gateways_never_take_more_together_than_there_is() {
    for seed in 0..40 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let gateways = rng.random_range(2..=4_u32);
        let safe = WHOLE / gateways / 2;
        let terms = Terms { gateways, safe, settle_ms: SETTLE_MS };
        let mut ledger = Ledger::new(terms, 0);
        let mut all: Vec<Gateway> = (1..=gateways)
            .map(|number| Gateway {
                run: u64::from(number),
                sequence: 0,
                share: Share::of(safe),
                requests: Vec::new(),
                cut_until: 0,
                stopped_until: 0,
                on_its_way: None,
            })
            .collect();
        let (mut most, mut leased) = (0, 0);
        for step in 0..6_000 {
            let now = 10_000 + step * 20;
            if rng.random_bool(0.0005) {
                ledger = Ledger::new(terms, now);
            }
            for (at, gateway) in all.iter_mut().enumerate() {
                gateway.requests.retain(|(_, ends)| now < *ends);
                if rng.random_bool(0.001) {
                    gateway.cut_until = now + rng.random_range(100..12_000);
                }
                if rng.random_bool(0.001) {
                    gateway.stopped_until = now + rng.random_range(100..12_000);
                }
                if now < gateway.stopped_until {
                    continue;
                }
                let is_heard = now >= gateway.cut_until && !rng.random_bool(0.1);
                if let Some((sent_at, sequence, part)) = gateway.on_its_way.take_if(|_| rng.random_bool(0.7))
                    && sequence == gateway.sequence
                    && is_heard
                {
                    gateway.share.lease = Some((part, sent_at + LEASE_MS));
                    leased = leased.max(part);
                }
                let room = gateway.share.granted(now).saturating_sub(gateway.held());
                let wanted = rng.random_range(0..=WHOLE / 2);
                if rng.random_bool(0.5) && wanted.min(room) > 0 {
                    let ends = now + rng.random_range(20..SETTLE_MS);
                    gateway.requests.push((wanted.min(room), ends));
                }
                if step % 5 == 0 {
                    gateway.sequence += 1;
                    let granted = gateway.share.granted(now);
                    let held = granted.max(gateway.held());
                    let wish = Wish { site: "idc-1".to_owned(), granted, held, demand: wanted };
                    let (number, run, sequence) = (at as u32 + 1, gateway.run, gateway.sequence);
                    let asked = Question { number, run, sequence, gateways, safe, leaves: false, wishes: vec![wish] };
                    if is_heard {
                        let grants = ledger.ask(now, &asked).unwrap();
                        gateway.on_its_way = Some((now, sequence, grants[0].1));
                    }
                }
            }
            let held: u32 = all.iter().map(Gateway::held).sum();
            assert!(held <= WHOLE, "seed {seed}, step {step}: {held}");
            most = most.max(held);
        }
        assert!(most > WHOLE * 9 / 10 && leased > safe, "seed {seed} tried nothing: {most} {leased}");
    }
}
