//! CPU time per request: one gateway after the other, round after round.

use crate::load::Load;
use crate::subject::{Running, SUBJECTS};
use crate::world::{Failure, World, median};

/// A kind of connection to the gateway.
#[derive(Debug)]
pub struct Part {
    pub name: &'static str,
    what: &'static str,
    load: Load,
}

const REQUESTS: u32 = 40_000;

pub const PARTS: [Part; 3] = [
    Part {
        name: "plain",
        what: "HTTP/1.1",
        load: Load { tls: false, streams: None, connections: 32, requests: REQUESTS },
    },
    Part {
        name: "tls",
        what: "HTTP/1.1 over TLS 1.3",
        load: Load { tls: true, streams: None, connections: 32, requests: REQUESTS },
    },
    Part {
        name: "h2",
        what: "HTTP/2 over TLS 1.3",
        load: Load { tls: true, streams: Some(16), connections: 8, requests: REQUESTS },
    },
];

/// Odd, so that there is a median; one more before them warms up.
const ROUNDS: usize = 7;

/// What naru may cost, as a share of the other one; a stretch is told and does not fail the run.
const TARGETS: [(&str, f64, bool); 3] = [("pingora", 1.10, true), ("envoy", 0.80, true), ("nginx", 1.25, false)];

/// Runs the part; whether its targets hold.
pub fn run(world: &World, part: &Part) -> Result<bool, Failure> {
    let mut gateways = Vec::new();
    for subject in SUBJECTS {
        gateways.push((Running::start(world, subject, part.load.tls)?, Vec::new(), Vec::new(), Vec::new()));
    }
    let streams = part.load.streams.map_or(String::new(), |streams| format!(" of {streams} streams"));
    println!(
        "\n{}: {}, {} connections{streams}, median of {ROUNDS} rounds of {REQUESTS} requests, interleaved:",
        part.name, part.what, part.load.connections
    );
    for round in 0..=ROUNDS {
        for (gateway, cost_us, user_us, rate) in &mut gateways {
            let before = gateway.process.cpu_time()?;
            let per_second = part.load.run(gateway.port, gateway.path, gateway.cookie.as_deref())?;
            let after = gateway.process.cpu_time()?;
            let [user, system] = [0, 1].map(|of| (after[of] - before[of]).as_secs_f64() * 1e6 / f64::from(REQUESTS));
            if round > 0 {
                user_us.push(user);
                cost_us.push(user + system);
                rate.push(per_second);
            }
        }
    }
    let of = |name: &str| {
        let found = gateways.iter().find(|(gateway, ..)| gateway.name == name);
        found.map(|(_, cost_us, ..)| median(cost_us)).ok_or_else(|| format!("no gateway {name}"))
    };
    let naru = of("naru")?;
    println!(
        "{:<12} {:>14} {:>8} {:>8} {:>18} {:>12} {:>8}",
        "gateway", "CPU us/request", "user", "x naru", "lowest..highest", "requests/s", "MiB max"
    );
    for (gateway, cost_us, user_us, rate) in &gateways {
        let (low, high) = cost_us.iter().fold((f64::MAX, 0_f64), |(low, high), us| (low.min(*us), high.max(*us)));
        println!(
            "{:<12} {:>14.1} {:>8.1} {:>8.2} {:>18} {:>12.0} {:>8}",
            gateway.name,
            median(cost_us),
            median(user_us),
            median(cost_us) / naru,
            format!("{low:.1}..{high:.1}"),
            median(rate),
            gateway.process.resident_mib_max()?
        );
    }
    let mut all = true;
    for (name, times, must) in TARGETS {
        let held = naru <= times * of(name)?;
        all &= held || !must;
        let said = match (held, must) {
            (true, _) => "held",
            (false, true) => "MISSED",
            (false, false) => "not reached",
        };
        println!(
            "naru <= {times:.2} x {name}{}: {:.2}: {said}",
            if must { "" } else { " (stretch)" },
            naru / of(name)?
        );
    }
    Ok(all)
}
