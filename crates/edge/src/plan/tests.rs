#![allow(clippy::unwrap_used)] // a test panics on failure

use std::fs;
use std::path::PathBuf;

use naru_model::{Class, SiteId};
use naru_runtime::keys::SigningKeys;
use serde_json::{Value, json};

use super::*;
use crate::policy::blueprint::{MembersDraft, PeerDraft, PoolDraft, RouteDraft, SiteDraft};
use crate::policy::limit::Bounds;
use crate::policy::{Blueprint, OwnedNetworks, Pattern, Policy, Refusal, Room, Slots, Tier};

/// An edge with one owned site and two pools, and control's keys.
struct Bench {
    directory: tempfile::TempDir,
    keys: SigningKeys,
    configured: Blueprint,
}

impl Bench {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let keys = SigningKeys::generate(&directory.path().join("keys"), 1).unwrap();
        Self { directory, keys, configured: configured() }
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("plan.json")
    }

    fn open(&self) -> PlanBook {
        PlanBook::open(&self.file(), self.keys.verifying().clone()).unwrap()
    }

    fn offer(&self, book: &mut PlanBook, plan: &CapacityPlan) -> Result<Offered, PlanRefused> {
        book.offer(&sign(plan, &self.keys), &self.configured, fits)
    }
}

/// Whether the policy could be made, on the side.
fn fits(blueprint: &Blueprint) -> Result<(), Vec<Refusal>> {
    Policy::new(blueprint, Room::new(1)).map(drop)
}

fn configured() -> Blueprint {
    let site = SiteId::new("idc-1").unwrap();
    let slots = Slots::whole(20);
    let members =
        MembersDraft { site: site.clone(), peers: vec![PeerDraft { address: "10.1.0.1:80".parse().unwrap(), slots }] };
    let pool = |name: &str| PoolDraft { name: name.to_owned(), members: vec![members.clone()] };
    let route = |pattern: &str, class, pool: &str| RouteDraft {
        pattern: Pattern::new(None, pattern).unwrap(),
        class,
        pool: pool.to_owned(),
        cost: Slots::ONE,
    };
    Blueprint {
        networks: OwnedNetworks::new(["10.1.0.0/16".parse().unwrap()]),
        sites: vec![SiteDraft {
            id: site,
            tier: Tier::Owned,
            bounds: Bounds { floor: Slots::whole(10), ceiling: slots },
            reserve: Slots::whole(4),
        }],
        pools: vec![pool("promotion"), pool("payment")],
        routes: vec![route("/gift", Class::Open, "promotion"), route("/pay", Class::Core, "payment")],
        ..Blueprint::default()
    }
}

fn written(generation: u64) -> Value {
    json!({
        "generation": generation,
        "parent": generation.checked_sub(1).filter(|parent| *parent > 0),
        "autoscaled_slots_max": "12",
        "sites": {
            "cloud-1": {
                "tier": "pre_rented",
                "slots": "10",
                "pools": {"promotion": [{"address": "203.0.113.1:80", "slots": "5"}, {"address": "203.0.113.2:80", "slots": "5"}]},
            },
            "cloud-2": {"tier": "autoscaled", "slots": "1.5", "pools": {"promotion": [{"address": "[2001:db8::1]:80", "slots": "1.5"}]}},
        },
    })
}

fn plan(generation: u64) -> CapacityPlan {
    serde_json::from_value(written(generation)).unwrap()
}

#[test]
fn a_plan_adds_rented_servers_to_open_pools_and_nothing_else() {
    let bench = Bench::new();
    let mut book = bench.open();
    let Ok(Offered::Taken(blueprint)) = bench.offer(&mut book, &plan(1)) else { panic!("refused") };
    assert_eq!(blueprint.autoscaled_slots_max, Slots::whole(12));
    let tiers: Vec<(&str, Tier)> = blueprint.sites.iter().map(|site| (site.id.as_str(), site.tier)).collect();
    assert_eq!(tiers, [("idc-1", Tier::Owned), ("cloud-1", Tier::PreRented), ("cloud-2", Tier::Autoscaled)]);
    assert_eq!(blueprint.sites[2].bounds.ceiling, Slots::from_thousandths(1_500));
    let members: Vec<(&str, usize)> =
        blueprint.pools[0].members.iter().map(|members| (members.site.as_str(), members.peers.len())).collect();
    assert_eq!(members, [("idc-1", 1), ("cloud-1", 2), ("cloud-2", 1)]);
    assert_eq!(blueprint.pools[1].members.len(), 1);
    assert_eq!(blueprint.routes.len(), 2);
    assert_eq!(book.generation(), 1);
}

