//! Faults that can be seeded, to show that tests catch them.

/// A seeded fault.
#[cfg(feature = "mutation")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutant {
    /// Acknowledges a commit when the active side has taken it.
    AcknowledgeCommitEarly,
    /// Writes on after an unknown outcome, so that a late commit overwrites a newer one.
    LateCommitOverwrites,
    /// Lets a follower into the pair without having copied what was committed meanwhile.
    SkipRecopy,
    /// Takes what the active side holds for the truth, also when it has gone back.
    ActiveOffsetsCount,
    /// Acknowledges a commit that sets a group back before its mark is durable.
    SkipMark,
}

#[cfg(feature = "mutation")]
impl Mutant {
    /// All of them.
    pub const ALL: &[Self] = &[
        Self::AcknowledgeCommitEarly,
        Self::LateCommitOverwrites,
        Self::SkipRecopy,
        Self::ActiveOffsetsCount,
        Self::SkipMark,
    ];
}

/// Whether a fault is seeded; always false in a product.
#[cfg(feature = "mutation")]
macro_rules! mutant {
    ($config:expr, $mutant:ident) => {
        $config.mutant == Some($crate::offsets::mutant::Mutant::$mutant)
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
