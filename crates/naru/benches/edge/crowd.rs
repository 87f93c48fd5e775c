//! Three times what fits, for a minute: do core requests notice, is the house full, and is the line kept in order?
//!
//! Two owned sites hold 20 requests each for 100 ms and refuse the 21st; a quarter of that is core's. People come three
//! times as fast as the rest serves them. Whoever has to wait asks again when the edge told him to, with the ticket that he
//! was given, until he is let in; then he has made his one request and goes. So tens of thousands wait in the end.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::spill::{SLOTS, Sites};
use crate::world::{Failure, GATEWAY_PROCESSOR, Process, World, await_listener, free_address, pinned};

const RESERVE: usize = SLOTS / 4;
const OPEN_SLOTS: f64 = 2.0 * (SLOTS - RESERVE) as f64;
const CORE_PER_S: f64 = 50.0;
/// 300 a second are served.
const CALM_PER_S: f64 = 100.0;
const CROWD_PER_S: f64 = 900.0;
const CALM: Duration = Duration::from_secs(30);
const CROWD: Duration = Duration::from_secs(60);
/// From here on the house must be full, and memory must have stopped growing.
const SETTLED: Duration = Duration::from_secs(15);
/// Whoever gets no answer for so long counts as an error.
const ANSWER_MAX: Duration = Duration::from_secs(5);
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// Connections of everybody together, as a load balancer in front would have them.
const CONNECTIONS_MAX: usize = 256;
/// Used tickets that are shown again.
const REPLAYS: usize = 200;

const GOODPUT_MIN: f64 = 0.97;
const CORE_P99_MAX: f64 = 1.10;
const ADMISSION_OFF_MAX: f64 = 0.01;
/// Of resident memory, from when it must have stopped growing to the end.
const GROWTH_MIB_MAX: u64 = 3;
/// Pages ask again within 6.25 s, so whoever was called may enter so much later than one behind him.
const PASSED_S_MAX: f64 = 7.0;

/// An answer of the edge.
struct Answer {
    status: u16,
    cookies: BTreeMap<String, String>,
    body: String,
}

/// What came of it.
#[derive(Default)]
struct Seen {
    /// Latencies of core requests from their planned times, by phase.
    core: [Vec<Duration>; 2],
    errors: usize,
    /// Ticket and time of everybody who waited and was let in.
    entered: Vec<(String, Instant)>,
    served: Vec<Instant>,
    /// Answers to people that were no page and no waiting room.
    refused: usize,
}

