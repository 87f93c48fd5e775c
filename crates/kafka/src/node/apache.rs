//! Apache Kafka as a child: one JVM that is broker and controller.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use super::{NodeError, NodeOptions, POLL_INTERVAL, log_tail, spawn};

/// A JVM that only writes a directory: 2 s on an idle machine.
const FORMAT_WITHIN: Duration = Duration::from_secs(60);

/// `server.properties`: the smallest single node, with `options.properties` on top.
pub(super) fn properties(options: &NodeOptions, port: u16, controller_port: u16) -> String {
    let node_id = options.node_id;
    let data = options.dir.join("data");
    let defaults = [
        ("process.roles", "broker,controller".to_owned()),
        ("node.id", node_id.to_string()),
        ("controller.quorum.voters", format!("{node_id}@127.0.0.1:{controller_port}")),
        ("listeners", format!("PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}")),
        ("advertised.listeners", format!("PLAINTEXT://127.0.0.1:{port}")),
        ("controller.listener.names", "CONTROLLER".to_owned()),
        ("listener.security.protocol.map", "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT".to_owned()),
        ("log.dirs", data.display().to_string()),
        ("offsets.topic.num.partitions", "4".to_owned()),
        ("offsets.topic.replication.factor", "1".to_owned()),
        ("transaction.state.log.replication.factor", "1".to_owned()),
        ("transaction.state.log.min.isr", "1".to_owned()),
        ("transaction.state.log.num.partitions", "4".to_owned()),
        ("share.coordinator.state.topic.replication.factor", "1".to_owned()),
        ("share.coordinator.state.topic.min.isr", "1".to_owned()),
        ("group.initial.rebalance.delay.ms", "0".to_owned()),
    ];
    let mut lines = BTreeMap::from(defaults.map(|(name, value)| (name.to_owned(), value)));
    lines.extend(options.properties.iter().cloned());
    lines.iter().map(|(name, value)| format!("{name}={value}\n")).collect()
}

/// Runs Kafka's storage tool on an empty data directory.
pub(super) async fn format(java: &Path, libs: &Path, options: &NodeOptions, log: &Path) -> Result<(), NodeError> {
    let mut command = jvm(java, libs);
    command
        // It runs for a moment: compiling its methods would cost more than it gives.
        .args(["-Xmx128m", "-XX:TieredStopAtLevel=1"])
        .args(["kafka.tools.StorageTool", "format", "--cluster-id", &options.cluster_id, "--config"])
        .arg(options.dir.join("server.properties"));
    let mut child = spawn::spawn(command, log)?;
    let pid = child.id();
    let deadline = Instant::now() + FORMAT_WITHIN;
    let process_error = |source| NodeError::Process { pid, what: "awaited", source };
    loop {
        match child.try_wait().map_err(process_error)? {
            Some(status) if status.success() => return Ok(()),
            Some(status) => {
                return Err(NodeError::Ended { what: "the storage tool", status, log_tail: log_tail(log) });
            }
            None if Instant::now() >= deadline => {
                child.kill().map_err(process_error)?;
                child.wait().map_err(process_error)?;
                return Err(NodeError::TimedOut {
                    what: "formatting the storage",
                    within: FORMAT_WITHIN,
                    log_tail: log_tail(log),
                });
            }
            None => tokio::time::sleep(POLL_INTERVAL).await,
        }
    }
}

/// The broker itself.
pub(super) fn command(java: &Path, libs: &Path, options: &NodeOptions) -> Command {
    let mut command = jvm(java, libs);
    command.arg("-Xmx512m").args(&options.args).arg("kafka.Kafka").arg(options.dir.join("server.properties"));
    command
}

fn jvm(java: &Path, libs: &Path) -> Command {
    let mut command = Command::new(java);
    command.args(["-XX:+UseSerialGC", "-Djava.awt.headless=true", "-cp"]).arg(libs.join("*"));
    command
}
