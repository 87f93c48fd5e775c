//! Servers of three other authors behind the edge, each of which records the requests that it read whole.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, Method, Uri};
use naru_kafka::node;
use serde::Deserialize;
use tempfile::TempDir;

use super::process::{free_address, until};

/// A request as a server read it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Seen {
    pub(super) method: String,
    pub(super) target: String,
    pub(super) host: String,
    pub(super) body: String,
}

/// Who reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Author {
    Hyper,
    Nginx,
    Node,
}

/// A server that answers each request with `<METHOD target>`.
pub(super) struct BackEnd {
    pub(super) address: SocketAddr,
    record: Record,
    /// How many requests were handed out already.
    taken: usize,
}

enum Record {
    Here { seen: Arc<Mutex<Vec<Seen>>>, _runtime: tokio::runtime::Runtime },
    File { path: PathBuf, child: Child, _dir: TempDir },
}

const NODE: &str = "
const [address, port, log] = process.argv.slice(1);
require('http').createServer({ maxHeaderSize: 65536 }, (request, answer) => {
  const parts = [];
  request.on('data', part => parts.push(part));
  request.on('end', () => {
    const { method, url } = request;
    const seen = { method, target: url, host: request.headers.host ?? '', body: Buffer.concat(parts).toString() };
    require('fs').appendFileSync(log, JSON.stringify(seen) + '\\n');
    answer.end(`<${method} ${url}>`);
  });
}).listen(Number(port), address);
";

impl BackEnd {
    pub(super) fn start(author: Author) -> Self {
        let address = free_address();
        let record = match author {
            Author::Hyper => hyper(address),
            Author::Nginx => outside(address, |dir, log| {
                let file = dir.join("nginx.conf");
                std::fs::write(&file, nginx(dir, log, address)).unwrap();
                let mut nginx = Command::new("nginx");
                nginx.arg("-p").arg(dir).args(["-e", "stderr", "-c"]).arg(file);
                nginx
            }),
            Author::Node => outside(address, |_, log| {
                let mut node = Command::new("node");
                node.args(["-e", NODE, &address.ip().to_string(), &address.port().to_string()]).arg(log);
                node
            }),
        };
        Self { address, record, taken: 0 }
    }

    /// Every request that was read, those of health checks left out.
    fn all(&self) -> Vec<Seen> {
        let mut all = self.record();
        all.retain(|seen| seen.target != "/health");
        all
    }

    fn record(&self) -> Vec<Seen> {
        match &self.record {
            Record::Here { seen, .. } => seen.lock().unwrap().clone(),
            Record::File { path, .. } => {
                // A body may be no UTF-8: what stands in its place is the same in every record.
                let bytes = std::fs::read(path).unwrap_or_default();
                let text = String::from_utf8_lossy(&bytes);
                let lines = text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
                lines.map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
            }
        }
    }

    /// What was read since the last time, up to the request for this target, which is not given.
    pub(super) fn seen_before(&mut self, target: &str) -> Vec<Seen> {
        let new = until("the mark is in the record", || {
            let new = self.all().split_off(self.taken);
            new.iter().any(|seen| seen.target == target).then_some(new)
        });
        self.taken += new.len();
        new.into_iter().filter(|seen| seen.target != target).collect()
    }

    /// How many requests for this target were read.
    pub(super) fn count(&self, target: &str) -> usize {
        self.all().iter().filter(|seen| seen.target == target).count()
    }
}

impl Drop for BackEnd {
    fn drop(&mut self) {
        if let Record::File { child, .. } = &mut self.record {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

fn hyper(address: SocketAddr) -> Record {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let record = seen.clone();
    let read = async move |method: Method, uri: Uri, headers: HeaderMap, body: Bytes| {
        let host = headers.get("host").map(|host| String::from_utf8_lossy(host.as_bytes()).into_owned());
        let answer = format!("<{method} {uri}>");
        record.lock().unwrap().push(Seen {
            method: method.to_string(),
            target: uri.to_string(),
            host: host.unwrap_or_default(),
            body: String::from_utf8_lossy(&body).into_owned(),
        });
        answer
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let listener = runtime.block_on(tokio::net::TcpListener::bind(address)).unwrap();
    runtime.spawn(async { axum::serve(listener, Router::new().fallback(read)).await });
    Record::Here { seen, _runtime: runtime }
}

fn outside(address: SocketAddr, command: impl FnOnce(&Path, &Path) -> Command) -> Record {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("seen");
    let mut command = command(dir.path(), &path);
    node::tie(command.stdin(Stdio::null()).stdout(Stdio::null()));
    let child =
        command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}: run `./x test`, which installs it"));
    until("the back end listens", || std::net::TcpStream::connect(address).ok());
    Record::File { path, child, _dir: dir }
}

/// nginx reads the whole body only for another server, which is itself; only what was read well is recorded.
fn nginx(dir: &Path, log: &Path, address: SocketAddr) -> String {
    let (dir, log) = (dir.display(), log.display());
    format!(
        "daemon off; master_process off; pid {dir}/pid; error_log {dir}/error.log;\n\
         events {{ }}\n\
         http {{\n  client_body_temp_path {dir}/b; proxy_temp_path {dir}/p; fastcgi_temp_path {dir}/f; \
         uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s;\n  \
         client_max_body_size 2m; client_body_buffer_size 2m; client_header_buffer_size 16k; \
         large_client_header_buffers 8 16k; merge_slashes off;\n  \
         log_format seen escape=json \
         '{{\"method\":\"$request_method\",\"target\":\"$request_uri\",\"host\":\"$http_host\",\"body\":\"$request_body\"}}';\n  \
         map $status $is_read {{ 200 1; default 0; }}\n  \
         server {{\n    listen {address}; access_log {log} seen if=$is_read;\n    \
         location / {{ proxy_pass http://unix:{dir}/echo; }}\n  }}\n  \
         server {{\n    listen unix:{dir}/echo; access_log off;\n    \
         location / {{ return 200 '<$request_method $request_uri>'; }}\n  }}\n}}\n"
    )
}
