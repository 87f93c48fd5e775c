//! Who is woken, and when the next one is; and that the ledger alone makes the same desk again.

use naru_runtime::config::Sources;
use naru_watch::config::WatchConfig;
use naru_watch::desk::{Desk, PageJob, PageOutcome};
use naru_watch::event::{Change, ChangeKind, Entry, Kind, Signal, SignalId};

const CONFIG: &str = "state = '/nowhere'\nrecovered_after = '2s'\n\
    [[target]]\nname = 'a'\nprobe = 'a:1'\n\
    [[target]]\nname = 'b'\nprobe = 'b:1'\n\
    [[page]]\nname = 'rota'\nwebhook = 'http://x/'\nescalate_after = '10s'\n\
    [[page]]\nname = 'lead'\nwebhook = 'http://x/'\nescalate_after = '10s'\n";

struct Played {
    desk: Desk,
    entries: Vec<Entry>,
    woken: Vec<(i64, usize)>,
}

fn config() -> WatchConfig {
    Sources::default().document("watch.toml", CONFIG).load().unwrap()
}

fn away(target: &str, since_unix_ms: i64) -> Signal {
    let id = SignalId { kind: Kind::Away, subject: target.to_owned() };
    Signal { id, since_unix_ms, detail: "no answer of its port".to_owned(), on: vec![target.to_owned()], means: None }
}

/// Plays seconds: what lasts in each, what is done at the start of it, and whether pages arrive.
fn play(
    seconds: i64,
    active: impl Fn(i64) -> Vec<Signal>,
    mut acts: impl FnMut(&mut Desk, i64),
    delivered: impl Fn(&PageJob) -> bool,
) -> Played {
    let mut played = Played { desk: Desk::new(&config()), entries: Vec::new(), woken: Vec::new() };
    for second in 0..seconds {
        let now = second * 1000;
        acts(&mut played.desk, second);
        played.desk.judge(now, &active(second));
        for job in played.desk.take_jobs() {
            played.woken.push((second, job.contact));
            let delivered = delivered(&job);
            played.desk.paged(now, PageOutcome { job, delivered, attempts: 1 });
        }
        played.entries.extend(played.desk.take_said());
    }
    played
}

#[test]
fn the_next_one_is_woken_until_somebody_takes_it_on() {
    let lasting = |second: i64| if second >= 5 { vec![away("a", 5_000)] } else { Vec::new() };
    let check = |acknowledged_at: Option<i64>, delivered: bool, expect: &[(i64, usize)]| {
        let acts = |desk: &mut Desk, second: i64| {
            if Some(second) == acknowledged_at {
                desk.acknowledge(second * 1000, 1, "ann".to_owned()).unwrap();
            }
        };
        assert_eq!(play(60, lasting, acts, |_| delivered).woken, expect);
    };
    check(None, true, &[(5, 0), (15, 1)]);
    check(Some(8), true, &[(5, 0)]);
    // What could not be delivered goes on at once, and there is nobody behind the last.
    check(None, false, &[(5, 0), (6, 1)]);
}

#[test]
fn an_end_is_told_to_all_who_were_woken_and_a_target_of_its_own_opens_its_own() {
    let active = |second: i64| match second {
        5..20 => vec![away("a", 5_000)],
        50..55 => vec![away("b", 50_000)],
        _ => Vec::new(),
    };
    let played = play(70, active, |_, _| {}, |_| true);
    assert_eq!(played.woken, [(5, 0), (15, 1), (22, 0), (22, 1), (50, 0), (57, 0)]);
    let shown: Vec<_> = played.desk.incidents().map(|one| (one.id, one.cause.as_str(), one.is_open())).collect();
    assert_eq!(shown, [(1, "a-away", false), (2, "b-away", false)]);
}

#[test]
fn the_ledger_alone_makes_the_same_desk_again() {
    let active = |second: i64| if (5..20).contains(&second) { vec![away("a", 5_000)] } else { Vec::new() };
    let acts = |desk: &mut Desk, second: i64| match second {
        1 => {
            let what = "another version".to_owned();
            let change = Change { kind: ChangeKind::Deploy, what, by: "ci".to_owned(), on: Vec::new() };
            desk.changed(1_000, change).unwrap();
        }
        30 => {
            desk.act(30_000, 1, "mend it".to_owned(), "ann".to_owned(), "takeover".to_owned()).unwrap();
        }
        31 => {
            assert!(desk.close(31_000, 1, br#"{"passed":true,"scenario":"first"}"#).is_err());
            desk.close(31_000, 1, br#"{"passed":true,"scenario":"takeover"}"#).unwrap();
        }
        _ => {}
    };
    let played = play(40, active, acts, |_| true);
    let mut again = Desk::new(&config());
    played.entries.iter().for_each(|entry| again.apply(entry));
    assert!(played.entries.iter().zip(1..).all(|(entry, place)| entry.id == place));
    assert_eq!(again.incidents().collect::<Vec<_>>(), played.desk.incidents().collect::<Vec<_>>());
    assert_eq!(again.last_entry(), played.desk.last_entry());
    let incident = again.incident(1).unwrap();
    assert_eq!((incident.changes.len(), incident.actions[0].closed_entry.is_some(), incident.contacts), (1, true, 2));
}
