//! `naru up`: everything starts, answers, comes back when it is killed, ends in order, and goes on with its data.

pub(crate) mod process;

use std::net::{SocketAddr, TcpListener};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;

use self::process::{Up, eventually};

/// What everybody must be able to use, and how each is asked whether it is there.
const ANSWERS: [(&str, &str); 8] = [
    ("console.page", "/"),
    ("console.page", "/health"),
    ("relay.status", "/status"),
    ("edge.admin", "/state"),
    ("control.listen", "/openapi.json"),
    ("cloud-sim.listen", "/flavors"),
    ("courier.listen", "/v1/status"),
    ("watch.listen", "/v1/status"),
];

#[tokio::test]
async fn everything_answers_and_a_second_start_goes_on_with_the_first() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    let http = reqwest::Client::builder().no_proxy().build().unwrap();

    let up = Up::start(&data, &[]).await;
    for (port, path) in ANSWERS {
        let answer = http.get(up.url(port, path)).send().await.unwrap();
        assert!(answer.status().is_success(), "{port}{path}: {}", answer.status());
    }
    for port in ["broker-a.listen", "broker-b.listen", "relay.listen", "lake.sql", "edge.listen"] {
        TcpStream::connect(up.address(port)).await.unwrap_or_else(|error| panic!("{port}: {error}"));
    }
    let token = std::fs::read_to_string(data.join("tokens/requester")).unwrap();
    let asked = json!({
        "kind": "service", "name": "kept", "team": "demo", "template": "web-1", "flavor": "small", "count": 1, "hours": 1,
    });
    let asking = http.put(up.url("control.listen", "/v1/requests/kept")).bearer_auth(&token).json(&asked);
    assert_eq!(asking.send().await.unwrap().status(), 200);

    up.kill_member("courier");
    eventually("the courier is there again", async || {
        http.get(up.url("courier.listen", "/v1/status")).send().await.is_ok()
    })
    .await;

    let first = up.addresses();
    let (status, said) = up.stop();
    assert!(status.success(), "{status}: {said}");
    for (name, address) in &first {
        let address: SocketAddr = address.parse().unwrap();
        TcpListener::bind(address).unwrap_or_else(|error| panic!("{name} still has {address}: {error}"));
    }

    let up = Up::start(&data, &[]).await;
    assert_eq!(up.addresses(), first);
    let asking = http.get(up.url("control.listen", "/v1/resources")).bearer_auth(&token);
    let held: Value = asking.send().await.unwrap().json().await.unwrap();
    assert_eq!(held["requests"][0]["spec"]["name"], "kept", "{held}");
    let (status, said) = up.stop();
    assert!(status.success(), "{status}: {said}");
}

#[tokio::test]
async fn a_member_that_cannot_start_is_named_and_the_others_end() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    std::fs::create_dir_all(data.join("lake")).unwrap();
    std::fs::write(data.join("lake/own.toml"), "[nonsense]\nkey = 1\n").unwrap();
    let (status, said) = Up::fails(&data).await;
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("lake ended") && said.contains("nonsense"), "{said}");
    assert_eq!(process::members_of(&data), Vec::<String>::new());
}
