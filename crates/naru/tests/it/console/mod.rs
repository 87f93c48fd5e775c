//! The console: its pages, what it shows live, who may change what, and how it looks in a browser.

mod chromium;
mod looks;

use std::path::Path;
use std::time::Instant;

use reqwest::header::{COOKIE, HOST, LOCATION, ORIGIN, SET_COOKIE};
use reqwest::{Client, Response, StatusCode};
use serde_json::Value;
use tempfile::TempDir;

use crate::up::process::{PATIENCE, Up, eventually};

/// A plan's hash.
const HASH_CHARS: usize = 64;

fn client() -> Client {
    Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap()
}

async fn text(http: &Client, url: String) -> (StatusCode, String) {
    let answer = http.get(url).send().await.unwrap();
    (answer.status(), answer.text().await.unwrap())
}

/// Somebody with a browser, as far as forms go.
struct Person<'u> {
    http: Client,
    up: &'u Up,
    cookie: String,
    csrf: String,
}

impl<'u> Person<'u> {
    async fn logs_in(up: &'u Up, data: &Path, name: &str) -> Self {
        let token = std::fs::read_to_string(data.join("tokens").join(name)).unwrap();
        let (http, mut person) = (client(), Self { http: client(), up, cookie: String::new(), csrf: String::new() });
        let body = format!("token={token}&to=%2Fplans");
        let answer = http.post(up.url("console.page", "/login")).body(body).send().await.unwrap();
        assert_eq!((answer.status().as_u16(), place(&answer)), (303, "/plans".to_owned()));
        let cookie = answer.headers()[SET_COOKIE].to_str().unwrap();
        for part in ["HttpOnly", "SameSite=Strict", "Path=/"] {
            assert!(cookie.contains(part), "{cookie}");
        }
        person.cookie = cookie.split(';').next().unwrap().to_owned();
        let page = person.sees("/plans").await;
        person.csrf = between(&page, "name=\"csrf\" value=\"", "\"").to_owned();
        person
    }

    async fn sees(&self, path: &str) -> String {
        let asking = self.http.get(self.up.url("console.page", path)).header(COOKIE, &self.cookie);
        let answer = asking.send().await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        answer.text().await.unwrap()
    }

    async fn sends(&self, path: &str, more: &str) -> Response {
        let body = format!("csrf={}{more}", self.csrf);
        let asking = self.http.post(self.up.url("console.page", path)).header(COOKIE, &self.cookie).body(body);
        asking.send().await.unwrap()
    }
}

fn place(answer: &Response) -> String {
    answer.headers().get(LOCATION).map(|place| place.to_str().unwrap().to_owned()).unwrap_or_default()
}

fn between<'t>(text: &'t str, before: &str, behind: &str) -> &'t str {
    let (_, rest) = text.split_once(before).unwrap_or_else(|| panic!("no {before} in {text}"));
    rest.split_once(behind).unwrap_or_else(|| panic!("no {behind} in {rest}")).0
}

#[tokio::test]
async fn the_day_is_followed_live_and_plans_are_approved_by_somebody_else() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    let up = Up::start(&data, &["--demo"]).await;
    pages_answer(&up).await;
    the_day_goes_on(&up).await;
    strangers_change_nothing(&up, &data).await;
    plans_are_approved(&up, &data).await;
    questions_are_answered(&up, &data).await;
    changes_are_marked(&up).await;
    a_part_that_is_away_hides_no_other(&up).await;
    let (status, said) = up.stop();
    assert!(status.success(), "{status}: {said}");
    let lines = std::process::Command::new(env!("CARGO_BIN_EXE_naru"))
        .args(["ledger", "verify"])
        .arg(data.join("control/state/ledger"))
        .arg("--keys")
        .arg(data.join("control/state/ledger.key"))
        .output()
        .unwrap();
    let ledger = String::from_utf8_lossy(&lines.stdout).into_owned();
    assert!(lines.status.success(), "{ledger}");
    assert!(ledger.contains("control/approver  approved plan"), "{ledger}");
    assert!(ledger.contains("control/requester  applied service campaign-web"), "{ledger}");
}

