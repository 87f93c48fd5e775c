//! The decision log: where every request was sent, so that residency can be proved afterwards.
//!
//! A [`Record`] holds no personal data: a random request id, a time, a class, a place, the plan in force and a reason.
//! [`DecisionLog::record`] never waits: behind a bounded queue one thread puts records into blocks, and the blocks into
//! a hash-chained, signed chain of segments (`naru_runtime::segments`). What did not fit is counted, and the count
//! stands in the chain. [`audit`] reads a chain with public keys only and decides EDGE-1 for all that is in it.

mod audit;
mod block;
mod record;
mod writer;

pub use audit::{Audit, AuditError, BREACHES_MAX, Breach, Findings, audit};
pub use record::{Place, Record, SiteName};
pub use writer::{Closed, Counters, DecisionLog, DecisionLogError, LogOptions, Recorded};

#[cfg(test)]
mod tests;
