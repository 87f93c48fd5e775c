//! Requests at their planned times, whether or not earlier ones were answered.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::world::Failure;

const REQUEST: &[u8] = b"GET /promo HTTP/1.1\r\nHost: localhost\r\n\r\n";
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// Whoever gets no answer for so long counts as an error.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// How many requests a second, rising evenly.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    pub from_per_s: f64,
    pub to_per_s: f64,
    pub lasts: Duration,
}

impl Pace {
    /// When the request of this number is due; none behind the end.
    fn due(&self, number: u32) -> Option<Duration> {
        // The integral of the rate over time is the number: solved for time.
        let (from, number, lasts) = (self.from_per_s, f64::from(number), self.lasts.as_secs_f64());
        let rise = (self.to_per_s - from) / lasts;
        let at = if rise == 0.0 { number / from } else { ((from * from + 2.0 * rise * number).sqrt() - from) / rise };
        (at < lasts).then(|| Duration::from_secs_f64(at))
    }
}

/// Connections that wait for another request.
type Idle = Arc<Mutex<Vec<TcpStream>>>;

/// Sends every request, and says how many were not answered with 200.
pub async fn run(gateway: SocketAddr, pace: Pace) -> Result<usize, Failure> {
    let began = Instant::now();
    let idle = Idle::default();
    let mut asking = JoinSet::new();
    let mut number = 0;
    while let Some(due) = pace.due(number) {
        tokio::time::sleep_until(began + due).await;
        let idle = idle.clone();
        asking
            .spawn(async move { matches!(tokio::time::timeout(ANSWER_MAX, ask(gateway, &idle)).await, Ok(Ok(true))) });
        number += 1;
    }
    let answers = asking.join_all().await;
    Ok(answers.iter().filter(|is_good| !**is_good).count())
}

async fn ask(gateway: SocketAddr, idle: &Idle) -> std::io::Result<bool> {
    let kept = idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
    let mut stream = match kept {
        Some(stream) => stream,
        None => {
            let stream = TcpStream::connect(gateway).await?;
            stream.set_nodelay(true)?;
            stream
        }
    };
    stream.write_all(REQUEST).await?;
    let mut held = Vec::with_capacity(1024);
    loop {
        if stream.read_buf(&mut held).await? == 0 || held.len() > ANSWER_BYTES_MAX {
            return Ok(false);
        }
        // Every good answer has the two bytes of the servers behind, with or without chunks around them.
        let Some(head) = held.windows(4).position(|bytes| bytes == b"\r\n\r\n") else { continue };
        if !held.starts_with(b"HTTP/1.1 200 ") {
            return Ok(false);
        }
        if held[head + 4..].windows(2).any(|bytes| bytes == b"ok") {
            let is_chunked = held[..head].windows(7).any(|bytes| bytes.eq_ignore_ascii_case(b"chunked"));
            if !is_chunked {
                idle.lock().unwrap_or_else(PoisonError::into_inner).push(stream);
            }
            return Ok(true);
        }
    }
}
