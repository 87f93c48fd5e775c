#![allow(clippy::unwrap_used, reason = "a test panics on failure")]

use super::{Copier, FaultKind, Flush, GiftClass, Relay, Scenario, Via, Victim};

const WHOLE: &str = include_str!("../../../../scenarios/first.toml");
/// The event day, as the binary carries it.
pub(crate) fn day() -> Scenario {
    Scenario::parse("1111.toml", include_str!("../../../../scenarios/1111.toml")).unwrap()
}

/// The log and two services alone.
pub(crate) fn first() -> Scenario {
    Scenario::parse("first.toml", include_str!("../../../../scenarios/first.toml")).unwrap()
}

const TAKEOVER: &str = include_str!("../../../../scenarios/takeover.toml");

#[track_caller]
fn check(text: &str, expect: &[(usize, &str)]) {
    let mistakes = Scenario::parse("s.toml", text).expect_err("the scenario has mistakes");
    let found: Vec<(usize, &str)> = mistakes.list.iter().map(|m| (m.line, m.what.as_str())).collect();
    assert_eq!(found.len(), expect.len(), "{mistakes}");
    for ((line, what), (line_wanted, part)) in found.iter().zip(expect) {
        assert_eq!(line, line_wanted, "{mistakes}");
        assert!(what.contains(part), "{what:?} does not say {part:?}");
    }
    assert!(mistakes.list.iter().all(|m| !m.fix.is_empty()), "every mistake has a fix");
}

#[test]
fn the_scenarios_of_the_repository_hold_together() {
    let first = Scenario::parse("first.toml", WHOLE).unwrap();
    assert_eq!(first.clusters.len(), 2);
    assert!(
        first.faults.iter().any(|fault| fault.kind == FaultKind::Kill { victim: Victim::Cluster(0), lose_disk: false })
    );
    let seconds = first.lasts().as_secs();
    assert!((25..=45).contains(&seconds), "{seconds} s is not a short rehearsal");
    let takeover = Scenario::parse("takeover.toml", TAKEOVER).unwrap();
    assert_eq!(takeover.relay, Some(Relay { a: 0, b: 1, group: "pay".to_owned() }));
    assert!(
        takeover
            .services
            .iter()
            .map(|service| service.via)
            .chain([takeover.consumers.via])
            .all(|via| via == Via::Relay)
    );
    let kinds: Vec<&str> = takeover.faults.iter().map(|fault| fault.kind.name()).collect();
    assert_eq!(kinds, ["kill", "switch", "kill"]);
    let day = day();
    assert!(day.lake.is_some());
    assert!(day.campaign.as_ref().is_some_and(|campaign| day.phases[campaign.phase].name == "send"));
    assert!(day.faults.iter().any(|fault| fault.kind == FaultKind::Kill { victim: Victim::Lake, lose_disk: false }));
    let lossy = Scenario::parse("lossy.toml", include_str!("../../../../scenarios/lossy.toml")).unwrap();
    assert_eq!(lossy.clusters[0].flush, Flush::Write);
    assert!(lossy.clusters[0].lose_unflushed_tail);
}

#[test]
fn every_mistake_is_reported_at_once_with_its_line() {
    let text = r#"version = 2
name = "Bad Name"
title = "x"
sede = 3

[[cluster]]
name = "a"
flush = "sometimes"

[[service]]
name = "payment"
cluster = "z"
users = 0

[consumers]
group = "g"
cluster = "a"
members = "two"

[[phase]]
name = "steady"
seconds = -1
rate = { payment = 45, refund = 3 }

[[fault]]
kind = "explode"
phase = "stedy"
lasts_seconds = 1
"#;
    check(
        text,
        &[
            (1, "does not read that `version`"),
            (2, "`name` is \"Bad Name\""),
            (4, "does not take `sede`"),
            (8, "`flush` is \"sometimes\""),
            (12, "no cluster is called \"z\""),
            (13, "`users` is out of bounds"),
            (18, "`members` is string"),
            (22, "`seconds` is out of bounds"),
            (23, "no service is called \"refund\""),
            (26, "`kind` is \"explode\""),
            (27, "no phase is called \"stedy\""),
        ],
    );
}

