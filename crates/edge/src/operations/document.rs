//! The checked-in description of the admin interface, held against what is served.

#![allow(clippy::unwrap_used)] // a test panics on failure

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use naru_runtime::clocks::SystemClock;
use naru_runtime::config::Sources;
use naru_runtime::tasks::Tasks;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::admin;
use crate::adapter::Front;
use crate::gateway::Gateway;

const CONFIG: &str = r#"
owned_networks = ["10.1.0.0/16"]
site = [
    { name = "idc-1", kind = "owned", slots = 20, core_reserve = 4 },
    { name = "cloud-1", kind = "rented", slots = 10 },
]
[[pool]]
name = "promo"
members = [{ site = "idc-1", peers = ["10.1.0.1:80"] }, { site = "cloud-1", peers = ["198.51.100.1:80"] }]
[[route]]
path = "/promo"
class = "open"
pool = "promo"
"#;

/// An admin interface of its own, and where it is.
async fn serve(state: &Path, tasks: &Tasks) -> SocketAddr {
    let file = state.join("edge.toml");
    let dir = state.display();
    let keys = format!("keys = {{ tokens = \"{dir}/t\", decisions = \"{dir}/d\", pseudonyms = \"{dir}/p\" }}\n");
    std::fs::write(&file, format!("state = \"{dir}\"\n{keys}{CONFIG}")).unwrap();
    let config = Sources::default().file(&file).load().unwrap();
    let gateway = Arc::new(Gateway::open(config, Arc::new(SystemClock::new())).unwrap());
    let front = Arc::new(Front::new(gateway.clone()).unwrap());
    admin::serve(&gateway, &front, tasks).await.unwrap()
}

/// Status and body of an answer.
async fn ask(address: SocketAddr, call: &str, body: &str) -> (u16, String) {
    let length = body.len();
    let head = format!("{call} HTTP/1.1\r\nhost: edge\r\nconnection: close\r\ncontent-type: application/json\r\n");
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(format!("{head}content-length: {length}\r\n\r\n").as_bytes()).await.unwrap();
    // A body that is too long is refused by its declared length, and the connection is closed in front of it.
    if stream.write_all(body.as_bytes()).await.is_err() {
        assert!(length > 1000, "{call}");
    }
    let mut answer = Vec::new();
    if let Err(error) = stream.read_to_end(&mut answer).await {
        assert!(length > 1000, "{call}: {error}");
    }
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

fn document() -> Value {
    serde_json::from_str(admin::OPENAPI).unwrap()
}

/// Everything by which a value differs from what the document says of it.
fn differences(document: &Value, schema: &Value, value: &Value, at: &str) -> Vec<String> {
    if let Some(name) = schema["$ref"].as_str() {
        let path = name.trim_start_matches('#');
        return differences(document, document.pointer(path).unwrap(), value, at);
    }
    let named = schema["enum"].as_array().is_none_or(|names| names.contains(value));
    match schema["type"].as_str().unwrap() {
        "string" if value.is_string() && named => Vec::new(),
        "boolean" if value.is_boolean() => Vec::new(),
        "integer" if value.is_u64() => Vec::new(),
        "array" if value.is_array() => {
            let values = value.as_array().unwrap().iter().enumerate();
            values.flat_map(|(n, item)| differences(document, &schema["items"], item, &format!("{at}[{n}]"))).collect()
        }
        "object" if value.is_object() => {
            let known = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
            let Some(properties) = schema.get("properties") else { return Vec::new() };
            let (said, served) = (known(properties), known(value));
            let required: BTreeSet<_> =
                schema["required"].as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect();
            let is_wrong = |name: &&String| required.contains(*name) || !said.contains(*name);
            let wrong = served.symmetric_difference(&said).filter(is_wrong);
            let mut found: Vec<String> = wrong.map(|name| format!("{at}.{name}")).collect();
            for name in served.intersection(&said) {
                found.extend(differences(document, &properties[name], &value[name], &format!("{at}.{name}")));
            }
            found
        }
        kind => vec![format!("{at}: {value} is no {kind}")],
    }
}

async fn check(address: SocketAddr, call: &str, body: &str, expect: u16) {
    let (method, path) = call.split_once(' ').unwrap();
    let (status, body) = ask(address, call, body).await;
    assert_eq!(status, expect, "{call}: {body}");
    let document = document();
    let said = &document["paths"][path][method.to_lowercase()]["responses"][expect.to_string()];
    let schema = &said["content"]["application/json"]["schema"];
    assert!(!schema.is_null(), "{call}: the document knows no {expect}");
    let value: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(differences(&document, schema, &value, call), Vec::<String>::new(), "{value}");
}

#[tokio::test]
async fn what_is_served_is_what_the_document_says() {
    let (state, tasks) = (tempfile::tempdir().unwrap(), Tasks::new());
    let address = serve(state.path(), &tasks).await;
    check(address, "GET /state", "", 200).await;
    check(address, "GET /headroom", "", 200).await;
    check(address, "GET /openapi.json", "", 200).await;
    check(address, "POST /drain", r#"{"site": "idc-1", "draining": true}"#, 200).await;
    check(address, "POST /drain", r#"{"site": "idc-9", "draining": true}"#, 404).await;
    check(address, "POST /drain", r#"{"site": "idc-1"}"#, 422).await;
    check(address, "POST /drain", "{", 400).await;
    check(address, "POST /drain", &" ".repeat(5000), 413).await;
    check(address, "PUT /plan", "no plan", 400).await;
    check(address, "PUT /plan", &format!(r#"{{"plan": "{{}}", "key": "{:016}", "signature": "{:0128}"}}"#, 0, 0), 403)
        .await;
}

#[tokio::test]
async fn every_path_of_the_document_is_served_and_no_other() {
    let (state, tasks) = (tempfile::tempdir().unwrap(), Tasks::new());
    let address = serve(state.path(), &tasks).await;
    let said: BTreeSet<String> = document()["paths"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(said, admin::PATHS.iter().map(ToString::to_string).collect());
    for path in said {
        assert_eq!(ask(address, &format!("DELETE {path}"), "").await.0, 405, "{path}");
    }
}

#[test]
fn a_difference_is_seen() {
    let document = document();
    let schema = &document["components"]["schemas"]["Headroom"];
    let check = |text: &str, expect: &[&str]| {
        assert_eq!(differences(&document, schema, &serde_json::from_str(text).unwrap(), "h"), expect, "{text}");
    };
    check(r#"{"class": "core", "free": 1, "limit": 2, "stop": false, "waiting": 0}"#, &[]);
    check(r#"{"class": "core", "free": 1, "limit": 2, "stop": false}"#, &["h.waiting"]);
    check(r#"{"class": "core", "free": 1, "limit": 2, "stop": false, "waiting": 0, "x": 1}"#, &["h.x"]);
    check(
        r#"{"class": "cor", "free": 1, "limit": 2, "stop": 0, "waiting": 0}"#,
        &["h.class: \"cor\" is no string", "h.stop: 0 is no boolean"],
    );
}
