//! What `naru up --demo` has happen: people look at pages, pay and send money; a small campaign goes out again and again; a
//! request waits at control for somebody to plan and approve it.

use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use naru_runtime::clocks::{SystemClock, WallClock as _};
use naru_runtime::durable::replace_file;
use naru_runtime::tasks::Tasks;
use reqwest::header::{ACCEPT, AUTHORIZATION};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::access::{REQUESTER, TEAM, Token};
use super::configure::Member;

/// Longest wait for an answer; what comes later is somebody who has left.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// Requests at once; beyond it nobody more comes, so that a stopped site does not pile people up here.
const IN_FLIGHT_MAX: usize = 128;
/// Pages a second: the middle of the wave, how far it goes up and down, and how long one takes.
const PAGES_PER_S: f64 = 14.0;
const WAVE_PER_S: f64 = 9.0;
const WAVE: Duration = Duration::from_secs(180);
/// A payment and a transfer for so many pages.
const PAGES_PER_PAYMENT: u64 = 6;
const PAGES_PER_TRANSFER: u64 = 11;
/// Users and merchants, by number.
const USERS: u64 = 500;
const MERCHANTS: u64 = 40;
/// A campaign's recipients and pace: ten minutes, with a pause of two before the next.
const RECIPIENTS: u32 = 6_000;
const PER_MINUTE: u32 = 600;
const CAMPAIGN_EVERY: Duration = Duration::from_secs(12 * 60);

/// Why there is no demonstration. This machine's side.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// No client for HTTP.
    #[error("no client for HTTP")]
    Client(#[from] reqwest::Error),
    /// A file for it.
    #[error("cannot use {path}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A member that it needs is not there.
    #[error("{0} has no port to talk to")]
    Missing(&'static str),
}

/// Begins all of it.
///
/// # Errors
/// Every [`DemoError`].
pub fn start(members: &[Member], data: &Path, tokens: &[Token], tasks: &Tasks) -> Result<(), DemoError> {
    let port = |name: &'static str| {
        let member = members.iter().find(|member| member.name == name);
        member.and_then(|member| member.port("listen")).ok_or(DemoError::Missing(name))
    };
    let (edge, courier, control) = (port("edge")?, port("courier")?, port("control")?);
    let http = reqwest::Client::builder().no_proxy().timeout(ANSWER_MAX).build()?;
    let requester = tokens.iter().find(|token| token.name == REQUESTER).ok_or(DemoError::Missing(REQUESTER))?;
    let token = std::fs::read_to_string(&requester.file)
        .map_err(|source| DemoError::File { path: requester.file.clone(), source })?;
    let dir = data.join("demo");
    std::fs::create_dir_all(&dir).map_err(|source| DemoError::File { path: dir.clone(), source })?;
    tasks.spawn("people", people(http.clone(), edge, tasks.stop_token()));
    tasks.spawn("campaigns", campaigns(http.clone(), courier, dir, tasks.stop_token()));
    tasks.spawn("request", request(http, control, token, tasks.stop_token()));
    Ok(())
}

/// Sends requests at planned times, whether or not the ones before were answered.
async fn people(http: reqwest::Client, edge: SocketAddr, stop: CancellationToken) {
    let mut asking = JoinSet::new();
    let began = Instant::now();
    let (mut due, mut number) = (began, 0_u64);
    // Keys of payments must differ from start to start.
    let start = SystemClock::new().unix_ms();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep_until(due) => {}
        }
        while asking.try_join_next().is_some() {}
        let turn = began.elapsed().as_secs_f64() / WAVE.as_secs_f64() * std::f64::consts::TAU;
        due += Duration::from_secs_f64(1.0 / (PAGES_PER_S + WAVE_PER_S * turn.sin()));
        number += 1;
        if asking.len() >= IN_FLIGHT_MAX {
            continue;
        }
        asking.spawn(http.get(format!("http://{edge}/promotion")).header(ACCEPT, "text/html").send());
        let money = |path: &str, peer: (&str, String)| {
            let body = json!({
                "user": format!("user-{}", number * 7919 % USERS),
                peer.0: peer.1,
                "amount": { "currency": "KRW", "minor": 1_000 + number * 37 % 49_000 },
            });
            let key = format!("demo-{start}-{number}");
            http.post(format!("http://{edge}{path}")).header("idempotency-key", key).json(&body).send()
        };
        if number.is_multiple_of(PAGES_PER_PAYMENT) {
            asking.spawn(money("/payments", ("merchant", format!("shop-{}", number % MERCHANTS))));
        }
        if number.is_multiple_of(PAGES_PER_TRANSFER) {
            asking.spawn(money("/transfers", ("to", format!("user-{}", (number * 104_729 + 1) % USERS))));
        }
    }
}

