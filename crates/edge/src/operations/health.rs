//! Asks each server of each pool whether it is up, as often as its pool says.
//!
//! One task keeps the times; the checks run beside it, a bounded number at once. Whom it asks follows the policy in force:
//! a plan or a configuration that brings a server is seen at the next look.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use naru_runtime::tasks::Tasks;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::adapter::{Prober, Unwell};
use crate::config::PoolConfig;
use crate::gateway::{Gateway, InForce};
use crate::policy::residency::Peer;
use crate::policy::upstream::Upstream;

/// Checks at once. Were so many servers to hang, others are asked later by one time-out, not never; and a check is a
/// connection, so this bounds descriptors.
const CHECKS_MAX: usize = 128;
/// How often the policy in force is looked at for servers that came or went.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A server, whosever it is.
trait Server: Send + Sync {
    fn address(&self) -> SocketAddr;
    fn checked(&self, ok: bool) -> bool;
}

impl<P: Peer + Send + Sync> Server for Upstream<P> {
    fn address(&self) -> SocketAddr {
        Upstream::address(self)
    }

    fn checked(&self, ok: bool) -> bool {
        Upstream::checked(self, ok)
    }
}

/// Pool, site and address: a server is asked once for each pool that it is in, since pools have paths of their own.
type Key = (String, String, SocketAddr);

struct Target {
    server: Arc<dyn Server>,
    site: String,
}

/// Whom to ask, and when.
struct Schedule {
    in_force: Arc<InForce>,
    targets: BTreeMap<Key, Target>,
    /// The earliest first. A key that is asked just now, or is no target any more, is not in it.
    due: BinaryHeap<Reverse<(Instant, Key)>>,
}

impl Schedule {
    fn new(in_force: Arc<InForce>, now: Instant) -> Self {
        let targets = targets(&in_force);
        let due = targets.keys().map(|key| Reverse((first(&in_force, key, now), key.clone()))).collect();
        Self { in_force, targets, due }
    }

    /// Follows what is in force now. Whoever was known keeps his time.
    fn follow(&mut self, in_force: Arc<InForce>, now: Instant) {
        if Arc::ptr_eq(&in_force, &self.in_force) {
            return;
        }
        let before = std::mem::replace(&mut self.targets, targets(&in_force));
        let known = |key: &Key| before.contains_key(key);
        self.due.retain(|Reverse((_, key))| self.targets.contains_key(key));
        let new = self.targets.keys().filter(|key| !known(key));
        self.due.extend(new.map(|key| Reverse((first(&in_force, key, now), key.clone()))));
        self.in_force = in_force;
    }

    fn pool(&self, key: &Key) -> Option<&PoolConfig> {
        self.in_force.pool(&key.0)
    }

    /// Whoever is due.
    fn take(&mut self, now: Instant) -> Option<Key> {
        let Reverse((at, _)) = self.due.peek()?;
        if *at > now {
            return None;
        }
        self.due.pop().map(|Reverse((_, key))| key)
    }
}

/// When somebody new is asked first: spread over the interval, so that they are not all asked at once.
fn first(in_force: &InForce, key: &Key, now: Instant) -> Instant {
    let interval = in_force.pool(&key.0).map_or(Duration::ZERO, |pool| pool.health.interval);
    now + interval.mul_f64(rand::random())
}

fn targets(in_force: &InForce) -> BTreeMap<Key, Target> {
    fn add<P: Peer + Send + Sync + 'static>(
        to: &mut BTreeMap<Key, Target>,
        pool: &str,
        members: &[crate::policy::Members<P>],
    ) {
        for members in members {
            let site = members.site().id().as_str();
            for upstream in members.upstreams() {
                let target = Target { server: upstream.clone(), site: site.to_owned() };
                to.insert((pool.to_owned(), site.to_owned(), upstream.address()), target);
            }
        }
    }
    let mut targets = BTreeMap::new();
    for pool in &in_force.config.pools {
        add(&mut targets, &pool.name, in_force.policy.owned(&pool.name));
        add(&mut targets, &pool.name, in_force.policy.rented(&pool.name));
    }
    targets
}

/// Asks until the tasks are told to stop.
pub fn keep_asking(gateway: &Arc<Gateway>, tasks: &Tasks) {
    let (gateway, stop) = (gateway.clone(), tasks.stop_token());
    tasks.spawn("health", async move {
        stop.run_until_cancelled(ask(&gateway)).await;
    });
}

async fn ask(gateway: &Gateway) {
    let prober = Arc::new(Prober::new());
    let mut schedule = Schedule::new(gateway.in_force(), Instant::now());
    // Dropped with this task, and the checks with it.
    let mut asked: JoinSet<(Instant, Key, Result<(), Unwell>)> = JoinSet::new();
    loop {
        schedule.follow(gateway.in_force(), Instant::now());
        while asked.len() < CHECKS_MAX
            && let Some(key) = schedule.take(Instant::now())
        {
            let Some(pool) = schedule.pool(&key).cloned() else { continue };
            let (prober, authorities) = (prober.clone(), schedule.in_force.authorities.clone());
            asked.spawn(async move {
                let began = Instant::now();
                let outcome = prober.ask(key.2, &pool, &authorities).await;
                (began, key, outcome)
            });
        }
        let look = Instant::now() + LOOK_EVERY;
        let next = match schedule.due.peek() {
            Some(Reverse((at, _))) if asked.len() < CHECKS_MAX => look.min(*at),
            _ => look,
        };
        tokio::select! {
            Some(ended) = asked.join_next() => match ended {
                Ok((began, key, outcome)) => learn(&mut schedule, began, key, &outcome),
                Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
            },
            () = sleep_until(next) => {}
        }
    }
}

fn learn(schedule: &mut Schedule, began: Instant, key: Key, outcome: &Result<(), Unwell>) {
    let (Some(target), Some(pool)) = (schedule.targets.get(&key), schedule.pool(&key)) else { return };
    let (address, site, name) = (target.server.address(), &target.site, &*pool.name);
    match (target.server.checked(outcome.is_ok()), outcome) {
        (true, Ok(())) => tracing::info!(%address, site, pool = name, "a server is up again"),
        (true, Err(why)) => {
            tracing::warn!(%address, site, pool = name, why = why as &dyn std::error::Error, "a server is down");
        }
        (false, _) => {}
    }
    let next = (began + pool.health.interval).max(Instant::now());
    schedule.due.push(Reverse((next, key)));
}
