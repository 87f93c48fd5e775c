//! A world made of one seed: users who come, wait and go, servers that fail, configurations and plans that change.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use naru_edge::policy::blueprint::Blueprint;
use naru_edge::policy::limit::STEP_MS;
use naru_edge::policy::residency::Peer;
use naru_edge::policy::visit::TICKET_MS_MAX;
use naru_edge::policy::{
    Asked, ClientKey, CoreDecision, CorePeer, Decision, OpenDecision, OpenPlace, Place, Policy, Room, Slots, Ticket,
    Visit,
};
use naru_model::Class;
use naru_runtime::keys::MacKeys;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use crate::blueprints;
use crate::oracle::{Oracle, Tally, site_key, waits};
use crate::paths::{self, Made};

/// Decisions of one world.
pub const DECISIONS: u64 = 2_000;
/// Requests that the world knows.
const TARGETS: usize = 96;
/// Users.
const USERS: usize = 64;

enum Flying {
    Core(usize, Place<CorePeer>),
    Open(usize, OpenPlace),
}

#[derive(Debug, Clone, Copy, Default)]
struct Carries {
    visit: Option<Visit>,
    ticket: Option<Ticket>,
}

pub struct World {
    rng: ChaCha8Rng,
    policy: Policy,
    blueprint: Blueprint,
    oracle: Oracle,
    targets: Vec<Made>,
    users: Vec<Carries>,
    flying: Vec<Flying>,
    /// The last ticket by which somebody entered.
    spent: Option<Ticket>,
    newest: Option<Ticket>,
    now: u64,
    unix_ms: u64,
    /// The latest that the clock of the day ever showed: it jumps both ways.
    unix_ms_max: u64,
    stepped: u64,
    /// How often a request ends while another comes: worlds are full and empty by turns.
    ends: f64,
    /// How slow our sites are, milliseconds.
    took_ms: u64,
}

fn keys() -> &'static MacKeys {
    static KEYS: OnceLock<(tempfile::TempDir, MacKeys)> = OnceLock::new();
    let make = || {
        let folder = tempfile::tempdir().unwrap();
        let file: PathBuf = folder.path().join("keys");
        let keys = MacKeys::generate(&file, 0).unwrap();
        (folder, keys)
    };
    &KEYS.get_or_init(make).1
}

impl World {
    pub fn new(seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let blueprint = blueprints::sound(&mut rng);
        let policy = Policy::new(&blueprint, Room::new(seed)).expect("a sound blueprint");
        let targets = (0..TARGETS).map(|_| paths::make(&mut rng)).collect();
        let mut world = Self {
            rng,
            policy,
            oracle: Oracle::default(),
            targets,
            users: vec![Carries::default(); USERS],
            flying: Vec::new(),
            newest: None,
            spent: None,
            now: 1_000,
            unix_ms: 1_700_000_000_000,
            unix_ms_max: 0,
            stepped: 0,
            ends: 0.5,
            took_ms: 100,
            blueprint: Blueprint::default(),
        };
        world.adopt(blueprint);
        world
    }

    fn adopt(&mut self, blueprint: Blueprint) {
        self.oracle.routes = blueprint.routes.iter().map(|route| (route.pattern.clone(), route.class)).collect();
        self.blueprint = blueprint;
    }

    pub fn run(mut self) -> Result<Tally, String> {
        for _ in 0..DECISIONS {
            self.pass_time()?;
            if self.rng.random_bool(0.02) {
                self.chaos()?;
            }
            if self.rng.random_bool(0.01) {
                self.forge()?;
            }
            self.ask()?;
            if self.rng.random_bool(self.ends) {
                self.end_one();
            }
        }
        while !self.flying.is_empty() {
            self.end_one();
        }
        self.oracle.compare(&self.policy)?;
        Ok(self.oracle.tally)
    }

    fn pass_time(&mut self) -> Result<(), String> {
        let millis = self.rng.random_range(0..15);
        self.now += millis;
        self.unix_ms += millis;
        if self.rng.random_bool(0.001) {
            self.now += self.rng.random_range(0..120_000);
            self.unix_ms = self.unix_ms.saturating_add_signed(self.rng.random_range(-600_000..600_000));
        }
        self.unix_ms_max = self.unix_ms_max.max(self.unix_ms);
        if self.now >= self.stepped + STEP_MS {
            self.stepped = self.now;
            self.policy.step(self.now);
            self.oracle.compare(&self.policy)?;
        }
        Ok(())
    }

