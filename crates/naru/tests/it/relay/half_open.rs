//! A side whose connections stay open and carry nothing, as behind a firewall that has forgotten them: no packet says so.

use std::net::SocketAddr;
use std::time::Duration;

use naru_kafka::node::{Node, NodeKind, NodeOptions};
use naru_relay::status::{GroupStatus, Mode};
use naru_relay::{Side, SideMap};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::lost_side::{Load, PARTITIONS, await_group, check_everywhere};
use super::process::{PATIENCE, Pair, RelayProcess, cluster_id};

/// Stands between a relay and a side, and forwards what comes unless it is told not to: then it takes connections and
/// bytes, and answers nothing.
struct Wire {
    address: SocketAddr,
    carries: watch::Sender<bool>,
    /// Where to, once that is known.
    to: watch::Sender<Option<SocketAddr>>,
    _task: JoinSet<()>,
}

impl Wire {
    async fn lay() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (carries, carrying) = watch::channel(true);
        let (to, target) = watch::channel(None);
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut ways = JoinSet::new();
            while let Ok((near, _)) = listener.accept().await {
                let (carrying, mut target) = (carrying.clone(), target.clone());
                ways.spawn(async move {
                    let Ok(far) = target.wait_for(Option::is_some).await.map(|to| *to) else { return };
                    if let Ok(far) = TcpStream::connect(far.unwrap()).await {
                        both_ways(near, far, carrying).await;
                    }
                });
            }
        });
        Self { address, carries, to, _task: task }
    }
}

async fn both_ways(near: TcpStream, far: TcpStream, carrying: watch::Receiver<bool>) {
    let ((mut near_in, mut near_out), (mut far_in, mut far_out)) = (near.into_split(), far.into_split());
    tokio::select! {
        () = one_way(&mut near_in, &mut far_out, carrying.clone()) => {}
        () = one_way(&mut far_in, &mut near_out, carrying) => {}
    }
}

async fn one_way(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    mut carrying: watch::Receiver<bool>,
) {
    let mut bytes = vec![0; 64 << 10];
    loop {
        let Ok(count @ 1..) = from.read(&mut bytes).await else {
            // An end is held up like everything else.
            drop(carrying.wait_for(|carries| *carries).await);
            return;
        };
        if carrying.wait_for(|carries| *carries).await.is_err() || to.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
}

fn duplex(group: &GroupStatus) -> bool {
    group.mode == Mode::Duplex && group.alarms.is_empty()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_side_whose_connections_carry_nothing_any_more_is_gone_on_without_and_comes_back() {
    let dir = TempDir::new().unwrap();
    let wires = SideMap { a: Wire::lay().await, b: Wire::lay().await };
    let start = async |side: Side| {
        let kind = NodeKind::StandIn { exe: env!("CARGO_BIN_EXE_naru").into() };
        let mut options = NodeOptions::new(kind, dir.path().join(side.to_string())).arg("--flush").arg("write");
        options = options.arg("--advertised").arg(wires[side].address.to_string());
        options.cluster_id = cluster_id(&side.to_string());
        options.ready_within = PATIENCE;
        let node = Node::start(options).await.unwrap();
        wires[side].to.send_replace(Some(node.address()));
        node
    };
    let nodes = SideMap { a: start(Side::A).await, b: start(Side::B).await };
    let pair = Pair::made(nodes, dir.path());
    pair.create_topic("payments", PARTITIONS).await;
    let relay_dir = pair.path("relay");
    std::fs::create_dir_all(&relay_dir).unwrap();
    let config = format!(
        "state = {:?}\ndiscovery_interval = '200ms'\n[a]\nbootstrap = ['{}']\n[b]\nbootstrap = ['{}']\n",
        relay_dir.join("state"),
        wires.a.address,
        wires.b.address
    );
    let relay = RelayProcess::start("relay", &relay_dir, &config).await;
    let client = relay.await_topic("payments", PARTITIONS as usize).await;
    let first = await_group(&pair, "duplex", duplex).await.active;
    let load = Load::start(relay.bootstrap());
    for side in [first, first.other()] {
        wires[side].carries.send_replace(false);
        let without = format!("without {side}");
        let solo = |group: &GroupStatus| group.mode == Mode::Solo && group.active == side.other();
        await_group(&pair, &without, solo).await;
        let before = load.acknowledged();
        let deadline = std::time::Instant::now() + PATIENCE;
        while load.acknowledged() < before + 20 {
            assert!(std::time::Instant::now() < deadline, "{without}: {} acknowledged", load.acknowledged());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        // What was under way arrives now, long after it was sent again over another connection.
        wires[side].carries.send_replace(true);
        await_group(&pair, &format!("duplex with {side} again"), duplex).await;
    }
    let acked = load.end().await;
    check_everywhere(&pair, &client, &acked).await;
}
