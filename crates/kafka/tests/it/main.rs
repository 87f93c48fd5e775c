//! The client and the stand-in in one process: every question the client can ask is answered as Kafka answers it.

mod walk;

use std::time::Duration;

use naru_kafka::{
    client::ClientConfig,
    standin::{Standin, StandinConfig},
};

#[tokio::test(flavor = "multi_thread")]
async fn the_client_walks_through_the_stand_in() {
    let data = tempfile::tempdir().expect("a directory for the log");
    let listen = "127.0.0.1:0".parse().expect("an address");
    let standin = Standin::start(StandinConfig::new(data.path(), listen)).await.expect("a stand-in");
    walk::walk(ClientConfig::new([standin.local_addr().to_string()])).await;
    standin.shutdown(Duration::from_secs(10)).await.expect("a clean end");
}