    fn ask(&mut self) -> Result<(), String> {
        let made = self.targets[self.rng.random_range(0..TARGETS)].clone();
        let user = self.rng.random_range(0..USERS);
        if let Some(spent) = self.spent
            && self.users[user].visit.is_none()
            && self.rng.random_bool(0.1)
        {
            // A friend has shown him the ticket by which he entered.
            self.users[user].ticket = Some(spent);
        }
        let carries = self.users[user];
        let mut asked = Asked {
            now: self.now,
            unix_ms: self.unix_ms,
            host: made.host,
            target: &made.target,
            client: ClientKey(user as u64),
            visit: carries.visit,
            ticket: carries.ticket,
            may_leave: true,
            attempt: (1, None),
            random: self.rng.random(),
        };
        loop {
            let somebody_waits = waits(&self.policy, self.newest.as_ref());
            let before = self.oracle.before(&self.policy, &asked, somebody_waits, "promo", Slots::ONE);
            let decision = self.policy.decide(&asked);
            self.oracle.judge(&self.policy, &asked, &made, &before, &decision)?;
            let fails = self.rng.random_bool(0.03);
            let failed = match decision {
                Decision::Core(CoreDecision::Forward { place, visit, route, .. }) => {
                    let address = place.upstream().address();
                    self.users[user].visit = Some(visit);
                    if fails {
                        place.failed(self.now);
                    }
                    self.flying.push(Flying::Core(route, place));
                    fails.then_some(address)
                }
                Decision::Open(OpenDecision::Forward { place, visit, route, .. }) => {
                    self.spent =
                        asked.ticket.filter(|_| !asked.visit.is_some_and(|visit| visit.is_inside())).or(self.spent);
                    self.users[user] = Carries { visit: Some(visit), ticket: None };
                    let address = match &place {
                        OpenPlace::Owned(place) => place.upstream().address(),
                        OpenPlace::Rented(place) => place.upstream().address(),
                    };
                    if fails {
                        match &place {
                            OpenPlace::Owned(place) => place.failed(self.now),
                            OpenPlace::Rented(place) => place.failed(self.now),
                        }
                    }
                    self.flying.push(Flying::Open(route, place));
                    fails.then_some(address)
                }
                Decision::Open(OpenDecision::Wait(wait)) => {
                    if let Some(ticket) = wait.ticket {
                        self.users[user].ticket = Some(ticket);
                        self.newest = self.newest.filter(|newest| newest.number() > ticket.number()).or(Some(ticket));
                    }
                    None
                }
                Decision::Core(CoreDecision::Unavailable { .. }) | Decision::Unrouted(_) => None,
            };
            // Somebody goes away for good and another comes.
            if self.rng.random_bool(0.05) {
                self.users[user] = Carries::default();
            }
            let Some(address) = failed else { return Ok(()) };
            let attempt = asked.attempt.0 + 1;
            if attempt > 3 {
                return Ok(());
            }
            self.end_last();
            let carries = self.users[user];
            asked = Asked { attempt: (attempt, Some(address)), random: self.rng.random(), ..asked };
            (asked.visit, asked.ticket) = (carries.visit, carries.ticket);
        }
    }

    fn end_last(&mut self) {
        if let Some(flying) = self.flying.pop() {
            self.end(flying);
        }
    }

    fn end_one(&mut self) {
        if !self.flying.is_empty() {
            let index = self.rng.random_range(0..self.flying.len());
            let flying = self.flying.swap_remove(index);
            self.end(flying);
        }
    }

    fn end(&mut self, flying: Flying) {
        let took = Duration::from_millis(self.took_ms);
        match flying {
            Flying::Core(route, place) => {
                self.oracle.ended(site_key(place.site()), Class::Core, place.cost());
                self.policy.core_answered(route, place, took);
            }
            Flying::Open(route, place) => {
                let (site, cost) = match &place {
                    OpenPlace::Owned(place) => (site_key(place.site()), place.cost()),
                    OpenPlace::Rented(place) => (site_key(place.site()), place.cost()),
                };
                self.oracle.ended(site, Class::Open, cost);
                self.policy.open_answered(route, place, took);
            }
        }
    }

