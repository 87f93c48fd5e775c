//! The courier as a process beside a provider with faults: each message once, judged by the provider's own log.

mod process;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use naru_runtime::clocks::{SystemClock, WallClock as _};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::variables::number;
use process::{World, campaign, zone_at};

/// Recipients of the campaign that is killed.
const RECIPIENTS: usize = 6000;
/// How long the courier runs before it is killed, and how long it stays away now and then: longer than a key lives.
const ALIVE_MS: std::ops::Range<u64> = 20..400;
const AWAY: Duration = Duration::from_millis(3500);

const FAULTY: &[&str] =
    &["--faults", "--key-lifetime", "3s", "--silence", "600ms", "--receipt-within", "500ms", "--seed"];
const IMPATIENT: &str =
    "timeout = '300ms'\nkey_lifetime = '3s'\nreceipt_wait = '300ms'\nsettle_max = '12s'\nbatch_max = 50";

/// Lines of a file, and who of them is to get something. The clocks of some show the night.
fn people(now_ms: i64) -> (Vec<String>, BTreeSet<String>) {
    let (noon, night) = (zone_at(12 * 60, now_ms), zone_at(3 * 60, now_ms));
    let (mut lines, mut wanted) = (Vec::new(), BTreeSet::new());
    for person in 0..RECIPIENTS {
        let token = format!("t{person}");
        lines.push(match person % 20 {
            0 => format!("u{person},{token},no,{noon}"),
            1 => format!("u{person},{token},yes,{night}"),
            2 => format!("u{person},{token},yes,nowhere"),
            // The same person as on the line before the broken one.
            3 => format!("u{person},t{},yes,{noon}", person - 3 + 4),
            _ => {
                wanted.insert(token.clone());
                format!("u{person},{token},yes,{noon}")
            }
        });
    }
    (lines, wanted)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_gets_anything_twice_or_is_forgotten_whenever_the_courier_is_killed() {
    let rounds = number("NARU_KILL_ROUNDS").unwrap_or(30);
    let seed = number("NARU_KILL_SEED").unwrap_or(1);
    println!(
        "replay: NARU_KILL_SEED={seed} NARU_KILL_ROUNDS={rounds} cargo test -p naru --test it courier:: -- --nocapture"
    );
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let seed = seed.to_string();
    let world = World::start(&[FAULTY, &[seed.as_str()]].concat()).await;
    let (lines, wanted) = people(SystemClock::new().unix_ms());
    let file = world.recipients(&lines);
    // Not done before the last kill: a rate that the rounds' time does not use up.
    let rate = RECIPIENTS as f64 / (rounds as f64 * 0.35) * 60.0;
    for round in 0..rounds {
        let courier = world.courier(IMPATIENT, "").await;
        let (status, said) = courier.post("/v1/campaigns", &campaign("killed", &file, rate)).await;
        assert_eq!(status, 201, "{said}");
        // Not a wait for something: the moment of the kill.
        tokio::time::sleep(Duration::from_millis(rng.random_range(ALIVE_MS))).await;
        courier.kill();
        if round % 10 == 9 {
            // Longer than a key lives: what is unknown then is in doubt.
            tokio::time::sleep(AWAY).await;
        }
    }
    let courier = world.courier(IMPATIENT, "").await;
    let report = courier
        .until("the end", |report| {
            let lines = &report.campaigns["killed"].lines;
            let open = ["persisted", "accepted", "in_doubt"].iter().filter_map(|state| lines.get(*state)).sum::<u64>();
            // Those whose clocks show the night stay planned.
            open == 0 && lines.get("planned") == Some(&(RECIPIENTS as u64 / 20))
        })
        .await;
    let states = &report.campaigns["killed"].lines;
    let count = |state: &str| states.get(state).copied().unwrap_or(0);
    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    for message in world.delivered() {
        assert!(wanted.contains(&message.contact), "{} was to get nothing", message.contact);
        assert_eq!((message.purpose.as_str(), message.mark.as_str()), ("AD", "(광고)"));
        *times.entry(message.contact).or_default() += 1;
    }
    let doubled: Vec<_> = times.iter().filter(|(_, times)| **times > 1).collect();
    assert!(doubled.is_empty(), "{} got it twice, the first: {:?}", doubled.len(), &doubled[..doubled.len().min(5)]);
    // Whoever got nothing is known by name: the outcome was in doubt, and the provider had it not.
    let without = (wanted.len() - times.len()) as u64;
    assert_eq!(count("dead"), without, "{states:?}");
    assert_eq!(count("delivered") + count("failed"), times.len() as u64, "{states:?}");
    let each = (RECIPIENTS / 20) as u64;
    let never = [count("no_consent"), count("planned"), count("broken_zone"), count("repeated")];
    assert_eq!(never, [each, each, each, each], "{states:?}");
    let broken = courier.get("/v1/campaigns/killed/broken").await;
    assert_eq!(broken["lines"][0], serde_json::json!([4, "broken_zone"]));
    println!(
        "{rounds} kills, {} delivered once, {} batches in doubt, {without} messages dead",
        times.len(),
        report.doubted
    );
    assert!(courier.stop().success(), "{}", world.said());
    assert!(!world.said().contains("does not hold"), "{}", world.said());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_is_felt_within_a_second_and_a_file_without_consent_is_refused() {
    let world = World::start(&["--receipt-within", "100ms"]).await;
    let noon = zone_at(12 * 60, SystemClock::new().unix_ms());
    let lines: Vec<String> = (0..20_000).map(|person| format!("u{person},t{person},yes,{noon}")).collect();
    let file = world.recipients(&lines);
    let courier = world.courier("batch_max = 100", "").await;
    assert_eq!(courier.post("/v1/campaigns", &campaign("stopped", &file, 60_000.0)).await.0, 201);
    courier.until("messages", |report| report.campaigns["stopped"].lines.contains_key("delivered")).await;
    assert_eq!(courier.post("/v1/campaigns/stopped/stop", &serde_json::json!({})).await.0, 200);
    let stopped_ms = SystemClock::new().unix_ms();
    let until = Instant::now() + Duration::from_secs(2);
    while Instant::now() < until {
        let late = world.delivered().iter().filter(|message| message.at_ms > stopped_ms + 1000).count();
        assert_eq!(late, 0, "messages left more than a second after the stop");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(world.delivered().len() < 20_000);
    let bare = world.dir.path().join("bare.csv");
    std::fs::write(&bare, "id,token,zone\nu,t,UTC\n").unwrap();
    let (status, said) = courier.post("/v1/campaigns", &campaign("bare", &bare, 1.0)).await;
    assert!(status == 422 && said.contains("no column consent"), "{status} {said}");
    assert!(courier.stop().success());
}
