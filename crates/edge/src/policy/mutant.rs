//! Faults that can be seeded, each where it would matter, to show that the checker catches them.

/// A seeded fault.
#[cfg(feature = "mutation")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutant {
    /// EDGE-1: makes a core peer of any address.
    OpenDoor,
    /// EDGE-1: the first route that matches has a request, not the most exact one.
    FirstRouteWins,
    /// EDGE-1: looks at the path as it was written.
    RawPath,
    /// EDGE-1: a core route is another one in capital letters.
    ExactCase,
    /// EDGE-2: open requests may fill a site.
    TakeReserve,
    /// EDGE-2: an open request that ends gives its slots back to core.
    ReleaseAsCore,
    /// EDGE-2: core requests stop at the limit of the site, too.
    NoReserveForCore,
    /// EDGE-2: a limit sinks below its floor.
    SinkBelowFloor,
    /// EDGE-3: says that there is no room instead of showing the waiting room.
    RefuseOpen,
    /// EDGE-3: sends on to a peer that is known to be down.
    IgnoreHealth,
    /// EDGE-3: believes a ticket without looking at its tag.
    TrustTicket,
    /// EDGE-3: lets as many in as show the same ticket.
    ReuseTicket,
    /// EDGE-3: lets newcomers in while others wait.
    JumpQueue,
    /// EDGE-3: moves a user although his site has room.
    MoveUsers,
}

#[cfg(feature = "mutation")]
impl Mutant {
    /// All of them.
    pub const ALL: &[Self] = &[
        Self::OpenDoor,
        Self::FirstRouteWins,
        Self::RawPath,
        Self::ExactCase,
        Self::TakeReserve,
        Self::ReleaseAsCore,
        Self::NoReserveForCore,
        Self::SinkBelowFloor,
        Self::RefuseOpen,
        Self::IgnoreHealth,
        Self::TrustTicket,
        Self::ReuseTicket,
        Self::JumpQueue,
        Self::MoveUsers,
    ];

    /// Seeds a fault into everything that this thread decides, or none.
    pub fn seed(mutant: Option<Self>) {
        SEEDED.set(mutant);
    }

    pub(super) fn is_seeded(self) -> bool {
        SEEDED.get() == Some(self)
    }
}

#[cfg(feature = "mutation")]
thread_local! {
    static SEEDED: std::cell::Cell<Option<Mutant>> = const { std::cell::Cell::new(None) };
}

/// Whether a fault is seeded; always false in a product.
#[cfg(feature = "mutation")]
macro_rules! mutant {
    ($mutant:ident) => {
        $crate::policy::mutant::Mutant::$mutant.is_seeded()
    };
}

/// Whether a fault is seeded; always false in a product.
#[cfg(not(feature = "mutation"))]
macro_rules! mutant {
    ($mutant:ident) => {
        false
    };
}

pub(super) use mutant;
