//! What whoever sends a campaign is told: how much room there is per class, and when to stop.

use std::sync::atomic::{AtomicBool, Ordering};

use naru_model::Class;
use serde::Serialize;

use super::slots::Slots;

/// The part of the open slots in use at which the sender is told to stop. Some are left for those who were sent for
/// already: a message is clicked minutes after it was sent.
const STOP_ABOVE: f64 = 0.95;
/// The part at which he may go on: the gap keeps him from stopping and going at every step.
const GO_BELOW: f64 = 0.85;

/// The room for one class.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Headroom {
    /// The class.
    pub class: Class,
    /// Slots that requests of the class could have now, in thousandths.
    pub free: u32,
    /// Slots that they could have at all, in thousandths.
    pub limit: u32,
    /// Whether to stop sending what brings requests of this class.
    pub stop: bool,
    /// People in the waiting room.
    pub waiting: u64,
}

/// Whether the sender was told to stop.
#[derive(Debug, Default)]
pub struct Sender {
    stopped: AtomicBool,
}

impl Sender {
    /// Looks again, by what is free and who waits.
    pub(super) fn step(&self, free: Slots, limit: Slots, waiting: u64) {
        let used = if limit == Slots::ZERO { 1.0 } else { 1.0 - free.as_f64() / limit.as_f64() };
        if waiting > 0 || used >= STOP_ABOVE {
            self.stopped.store(true, Ordering::Relaxed);
        } else if used <= GO_BELOW {
            self.stopped.store(false, Ordering::Relaxed);
        }
    }

    /// What the sender is told about a class.
    pub(super) fn headroom(&self, class: Class, free: Slots, limit: Slots, waiting: u64) -> Headroom {
        let stop = match class {
            // A campaign brings no core requests of its own; where core has no room at all, nothing else may come.
            Class::Core => free == Slots::ZERO,
            Class::Open => self.stopped.load(Ordering::Relaxed),
        };
        let waiting = if class == Class::Open { waiting } else { 0 };
        Headroom { class, free: free.thousandths(), limit: limit.thousandths(), stop, waiting }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sender_stops_when_it_is_full_and_goes_on_when_there_is_room_again() {
        let sender = Sender::default();
        let check = |free: u32, waiting: u64, stop: bool| {
            sender.step(Slots::whole(free), Slots::whole(100), waiting);
            let told = sender.headroom(Class::Open, Slots::whole(free), Slots::whole(100), waiting);
            assert_eq!((told.stop, told.waiting), (stop, waiting), "{free} {waiting}");
        };
        check(50, 0, false);
        check(6, 0, false);
        check(5, 0, true);
        check(14, 0, true);
        check(15, 0, false);
        check(80, 1, true);
        check(80, 0, false);
        sender.step(Slots::ZERO, Slots::ZERO, 0);
        assert!(sender.headroom(Class::Open, Slots::ZERO, Slots::ZERO, 0).stop);
        assert!(!sender.headroom(Class::Core, Slots::ONE, Slots::ONE, 9).stop);
    }
}