    fn chaos(&mut self) -> Result<(), String> {
        match self.rng.random_range(0..8) {
            0 | 1 => self.check_servers(),
            2 => {
                let sites = self.policy.sites();
                let site = &sites[self.rng.random_range(0..sites.len())];
                site.set_draining(self.rng.random_bool(0.3));
            }
            3 => {
                self.took_ms = self.rng.random_range(80..200);
                self.ends = [0.2, 0.5, 0.9][self.rng.random_range(0..3usize)];
            }
            4 => {
                let mut other = blueprints::sound(&mut self.rng);
                if self.rng.random_bool(0.5) {
                    // The same routes: only the plan is another.
                    other.routes = self.blueprint.routes.clone();
                }
                match self.policy.next(&other) {
                    Ok(policy) => {
                        self.oracle.tally.reloads += 1;
                        self.policy = policy;
                        self.adopt(other);
                        self.forget_down();
                    }
                    Err(refusals) => return Err(format!("a sound configuration was refused: {refusals:?}")),
                }
            }
            _ => {
                let bad = blueprints::spoiled(&self.blueprint, &mut self.rng);
                match self.policy.next(&bad) {
                    Ok(policy) => {
                        self.policy = policy;
                        self.adopt(bad);
                        self.forget_down();
                    }
                    Err(refusals) => self.oracle.judge_refusal(&refusals)?,
                }
            }
        }
        Ok(())
    }

    /// Health checks of one server: all good, or all bad.
    fn check_servers(&mut self) {
        let ok = self.rng.random_bool(0.5);
        let pool = if self.rng.random_bool(0.5) { "pay" } else { "promo" };
        let random: usize = self.rng.random_range(0..1000);
        let owned = self.policy.owned(pool).iter().flat_map(|members| members.upstreams());
        let rented = self.policy.rented(pool).iter().flat_map(|members| members.upstreams());
        let (owned, rented): (Vec<_>, Vec<_>) = (owned.collect(), rented.collect());
        let index = random % (owned.len() + rented.len()).max(1);
        let address = match owned.get(index) {
            Some(upstream) => {
                (0..3).for_each(|_| _ = upstream.checked(ok));
                upstream.address()
            }
            None => match rented.get(index - owned.len()) {
                Some(upstream) => {
                    (0..3).for_each(|_| _ = upstream.checked(ok));
                    upstream.address()
                }
                None => return,
            },
        };
        if ok {
            self.oracle.down.remove(&address)
        } else {
            self.oracle.down.insert(address)
        };
    }

    /// Whatever is not there any more is not down, either: it counts as up when it comes back.
    fn forget_down(&mut self) {
        fn up<P: Peer>(members: &[naru_edge::policy::Members<P>]) -> Vec<SocketAddr> {
            let down = members.iter().flat_map(|members| members.upstreams()).filter(|upstream| !upstream.is_up());
            down.map(|upstream| upstream.address()).collect()
        }
        let mut down = Vec::new();
        for pool in ["pay", "promo"] {
            down.extend(up(self.policy.owned(pool)));
            down.extend(up(self.policy.rented(pool)));
        }
        self.oracle.down.retain(|address| down.contains(address));
    }

    /// Somebody shows a ticket that is not his, was altered, or is too old; or his own.
    fn forge(&mut self) -> Result<(), String> {
        let Some(ticket) = self.users.iter().find_map(|carries| carries.ticket) else { return Ok(()) };
        let owner = ticket.client().0;
        let text = ticket.sign(keys());
        let read = |text: &str, client: u64, now: u64| Ticket::read(text, keys(), Some(ClientKey(client)), now);
        if read(&text, owner, self.unix_ms) != Ok(ticket) {
            return Err("EDGE-3: a sound ticket does not count".to_owned());
        }
        let mut altered = text.clone().into_bytes();
        let at = self.rng.random_range(0..altered.len());
        altered[at] = if altered[at] == b'7' { b'8' } else { b'7' };
        let altered = String::from_utf8(altered).unwrap();
        let late = self.unix_ms_max + TICKET_MS_MAX + 1;
        for (what, refused) in [
            ("altered", read(&altered, owner, self.unix_ms)),
            ("of somebody else", read(&text, owner + 1, self.unix_ms)),
            ("too old", read(&text, owner, late)),
        ] {
            if refused.is_ok() {
                return Err(format!("EDGE-3: a ticket that is {what} counts"));
            }
        }
        Ok(())
    }
}
