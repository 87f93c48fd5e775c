#![allow(clippy::unwrap_used)] // a test panics on failure

use naru_runtime::config::Sources;

use super::*;
use crate::access::Role;
use crate::config::ControlConfig;
use crate::resource::{Market, Service};

const CATALOGUE: &str = "state = 's'\n[[flavor]]\nname = 'small'\n[[flavor]]\nname = 'own'\nprovider = 'local'\n\
    [[template]]\nname = 'web-1'\ncommand = ['sleep', '1']\n[[template]]\nname = 'pay-1'\ncore = true\ncommand = ['x']\n\
    [[team]]\nname = 'growth'\nmachines_max = 10\nbudget_krw = 200000\napproval_above_krw = 50000\n[[team]]\nname = 'pay'\n";

fn catalogue() -> Catalogue {
    Catalogue::of(&Sources::default().document("control.toml", CATALOGUE.to_owned()).load::<ControlConfig>().unwrap())
}

fn grant(name: &str, role: Role) -> Grant {
    Grant { name: name.to_owned(), role, team: "growth".to_owned(), until_unix_ms: i64::MAX }
}

fn service(name: &str, count: u32, hours: u32) -> Service {
    Service {
        name: name.to_owned(),
        team: "growth".to_owned(),
        template: "web-1".to_owned(),
        flavor: "small".to_owned(),
        market: Market::OnDemand,
        count,
        at_least: None,
        hours,
    }
}

struct World {
    book: Book,
    catalogue: Catalogue,
}

impl World {
    fn new() -> Self {
        Self { book: Book::default(), catalogue: catalogue() }
    }

    fn take<T>(&mut self, decided: Decided<T>) -> Result<T, String> {
        let (changes, answer) = decided.map_err(|refusal| refusal.to_string())?;
        changes.into_iter().for_each(|change| self.book.apply(change));
        Ok(answer)
    }

    fn ask(&mut self, spec: Service) -> Result<(), String> {
        let decided = request(&self.book, &self.catalogue, &grant("ann", Role::Requester), &Spec::Service(spec));
        self.take(decided)
    }

    fn plan(&mut self, now: i64) -> Result<Plan, String> {
        let decided = plan(&self.book, &self.catalogue, &grant("ann", Role::Requester), &[], now);
        self.take(decided)
    }

    fn apply(&mut self, by: &str, hash: &str) -> Result<Applied, String> {
        let decided = apply(&self.book, &self.catalogue, &grant(by, Role::Requester), hash, 1000);
        self.take(decided)
    }
}

#[test]
fn requests_that_cannot_be_met_say_field_and_fix() {
    let check = |change: &dyn Fn(&mut Service), expect: &str| {
        let mut spec = service("web", 2, 10);
        change(&mut spec);
        let said = World::new().ask(spec).err().unwrap_or_default();
        assert!(said.contains(expect) && said.is_empty() == expect.is_empty(), "{said:?} {expect:?}");
    };
    check(&|_| {}, "");
    check(&|spec| spec.name = "Web".to_owned(), "Web: name: give it 1 to 63 characters");
    check(&|spec| spec.flavor = "huge".to_owned(), "flavor: there is no such flavor; the flavors are small, own");
    check(&|spec| spec.template = "none".to_owned(), "the templates are web-1, pay-1");
    check(&|spec| spec.template = "pay-1".to_owned(), "never leave owned sites");
    check(&|spec| spec.hours = 0, "hours: hold it for 1 to 2160 hours");
    check(&|spec| spec.at_least = Some(3), "at_least: it cannot be more than count");
    check(&|spec| spec.team = "pay".to_owned(), "the token is for team growth, not for team pay");
}

#[test]
fn a_plan_is_the_same_whenever_it_is_made_and_applied_once() {
    let mut world = World::new();
    world.ask(service("web", 2, 10)).unwrap();
    let first = world.plan(0).unwrap();
    assert_eq!((first.krw, first.lines.len()), (20_000, 1));
    assert_eq!(world.plan(999_999).unwrap().hash, first.hash);
    let applied = world.apply("ann", &first.hash).unwrap();
    assert!(!applied.already);
    let again = world.apply("bob", &first.hash).unwrap();
    assert_eq!((again.already, again.by.as_str()), (true, "ann"));
    assert_eq!(world.book.resources.len(), 1);
    assert!(world.plan(0).unwrap().lines.is_empty());
}