#[test]
fn an_older_plan_and_a_rival_are_refused_over_restarts_and_the_same_is_not() {
    let bench = Bench::new();
    bench.offer(&mut bench.open(), &plan(1)).unwrap();
    bench.offer(&mut bench.open(), &plan(5)).unwrap();
    let check = |plan: &CapacityPlan, expect: Result<&str, &str>| {
        let mut book = bench.open();
        let got = match bench.offer(&mut book, plan) {
            Ok(Offered::Same) => Ok("same".to_owned()),
            Ok(Offered::Taken(_)) => Ok("taken".to_owned()),
            Err(refused) => Err(format!("{} {refused}", refused.status())),
        };
        assert_eq!(got, expect.map(str::to_owned).map_err(str::to_owned));
        assert_eq!(book.added_to(&bench.configured).unwrap().sites.len(), 3);
    };
    check(&plan(5), Ok("same"));
    check(&plan(4), Err("409 plan 4 is older than plan 5, which is in force"));
    let rival = CapacityPlan { autoscaled_slots_max: naru_model::Units::ZERO, ..plan(5) };
    check(&rival, Err("409 another plan 5 is in force already"));
    check(&plan(9), Ok("taken"));
    check(&plan(5), Err("409 plan 5 is older than plan 9, which is in force"));
}

#[test]
fn everything_that_is_wrong_is_told_and_nothing_is_taken() {
    let bench = Bench::new();
    let mut book = bench.open();
    bench.offer(&mut book, &plan(1)).unwrap();
    let mut check = |change: fn(&mut Value), expect: &str| {
        let mut value = written(2);
        change(&mut value);
        let plan: CapacityPlan = serde_json::from_value(value).unwrap();
        let refused = bench.offer(&mut book, &plan).unwrap_err();
        assert_eq!((refused.status(), refused.to_string().as_str()), (422, expect));
        assert!(!refused.retry_helps());
        assert_eq!(bench.open().generation(), 1);
    };
    check(|plan| plan["parent"] = json!(2), "plan 2 cannot have been made from plan 2");
    check(|plan| plan["parent"] = json!(null), "plan 2 cannot have been made from nothing");
    check(
        |plan| plan["sites"]["cloud-1"]["pools"]["promotion"][0]["address"] = json!("10.1.9.9:80"),
        "site cloud-1 names a server that it cannot have: 10.1.9.9:80 is in an owned network and cannot be rented",
    );
    check(
        |plan| plan["sites"]["cloud-1"]["pools"]["promotion"][0]["address"] = json!("[::ffff:10.1.9.9]:80"),
        "site cloud-1 names a server that it cannot have: 10.1.9.9:80 is in an owned network and cannot be rented",
    );
    check(
        |plan| plan["sites"]["cloud-1"]["pools"]["promotion"][0]["address"] = json!("203.0.113.2:80"),
        "site cloud-1 names 203.0.113.2:80 twice in the pool \"promotion\"",
    );
    check(
        |plan| plan["sites"]["cloud-2"]["pools"]["promotion"][0]["address"] = json!("203.0.113.2:80"),
        "203.0.113.2:80 stands at site cloud-2 and at site cloud-1",
    );
    check(
        |plan| plan["sites"]["idc-1"] = json!({"tier": "pre_rented", "slots": "1", "pools": {}}),
        "site idc-1 is in the edge's own configuration",
    );
    check(
        |plan| {
            plan["sites"]["cloud-1"]["pools"]["vault"] = json!([]);
            plan["sites"]["cloud-2"]["slots"] = json!("0");
            plan["autoscaled_slots_max"] = json!("99999999");
        },
        "the budget has 99999999 slots, which is none or more than any; \
         site cloud-1 serves the pool \"vault\", which the edge does not have; \
         site cloud-2 has 0 slots, which is none or more than any",
    );
}

