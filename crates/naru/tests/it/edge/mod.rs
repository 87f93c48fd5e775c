//! The edge as a process, in front of servers of other authors and under attack.

mod back_ends;
mod faults;
mod floods;
mod h2spec;
mod http1;
mod http2;
pub(crate) mod process;
mod residency;
mod slow;
mod smuggling;
/// The vectors of the request check, with their notation.
#[path = "../../../../edge/src/request/tests/vectors.rs"]
mod vectors;