#[test]
fn a_campaign_and_a_lake_are_held_to_their_bounds() {
    let day = include_str!("../../../../scenarios/1111.toml");
    let refused = |from: &str, to: &str, expect: &str| {
        assert!(day.contains(from), "{from:?}");
        let mistakes = Scenario::parse("s.toml", &day.replacen(from, to, 1)).unwrap_err();
        assert!(mistakes.list.iter().any(|mistake| mistake.what.contains(expect)), "{expect:?}: {mistakes}");
    };
    refused("share = 0.45", "share = 0.55", "the shares of `delays` add up to 1.1");
    refused("click_rate = 0.1152", "click_rate = 1.5", "`click_rate` is out of bounds");
    refused("click_rate_forecast = 0.04\n", "", "[campaign] has no `click_rate_forecast`");
    refused("phase = \"send\"\nrecipients", "phase = \"sent\"\nrecipients", "no phase is called \"sent\"");
    refused("recipients = 15_000\nseconds = 30", "recipients = 15_000\nseconds = 0", "sending takes no time");
    refused("[lake]", "[lake]\nask_every_ms = 5", "makes the judge a part of the load");
    refused("[lake]", "", "the scenario has no lake");
    refused("lake = true", "lake = true\nlose_disk = true", "a lake that loses its disk begins anew");
    refused("lake = true", "lake = true\nrelay = true", "names both the `relay` and another process");
    refused(
        "slots = 20\ncore_reserve = 12\nnodes = 64\nvisit_requests = 8\nvisit_seconds = 6",
        "nodes = 65",
        "`nodes` is out of bounds",
    );
}

#[test]
fn broken_toml_names_the_line() {
    let mistakes = Scenario::parse("s.toml", "version = 1\nname = \n").unwrap_err();
    assert!(mistakes.list.iter().any(|m| m.line == 2 && m.what.starts_with("not TOML")), "{mistakes}");
}

#[test]
fn a_fault_strikes_one_process() {
    let kill = "kind = \"kill\"\ncluster = \"a\"";
    let check = |fault: &str, expect: Result<FaultKind, &str>| match (
        Scenario::parse("s.toml", &WHOLE.replacen(kill, fault, 1)),
        expect,
    ) {
        (Ok(scenario), Ok(kind)) => assert!(scenario.faults.iter().any(|fault| fault.kind == kind), "{fault}"),
        (Err(mistakes), Err(part)) => assert!(mistakes.to_string().contains(part), "{mistakes}"),
        (found, expect) => panic!("{fault}: {found:?} instead of {expect:?}"),
    };
    let (service, cluster) = (Victim::Service(1), Victim::Cluster(1));
    check("kind = \"kill\"\nservice = \"transfer\"", Ok(FaultKind::Kill { victim: service, lose_disk: false }));
    check("kind = \"pause\"\nservice = \"transfer\"", Ok(FaultKind::Pause { victim: service }));
    check("kind = \"pause\"\ncluster = \"b\"", Ok(FaultKind::Pause { victim: cluster }));
    let lose_disk = "kind = \"kill\"\ncluster = \"b\"\nlose_disk = true";
    check(lose_disk, Ok(FaultKind::Kill { victim: cluster, lose_disk: true }));
    check("kind = \"kill\"", Err("has no `cluster`"));
    check("kind = \"kill\"\ncluster = \"a\"\nservice = \"payment\"", Err("both a `cluster` and a `service`"));
    check("kind = \"kill\"\nservice = \"refund\"", Err("no service is called"));
    check("kind = \"kill\"\nservice = \"payment\"\nlose_disk = true", Err("use `lose_disk` with a `cluster`"));
    check("kind = \"pause\"\ncluster = \"a\"\nlose_disk = true", Err("does not take `lose_disk`"));
}

