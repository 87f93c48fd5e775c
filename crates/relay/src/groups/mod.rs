//! Consumer groups through the relay, which shows itself as every group's coordinator.
//!
//! Members live on the active side of the group's service group: joining, syncing, beating and leaving pass there
//! undecoded, over a connection that each client connection has of its own, since a broker lets one that waits block
//! the others on its connection. Offsets go through [`crate::offsets`], one actor per group: what the active side took
//! is on the standby before the client hears of it (RELAY-4).

mod actor;
pub(crate) mod api;
mod carry;
mod complaints;
mod fence;
mod mirror;
mod peek;

use std::time::Duration;

pub use actor::{Announcement, GroupStatus};
pub use mirror::{Mirror, MirrorConfig};

/// Retention of offsets that the relay writes: idle groups keep their place (a broker's own is 7 days). Ten years;
/// `i64::MAX` milliseconds would overflow in the broker and expire at once.
pub const RETENTION: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
