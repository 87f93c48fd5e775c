//! A surge in simulation: two sites of ours and a rented one, a request holds its slots for 100 ms, promotion traffic
//! steps to ten times what it was, or ramps there, while core traffic goes on.

use std::time::Duration;

use naru_edge::policy::blueprint::{Blueprint, PoolDraft};
use naru_edge::policy::{
    Asked, ClientKey, CoreDecision, CorePeer, Decision, OpenDecision, OpenPlace, Place, Policy, Room, SiteKey, Slots,
    Tier, Visit,
};
use naru_model::{Class, SiteKind};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use crate::agenda::{Agenda, gap_us};
use crate::blueprints::{members, networks, owned_site, rented_site, route};

const HOLD_US: u64 = 100_000;
const REQUESTS_PER_VISIT: u32 = 8;
/// Slots of each of our sites, and what of them is core's.
const SLOTS: u32 = 200;
const RESERVE: u32 = 90;
/// What open requests can have of both: 220 slots, each free again after 100 ms.
const OWNED_PER_S: f64 = 2.0 * (SLOTS - RESERVE) as f64 / 0.1;
/// Promotion requests per second before the surge: a tenth of the event day's peak.
const BASE_PER_S: f64 = 583.0;
/// Payments and transfers, three slots each: 75 slots in the mean. The reserve of both sites is that and seven standard
/// deviations.
const CORE_PER_S: f64 = 250.0;

fn blueprint() -> Blueprint {
    let sites = vec![
        owned_site("idc-1", 120, SLOTS, RESERVE),
        owned_site("idc-2", 120, SLOTS, RESERVE),
        rented_site("cloud-1", Tier::PreRented, 600),
    ];
    let pay = vec![members(&sites[0], "10.1.1", 2, Slots::ONE), members(&sites[1], "10.2.1", 2, Slots::ONE)];
    let promo = vec![
        members(&sites[0], "10.1.2", 4, Slots::ONE),
        members(&sites[1], "10.2.2", 4, Slots::ONE),
        members(&sites[2], "198.51.1", 60, Slots::whole(10)),
    ];
    let pool = |name: &str, members| PoolDraft { name: name.to_owned(), members };
    Blueprint {
        networks: networks(),
        sites,
        pools: vec![pool("pay", pay), pool("promo", promo)],
        routes: vec![
            route(None, "/promo", Class::Open, "promo", Slots::ONE),
            route(None, "/pay", Class::Core, "pay", Slots::whole(3)),
        ],
        autoscaled_slots_max: Slots::ZERO,
        visit_units: 8.0,
        sharing: None,
    }
}

enum Event {
    Promotion,
    Payment,
    OpenEnds(usize, OpenPlace),
    CoreEnds(usize, Place<CorePeer>),
    Step,
}

struct User {
    client: u64,
    visit: Visit,
    site: SiteKey,
    left: u32,
    moves: u32,
}

/// What a surge showed.
#[derive(Debug, Default)]
struct Shown {
    core: u64,
    core_refused: u64,
    waits: u64,
    /// When each open request was admitted, and whether at a site of ours.
    admitted: Vec<(u64, bool)>,
    /// From the moment at which our sites were full to the first request that went to the rented one.
    first_spill_us: Option<u64>,
    /// Sent away by a user who was not there before, while one of our sites had room.
    spilled_early: u64,
    moves_max: u32,
    moved: u64,
    users: u64,
}

