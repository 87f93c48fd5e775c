//! The cloud's rules over values: no socket, no disk, no clock of its own. What a seed decides about a machine is a
//! function of the seed and the machine's number, so that only calls need to be kept.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::api::{
    COUNT_MAX, Code, Describe, Fence, FlavorView, Machine, Market, Meter, MeterRow, Refused, Run, State, TAGS_MAX,
    TOKEN_BYTES_MAX, Terminate,
};
use crate::luck::Luck;

const HOUR_MS: i64 = 3_600_000;
/// No boot takes longer than this many medians: a machine that slow is one that failed.
const BOOT_MEDIANS_MAX: f64 = 10.0;

const BOOT: u64 = 1;
const VISIBLE: u64 = 2;
const RECLAIM: u64 = 3;
const ANSWER: u64 = 4;

/// A kind of machine, as the cloud offers it.
#[derive(Debug, Clone, PartialEq)]
pub struct Flavor {
    /// What is shown.
    pub view: FlavorView,
    /// Most at once, of all renters.
    pub machines_max: u32,
    /// Half of the boots are shorter.
    pub boot_ms_p50: u64,
    /// Standard deviation of the logarithm of the boot time.
    pub boot_deviation: f64,
}

/// How the cloud behaves.
#[derive(Debug, Clone, PartialEq)]
pub struct Behaviour {
    /// Decides boots, visibility, reclaims and lost answers.
    pub seed: u64,
    /// What there is.
    pub flavors: Vec<Flavor>,
    /// Requests a second over time; more are refused.
    pub requests_per_second: f64,
    /// Requests at once before that counts.
    pub requests_burst: f64,
    /// The longest time for which a list does not show a new machine, and shows one that ended.
    pub visible_ms_max: u64,
    /// Chance, in millionths, that a call is carried out and its answer lost.
    pub lost_answer_ppm: u32,
    /// Chance, in millionths, that a machine on demand is taken back within each hour.
    pub reclaim_ppm_per_hour: u32,
}

/// What changed, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// Machines were rented.
    Ran {
        /// When.
        at_unix_ms: i64,
        /// As asked.
        run: Run,
    },
    /// Machines were ended.
    Ended {
        /// When.
        at_unix_ms: i64,
        /// Which.
        ids: Vec<String>,
        /// By the cloud rather than by the renter.
        reclaimed: bool,
    },
    /// A renter with a higher number asked.
    Fenced(Fence),
}

struct Rented {
    machine: Machine,
    /// From when lists show it.
    visible_unix_ms: i64,
    /// When the cloud takes it back, if its renter does not end it before.
    reclaim_unix_ms: Option<i64>,
    /// From when lists show that it has ended.
    end_visible_unix_ms: i64,
}

/// The cloud.
pub struct Cloud {
    behaviour: Behaviour,
    rented: Vec<Rented>,
    /// The call of a token, and the places of its machines.
    tokens: BTreeMap<String, (Run, std::ops::Range<usize>)>,
    fences: BTreeMap<String, u64>,
    requests_left: f64,
    requests_at_unix_ms: i64,
    requests: u64,
}

/// What a call changed, to be kept before it is answered, and its answer.
pub type Done<T> = Result<(Vec<Event>, T), Refused>;

fn refused(code: Code, message: impl Into<String>) -> Refused {
    Refused { code, message: message.into() }
}

impl Cloud {
    /// A cloud in which nothing was rented yet.
    pub fn new(behaviour: Behaviour) -> Self {
        let requests_left = behaviour.requests_burst;
        Self {
            behaviour,
            rented: Vec::new(),
            tokens: BTreeMap::new(),
            fences: BTreeMap::new(),
            requests_left,
            requests_at_unix_ms: 0,
            requests: 0,
        }
    }