async fn pages_answer(up: &Up) {
    let http = client();
    let check = async |path: &str, expect: u16, holds: &str| {
        let (status, page) = text(&http, up.url("console.page", path)).await;
        assert_eq!(status.as_u16(), expect, "{path}");
        assert!(page.contains(holds), "{path} lacks {holds}: {page}");
    };
    check("/?lang=en", 200, "Requests a second, by class").await;
    check("/?lang=ko", 200, "등급별 초당 요청").await;
    check("/plans?lang=en", 200, "Waits for a plan").await;
    check("/sql?lang=ko", 200, "질의").await;
    check("/sql?lang=en&q=select%201", 200, "Log in to ask").await;
    check("/login?lang=en&to=//evil.example", 200, "value=\"/\"").await;
    check("/nowhere?lang=en", 404, "There is no such page").await;
    check("/plans/0?lang=en", 404, "There is no such page").await;
    check("/sql?lang=en&q=%3Cscript%3E", 200, "&lt;script&gt;").await;
    check("/assets/console.js", 200, "EventSource").await;
    check("/assets/..%2FCargo.toml", 404, "").await;
    let answer = http.get(up.url("console.page", "/")).send().await.unwrap();
    let policy = answer.headers()["content-security-policy"].to_str().unwrap();
    assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    let rebound = http.get(up.url("console.page", "/")).header(HOST, "evil.example").send().await.unwrap();
    assert_eq!(rebound.status(), 421);
}

/// The next moments that the console sends.
async fn moments(up: &Up, many: usize) -> Vec<Value> {
    let mut answer = client().get(up.url("console.page", "/events?lang=en")).send().await.unwrap();
    let (mut moments, mut rest) = (Vec::new(), String::new());
    let deadline = Instant::now() + PATIENCE;
    while moments.len() < many {
        assert!(Instant::now() < deadline, "{} moments came", moments.len());
        rest.push_str(&String::from_utf8_lossy(&answer.chunk().await.unwrap().expect("it goes on")));
        while let Some((event, behind)) = rest.split_once("\n\n") {
            let data = event.lines().find_map(|line| line.strip_prefix("data: "));
            moments.extend(data.map(|data| serde_json::from_str::<Value>(data).unwrap()));
            rest = behind.to_owned();
        }
    }
    moments
}

async fn the_day_goes_on(up: &Up) {
    eventually("core and open requests a second, both sides, tables and messages", async || {
        let now = moments(up, 1).await.remove(0);
        let names = ["class/core", "class/open", "lag/pay/A", "lag/pay/B", "behind/pay.payments", "sent/campaigns"];
        let is_busy = now["points"]["class/open"].as_f64().is_some_and(|rate| rate > 0.0);
        is_busy && names.iter().all(|name| now["points"][name].is_number())
    })
    .await;
    let moments = moments(up, 3).await;
    let whole = ["summary", "sites", "log", "tables", "campaign", "money", "roles"];
    for card in whole {
        assert!(moments[0]["cards"][card].is_string(), "the first moment lacks {card}");
    }
    let times: Vec<f64> = moments.iter().map(|moment| moment["t"].as_f64().unwrap()).collect();
    assert!(times.is_sorted(), "{times:?}");
    assert!(moments[2]["cards"]["happened"].is_null(), "a card that stays is not sent again");
    let (_, series) = text(&client(), up.url("console.page", "/series.json?since=0")).await;
    let series: Value = serde_json::from_str(&series).unwrap();
    let columns = series["columns"]["t"].as_array().unwrap().len();
    assert_eq!(series["columns"]["series"]["class/open"].as_array().unwrap().len(), columns);
}

async fn strangers_change_nothing(up: &Up, data: &Path) {
    let http = client();
    let wrong = http.post(up.url("console.page", "/login")).body("token=naru_0").send().await.unwrap();
    assert_eq!(wrong.status(), 403);
    assert!(wrong.headers().get(SET_COOKIE).is_none());
    let nobody = http.post(up.url("console.page", "/plans")).body("name-campaign-web=on").send().await.unwrap();
    assert_eq!(nobody.status(), 401);
    let mut person = Person::logs_in(up, data, "requester").await;
    let elsewhere = http.post(up.url("console.page", "/plans")).header(COOKIE, &person.cookie);
    let elsewhere = elsewhere.header(ORIGIN, "http://evil.example");
    let elsewhere = elsewhere.body(format!("csrf={}&name-campaign-web=on", person.csrf)).send().await.unwrap();
    assert_eq!(elsewhere.status(), 403);
    let csrf = std::mem::take(&mut person.csrf);
    assert_eq!(person.sends("/plans", "&name-campaign-web=on").await.status(), 403);
    assert_eq!(person.sends("/logout", "").await.status(), 303);
    assert!(person.sees("/plans").await.contains(&csrf), "a logout without its form changed something");
    person.csrf = csrf;
    assert_eq!(person.sends("/logout", "").await.status(), 303);
    assert_eq!(person.sends("/plans", "&name-campaign-web=on").await.status(), 401);
}

