//! The server behind every gateway: it reads heads and answers the same 64 bytes, on connections that stay open.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::world::Failure;

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 64\r\n\r\n\
    0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const HEAD_END: &[u8] = b"\r\n\r\n";
/// No gateway here sends a longer head.
const HEAD_BYTES_MAX: usize = 8 << 10;

/// Serves on the address until the process is killed.
pub fn play(words: &[String]) -> Result<(), Failure> {
    let address: SocketAddr = words.first().ok_or("an address is wanted")?.parse()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(address).await?;
        let mut connections = JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            connections.spawn(serve(stream));
            // A gateway may close a connection as it likes.
            while connections.try_join_next().is_some() {}
        }
    })
}

async fn serve(mut stream: TcpStream) -> std::io::Result<()> {
    let mut held = Vec::with_capacity(HEAD_BYTES_MAX);
    loop {
        while let Some(at) = held.windows(HEAD_END.len()).position(|bytes| bytes == HEAD_END) {
            held.drain(..at + HEAD_END.len());
            stream.write_all(ANSWER).await?;
        }
        if held.len() > HEAD_BYTES_MAX || stream.read_buf(&mut held).await? == 0 {
            return Ok(());
        }
    }
}
