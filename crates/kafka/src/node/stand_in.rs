//! `naru broker` as a child.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;

use super::{NodeError, NodeOptions};

/// How much of the log is looked at for the ready line, which is among the first lines of a run.
const READY_SEARCH_BYTES_MAX: u64 = 1 << 20;

pub(super) fn command(exe: &Path, options: &NodeOptions, data: &Path, port: u16) -> Command {
    let mut command = Command::new(exe);
    command
        .arg("broker")
        .arg("--data")
        .arg(data)
        .arg("--listen")
        .arg(SocketAddr::from((Ipv4Addr::LOCALHOST, port)).to_string())
        .arg("--cluster-id")
        .arg(&options.cluster_id)
        .arg("--node-id")
        .arg(options.node_id.to_string())
        .args(&options.args);
    command
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ready {
    pub(super) admin: Option<SocketAddr>,
}

/// Looks for a whole line `ready listen=ADDR [admin=ADDR]` after `start` bytes of the log.
pub(super) fn ready_line(log: &Path, start: u64) -> Result<Option<Ready>, NodeError> {
    let mut text = Vec::new();
    let mut read = || -> std::io::Result<()> {
        let mut file = File::open(log)?;
        file.seek(SeekFrom::Start(start))?;
        file.take(READY_SEARCH_BYTES_MAX).read_to_end(&mut text)?;
        Ok(())
    };
    read().map_err(|source| NodeError::File { path: log.to_owned(), source })?;
    Ok(parse_ready(&String::from_utf8_lossy(&text)))
}

pub(super) fn parse_ready(text: &str) -> Option<Ready> {
    let whole_lines = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    let fields = whole_lines.filter_map(|line| line.strip_prefix("ready ")).find(|line| line.contains("listen="))?;
    let admin = fields.split_ascii_whitespace().find_map(|field| field.strip_prefix("admin="));
    Some(Ready { admin: admin.and_then(|address| address.parse().ok()) })
}
