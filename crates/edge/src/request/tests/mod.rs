#![allow(clippy::unwrap_used)] // a test panics on failure

mod behind;
mod http1;
mod http2;
mod timing;
mod vectors;
