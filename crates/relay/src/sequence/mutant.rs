//! Faults that can be seeded, each where it would matter, to show that simulation and tests catch them.

/// A seeded fault.
#[cfg(feature = "mutation")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutant {
    /// Shows consumers what only the active side is known to hold.
    SkipGate,
    /// Acknowledges when the active side has answered.
    AcknowledgeBeforeStandby,
    /// Stamps every batch with the sequence of the one before.
    ReuseId,
    /// Writes and acknowledges after the end of the lease.
    IgnoreLease,
    /// Writes batches without producer id as they came.
    NoStamp,
    /// Takes any offset that the active side answers for the expected one.
    SkipBaseOffsetCheck,
    /// Takes an offset below the expected one for a duplicate without comparing.
    TrustDuplicateAnswer,
    /// Acts on a change of the standing that was sent and not read back.
    TrustUnreadSwap,
    /// Keeps a damaged active side in sync (acted upon by the group).
    KeepDamagedActive,
    /// Admits the next sequence after a refused one.
    AdmitLaterAfterRefusal,
    /// Writes to the standby without waiting for the answer before.
    StandbyOutOfOrder,
    /// Remembers a producer's batch before it is below the gate.
    WindowAboveGate,
    /// Sends again after an unknown outcome without reading what is there.
    ResendBlind,
    /// Writes a client's batch under another name without keeping durably whose it is.
    ForgetWhose,
}

#[cfg(feature = "mutation")]
impl Mutant {
    /// All of them.
    pub const ALL: &[Self] = &[
        Self::SkipGate,
        Self::AcknowledgeBeforeStandby,
        Self::ReuseId,
        Self::IgnoreLease,
        Self::NoStamp,
        Self::SkipBaseOffsetCheck,
        Self::TrustDuplicateAnswer,
        Self::TrustUnreadSwap,
        Self::KeepDamagedActive,
        Self::AdmitLaterAfterRefusal,
        Self::StandbyOutOfOrder,
        Self::WindowAboveGate,
        Self::ResendBlind,
        Self::ForgetWhose,
    ];
}

/// Whether a fault is seeded; always false in a product.
#[cfg(feature = "mutation")]
macro_rules! mutant {
    ($config:expr, $mutant:ident) => {
        $config.mutant == Some($crate::sequence::mutant::Mutant::$mutant)
    };
}

/// Whether a fault is seeded; always false in a product.
#[cfg(not(feature = "mutation"))]
macro_rules! mutant {
    ($config:expr, $mutant:ident) => {
        false
    };
}

pub(super) use mutant;
