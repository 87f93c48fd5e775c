//! The bounds of a service group.

use super::Absence;
use crate::sequence::Millis;
use crate::side::Side;

/// No event for so long, several ticks, and this process did not run: it was stopped, or its machine slept.
pub(super) const PAUSE_MS: Millis = 300;

/// Bounds of a service group, milliseconds where nothing else is said.
#[derive(Debug, Clone, Copy)]
pub struct GroupConfig {
    /// What happens without the standby.
    pub absence: Absence,
    /// The side that is active in a group that nobody has used yet.
    pub first_active: Side,
    /// How long a side is absent before the other goes on alone. Short enough that the whole takeover ends within
    /// three seconds, long enough for a leader election within a cluster.
    pub takeover_after_ms: Millis,
    /// How long a side that is back must answer without a gap before it is looked at. Doubles with each loss, up to
    /// 32 times, so that a flapping side does not keep the group busy.
    pub settle_ms: Millis,
    /// How long a side must have been in sync for its earlier losses to be forgotten.
    pub forget_losses_after_ms: Millis,
    /// Records that a partition of a returning side may lack when both begin to be required.
    pub join_lag_max: i64,
    /// How long both may be required before the returning side has equal ends; then alone again.
    pub join_ms_max: Millis,
    /// Pause after such a try, or after a failed step of a return.
    pub join_again_ms: Millis,
    /// How long committed offsets may take to become equal before a planned switch stops anything.
    pub prepare_ms_max: Millis,
    /// How long a planned switch may stop writes; beyond it the switch is cancelled.
    pub stall_ms_max: Millis,
    /// Pause before the coordinator is asked again.
    pub retry_ms: Millis,
    /// A seeded fault.
    #[cfg(feature = "mutation")]
    pub mutant: Option<crate::sequence::Mutant>,
}

impl Default for GroupConfig {
    fn default() -> Self {
        Self {
            absence: Absence::Available,
            first_active: Side::A,
            takeover_after_ms: 1000,
            settle_ms: 1000,
            forget_losses_after_ms: 600_000,
            join_lag_max: 1000,
            join_ms_max: 3000,
            join_again_ms: 2000,
            prepare_ms_max: 10_000,
            stall_ms_max: 500,
            retry_ms: 100,
            #[cfg(feature = "mutation")]
            mutant: None,
        }
    }
}