#[test]
fn an_edge_brings_sites_that_can_be_lost_and_people_that_come() {
    const BURST: &str = include_str!("../../../../scenarios/burst.toml");
    let burst = Scenario::parse("burst.toml", BURST).unwrap();
    let edge = burst.edge.unwrap();
    assert_eq!((edge.slots, edge.core_reserve, edge.nodes, edge.gift), (20, 12, 6, GiftClass::Core));
    assert!(burst.faults.iter().any(|f| f.kind == FaultKind::Kill { victim: Victim::Site(0), lose_disk: false }));
    let visitors: Vec<f64> = burst.phases.iter().map(|phase| phase.crowd.visitors).collect();
    assert_eq!(visitors, [3.0, 30.0, 30.0, 3.0]);
    let control = include_str!("../../../../scenarios/misrouted.toml");
    let control = Scenario::parse("misrouted.toml", control).unwrap();
    assert_eq!(control.edge.unwrap().gift, GiftClass::Open);
    let check = |from: &str, to: &str, expect: &str| {
        assert!(BURST.contains(from), "{from:?}");
        let mistakes = Scenario::parse("burst.toml", &BURST.replacen(from, to, 1)).unwrap_err();
        assert!(mistakes.to_string().contains(expect), "{mistakes}");
    };
    check("core_reserve = 12", "core_reserve = 20", "nothing is left for a promotion");
    check("site = \"owned-1\"", "site = \"owned-2\"", "the services stand at that site");
    check("site = \"owned-1\"", "site = \"cloud\"", "no site is called \"cloud\"");
    check("kind = \"kill\"\nsite", "kind = \"pause\"\nsite", "has no `cluster`");
    check("nodes = 6", "gift = \"shut\"", "`gift` is \"shut\"");
    let without = WHOLE.replacen("seconds = 8\n", "seconds = 8\nvisitors = 3\n", 1);
    let mistakes = Scenario::parse("first.toml", &without).unwrap_err();
    assert!(mistakes.to_string().contains("`visitors` without an [edge] go nowhere"), "{mistakes}");
}

#[test]
fn a_phase_may_last_longer_on_kafka() {
    let first = Scenario::parse("first.toml", WHOLE).unwrap();
    let (stand_in, kafka) = (first.lasts(), first.on_kafka().lasts());
    assert!(kafka > stand_in, "{kafka:?}");
    let text = WHOLE.replacen("seconds_kafka = 32", "seconds_kafka = 9", 1);
    let mistakes = Scenario::parse("s.toml", &text).unwrap_err();
    assert!(mistakes.to_string().contains("`seconds_kafka` is shorter than the phase"), "{mistakes}");
}

#[test]
fn a_fault_outside_its_phase_is_refused() {
    let text = WHOLE.replacen("jitter_seconds = 1", "jitter_seconds = 100", 1);
    let mistakes = Scenario::parse("s.toml", &text).unwrap_err();
    assert!(mistakes.to_string().contains("after its phase has ended"), "{mistakes}");
}

#[test]
fn more_operations_than_memory_is_meant_for_are_refused() {
    let text = WHOLE.replacen("seconds = 8", "seconds = 3600", 1).replace("payment = 45", "payment = 20000");
    let mistakes = Scenario::parse("s.toml", &text).unwrap_err();
    assert!(mistakes.to_string().contains("add up to"), "{mistakes}");
}

#[test]
fn a_misspelt_key_is_answered_with_the_right_one() {
    let text = WHOLE.replacen("jitter_seconds", "jiter_seconds", 1);
    let mistakes = Scenario::parse("s.toml", &text).unwrap_err();
    assert!(mistakes.to_string().contains("did you mean `jitter_seconds`?"), "{mistakes}");
}

#[test]
fn a_service_whose_records_nobody_reads_is_refused() {
    let text = WHOLE.replacen("name = \"transfer\"\ncluster = \"a\"", "name = \"transfer\"\ncluster = \"b\"", 1);
    let mistakes = Scenario::parse("s.toml", &text).unwrap_err();
    assert!(mistakes.to_string().contains("publishes to cluster \"b\", but the consumers read \"a\""), "{mistakes}");
}

#[test]
fn a_scenario_that_sends_nothing_is_refused() {
    let text: String =
        WHOLE.lines().filter(|line| !line.starts_with("rate = ")).map(|line| format!("{line}\n")).collect();
    let mistakes = Scenario::parse("s.toml", &text).unwrap_err();
    assert!(mistakes.to_string().contains("no phase has a rate"), "{mistakes}");
}