#[test]
fn of_two_appliers_one_wins_and_the_other_learns_what_changed() {
    let mut world = World::new();
    world.ask(service("web", 2, 10)).unwrap();
    let small = world.plan(0).unwrap();
    world.ask(service("web", 3, 10)).unwrap();
    let large = world.plan(0).unwrap();
    world.apply("ann", &large.hash).unwrap();
    let stale = world.apply("bob", &small.hash).unwrap_err();
    assert_eq!(stale, "the plan is stale: web is no longer asked for; make a new one");
    world.ask(service("web", 4, 10)).unwrap();
    let fourth = world.plan(0).unwrap();
    world.ask(service("web", 5, 10)).unwrap();
    let stale = world.apply("bob", &fourth.hash).unwrap_err();
    assert!(stale.contains("web was 4 machines small for web-1, 10 h, is 5 machines"), "{stale}");
    assert!(world.apply("ann", "00").unwrap_err().contains("there is no plan 00"));
}

#[test]
fn quotas_and_budgets_say_what_is_left() {
    let mut world = World::new();
    world.ask(service("web", 11, 1)).unwrap();
    let said = world.plan(0).unwrap_err();
    assert!(said.contains("holds 0 of 10 machines; 11 more are asked for, 10 are possible"), "{said}");
    world.ask(service("web", 10, 21)).unwrap();
    let said = world.plan(0).unwrap_err();
    assert!(said.contains("210000 more are asked for, 200000 are possible"), "{said}");
}

#[test]
fn above_the_limit_two_people_agree() {
    let mut world = World::new();
    world.ask(service("web", 10, 10)).unwrap();
    let hash = world.plan(0).unwrap().hash;
    assert!(world.apply("ann", &hash).unwrap_err().contains("somebody else must run naru approve"));
    let refused = approve(&world.book, &grant("ann", Role::Requester), &hash).unwrap_err();
    assert!(refused.to_string().contains("may not approve"));
    let admin = approve(&world.book, &grant("ann", Role::Admin), &hash);
    let mut own = World { book: world.book.clone(), catalogue: catalogue() };
    own.take(admin).unwrap();
    assert!(own.apply("ann", &hash).is_err());
    let approved = approve(&world.book, &grant("zoe", Role::Approver), &hash);
    world.take(approved).unwrap();
    world.apply("ann", &hash).unwrap();
}

#[test]
fn a_lease_is_renewed_within_the_budget_and_released() {
    let mut world = World::new();
    world.ask(service("web", 2, 10)).unwrap();
    let hash = world.plan(0).unwrap().hash;
    world.apply("ann", &hash).unwrap();
    let ann = grant("ann", Role::Requester);
    let check = |world: &World, hours: u32, expect: Result<i64, &str>| {
        let got = renew(&world.book, &world.catalogue, &ann, "web", hours, 1000);
        match (got, expect) {
            (Ok((_, until)), Ok(expect)) => assert_eq!(until, expect),
            (Err(refusal), Err(expect)) => assert!(refusal.to_string().contains(expect), "{refusal}"),
            (got, _) => panic!("{got:?}"),
        }
    };
    check(&world, 1, Ok(1000 + 11 * HOUR_MS));
    check(&world, 0, Err("hours"));
    check(&world, 30, Err("more than team growth may spend alone"));
    check(&world, 100, Err("180000 of team growth's budget of 200000 are left"));
    let released = release(&world.book, &ann, "web", 2000);
    world.take(released).unwrap();
    assert_eq!(world.book.holder("web").unwrap().life, Life::Releasing);
    check(&world, 1, Err("being given back"));
    let cost = cost(&world.book, &world.catalogue, 3000);
    assert_eq!(cost[0].booked_krw, 0);
}