async fn plans_are_approved(up: &Up, data: &Path) {
    let (requester, approver) =
        (Person::logs_in(up, data, "requester").await, Person::logs_in(up, data, "approver").await);
    let made = requester.sends("/plans", "&name-campaign-web=on").await;
    let plan = place(&made);
    assert_eq!((made.status().as_u16(), plan.len()), (303, "/plans/".len() + HASH_CHARS), "{plan}");
    let page = requester.sees(&format!("{plan}?lang=en")).await;
    for holds in ["₩72,000", "needs somebody else&#39;s approval", "on demand", "lowest price"] {
        let holds = holds.replace("&#39;", "'");
        assert!(page.contains(&holds), "{holds}: {page}");
    }
    // Control refuses, and the page says why.
    let early = requester.sends(&format!("{plan}/apply"), "").await;
    assert_eq!(early.status(), 409);
    assert!(early.text().await.unwrap().contains("somebody else must run naru approve"));
    let own = requester.sends(&format!("{plan}/approve"), "").await;
    assert_eq!(own.status(), 403);
    let approved = approver.sends(&format!("{plan}/approve"), "").await;
    assert_eq!((approved.status().as_u16(), place(&approved)), (303, format!("{plan}?said=approved")));
    assert!(approver.sees(&format!("{plan}?said=approved&lang=en")).await.contains("Approved. It stands"));
    assert_eq!(approver.sends(&format!("{plan}/apply"), "").await.status(), 403);
    let applied = requester.sends(&format!("{plan}/apply"), "").await;
    assert_eq!((applied.status().as_u16(), place(&applied)), (303, format!("{plan}?said=applied")));
    eventually("three machines are ready", async || requester.sees("/plans").await.contains("3/3")).await;
}

async fn questions_are_answered(up: &Up, data: &Path) {
    let person = Person::logs_in(up, data, "approver").await;
    let page = person.sees("/sql?lang=en&q=select+table_name,+stage+from+naru.freshness+order+by+1").await;
    assert!(page.contains("<td>pay.payments</td>") && page.contains("Link to this question"), "{page}");
    let wrong = person.sees("/sql?lang=en&q=select+nothing+from+nowhere").await;
    assert!(wrong.contains("said bad") && wrong.contains("nowhere"), "{wrong}");
    let written = person.sees("/sql?lang=en&q=drop+table+pay.payments").await;
    assert!(written.contains("said bad"), "{written}");
}

/// What the watch is told of is a mark on the charts.
async fn changes_are_marked(up: &Up) {
    let http = client();
    let change = serde_json::json!({ "kind": "deploy", "what": "edge 1.4", "by": "ci" });
    let told = http.post(up.url("watch.listen", "/v1/changes")).json(&change).send().await.unwrap();
    assert!(told.status().is_success(), "{}", told.status());
    eventually("the change is a mark", async || {
        let (_, series) = text(&http, up.url("console.page", "/series.json?since=0")).await;
        series.matches("deploy: edge 1.4 (ci)").count() == 2
    })
    .await;
    let (_, page) = text(&http, up.url("console.page", "/?lang=ko")).await;
    assert!(page.contains("deploy: edge 1.4 (ci)"), "{page}");
}

async fn a_part_that_is_away_hides_no_other(up: &Up) {
    let http = client();
    // It comes back by itself, each time a little later; an absence between two looks of the console is not seen.
    eventually("the courier is shown as away, and the log as it is", async || {
        let (_, page) = text(&http, up.url("console.page", "/?lang=en")).await;
        let is_away = page.contains("<span class=\"why\">no connection</span>");
        if !is_away {
            up.kill_member("courier");
        }
        is_away && page.contains("duplex: acknowledged when both sides have it")
    })
    .await;
    eventually("the courier is back, and marked so", async || {
        let (_, page) = text(&http, up.url("console.page", "/?lang=en")).await;
        page.contains("courier is away") && page.contains("courier is back")
    })
    .await;
}