    /// Takes in what was kept. The events of a call are applied once they are durable.
    pub fn apply(&mut self, event: &Event) {
        match event {
            Event::Ran { at_unix_ms, run } => self.add(*at_unix_ms, run),
            Event::Ended { at_unix_ms, ids, reclaimed } => {
                let state = if *reclaimed { State::Reclaimed } else { State::Terminated };
                for id in ids {
                    let Some(place) = self.rented.iter().position(|rented| rented.machine.id == *id) else { continue };
                    self.end(place, *at_unix_ms, state);
                }
            }
            Event::Fenced(fence) => {
                let seen = self.fences.entry(fence.owner.clone()).or_default();
                *seen = fence.number.max(*seen);
            }
        }
    }

    fn add(&mut self, at_unix_ms: i64, run: &Run) {
        let from = self.rented.len();
        let Some(flavor) = self.behaviour.flavors.iter().find(|flavor| flavor.view.name == run.flavor) else { return };
        let seed = self.behaviour.seed;
        for number in from..from + run.count as usize {
            let of = number as u64;
            let slowness = (flavor.boot_deviation * Luck::of(seed, BOOT, of).normal()).exp().min(BOOT_MEDIANS_MAX);
            let boot_ms = (flavor.boot_ms_p50 as f64 * slowness) as i64;
            let hidden_ms = (self.behaviour.visible_ms_max as f64 * Luck::of(seed, VISIBLE, of).unit()) as i64;
            self.rented.push(Rented {
                machine: Machine {
                    id: format!("m-{number:08}"),
                    client_token: run.client_token.clone(),
                    flavor: run.flavor.clone(),
                    market: run.market,
                    state: State::Pending,
                    launched_unix_ms: at_unix_ms,
                    running_unix_ms: at_unix_ms + boot_ms,
                    ended_unix_ms: None,
                    tags: run.tags.clone(),
                },
                visible_unix_ms: at_unix_ms + hidden_ms,
                reclaim_unix_ms: self.reclaim(of, run.market).map(|after| at_unix_ms + after),
                end_visible_unix_ms: i64::MAX,
            });
        }
        self.tokens.insert(run.client_token.clone(), (run.clone(), from..self.rented.len()));
    }

    /// How long after its launch a machine is taken back: the hours before it were survived one by one.
    fn reclaim(&self, number: u64, market: Market) -> Option<i64> {
        let chance = f64::from(self.behaviour.reclaim_ppm_per_hour) / 1e6;
        if market == Market::Reserved || chance <= 0.0 {
            return None;
        }
        let unit = Luck::of(self.behaviour.seed, RECLAIM, number).unit();
        let hours = (1.0 - unit).ln() / (1.0 - chance.min(0.999_999)).ln();
        Some((hours * HOUR_MS as f64) as i64)
    }

    fn end(&mut self, place: usize, at_unix_ms: i64, state: State) {
        let hidden = Luck::of(self.behaviour.seed, VISIBLE, place as u64 ^ (1 << 40)).unit();
        let rented = &mut self.rented[place];
        if rented.machine.ended_unix_ms.is_none() {
            rented.machine.ended_unix_ms = Some(at_unix_ms);
            rented.machine.state = state;
            rented.end_visible_unix_ms = at_unix_ms + (self.behaviour.visible_ms_max as f64 * hidden) as i64;
        }
    }

    /// The machine as it is at this time.
    fn now(&self, place: usize, now_unix_ms: i64) -> Machine {
        let rented = &self.rented[place];
        let mut machine = rented.machine.clone();
        if let (None, Some(at)) = (machine.ended_unix_ms, rented.reclaim_unix_ms)
            && at <= now_unix_ms
        {
            machine.ended_unix_ms = Some(at);
            machine.state = State::Reclaimed;
        }
        if machine.state == State::Pending && machine.running_unix_ms <= now_unix_ms {
            machine.state = State::Running;
        }
        machine
    }