#[test]
fn a_power_cut_may_be_rehearsed_with_every_flush_policy() {
    for flush in ["fsync", "write"] {
        let text = WHOLE.replacen("flush = \"fsync\"", &format!("flush = \"{flush}\""), 1);
        assert!(Scenario::parse("s.toml", &text).unwrap().clusters[0].lose_unflushed_tail);
    }
}

#[test]
fn what_a_relay_cannot_do_is_refused() {
    let check = |from: &str, to: &str, expect: Result<(), &str>| {
        assert!(TAKEOVER.contains(from), "{from}");
        match (Scenario::parse("s.toml", &TAKEOVER.replacen(from, to, 1)), expect) {
            (Ok(_), Ok(())) => {}
            (Err(mistakes), Err(part)) => {
                assert!(mistakes.to_string().contains(part), "{part:?} is not said by {mistakes}");
                assert_eq!(mistakes.list.len(), 1, "{mistakes}");
            }
            (found, expect) => panic!("{to}: {found:?} instead of {expect:?}"),
        }
    };
    check("b = \"b\"\n", "b = \"a\"\n", Err("both sides of the relay are one cluster"));
    check("a = \"a\"\n", "a = \"z\"\n", Err("no cluster is called"));
    check("a = \"a\"\n", "a = \"a\"\nabsence = \"block\"\n", Err("[relay] does not take `absence`"));
    check("group = \"pay\"\n", "group = \"Pay!\"\n", Err("lower-case"));
    check("users = 2000\n", "users = 2000\ncluster = \"a\"\n", Err("would go past it"));
    check("members = 2\n", "members = 2\ncluster = \"b\"\n", Err("would go past it"));
    check("to = \"a\"\n", "to = \"z\"\n", Err("no cluster is called"));
    check("to = \"a\"\n", "to = \"a\"\ncluster = \"a\"\n", Err("does not take `cluster`"));
    check("to = \"a\"\n", "to = \"a\"\nlasts_seconds = 1\n", Err("does not take `lasts_seconds`"));
    check("cluster = \"a\"\nphase", "relay = true\nphase", Ok(()));
    check("cluster = \"a\"\nphase", "cluster = \"a\"\nrelay = true\nphase", Err("names both the `relay`"));
    check("cluster = \"a\"\nlose_disk", "relay = true\nlose_disk", Err("forgets which side counts"));
}

#[test]
fn without_a_relay_there_is_nothing_to_switch_kill_or_bound() {
    let kill = "kind = \"kill\"\ncluster = \"a\"";
    let check = |from: &str, to: &str, expect: &str| {
        let mistakes = Scenario::parse("s.toml", &WHOLE.replacen(from, to, 1)).unwrap_err();
        assert!(mistakes.to_string().contains(expect), "{expect:?} is not said by {mistakes}");
    };
    check(kill, "kind = \"switch\"\nto = \"b\"", "the scenario has no relay");
    check(kill, "kind = \"kill\"\nrelay = true", "the scenario has no relay");
    check(kill, "kind = \"pause\"\nrelay = true", "the scenario has no relay");
    check("failed_max = 0", "failed_max = 0\ntakeover_ms_max = 9", "without a [relay] bounds nothing");
    check("failed_max = 0", "failed_max = 0\nrejoin_ms_max = 9", "without a [relay] bounds nothing");
    check("failed_max = 0", "failed_max = 0\nswitch_stall_ms_max = 9", "without a [relay] bounds nothing");
}

#[test]
fn the_control_has_no_relay_and_ends_with_the_first_loss() {
    let control = Scenario::parse("takeover.toml", TAKEOVER).unwrap().as_control().unwrap();
    assert_eq!((control.relay, control.copier), (None, Some(Copier { from: 0, to: 1 })));
    assert_eq!(control.consumers.via, Via::Cluster(0));
    let kinds: Vec<FaultKind> = control.faults.iter().map(|fault| fault.kind).collect();
    assert_eq!(kinds, [FaultKind::Kill { victim: Victim::Cluster(0), lose_disk: false }]);
    assert_eq!(Scenario::parse("first.toml", WHOLE).unwrap().as_control(), None);
}
