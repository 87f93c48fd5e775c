//! Clients that keep asking, over connections that stay, and count what failed.

use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use crate::edge::process::PATIENCE;

/// Between two requests of a client: some hundred a second of all of them leave the machine to the edge.
const PAUSE: Duration = Duration::from_millis(5);

trait Stream: Read + Write + Send {}
impl<S: Read + Write + Send> Stream for S {}

/// Clients at work.
pub(super) struct Load {
    ends: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    clients: Vec<JoinHandle<Vec<String>>>,
}

impl Load {
    /// So many clients, by TLS if there is a configuration for it.
    pub(super) fn start(clients: usize, address: SocketAddr, tls: Option<&Arc<ClientConfig>>) -> Self {
        let (ends, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        #[expect(clippy::disallowed_methods, reason = "`end` joins them")]
        let client = |_| {
            let (ends, answered, tls) = (ends.clone(), answered.clone(), tls.cloned());
            std::thread::spawn(move || ask(address, tls.as_ref(), &ends, &answered))
        };
        let clients = (0..clients).map(client).collect();
        Self { ends, answered, clients }
    }

    /// Requests that were answered so far.
    pub(super) fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// Ends it: how many were answered, and everything that failed.
    pub(super) fn stop(self) -> (u64, Vec<String>) {
        self.ends.store(true, Ordering::Relaxed);
        let failed = self.clients.into_iter().flat_map(|client| client.join().unwrap()).collect();
        (self.answered.load(Ordering::Relaxed), failed)
    }
}

fn connect(address: SocketAddr, tls: Option<&Arc<ClientConfig>>) -> io::Result<BufReader<Box<dyn Stream>>> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    let Some(tls) = tls else { return Ok(BufReader::new(Box::new(stream))) };
    let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
    let session = ClientConnection::new(tls.clone(), name).map_err(io::Error::other)?;
    Ok(BufReader::new(Box::new(StreamOwned::new(session, stream))))
}

/// One client. A connection goes on until the edge says that it ends; nothing is asked twice.
fn ask(address: SocketAddr, tls: Option<&Arc<ClientConfig>>, ends: &AtomicBool, answered: &AtomicU64) -> Vec<String> {
    let (mut failed, mut kept, mut on_it) = (Vec::new(), None, 0);
    while !ends.load(Ordering::Relaxed) {
        let outcome = (|| {
            let mut stream = match kept.take() {
                Some(stream) => stream,
                None => {
                    on_it = 0;
                    connect(address, tls)?
                }
            };
            let goes_on = exchange(&mut stream)?;
            kept = goes_on.then_some(stream);
            Ok::<_, io::Error>(())
        })();
        match outcome {
            Ok(()) => {
                answered.fetch_add(1, Ordering::Relaxed);
                on_it += 1;
            }
            Err(error) => failed.push(format!("behind {on_it} requests on the connection: {error}")),
        }
        std::thread::sleep(PAUSE);
    }
    failed
}

/// Asks once; whether the connection may be used again.
fn exchange(stream: &mut BufReader<Box<dyn Stream>>) -> io::Result<bool> {
    stream.get_mut().write_all(b"GET /pay HTTP/1.1\r\nhost: localhost\r\n\r\n")?;
    stream.get_mut().flush()?;
    let (mut length, mut goes_on, mut line) = (0, true, String::new());
    stream.read_line(&mut line)?;
    if !line.starts_with("HTTP/1.1 200 ") {
        return Err(io::Error::other(format!("answered {line:?}")));
    }
    loop {
        line.clear();
        stream.read_line(&mut line)?;
        let field = line.trim_end().to_ascii_lowercase();
        if field.is_empty() {
            break;
        }
        if let Some(bytes) = field.strip_prefix("content-length: ") {
            length = bytes.parse().map_err(io::Error::other)?;
        }
        goes_on &= field != "connection: close";
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok(goes_on)
}
