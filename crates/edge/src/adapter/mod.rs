//! Requests on the wire: the only place that knows Pingora.
//!
//! `listen` accepts connections within their bounds, `asker` says whose they are, `stream` lets nothing pass that the request check refuses,
//! `connection` is what stream and requests of one connection tell one another, `proxy` carries a request along its
//! stages, `forward` and `body` say what of it goes to a server, `answer` what the edge answers by itself,
//! `cookies` what a browser carries for it; `ended` counts a request and writes it down, `probe` is one health check.

mod answer;
mod asked;
mod asker;
mod body;
mod connection;
mod cookies;
mod ended;
mod exchange;
mod forward;
mod held;
mod listen;
mod probe;
mod proxy;
mod stream;
mod upstream;

pub use listen::{Front, FrontError};
pub(crate) use probe::{Prober, Unwell};
pub(crate) use upstream::Authorities;
pub use upstream::AuthorityError;