    /// The machine as a list shows it at this time: one that has just begun is missing, one that has just ended lives.
    fn listed(&self, place: usize, now_unix_ms: i64) -> Option<Machine> {
        let rented = &self.rented[place];
        if now_unix_ms < rented.visible_unix_ms {
            return None;
        }
        let mut machine = self.now(place, now_unix_ms);
        if machine.state == State::Terminated && now_unix_ms < rented.end_visible_unix_ms {
            machine.ended_unix_ms = None;
            machine.state = if machine.running_unix_ms <= now_unix_ms { State::Running } else { State::Pending };
        }
        Some(machine)
    }

    /// Lets a request in, or says that there were too many. Whether its answer is to be lost comes with it.
    ///
    /// # Errors
    /// When requests came faster than allowed.
    pub fn admit(&mut self, now_unix_ms: i64) -> Result<bool, Refused> {
        let passed_ms = now_unix_ms.saturating_sub(self.requests_at_unix_ms).max(0) as f64;
        self.requests_at_unix_ms = self.requests_at_unix_ms.max(now_unix_ms);
        let refilled = self.requests_left + passed_ms / 1000.0 * self.behaviour.requests_per_second;
        self.requests_left = refilled.min(self.behaviour.requests_burst);
        if self.requests_left < 1.0 {
            return Err(refused(Code::RequestLimitExceeded, "too many requests, come again more slowly"));
        }
        self.requests_left -= 1.0;
        self.requests += 1;
        let mut luck = Luck::of(self.behaviour.seed, ANSWER, self.requests);
        Ok(luck.happens(self.behaviour.lost_answer_ppm))
    }

    fn fence(&self, fence: Option<&Fence>) -> Result<Vec<Event>, Refused> {
        let Some(fence) = fence else { return Ok(Vec::new()) };
        let seen = self.fences.get(&fence.owner).copied().unwrap_or(0);
        if fence.number < seen {
            let message = format!("{} has asked as number {seen}, this is number {}", fence.owner, fence.number);
            return Err(refused(Code::StaleFence, message));
        }
        Ok(if fence.number > seen { vec![Event::Fenced(fence.clone())] } else { Vec::new() })
    }

    /// Rents machines: all of them or none.
    ///
    /// # Errors
    /// For a request that cannot be meant, a stale fence, a token with other words, and a lack of machines.
    pub fn run(&self, run: &Run, now_unix_ms: i64) -> Done<()> {
        let invalid = |what: String| Err(refused(Code::InvalidParameterValue, what));
        if run.client_token.is_empty() || run.client_token.len() > TOKEN_BYTES_MAX {
            return invalid(format!("client_token has 1 to {TOKEN_BYTES_MAX} bytes"));
        }
        if run.count == 0 || run.count > COUNT_MAX {
            return invalid(format!("count is 1 to {COUNT_MAX}"));
        }
        if run.tags.len() > TAGS_MAX {
            return invalid(format!("at most {TAGS_MAX} tags"));
        }
        let mut events = self.fence(run.fence.as_ref())?;
        if let Some((first, _)) = self.tokens.get(&run.client_token) {
            let same = Run { fence: first.fence.clone(), ..run.clone() } == *first;
            let message = "the token was used with other words";
            return if same { Ok((events, ())) } else { Err(refused(Code::IdempotentParameterMismatch, message)) };
        }
        let Some(flavor) = self.behaviour.flavors.iter().find(|flavor| flavor.view.name == run.flavor) else {
            return Err(refused(Code::UnknownFlavor, format!("there is no flavor {}", run.flavor)));
        };
        let alive = |place: &usize| {
            let machine = self.now(*place, now_unix_ms);
            machine.flavor == run.flavor && machine.state.is_alive()
        };
        let alive = (0..self.rented.len()).filter(alive).count();
        if alive + run.count as usize > flavor.machines_max as usize {
            let left = (flavor.machines_max as usize).saturating_sub(alive);
            let message = format!("{} of {} can be had now, {} were asked for", left, run.flavor, run.count);
            return Err(refused(Code::InsufficientInstanceCapacity, message));
        }
        events.push(Event::Ran { at_unix_ms: now_unix_ms, run: run.clone() });
        Ok((events, ()))
    }