#[test]
fn a_plan_that_reaches_for_a_core_route_is_refused_by_the_policy() {
    let bench = Bench::new();
    let mut book = bench.open();
    let mut value = written(1);
    value["sites"]["cloud-1"]["pools"]["payment"] = json!([{"address": "203.0.113.1:80", "slots": "5"}]);
    let plan: CapacityPlan = serde_json::from_value(value).unwrap();
    let refused = bench.offer(&mut book, &plan).unwrap_err();
    let expect = "is core, and its pool \"payment\" has servers at the rented site cloud-1";
    assert_eq!((refused.status(), refused.to_string().as_str()), (422, expect));
    assert_eq!((book.generation(), bench.open().generation()), (0, 0));
}

#[test]
fn only_controls_signature_over_exactly_these_bytes_counts() {
    let bench = Bench::new();
    let signed = String::from_utf8(sign(&plan(1), &bench.keys)).unwrap();
    let check = |bytes: &[u8], status: u16| {
        let refused = bench.open().offer(bytes, &bench.configured, fits).unwrap_err();
        assert_eq!(refused.status(), status, "{refused}");
    };
    let other = SigningKeys::generate(&bench.directory.path().join("other"), 1).unwrap();
    check(&sign(&plan(1), &other), 403);
    check(signed.replace("203.0.113.1", "203.0.113.9").as_bytes(), 403);
    check(signed.replace("cloud-2", "cloud-3").as_bytes(), 403);
    check(signed.replace("\"signature\":\"", "\"signature\":\"0").as_bytes(), 403);
    check(signed.replace("\"key\"", "\"k\"").as_bytes(), 400);
    check(written(1).to_string().as_bytes(), 400);
    check(b"", 400);
    check(&vec![b' '; PLAN_BYTES_MAX + 1], 413);
    let unknown = signed.replace("\\\"parent\\\"", "\\\"ancestor\\\"");
    check(unknown.as_bytes(), 403);
    bench.open().offer(signed.as_bytes(), &bench.configured, fits).unwrap();
}

#[test]
fn words_that_a_plan_does_not_have_are_refused_though_signed() {
    let check = |change: fn(&mut Value)| {
        let mut value = written(1);
        change(&mut value);
        assert!(serde_json::from_value::<CapacityPlan>(value.clone()).is_err(), "{value}");
    };
    check(|plan| plan["routes"] = json!([]));
    check(|plan| plan["networks"] = json!(["203.0.113.0/24"]));
    check(|plan| plan["sites"]["cloud-1"]["kind"] = json!("owned"));
    check(|plan| plan["sites"]["cloud-1"]["tier"] = json!("owned"));
    check(|plan| plan["sites"]["cloud-1"]["reserve"] = json!("1"));
}

#[test]
fn a_kept_plan_that_was_changed_stops_the_start() {
    let bench = Bench::new();
    bench.offer(&mut bench.open(), &plan(1)).unwrap();
    let kept = fs::read_to_string(bench.file()).unwrap();
    fs::write(bench.file(), kept.replace("203.0.113.1", "203.0.113.9")).unwrap();
    let refused = PlanBook::open(&bench.file(), bench.keys.verifying().clone()).unwrap_err();
    assert!(matches!(refused, PlanRefused::NotSigned));
}

#[test]
fn a_plan_that_cannot_be_kept_is_not_in_force() {
    let bench = Bench::new();
    let path = bench.directory.path().join("missing").join("plan.json");
    let mut book = PlanBook::open(&path, bench.keys.verifying().clone()).unwrap();
    let refused = bench.offer(&mut book, &plan(1)).unwrap_err();
    assert!(refused.retry_helps(), "{refused}");
    assert_eq!((refused.status(), book.generation()), (503, 0));
    fs::create_dir(path.parent().unwrap()).unwrap();
    bench.offer(&mut book, &plan(1)).unwrap();
}
