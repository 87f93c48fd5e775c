//! The load: h2load of nghttp2, the same for every gateway.

use std::process::Command;

use crate::world::{Failure, LOAD_PROCESSOR, pinned};

/// What is asked, and over how many connections.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// Whether connections are encrypted.
    pub tls: bool,
    /// HTTP/2 with this many streams on each connection; HTTP/1.1 without.
    pub streams: Option<u32>,
    pub connections: u32,
    pub requests: u32,
}

impl Load {
    /// Sends all requests, wants every answer to be 2xx, and says how many were answered per second.
    pub fn run(&self, port: u16, path: &str, cookie: Option<&str>) -> Result<f64, Failure> {
        let mut command = pinned(LOAD_PROCESSOR, "h2load");
        command.args(["--threads=1", &format!("--clients={}", self.connections)]);
        command.arg(format!("--requests={}", self.requests));
        match self.streams {
            Some(streams) => command.arg(format!("--max-concurrent-streams={streams}")),
            None => command.arg("--h1"),
        };
        if let Some(cookie) = cookie {
            command.arg(format!("--header=cookie: {cookie}"));
        }
        command.arg(format!("{}://127.0.0.1:{port}{path}", if self.tls { "https" } else { "http" }));
        self.read(command)
    }

    fn read(&self, mut command: Command) -> Result<f64, Failure> {
        let output = command.output()?;
        let said = String::from_utf8(output.stdout)?;
        let line = |beginning: &str| said.lines().find_map(|line| line.strip_prefix(beginning));
        let good = line("status codes: ").and_then(|codes| codes.split_once(" 2xx")).map(|(count, _)| count);
        let rate = line("finished in ").and_then(|rest| rest.split(", ").nth(1)?.strip_suffix(" req/s"));
        match (good, rate) {
            (Some(good), Some(rate)) if good == self.requests.to_string() => Ok(rate.parse()?),
            _ => Err(format!("not every request was answered well: {command:?}\n{said}").into()),
        }
    }
}