/// What everybody shares.
#[derive(Clone)]
struct Town {
    gateway: SocketAddr,
    idle: Arc<Mutex<Vec<TcpStream>>>,
    connections: Arc<Semaphore>,
    seen: Arc<Mutex<Seen>>,
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Town {
    fn new(gateway: SocketAddr) -> Self {
        let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        Self { gateway, idle: Arc::default(), connections, seen: Arc::default() }
    }

    async fn ask(&self, path: &str, cookie: &str) -> std::io::Result<Answer> {
        let _one = self.connections.acquire().await.map_err(std::io::Error::other)?;
        match timeout(ANSWER_MAX, self.exchange(path, cookie)).await {
            Ok(answer) => answer,
            Err(late) => Err(late.into()),
        }
    }

    async fn exchange(&self, path: &str, cookie: &str) -> std::io::Result<Answer> {
        let kept = lock(&self.idle).pop();
        let mut stream = match kept {
            Some(stream) => stream,
            None => {
                let stream = TcpStream::connect(self.gateway).await?;
                stream.set_nodelay(true)?;
                stream
            }
        };
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{cookie}\r\n").as_bytes()).await?;
        let mut held = Vec::with_capacity(2048);
        loop {
            if let Some(answer) = read(&held) {
                lock(&self.idle).push(stream);
                return Ok(answer);
            }
            if stream.read_buf(&mut held).await? == 0 || held.len() > ANSWER_BYTES_MAX {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Somebody who pays.
    async fn pay(self, planned: Instant, phase: usize) {
        let answer = self.ask("/pay", "").await;
        let took = planned.elapsed();
        let mut seen = lock(&self.seen);
        match answer {
            Ok(Answer { status: 200, .. }) => seen.core[phase].push(took),
            _ => seen.errors += 1,
        }
    }

    /// Somebody who comes for the promotion.
    async fn come(self) {
        let mut ticket: Option<String> = None;
        loop {
            let cookie = ticket.as_ref().map(|ticket| format!("Cookie: naru_ticket={ticket}\r\n")).unwrap_or_default();
            let Ok(answer) = self.ask("/promo", &cookie).await else {
                lock(&self.seen).refused += 1;
                return;
            };
            let now = Instant::now();
            match answer.status {
                200 => {
                    let mut seen = lock(&self.seen);
                    seen.served.push(now);
                    seen.entered.extend(ticket.map(|ticket| (ticket, now)));
                    return;
                }
                429 => {
                    ticket = answer.cookies.get("naru_ticket").cloned().or(ticket);
                    let refresh_s = number(&answer.body, "refresh_s").unwrap_or(1.0);
                    sleep(Duration::from_secs_f64(refresh_s)).await;
                }
                _ => {
                    lock(&self.seen).refused += 1;
                    return;
                }
            }
        }
    }
}

/// A whole answer; every one here has a length.
fn read(held: &[u8]) -> Option<Answer> {
    let end = held.windows(4).position(|bytes| bytes == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&held[..end]).ok()?;
    let fields = || head.lines().filter_map(|line| line.split_once(':')).map(|(name, value)| (name, value.trim()));
    let (_, length) = fields().find(|(name, _)| name.eq_ignore_ascii_case("content-length"))?;
    let body = held[end + 4..].get(..length.parse().ok()?)?;
    let set = fields().filter(|(name, _)| name.eq_ignore_ascii_case("set-cookie"));
    let pairs = set.filter_map(|(_, value)| value.split(';').next()?.split_once('='));
    Some(Answer {
        status: head.split(' ').nth(1)?.parse().ok()?,
        cookies: pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        body: String::from_utf8_lossy(body).into_owned(),
    })
}

/// A number of a flat JSON object.
fn number(json: &str, name: &str) -> Option<f64> {
    let behind = json.split_once(&format!("\"{name}\":"))?.1.trim_start();
    behind.split([',', '}']).next()?.trim().parse().ok()
}

/// The number on a ticket: behind its kind, the client and the line.
fn place(ticket: &str) -> Option<u64> {
    u64::from_str_radix(ticket.get(34..50)?, 16).ok()
}

fn p99(of: &[Duration]) -> Duration {
    let mut sorted = of.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() * 99 / 100).copied().unwrap_or_default()
}

fn start(world: &World, sites: &Sites) -> Result<(Process, SocketAddr, SocketAddr), Failure> {
    let (listen, admin) = (free_address()?, free_address()?);
    let folder = world.dir.path().join("crowd");
    std::fs::create_dir(&folder)?;
    let at = folder.display();
    let (one, other) = (sites.owned[0], sites.owned[1]);
    let site =
        |name: &str| format!("[[site]]\nname = '{name}'\nkind = 'owned'\nslots = {SLOTS}\ncore_reserve = {RESERVE}\n");
    let config = format!(
        "listen = '{listen}'\nadmin_listen = '{admin}'\nstate = '{at}/state'\nowned_networks = ['127.0.0.0/16']\n\
         threads = 1\nwaiting_room = {{ visit_units = 1 }}\n\
         keys = {{ tokens = '{at}/t', decisions = '{at}/d', pseudonyms = '{at}/p' }}\n\
         [limits]\nrequests_per_client_s = 1000000\nrequests_per_connection_max = 1000000\n\
         connections_per_client_max = 50000\n{}{}\
         [[pool]]\nname = 'all'\n\
         members = [{{ site = 'idc-0', peers = ['{one}'] }}, {{ site = 'idc-1', peers = ['{other}'] }}]\n\
         [[route]]\npath = '/pay'\nclass = 'core'\npool = 'all'\n\
         [[route]]\npath = '/promo'\nclass = 'open'\npool = 'all'\n",
        site("idc-0"),
        site("idc-1"),
    );
    let file = folder.join("edge.toml");
    std::fs::write(&file, config)?;
    let mut command = pinned(GATEWAY_PROCESSOR, env!("CARGO_BIN_EXE_naru"));
    command.args(["edge", "--config"]).arg(file);
    let process = Process::start(command, &folder.join("log"))?;
    await_listener(listen)?;
    Ok((process, listen, admin))
}

/// Everybody comes when he planned to, whether or not others were answered.
async fn play(town: &Town, payers: &Town, people_per_s: f64, phase: usize, until: Instant, asking: &mut JoinSet<()>) {
    let began = Instant::now();
    let mut next = [(0_u32, CORE_PER_S), (0, people_per_s)];
    loop {
        let due = next.map(|(number, per_s)| began + Duration::from_secs_f64(f64::from(number) / per_s));
        let which = usize::from(due[1] < due[0]);
        if due[which] >= until {
            return;
        }
        sleep_until(due[which]).await;
        next[which].0 += 1;
        let town = town.clone();
        match which {
            // Those who pay have connections of their own: they are not made to wait by this program.
            0 => asking.spawn(
                Town { connections: payers.connections.clone(), idle: payers.idle.clone(), ..town }
                    .pay(due[which], phase),
            ),
            _ => asking.spawn(town.come()),
        };
        while asking.try_join_next().is_some() {}
    }
}

/// How many were called so far, and how many wait.
async fn line(admin: SocketAddr) -> Result<(f64, f64), Failure> {
    let operator = Town::new(admin);
    let body = operator.ask("/state", "").await?.body;
    let of = |name: &str| number(&body, name).ok_or_else(|| format!("no {name:?} in the state"));
    Ok((of("called")?, of("waiting")?))
}

pub fn run(world: &World) -> Result<bool, Failure> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?.block_on(measure(world))
}

async fn measure(world: &World) -> Result<bool, Failure> {
    let sites = Sites::start().await?;
    let (process, gateway, admin) = start(world, &sites)?;
    let town = Town::new(gateway);
    println!(
        "\ncrowd: {CALM_PER_S} people and {CORE_PER_S} payments a second for {CALM:?}, then {CROWD_PER_S} people for {CROWD:?}; \
         {OPEN_SLOTS} slots for people:"
    );
    let payers = Town::new(gateway);
    let mut asking = JoinSet::new();
    play(&town, &payers, CALM_PER_S, 0, Instant::now() + CALM, &mut asking).await;
    let began = Instant::now();
    let settled = began + SETTLED;
    play(&town, &payers, CROWD_PER_S, 1, settled, &mut asking).await;
    let ((called_before, _), memory_before) = (line(admin).await?, process.resident_mib()?);
    play(&town, &payers, CROWD_PER_S, 1, began + CROWD, &mut asking).await;
    let ((called, waiting), memory) = (line(admin).await?, process.resident_mib()?);
    let ended = Instant::now();
    asking.shutdown().await;
    let seen = std::mem::take(&mut *lock(&town.seen));

    let seconds = (ended - settled).as_secs_f64();
    let held: Vec<f64> =
        sites.since(settled.into()).iter().filter_map(|at| at.held).map(|held| held.as_secs_f64()).collect();
    let held_s = held.iter().sum::<f64>() / held.len().max(1) as f64;
    let capacity = OPEN_SLOTS / held_s;
    let served = seen.served.iter().filter(|at| **at >= settled).count() as f64 / seconds;
    let [calm, crowd] = seen.core.each_ref().map(|of| p99(of));
    let admitted = (called - called_before) / seconds;
    let mut entered: Vec<(u64, Instant)> =
        seen.entered.iter().filter_map(|(ticket, at)| Some((place(ticket)?, *at))).collect();
    entered.sort_unstable();
    let (mut latest, mut passed) = (began, Duration::ZERO);
    for (_, at) in &entered {
        passed = passed.max(latest.saturating_duration_since(*at));
        latest = latest.max(*at);
    }
    let mut again = 0;
    for (ticket, _) in seen.entered.iter().rev().take(REPLAYS) {
        let answer = town.ask("/promo", &format!("Cookie: naru_ticket={ticket}\r\n")).await?;
        again += usize::from(answer.status == 200);
    }

    let mut all = true;
    let mut judge = |what: String, held: bool| {
        all &= held;
        println!("{what}: {}", if held { "held" } else { "MISSED" });
    };
    judge(
        format!(
            "served {served:.1} people/s of {capacity:.1} ({:.1} %), {GOODPUT_MIN} wanted",
            served / capacity * 100.0
        ),
        served >= GOODPUT_MIN * capacity,
    );
    let times = crowd.as_secs_f64() / calm.as_secs_f64();
    judge(format!("core p99 {calm:.1?}, in the crowd {crowd:.1?}: {times:.2} x"), times <= CORE_P99_MAX);
    judge(
        format!("core errors {} of {}", seen.errors, seen.errors + seen.core.iter().map(Vec::len).sum::<usize>()),
        seen.errors == 0,
    );
    judge(format!("answers to people that were neither page nor waiting room: {}", seen.refused), seen.refused == 0);
    judge(
        format!("memory {memory_before} MiB after {SETTLED:?}, {memory} MiB at the end with {waiting} in line"),
        memory <= memory_before + GROWTH_MIB_MAX,
    );
    let off = admitted / served - 1.0;
    judge(format!("called {admitted:.1}/s as people left ({:+.2} %)", off * 100.0), off.abs() <= ADMISSION_OFF_MAX);
    let passed_s = passed.as_secs_f64();
    judge(format!("{} entered in order, passed by {passed_s:.1} s at most", entered.len()), passed_s <= PASSED_S_MAX);
    judge(format!("used tickets that let a second one in: {again} of {REPLAYS}"), again == 0);
    Ok(all)
}
