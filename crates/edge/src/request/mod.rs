//! The strict request check: what is refused before anything else reads it.
//!
//! Request smuggling lives on two readers that take the same bytes for different requests. So nothing is mended here:
//! what is not written in the one plain way is refused, and what passes is passed byte for byte. [`RequestCheck`] reads
//! the raw bytes of an HTTP/1.1 connection, [`check_fields`] and [`check_parts`] what an HTTP/2 library has decoded.
//! Both are pure: bytes and times in, a verdict out.

mod chunk;
mod connection;
mod head;
mod http2;
mod limits;
mod refusal;
mod syntax;
mod target;

pub use connection::{RequestCheck, Step};
pub use http2::{check_fields, check_parts};
pub use limits::Limits;
pub use refusal::{Reason, Refusal};

#[cfg(test)]
mod tests;