/// Plays a surge; `rate` gives the promotion requests per second at a time.
fn surge(seed: u64, until_us: u64, rate_max: f64, rate: impl Fn(u64) -> f64) -> Shown {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let policy = Policy::new(&blueprint(), Room::new(1)).unwrap();
    let mut agenda = Agenda::new();
    let mut shown = Shown::default();
    let mut inside: Vec<User> = Vec::new();
    let mut full_since: Option<u64> = None;
    agenda.plan(0, Event::Promotion);
    agenda.plan(0, Event::Payment);
    agenda.plan(0, Event::Step);
    while let Some((at_us, event)) = agenda.next() {
        if at_us > until_us {
            break;
        }
        let random = rng.random();
        let asked = |client: u64, target, visit| Asked {
            now: at_us / 1000,
            unix_ms: 1_700_000_000_000 + at_us / 1000,
            host: "app.example",
            target,
            client: ClientKey(client),
            visit,
            ticket: None,
            may_leave: true,
            attempt: (1, None),
            random,
        };
        match event {
            Event::Step => {
                policy.step(at_us / 1000);
                agenda.plan(at_us + 100_000, Event::Step);
            }
            Event::Payment => {
                agenda.plan(at_us + gap_us(&mut rng, CORE_PER_S), Event::Payment);
                match policy.decide(&asked(rng.random(), "/pay/1", None)) {
                    Decision::Core(CoreDecision::Forward { place, route, .. }) => {
                        shown.core += 1;
                        agenda.plan(at_us + HOLD_US, Event::CoreEnds(route, place));
                    }
                    Decision::Core(CoreDecision::Unavailable { .. }) => shown.core_refused += 1,
                    other => panic!("{other:?}"),
                }
            }
            Event::CoreEnds(route, place) => policy.core_answered(route, place, Duration::from_micros(HOLD_US)),
            Event::OpenEnds(route, place) => {
                if matches!(place, OpenPlace::Owned(_)) {
                    full_since = None;
                }
                policy.open_answered(route, place, Duration::from_micros(HOLD_US));
            }
            Event::Promotion => {
                agenda.plan(at_us + gap_us(&mut rng, rate_max), Event::Promotion);
                // Thinned out to the rate of now.
                if rng.random::<f64>() > rate(at_us) / rate_max {
                    continue;
                }
                let known = (!inside.is_empty() && rng.random_range(0..REQUESTS_PER_VISIT) != 0)
                    .then(|| rng.random_range(0..inside.len()));
                let client = known.map_or_else(|| rng.random(), |index| inside[index].client);
                let visit = known.map(|index| inside[index].visit);
                let has_room = |site: &naru_edge::policy::Site| {
                    site.tier() == Tier::Owned && site.gate().room(Class::Open) >= Slots::ONE
                };
                let home_has_room = policy.sites().iter().any(|site| has_room(site));
                if !home_has_room {
                    full_since = full_since.or(Some(at_us));
                }
                let Decision::Open(decision) = policy.decide(&asked(client, "/promo/1", visit)) else {
                    panic!("an open route");
                };
                let OpenDecision::Forward { place, visit, route, .. } = decision else {
                    shown.waits += 1;
                    continue;
                };
                let site = match &place {
                    OpenPlace::Owned(place) => place.site(),
                    OpenPlace::Rented(place) => place.site(),
                };
                let is_owned = site.tier().kind() == SiteKind::Owned;
                let (site, sent_to) = (visit.site(), SiteKey::of(site.id()));
                shown.admitted.push((at_us, is_owned));
                let lived_there = known.is_some_and(|index| inside[index].site == sent_to);
                if !is_owned {
                    shown.first_spill_us = shown.first_spill_us.or(full_since.map(|since| at_us - since));
                    shown.spilled_early += u64::from(home_has_room && !lived_there);
                }
                agenda.plan(at_us + HOLD_US, Event::OpenEnds(route, place));
                match known {
                    None => {
                        shown.users += 1;
                        inside.push(User { client, visit, site, left: REQUESTS_PER_VISIT - 1, moves: 0 });
                    }
                    Some(index) => {
                        let user = &mut inside[index];
                        if user.site != site {
                            user.moves += 1;
                            shown.moved += u64::from(user.moves == 1);
                            shown.moves_max = shown.moves_max.max(user.moves);
                        }
                        (user.visit, user.site, user.left) = (visit, site, user.left - 1);
                        if user.left == 0 {
                            inside.swap_remove(index);
                        }
                    }
                }
            }
        }
    }
    shown
}

/// The largest difference from the ideal split in any window of a second, in hundredths of what our sites should serve.
/// Counted is work done, not requests begun: a request belongs to the windows in which it holds its slot.
fn worst_percent(shown: &Shown, from_us: u64, until_us: u64) -> f64 {
    const WINDOW_US: u64 = 1_000_000;
    let mut worst: f64 = 0.0;
    for from_us in (from_us..=until_us - WINDOW_US).step_by(50_000) {
        let window = from_us..from_us + WINDOW_US;
        let (mut all, mut owned) = (0.0, 0.0);
        for (at_us, is_owned) in &shown.admitted {
            let ends_us = (at_us + HOLD_US).min(window.end);
            let part = ends_us.saturating_sub((*at_us).max(window.start)) as f64 / HOLD_US as f64;
            all += part;
            owned += if *is_owned { part } else { 0.0 };
        }
        let ideal = OWNED_PER_S.min(all);
        worst = worst.max((owned - ideal).abs() / ideal * 100.0);
    }
    worst
}

#[test]
fn a_step_to_ten_times_the_load_spills_at_once_and_keeps_our_sites_full() {
    const STEP_US: u64 = 5_000_000;
    const END_US: u64 = 25_000_000;
    for seed in 1..=3 {
        let rate = |at_us| if at_us < STEP_US { BASE_PER_S } else { 10.0 * BASE_PER_S };
        let shown = surge(seed, END_US, 10.0 * BASE_PER_S, rate);
        let worst = worst_percent(&shown, STEP_US + 300_000, END_US);
        let first_ms = shown.first_spill_us.unwrap() as f64 / 1000.0;
        println!(
            "step, seed {seed}: first spill {first_ms:.2} ms after our sites were full, worst second {worst:.2} % from \
             ideal, {} of {} requests spilled while a site of ours had room, {} waits, {} of {} users moved, {} times at \
             most, core {} refused of {}",
            shown.spilled_early,
            shown.admitted.len(),
            shown.waits,
            shown.moved,
            shown.users,
            shown.moves_max,
            shown.core_refused,
            shown.core + shown.core_refused,
        );
        assert!(first_ms <= 10.0, "{first_ms} ms");
        assert!(worst <= 3.0, "{worst} %");
        assert_eq!((shown.core_refused, shown.waits), (0, 0));
    }
}

#[test]
fn a_ramp_moves_a_user_once_at_most() {
    const END_US: u64 = 70_000_000;
    for seed in 1..=3 {
        let rate = |at_us: u64| BASE_PER_S * (1.0 + 9.0 * (at_us as f64 / 60e6).min(1.0));
        let shown = surge(seed, END_US, 10.0 * BASE_PER_S, rate);
        println!(
            "ramp, seed {seed}: {} of {} users moved, {} times at most; core {} refused, {} waits",
            shown.moved, shown.users, shown.moves_max, shown.core_refused, shown.waits
        );
        assert!(shown.moves_max <= 1, "{} moves", shown.moves_max);
        assert_eq!((shown.core_refused, shown.waits), (0, 0));
    }
}
