//! A service over HTTP, its log away: what it answers, what stands in its books, what waits in its outbox.
#![allow(clippy::unwrap_used)] // a test panics on failure

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use naru_sample::{Config, Kind, Service, ServiceError};
use reqwest::StatusCode;
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_millis(200);

struct Running {
    service: Service,
    kind: Kind,
    client: reqwest::Client,
}

fn config(kind: Kind, data: &Path) -> Config {
    Config {
        kind,
        listen: "127.0.0.1:0".parse().unwrap(),
        data: data.to_owned(),
        // Nothing listens on port 1.
        brokers: "127.0.0.1:1".to_owned(),
        opening_grant: 1000,
    }
}

impl Running {
    async fn start(kind: Kind, data: &Path) -> Self {
        let service = Service::start(config(kind, data)).await.unwrap();
        Self { service, kind, client: reqwest::Client::new() }
    }

    async fn get(&self, path: &str) -> (StatusCode, Value) {
        let url = format!("http://{}{path}", self.service.address());
        let response = self.client.get(url).send().await.unwrap();
        (response.status(), response.json().await.unwrap())
    }

    async fn post(&self, key: &str, body: &Value) -> (StatusCode, Value) {
        let url = format!("http://{}/{}", self.service.address(), self.kind.plural());
        let request = self.client.post(url).header("Idempotency-Key", key).json(body);
        let response = request.send().await.unwrap();
        (response.status(), response.json().await.unwrap())
    }

    async fn balances(&self, account: &str) -> Value {
        let (status, mut body) = self.get(&format!("/balances/{account}")).await;
        if status == StatusCode::NOT_FOUND { Value::Null } else { body["balances"].take() }
    }

    async fn outbox(&self) -> Vec<Value> {
        let rows = self.service.reader().outbox(0, usize::MAX).await.unwrap();
        rows.into_iter().map(|row| serde_json::from_str(&row.value).unwrap()).collect()
    }
}

fn payment(user: &str, currency: &str, minor: i64) -> Value {
    json!({ "user": user, "merchant": "shop", "amount": { "currency": currency, "minor": minor } })
}

fn krw(minor: i64) -> Value {
    json!([{ "currency": "KRW", "minor": minor }])
}

#[tokio::test]
async fn a_payment_is_booked_twice_and_waits_for_the_log() {
    let data = tempfile::tempdir().unwrap();
    let running = Running::start(Kind::Payment, data.path()).await;
    let (status, answer) = running.post("k1", &payment("u1", "KRW", 300)).await;
    assert_eq!(status, StatusCode::CREATED);
    assert_eq!(answer["sequence"], 1);

    assert_eq!(running.balances("user:u1").await, krw(700));
    assert_eq!(running.balances("merchant:shop").await, krw(300));
    assert_eq!(running.balances("equity:opening").await, krw(-1000));
    assert_eq!(running.balances("user:u2").await, Value::Null);
    assert_eq!(running.service.reader().imbalances().await.unwrap(), 0);

    let id = answer["id"].as_str().unwrap();
    let (status, stored) = running.get(&format!("/payments/{id}")).await;
    assert_eq!((status, &stored["amount"]["minor"]), (StatusCode::OK, &json!(300)));
    let (_, status) = running.get("/status").await;
    assert_eq!(status, json!({ "service": "payment", "operations": 1, "outbox_pending": 1, "log": "away" }));
    let record = json!({
        "id": id, "kind": "payment", "sequence": 1, "idempotency_key": "k1", "user": "u1", "merchant": "shop",
        "amount": { "currency": "KRW", "minor": 300 },
    });
    assert_eq!(running.outbox().await, [record]);
    running.service.drain(PATIENCE).await;
}

