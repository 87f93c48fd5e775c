//! The edge: keeps traffic in the owned sites, sends only the marginal request of an open route to rented ones, and
//! shows a waiting room instead of an error.
//!
//! Owns every decision about where a request goes, and the proof of it afterwards. Its invariants are EDGE-1 to EDGE-3
//! of `naru_model::invariant`. It never depends on the log, the lake, or a database.
//!
//! `policy` decides: pure, no I/O, no clock, no randomness; a time and a random number are given with every event.
//! `plan` is what control rents, signed: it can add rented servers and nothing else.
//! `decision` keeps what was decided, signed, and proves residency from it.
//! `sharing` deals a site's slots out among gateways: pure but for the message's tag.
//! `page` is what people and programs see who wait: pure, facts in, an answer out.
//! `request` refuses what two readers could take for different requests: pure as well, bytes in, a verdict out.
//! `gateway` is what the threads of one process share; `adapter` carries requests on it, and is the only place that knows
//! Pingora. `operations` is what is seen and done by those who run it.

pub mod adapter;
pub mod config;
pub mod decision;
pub mod gateway;
pub mod operations;
pub mod page;
pub mod plan;
pub mod policy;
pub mod request;
pub mod sharing;
