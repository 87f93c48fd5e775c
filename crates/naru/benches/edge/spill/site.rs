//! Servers that hold each request for a fixed time, and as many at once as they have slots.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::{HELD, OWNED_SITES, SLOTS};
use crate::world::Failure;

/// In none of the owned networks.
const RENTED: Ipv4Addr = Ipv4Addr::new(127, 1, 0, 1);
const RENTED_SLOTS: usize = 100;
const HEAD_END: &[u8] = b"\r\n\r\n";

/// A request that came to a server.
#[derive(Debug, Clone, Copy)]
pub struct Arrival {
    pub at: Instant,
    /// It came to the rented site.
    pub is_spill: bool,
    /// Slots that were free at the owned sites when it came.
    pub owned_free: usize,
    /// For how long it held a slot: longer than it was meant to, where the machine is busy. None while it does.
    pub held: Option<Duration>,
}

#[derive(Debug, Default)]
struct Record {
    arrivals: Vec<Arrival>,
    /// In flight by site, the rented one last.
    in_flight: [usize; OWNED_SITES + 1],
}

type Shared = Arc<Mutex<Record>>;

fn lock(record: &Shared) -> MutexGuard<'_, Record> {
    record.lock().unwrap_or_else(PoisonError::into_inner)
}

/// All sites; they end when this is dropped.
pub struct Sites {
    pub owned: Vec<SocketAddr>,
    pub rented: SocketAddr,
    record: Shared,
    _serving: JoinSet<std::io::Result<()>>,
}

impl Sites {
    pub async fn start() -> Result<Self, Failure> {
        let record = Shared::default();
        let mut serving = JoinSet::new();
        let mut owned = Vec::new();
        for site in 0..OWNED_SITES {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
            owned.push(listener.local_addr()?);
            serving.spawn(accept(listener, site, record.clone()));
        }
        let listener = TcpListener::bind((RENTED, 0)).await?;
        let rented = listener.local_addr()?;
        serving.spawn(accept(listener, OWNED_SITES, record.clone()));
        Ok(Self { owned, rented, record, _serving: serving })
    }

    /// What has arrived since then, in order.
    pub fn since(&self, from: Instant) -> Vec<Arrival> {
        lock(&self.record).arrivals.iter().filter(|arrival| arrival.at >= from).copied().collect()
    }
}

async fn accept(listener: TcpListener, site: usize, record: Shared) -> std::io::Result<()> {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        connections.spawn(serve(stream, site, record.clone()));
        // A gateway may close a connection as it likes.
        while connections.try_join_next().is_some() {}
    }
}

async fn serve(mut stream: TcpStream, site: usize, record: Shared) -> std::io::Result<()> {
    let mut held = Vec::new();
    loop {
        while let Some(at) = held.windows(HEAD_END.len()).position(|bytes| bytes == HEAD_END) {
            let is_health = held.starts_with(b"GET /health ");
            held.drain(..at + HEAD_END.len());
            let is_good = is_health || hold(site, &record).await;
            let status = if is_good { "200 OK" } else { "503 Full" };
            stream.write_all(format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\nok").as_bytes()).await?;
        }
        if stream.read_buf(&mut held).await? == 0 {
            return Ok(());
        }
    }
}

/// Holds a slot for a while, if there is one.
async fn hold(site: usize, record: &Shared) -> bool {
    let is_spill = site == OWNED_SITES;
    let at = Instant::now();
    let number = {
        let mut record = lock(record);
        let owned: usize = record.in_flight[..OWNED_SITES].iter().sum();
        let full = record.in_flight[site] >= if is_spill { RENTED_SLOTS } else { SLOTS };
        // What a full server refuses comes again elsewhere, if it comes.
        if full {
            return false;
        }
        record.in_flight[site] += 1;
        record.arrivals.push(Arrival { at, is_spill, owned_free: OWNED_SITES * SLOTS - owned, held: None });
        record.arrivals.len() - 1
    };
    tokio::time::sleep(HELD).await;
    let mut record = lock(record);
    record.in_flight[site] -= 1;
    record.arrivals[number].held = Some(at.elapsed());
    true
}
