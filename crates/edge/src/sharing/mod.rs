//! Several gateways in front of the same sites: each asks every 100 ms for its part of each, and has it until a lease ends.
//!
//! No request waits for any of this. What a gateway may have stands in its own gates; the coordinator, which is one of the
//! gateways, deals out what lies above the safe parts in proportion to what requests wanted. Its rule is one sum:
//! what it has ever given and cannot know to be over, what gateways say that their requests still hold, and the safe
//! parts of all others, are never more than the whole. A gateway that was cut off, stopped or killed keeps its safe
//! part for ever, since it may be at work where nobody hears it.
//!
//! `ledger` is that rule, pure; `message` is what goes over the wire, with its tag.

pub mod ledger;
pub mod message;

use std::time::Duration;

use crate::policy::Millis;

/// How long a lease lasts from when it was asked for: twenty questions may be lost in a row.
pub const LEASE_MS: Millis = 2_000;
/// How often a gateway asks.
pub const ASK_EVERY: Duration = Duration::from_millis(100);
/// Most sites of one question: more of them stay at their safe part. Their names and numbers fit in one datagram.
pub const SITES_MAX: usize = 256;
/// Longest datagram: 256 sites of 63 characters and three numbers are below 32 KiB.
pub const DATAGRAM_BYTES_MAX: usize = 48 << 10;