/// Hands the courier a campaign, and after a while the next.
async fn campaigns(http: reqwest::Client, courier: SocketAddr, dir: PathBuf, stop: CancellationToken) {
    let mut every = interval(CAMPAIGN_EVERY);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = every.tick() => {}
        }
        let minute = SystemClock::new().unix_ms() / 60_000;
        let id = format!("demo-{minute}");
        // One file, written anew: the campaign before has been read to its end by then.
        let path = dir.join(format!("recipients-{}.csv", minute % 2));
        if let Err(error) = replace_file(&path, recipients(&id, minute).as_bytes(), 0o600) {
            eprintln!("naru up: no campaign, {} cannot be written: {error}", path.display());
            continue;
        }
        let body = json!({
            "id": id,
            "recipients": path,
            "text": "11.11: 선물이 기다립니다",
            "opt_out": "080-000-0000",
            "curve": [{ "from_minute": 0, "per_minute": PER_MINUTE }],
        });
        say("campaign", http.post(format!("http://{courier}/v1/campaigns")).json(&body).send().await).await;
    }
}

/// A file of recipients for whom it is noon, since nobody gets an advertisement at night; each is in one campaign only.
fn recipients(id: &str, unix_minute: i64) -> String {
    let mut text = String::from("id,token,consent,zone\n");
    let zone = noon(unix_minute);
    for number in 0..RECIPIENTS {
        writeln!(text, "{id}-{number},{id}-{number},yes,{zone}").expect("a text takes every line");
    }
    text
}

/// The offset of clocks that show noon, or an hour near it, now.
fn noon(unix_minute: i64) -> String {
    let hour = unix_minute.rem_euclid(1_440) / 60;
    // Between -11 and +12 hours, as clocks of the world are.
    let ahead = 12 - hour;
    let sign = if ahead < 0 { '-' } else { '+' };
    format!("{sign}{:02}:00", ahead.abs())
}

/// Asks for machines that cost more than the team may spend alone.
async fn request(http: reqwest::Client, control: SocketAddr, token: String, stop: CancellationToken) {
    const NAME: &str = "campaign-web";
    let bearer = format!("Bearer {}", token.trim());
    let held = async || -> Result<bool, reqwest::Error> {
        let asked = http.get(format!("http://{control}/v1/resources")).header(AUTHORIZATION, &bearer).send().await?;
        let overview: Value = asked.error_for_status()?.json().await?;
        let names = |list: &str, name: &str| {
            overview[list].as_array().is_some_and(|all| all.iter().any(|one| one.pointer(name) == Some(&NAME.into())))
        };
        Ok(names("resources", "/name") || names("requests", "/spec/name"))
    };
    let asking = async {
        match held().await {
            Ok(true) => return,
            Ok(false) => {}
            Err(error) => return eprintln!("naru up: control did not say what is held: {error}"),
        }
        let spec = json!({
            "kind": "service", "name": NAME, "team": TEAM, "template": "web-1", "flavor": "small",
            "count": 3, "hours": 24,
        });
        let asked = http.put(format!("http://{control}/v1/requests/{NAME}")).header(AUTHORIZATION, &bearer).json(&spec);
        say("request", asked.send().await).await;
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = asking => {}
    }
}

/// Says what was not taken.
async fn say(what: &str, answer: Result<reqwest::Response, reqwest::Error>) {
    match answer {
        Ok(answer) if answer.status().is_success() => {}
        Ok(answer) => {
            let status = answer.status();
            let said = answer.text().await.unwrap_or_else(|error| error.to_string());
            eprintln!("naru up: the {what} of the demonstration was refused: {status} {said}");
        }
        Err(error) => eprintln!("naru up: the {what} of the demonstration went nowhere: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recipients_have_noon() {
        let check = |hour: i64, expect: &str| assert_eq!(noon(hour * 60 + 59), expect);
        check(0, "+12:00");
        check(3, "+09:00");
        check(12, "+00:00");
        check(23, "-11:00");
        assert_eq!(recipients("demo-1", 180).lines().nth(2), Some("demo-1-1,demo-1-1,yes,+09:00"));
    }
}