    /// The machines of a token, whatever became of them.
    pub fn of_token(&self, token: &str, now_unix_ms: i64) -> Vec<Machine> {
        let places = self.tokens.get(token).map(|(_, places)| places.clone()).unwrap_or_default();
        places.map(|place| self.now(place, now_unix_ms)).collect()
    }

    /// Machines as a list shows them.
    pub fn describe(&self, describe: &Describe, now_unix_ms: i64) -> Vec<Machine> {
        let fits = |machine: &Machine| {
            (describe.client_tokens.is_empty() || describe.client_tokens.contains(&machine.client_token))
                && describe.tags.iter().all(|(name, value)| machine.tags.get(name) == Some(value))
        };
        (0..self.rented.len()).filter_map(|place| self.listed(place, now_unix_ms)).filter(fits).collect()
    }

    /// Ends machines. One that has ended already is no mistake.
    ///
    /// # Errors
    /// For a machine that there is not, and a stale fence.
    pub fn terminate(&self, terminate: &Terminate, now_unix_ms: i64) -> Done<()> {
        let mut events = self.fence(terminate.fence.as_ref())?;
        for id in &terminate.ids {
            self.known(id)?;
        }
        let alive = |id: &&String| {
            let place = self.rented.iter().position(|rented| rented.machine.id == **id);
            place.is_some_and(|place| self.now(place, now_unix_ms).state.is_alive())
        };
        let ids: Vec<String> = terminate.ids.iter().filter(alive).cloned().collect();
        if !ids.is_empty() {
            events.push(Event::Ended { at_unix_ms: now_unix_ms, ids, reclaimed: false });
        }
        Ok((events, ()))
    }

    /// Takes a machine back.
    ///
    /// # Errors
    /// For a machine that there is not.
    pub fn reclaim_now(&self, id: &str, now_unix_ms: i64) -> Done<()> {
        self.known(id)?;
        Ok((vec![Event::Ended { at_unix_ms: now_unix_ms, ids: vec![id.to_owned()], reclaimed: true }], ()))
    }

    fn known(&self, id: &str) -> Result<(), Refused> {
        match self.rented.iter().any(|rented| rented.machine.id == id) {
            true => Ok(()),
            false => Err(refused(Code::UnknownMachine, format!("there is no machine {id}"))),
        }
    }

    /// What can be rented.
    pub fn flavors(&self) -> Vec<FlavorView> {
        self.behaviour.flavors.iter().map(|flavor| flavor.view.clone()).collect()
    }

    /// Everything that was ever rented, and what it costs up to this time.
    pub fn meter(&self, now_unix_ms: i64) -> Meter {
        let row = |place: usize| {
            let machine = self.now(place, now_unix_ms);
            let until = machine.ended_unix_ms.unwrap_or(now_unix_ms).max(machine.launched_unix_ms);
            // Each hour begun is paid, and the first begins with the launch.
            let hours = u64::try_from((until - machine.launched_unix_ms) / HOUR_MS + 1).unwrap_or(1);
            let flavor = self.behaviour.flavors.iter().find(|flavor| flavor.view.name == machine.flavor);
            let price = flavor.map_or(0, |flavor| match machine.market {
                Market::Reserved => flavor.view.reserved_krw_per_hour,
                Market::OnDemand => flavor.view.on_demand_krw_per_hour,
            });
            MeterRow { machine, hours, krw: hours.saturating_mul(price) }
        };
        let rows: Vec<MeterRow> = (0..self.rented.len()).map(row).collect();
        let total_krw = rows.iter().map(|row| row.krw).sum();
        Meter { rows, total_krw }
    }
}

#[cfg(test)]
mod tests;