#[tokio::test]
async fn a_repeated_request_gets_the_same_answer_and_another_body_none() {
    let data = tempfile::tempdir().unwrap();
    let running = Running::start(Kind::Payment, data.path()).await;
    let first = running.post("k1", &payment("u1", "KRW", 300)).await;
    let too_much = running.post("k2", &payment("u1", "KRW", 701)).await;
    assert_eq!((too_much.0, &too_much.1["error"]), (StatusCode::CONFLICT, &json!("insufficient_funds")));
    assert_eq!(running.post("k1", &payment("u1", "KRW", 300)).await, first);
    assert_eq!(running.post("k2", &payment("u1", "KRW", 701)).await, too_much);
    for (key, body) in
        [("k1", payment("u1", "KRW", 301)), ("k1", payment("u2", "KRW", 300)), ("k2", payment("u1", "KRW", 1))]
    {
        let (status, answer) = running.post(key, &body).await;
        assert_eq!((status, &answer["error"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!("idempotency_key_reused")));
    }
    running.service.drain(PATIENCE).await;

    let running = Running::start(Kind::Payment, data.path()).await;
    assert_eq!(running.post("k1", &payment("u1", "KRW", 300)).await, first);
    assert_eq!(running.post("k2", &payment("u1", "KRW", 701)).await, too_much);
    assert_eq!(running.post("k3", &payment("u1", "KRW", 700)).await.1["sequence"], 2);
    assert_eq!(running.balances("user:u1").await, krw(0));
    assert_eq!(running.outbox().await.len(), 2);
    running.service.drain(PATIENCE).await;
}

#[tokio::test]
async fn a_transfer_opens_both_wallets_in_each_currency() {
    let data = tempfile::tempdir().unwrap();
    let running = Running::start(Kind::Transfer, data.path()).await;
    let transfer = |user: &str, to: &str, currency: &str| json!({ "user": user, "to": to, "amount": { "currency": currency, "minor": 400 } });
    assert_eq!(running.post("k1", &transfer("a", "b", "KRW")).await.0, StatusCode::CREATED);
    assert_eq!(running.post("k2", &transfer("a", "b", "EUR")).await.0, StatusCode::CREATED);
    assert_eq!(running.post("k3", &transfer("b", "a", "KRW")).await.1["sequence"], 1);
    let both = |eur: i64, krw: i64| json!([{ "currency": "EUR", "minor": eur }, { "currency": "KRW", "minor": krw }]);
    assert_eq!(running.balances("user:a").await, both(600, 1000));
    assert_eq!(running.balances("user:b").await, both(1400, 1000));
    assert_eq!(running.balances("equity:opening").await, both(-2000, -2000));
    assert_eq!(running.service.reader().imbalances().await.unwrap(), 0);
    assert_eq!(running.outbox().await[0]["to"], "b");
    running.service.drain(PATIENCE).await;
}

#[tokio::test]
async fn requests_at_once_keep_the_books_and_the_order() {
    let data = tempfile::tempdir().unwrap();
    let running = Running::start(Kind::Payment, data.path()).await;
    let users = ["u0", "u1", "u2"];
    // 60 payments of 20 for each user, of which the grant of 1000 covers 50.
    let bodies: Vec<_> = (0..180).map(|n| (format!("k{n}"), payment(users[n % 3], "KRW", 20))).collect();
    let mut calls = tokio::task::JoinSet::new();
    for (key, body) in bodies {
        let url = format!("http://{}/payments", running.service.address());
        let request = running.client.post(url).header("Idempotency-Key", key).json(&body);
        calls.spawn(async move { request.send().await.unwrap().status() });
    }
    let statuses = calls.join_all().await;
    assert_eq!(statuses.iter().filter(|status| **status == StatusCode::CREATED).count(), 150);
    assert_eq!(statuses.iter().filter(|status| **status == StatusCode::CONFLICT).count(), 30);
    assert_eq!(running.balances("merchant:shop").await, krw(3000));
    assert_eq!(running.service.reader().imbalances().await.unwrap(), 0);
    let mut sequences: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for record in running.outbox().await {
        let user = record["user"].as_str().unwrap().to_owned();
        sequences.entry(user).or_default().push(record["sequence"].as_i64().unwrap());
    }
    assert_eq!(sequences.len(), 3);
    assert!(sequences.values().all(|sequence| sequence.iter().copied().eq(1..=50)));
    running.service.drain(PATIENCE).await;
}

#[tokio::test]
async fn a_bad_request_is_told_what_to_mend() {
    let data = tempfile::tempdir().unwrap();
    let running = Running::start(Kind::Payment, data.path()).await;
    let good = payment("u1", "KRW", 1).to_string();
    let long = "k".repeat(129);
    let url = format!("http://{}/payments", running.service.address());
    let check = async |key: Option<&str>, content_type: &str, body: String, status: u16, error: &str, says: &str| {
        let request = running.client.post(&url).header("Content-Type", content_type).body(body);
        let request = key.into_iter().fold(request, |request, key| request.header("Idempotency-Key", key));
        let response = request.send().await.unwrap();
        assert_eq!(response.status().as_u16(), status, "{error}");
        let answer: Value = response.json().await.unwrap();
        assert_eq!(answer["error"], error);
        assert!(answer["message"].as_str().unwrap().contains(says), "{answer}");
    };
    let json = "application/json";
    check(None, json, good.clone(), 400, "idempotency_key_invalid", "`Idempotency-Key`").await;
    check(Some(&long), json, good.clone(), 400, "idempotency_key_invalid", "1 to 128").await;
    check(Some("a b"), json, good.clone(), 400, "idempotency_key_invalid", "visible ASCII").await;
    check(Some("k"), "text/plain", good.clone(), 415, "not_json", "content-type").await;
    check(Some("k"), json, " ".repeat(4097), 413, "body_too_large", "4096 bytes").await;
    check(Some("k"), json, String::new(), 400, "body_invalid", "EOF").await;
    check(Some("k"), json, r#"{"user":7}"#.to_owned(), 400, "body_invalid", "`user` as 1 to 64").await;
    check(Some("k"), json, r#"{"usr":"u"}"#.to_owned(), 400, "body_invalid", "unknown field `usr`").await;
    check(Some("k"), "application/json; charset=utf-8", r#"{"#.to_owned(), 400, "body_invalid", "EOF").await;
    assert_eq!(running.get("/payments/none").await.0, StatusCode::NOT_FOUND);
    assert_eq!(running.outbox().await.len(), 0);
    running.service.drain(PATIENCE).await;
}

#[tokio::test]
async fn a_second_process_does_not_share_the_database() {
    let data = tempfile::tempdir().unwrap();
    let running = Running::start(Kind::Payment, data.path()).await;
    let second = Service::start(config(Kind::Payment, data.path())).await;
    assert!(matches!(second, Err(ServiceError::InUse { .. })), "{second:?}");
    running.service.drain(PATIENCE).await;
}
