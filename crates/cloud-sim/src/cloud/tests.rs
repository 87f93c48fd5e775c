#![allow(clippy::unwrap_used)] // a test panics on failure

use super::*;

fn behaviour() -> Behaviour {
    let view = FlavorView {
        name: "small".to_owned(),
        cpus: 2,
        memory_mib: 4096,
        storage_gib: 20,
        reserved_krw_per_hour: 600,
        on_demand_krw_per_hour: 1000,
    };
    Behaviour {
        seed: 11,
        flavors: vec![Flavor { view, machines_max: 3, boot_ms_p50: 1000, boot_deviation: 0.3 }],
        requests_per_second: 1.0,
        requests_burst: 2.0,
        visible_ms_max: 500,
        lost_answer_ppm: 0,
        reclaim_ppm_per_hour: 0,
    }
}

fn run(token: &str, count: u32) -> Run {
    Run {
        client_token: token.to_owned(),
        flavor: "small".to_owned(),
        market: Market::OnDemand,
        count,
        tags: BTreeMap::new(),
        fence: None,
    }
}

fn did(cloud: &mut Cloud, done: Done<()>) -> Result<(), Code> {
    let (events, ()) = done.map_err(|refused| refused.code)?;
    events.iter().for_each(|event| cloud.apply(event));
    Ok(())
}

#[test]
fn a_token_gives_the_same_machines_for_ever() {
    let mut cloud = Cloud::new(behaviour());
    let mut check = |token: &str, count: u32, now: i64, expect: Result<usize, Code>| {
        let done = cloud.run(&run(token, count), now);
        let got = did(&mut cloud, done).map(|()| cloud.meter(now).rows.len());
        assert_eq!(got, expect, "{token} {count}");
    };
    check("a", 2, 0, Ok(2));
    check("a", 2, 5, Ok(2));
    check("a", 1, 5, Err(Code::IdempotentParameterMismatch));
    check("b", 2, 5, Err(Code::InsufficientInstanceCapacity));
    check("b", 1, 5, Ok(3));
    check("", 1, 5, Err(Code::InvalidParameterValue));
    check("c", 0, 5, Err(Code::InvalidParameterValue));
    let ids = vec!["m-00000000".to_owned(), "m-00000001".to_owned()];
    let done = cloud.terminate(&Terminate { ids, fence: None }, 10);
    did(&mut cloud, done).unwrap();
    let done = cloud.run(&run("a", 2), 20);
    did(&mut cloud, done).unwrap();
    assert!(cloud.of_token("a", 20).iter().all(|machine| machine.state == State::Terminated));
}

#[test]
fn a_machine_boots_is_listed_late_and_seems_to_live_after_its_end() {
    let mut cloud = Cloud::new(behaviour());
    let done = cloud.run(&run("a", 1), 0);
    did(&mut cloud, done).unwrap();
    let state = |cloud: &Cloud, now: i64| {
        let listed = cloud.describe(&Describe::default(), now).first().map(|machine| machine.state);
        (cloud.of_token("a", now)[0].state, listed)
    };
    assert_eq!(state(&cloud, 0), (State::Pending, None));
    assert_eq!(state(&cloud, 501), (State::Pending, Some(State::Pending)));
    assert_eq!(state(&cloud, 10_000), (State::Running, Some(State::Running)));
    let done = cloud.terminate(&Terminate { ids: vec!["m-00000000".to_owned()], fence: None }, 10_000);
    did(&mut cloud, done).unwrap();
    assert_eq!(state(&cloud, 10_000), (State::Terminated, Some(State::Running)));
    assert_eq!(state(&cloud, 10_501), (State::Terminated, Some(State::Terminated)));
}

#[test]
fn who_was_replaced_changes_nothing_any_more() {
    let mut cloud = Cloud::new(behaviour());
    let fence = |number| Some(Fence { owner: "control".to_owned(), number });
    let mut check = |token: &str, number: u64, expect: Result<(), Code>| {
        let done = cloud.run(&Run { fence: fence(number), ..run(token, 1) }, 0);
        assert_eq!(did(&mut cloud, done), expect, "{token} {number}");
    };
    check("a", 1, Ok(()));
    check("a", 2, Ok(()));
    check("b", 1, Err(Code::StaleFence));
    let stale = Terminate { ids: vec!["m-00000000".to_owned()], fence: fence(1) };
    assert_eq!(cloud.terminate(&stale, 0).unwrap_err().code, Code::StaleFence);
}

#[test]
fn every_hour_begun_is_paid_until_the_end() {
    let mut cloud = Cloud::new(behaviour());
    let reserved = Run { market: Market::Reserved, ..run("r", 1) };
    for wanted in [&run("a", 1), &reserved] {
        let done = cloud.run(wanted, 0);
        did(&mut cloud, done).unwrap();
    }
    let check = |cloud: &Cloud, now: i64, expect: u64| assert_eq!(cloud.meter(now).total_krw, expect, "{now}");
    check(&cloud, 0, 1600);
    check(&cloud, HOUR_MS - 1, 1600);
    check(&cloud, HOUR_MS, 3200);
    let done = cloud.terminate(&Terminate { ids: vec!["m-00000000".to_owned()], fence: None }, HOUR_MS + 1);
    did(&mut cloud, done).unwrap();
    check(&cloud, 5 * HOUR_MS, 2 * 1000 + 6 * 600);
}

#[test]
fn requests_are_throttled_and_answers_lost_by_chance() {
    let mut cloud = Cloud::new(Behaviour { lost_answer_ppm: 500_000, ..behaviour() });
    let admitted: Vec<bool> = [0, 0, 0, 999, 1000].iter().map(|now| cloud.admit(*now).is_ok()).collect();
    assert_eq!(admitted, [true, true, false, false, true]);
    let lost = (1..=1000).filter(|second| cloud.admit(1000 + second * 1000).unwrap()).count();
    assert!((400..600).contains(&lost), "{lost}");
}

#[test]
fn machines_on_demand_are_reclaimed_at_the_given_rate() {
    let mut plenty = behaviour();
    plenty.flavors[0].machines_max = 1000;
    plenty.reclaim_ppm_per_hour = 200_000;
    let mut cloud = Cloud::new(plenty);
    for call in 0..10 {
        let done = cloud.run(&run(&call.to_string(), 100), 0);
        did(&mut cloud, done).unwrap();
    }
    let gone = cloud.meter(HOUR_MS).rows.iter().filter(|row| row.machine.state == State::Reclaimed).count();
    assert!((150..250).contains(&gone), "{gone}");
}
