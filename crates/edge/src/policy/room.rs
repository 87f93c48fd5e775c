//! The waiting room: first come first served, let in at the rate at which capacity is measured to become free.
//!
//! Whoever finds no room draws a number, and numbers are called in order. How many are called follows from what the
//! sites finish: at a full house exactly as much as leaves, and when there is room, as much as fills it (Little's law: free
//! slots divided by how long a slot is held). Whoever is called and does not come gives his turn back after a while, so
//! that a line of people who went away does not leave the house empty. A ticket counts once, however often it is shown.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::Millis;
use super::mutant::mutant;
use super::slots::Slots;
use super::visit::{ClientKey, Ticket};

/// How seldom a waiting page may ask again: people look at it.
const REFRESH_MAX: Duration = Duration::from_secs(5);
/// How often it may: twenty thousand who are next all at once are still bearable.
const REFRESH_MIN: Duration = Duration::from_millis(500);
/// How long after his call somebody may come before his turn is given to another: a few refreshes.
const SHOW_MS_MAX: Millis = 4 * 5_000;
/// Most numbers that are called and did not come yet: 16 KiB of bits, and more than any rate calls within
/// [`SHOW_MS_MAX`].
const CALLED_MAX: u64 = 1 << 17;
/// How fast the measured rates follow, per step of 100 ms.
const FOLLOW: f64 = 0.1;
/// How long a slot is held before anything was measured.
const HELD_S: f64 = 0.1;
/// What of those who stand at the door, called and without a free slot, is called less in each step: the house is full only
/// while a few stand there, and whoever does must not be passed by many.
const DOOR_SHARE: f64 = 0.03;
/// How many stand at the door for each who found no slot in a step of 100 ms: their pages ask every [`REFRESH_MIN`]. Those who
/// went away ask no more, and are not counted.
const AT_DOOR_PER_KNOCK: f64 = 5.0;
/// Longest time between two steps that counts: a process that was stopped must not call a crowd at once.
const STEP_MS_MAX: Millis = 1_000;

/// What stands between a number and the door.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// He may come in.
    Called,
    /// He waits.
    Waits {
        /// His place, from 1.
        place: u64,
        /// How long, by the rate of now; `None` while nobody is let in.
        estimate: Option<Duration>,
    },
}

impl Turn {
    /// When his page asks again: when he is likely to be called, so that people come one by one as slots become free, and
    /// not in a herd with everybody else who came in his second. A random number spreads those who would ask together.
    pub(super) fn refresh(self, random: u64) -> Duration {
        let spread = 0.75 + 0.5 * (random >> 40) as f64 / (1u64 << 24) as f64;
        match self {
            Self::Called => REFRESH_MIN.mul_f64(spread),
            Self::Waits { estimate, .. } => {
                estimate.unwrap_or(REFRESH_MAX).clamp(REFRESH_MIN, REFRESH_MAX).mul_f64(spread)
            }
        }
    }
}

/// What must survive the process, so that no number is drawn twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct RoomSnapshot {
    /// Which line.
    pub room: u64,
    /// The next number.
    pub next: u64,
    /// Numbers below may come in.
    pub called: u64,
}

/// The line.
#[derive(Debug)]
pub struct Room {
    id: u64,
    next: AtomicU64,
    called: AtomicU64,
    /// Called, not yet come, not yet given up.
    expected: AtomicU64,
    /// Numbers below were given up if they had not come.
    settled: AtomicU64,
    /// One bit per called number that came, by number modulo [`CALLED_MAX`].
    came: Bits,
    /// The same of those that were let in.
    entered: Bits,
    /// Thousandths of a unit that left since the last step.
    left: AtomicU64,
    /// Called people who found no free slot since the last step.
    knocks: AtomicU64,
    /// Calls per second, in thousandths.
    rate: AtomicU64,
    turn: Mutex<Calling>,
}

/// A bit for each of the last [`CALLED_MAX`] numbers that were called.
#[derive(Debug)]
struct Bits(Box<[AtomicU64]>);

impl Bits {
    fn none() -> Self {
        Self((0..CALLED_MAX / 64).map(|_| AtomicU64::new(0)).collect())
    }

    fn at(&self, number: u64) -> (&AtomicU64, u64) {
        let index = number % CALLED_MAX;
        (&self.0[(index / 64) as usize], 1 << (index % 64))
    }

    fn is_set(&self, number: u64) -> bool {
        let (word, bit) = self.at(number);
        word.load(Ordering::Acquire) & bit != 0
    }

    /// Whether it was not set before.
    fn set(&self, number: u64) -> bool {
        let (word, bit) = self.at(number);
        word.fetch_or(bit, Ordering::AcqRel) & bit == 0
    }

    fn clear(&self, number: u64) {
        let (word, bit) = self.at(number);
        word.fetch_and(!bit, Ordering::AcqRel);
    }
}

#[derive(Debug, Default)]
struct Calling {
    last: Option<Millis>,
    /// Visits that may be called; below one nobody is.
    credit: f64,
    units_per_s: f64,
    /// When numbers below which were called.
    calls: VecDeque<(Millis, u64)>,
}

/// What the sites say at a step.
#[derive(Debug, Clone, Copy)]
pub struct Seen {
    /// Slots of open requests in flight.
    pub in_flight: Slots,
    /// Slots that open requests could have now.
    pub free: Slots,
    /// Units of work that a visit is in all.
    pub visit_units: f64,
}

impl Room {
    /// An empty line of this name.
    pub fn new(id: u64) -> Self {
        Self::restore(RoomSnapshot { room: id, next: 0, called: 0 })
    }

    /// The line as it was; whoever was called before is expected no more, and may come.
    pub fn restore(snapshot: RoomSnapshot) -> Self {
        let RoomSnapshot { room, next, called } = snapshot;
        let called = called.min(next);
        Self {
            id: room,
            next: AtomicU64::new(next),
            called: AtomicU64::new(called),
            expected: AtomicU64::new(0),
            settled: AtomicU64::new(called),
            came: Bits::none(),
            entered: Bits::none(),
            left: AtomicU64::new(0),
            knocks: AtomicU64::new(0),
            rate: AtomicU64::new(0),
            turn: Mutex::new(Calling::default()),
        }
    }

    /// What must survive the process.
    pub fn snapshot(&self) -> RoomSnapshot {
        let called = self.called.load(Ordering::Acquire);
        RoomSnapshot { room: self.id, next: self.next.load(Ordering::Acquire), called }
    }

    /// How many wait.
    pub fn waiting(&self) -> u64 {
        let called = self.called.load(Ordering::Acquire);
        self.next.load(Ordering::Acquire).saturating_sub(called)
    }

    /// Whether a newcomer would pass somebody: anybody who waits, or who was called and has not come yet.
    pub fn is_busy(&self) -> bool {
        (self.waiting() > 0 || self.expected.load(Ordering::Acquire) > 0) && !mutant!(JumpQueue)
    }

    /// Draws the next number.
    pub fn draw(&self, client: ClientKey, now_unix_ms: u64) -> Ticket {
        let number = self.next.fetch_add(1, Ordering::AcqRel);
        Ticket { client, room: self.id, number, drawn_unix_ms: now_unix_ms }
    }

    /// Where a ticket stands; `None` for one of another line, or one that this line has not drawn.
    pub fn turn(&self, ticket: &Ticket) -> Option<Turn> {
        if ticket.room != self.id || ticket.number >= self.next.load(Ordering::Acquire) {
            return None;
        }
        let called = self.called.load(Ordering::Acquire);
        if ticket.number < called {
            return Some(Turn::Called);
        }
        let place = ticket.number - called + 1;
        let rate = self.rate.load(Ordering::Relaxed);
        let estimate = (rate > 0).then(|| Duration::from_millis(place.saturating_mul(1_000_000) / rate));
        Some(Turn::Waits { place, estimate })
    }

    /// Somebody who was called came in. Only the first time counts, and only while he is expected.
    pub(super) fn came(&self, ticket: &Ticket) {
        if ticket.room != self.id || ticket.number < self.settled.load(Ordering::Acquire) {
            return;
        }
        if self.came.set(ticket.number) {
            let less = |expected: u64| Some(expected.saturating_sub(1));
            // The closure always gives a value, so this cannot fail.
            self.expected.fetch_update(Ordering::AcqRel, Ordering::Acquire, less).unwrap_or_default();
        }
    }

    /// Somebody who was called found no free slot.
    pub(super) fn found_no_slot(&self) {
        self.knocks.fetch_add(1, Ordering::Relaxed);
    }

    /// An open request ended and its slots are free.
    pub(super) fn left(&self, cost: Slots) {
        self.left.fetch_add(u64::from(cost.thousandths()), Ordering::Relaxed);
    }

    /// Takes the one entry that a called ticket is good for; false when somebody entered by it before, or when it was
    /// called so long ago that nobody knows. Whoever was given a ticket by another is one of those.
    #[must_use]
    pub(super) fn take_entry(&self, ticket: &Ticket) -> bool {
        let is_known = self.called.load(Ordering::Acquire).saturating_sub(ticket.number) <= CALLED_MAX;
        is_known && self.entered.set(ticket.number) || mutant!(ReuseTicket)
    }

    /// Gives it back: he did not get in after all.
    pub fn give_entry_back(&self, ticket: &Ticket) {
        if ticket.room == self.id {
            self.entered.clear(ticket.number);
        }
    }

    /// Calls as many as there is room for; once every 100 ms.
    pub(super) fn step(&self, now: Millis, seen: Seen) {
        let mut calling = self.turn.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let left = self.left.swap(0, Ordering::Relaxed) as f64 / 1000.0;
        let last = calling.last.replace(now).unwrap_or(now);
        // A clock that went back or stood still gives no time in which anything could be called.
        let seconds = now.saturating_sub(last).min(STEP_MS_MAX) as f64 / 1000.0;
        if seconds == 0.0 {
            return;
        }
        let units_per_s = left / seconds;
        calling.units_per_s += FOLLOW * (units_per_s - calling.units_per_s);
        let held_s = match calling.units_per_s {
            rate if rate > 0.0 && seen.in_flight > Slots::ZERO => (seen.in_flight.as_f64() / rate).max(0.001),
            _ => HELD_S,
        };
        let fill = seen.free.as_f64() / held_s * seconds;
        let visits = (left + fill) / seen.visit_units.max(0.001);
        let called = self.called.load(Ordering::Acquire);
        let door = self.knocks.swap(0, Ordering::Relaxed) as f64 * AT_DOOR_PER_KNOCK;
        calling.credit += visits + self.give_up(&mut calling.calls, now) as f64 - DOOR_SHARE * door;
        // A door that was crowded for long must not shut out those behind it for as long.
        calling.credit = calling.credit.max(-visits);
        let waiting = self.waiting();
        if waiting == 0 {
            // Nobody waits: credit is not saved up for a crowd to come.
            calling.credit = calling.credit.min(1.0);
        }
        let room = CALLED_MAX - (called - self.settled.load(Ordering::Acquire)).min(CALLED_MAX);
        let call = (calling.credit.max(0.0) as u64).min(waiting).min(room);
        let rate = call as f64 / seconds * 1000.0;
        let smooth = self.rate.load(Ordering::Relaxed) as f64;
        self.rate.store((smooth + FOLLOW * (rate - smooth)) as u64, Ordering::Relaxed);
        if call == 0 {
            return;
        }
        calling.credit -= call as f64;
        for number in called..called + call {
            self.came.clear(number);
            self.entered.clear(number);
        }
        calling.calls.push_back((now, called + call));
        self.expected.fetch_add(call, Ordering::AcqRel);
        self.called.store(called + call, Ordering::Release);
    }

    /// Gives up those who were called long ago and did not come: as many as may be called in their place.
    fn give_up(&self, calls: &mut VecDeque<(Millis, u64)>, now: Millis) -> u64 {
        let mut missing = 0;
        while let Some((at, below)) = calls.front().copied() {
            if now.saturating_sub(at) < SHOW_MS_MAX {
                break;
            }
            let from = self.settled.swap(below, Ordering::AcqRel);
            missing += (from..below).filter(|number| !self.came.is_set(*number)).count() as u64;
            calls.pop_front();
        }
        let less = |expected: u64| Some(expected.saturating_sub(missing));
        // The closure always gives a value, so this cannot fail.
        self.expected.fetch_update(Ordering::AcqRel, Ordering::Acquire, less).unwrap_or_default();
        missing
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test panics on failure

    use super::*;

    const FULL: Seen = Seen { in_flight: Slots::whole(100), free: Slots::ZERO, visit_units: 2.0 };

    fn waiting(count: u64) -> (Room, Vec<Ticket>) {
        let room = Room::new(1);
        room.step(0, FULL);
        let tickets = (0..count).map(|client| room.draw(ClientKey(client), 0)).collect();
        (room, tickets)
    }

    fn called(room: &Room, tickets: &[Ticket]) -> usize {
        tickets.iter().filter(|ticket| room.turn(ticket) == Some(Turn::Called)).count()
    }

    #[test]
    fn numbers_are_called_in_order_as_work_leaves() {
        let (room, tickets) = waiting(50);
        assert_eq!(called(&room, &tickets), 0);
        room.left(Slots::whole(20));
        room.step(100, FULL);
        assert_eq!(called(&room, &tickets), 10);
        assert!(tickets[..10].iter().all(|ticket| room.turn(ticket) == Some(Turn::Called)));
        let Some(Turn::Waits { place, estimate }) = room.turn(&tickets[12]) else { panic!("called early") };
        assert_eq!(place, 3);
        assert!(estimate.is_some());
        room.left(Slots::whole(1));
        room.step(200, FULL);
        assert_eq!(called(&room, &tickets), 10, "half a visit is none");
        room.left(Slots::whole(1));
        room.step(300, FULL);
        assert_eq!(called(&room, &tickets), 11);
    }

    #[test]
    fn free_slots_are_filled_at_the_rate_at_which_they_turn_over() {
        let (room, tickets) = waiting(1000);
        room.step(100, Seen { in_flight: Slots::ZERO, free: Slots::whole(10), visit_units: 1.0 });
        assert_eq!(called(&room, &tickets), 10, "ten slots, each free again after 100 ms");
    }

    #[test]
    fn whoever_does_not_come_gives_his_turn_back_and_may_still_come() {
        let (room, tickets) = waiting(50);
        room.left(Slots::whole(20));
        room.step(100, FULL);
        tickets[..4].iter().for_each(|ticket| room.came(ticket));
        tickets[..4].iter().for_each(|ticket| room.came(ticket));
        assert!(tickets[..4].iter().all(|ticket| room.take_entry(ticket)));
        assert!(room.is_busy());
        room.step(99 + SHOW_MS_MAX, FULL);
        assert_eq!(called(&room, &tickets), 10);
        room.step(100 + SHOW_MS_MAX, FULL);
        assert_eq!(called(&room, &tickets), 16);
        room.came(&tickets[9]);
        assert_eq!(room.turn(&tickets[9]), Some(Turn::Called));
    }

    #[test]
    fn a_ticket_lets_one_in() {
        let (room, tickets) = waiting(50);
        room.left(Slots::whole(20));
        room.step(100, FULL);
        assert!(room.take_entry(&tickets[3]) && !room.take_entry(&tickets[3]));
        assert!(room.take_entry(&tickets[4]), "another one is another one");
        room.give_entry_back(&tickets[3]);
        assert!(room.take_entry(&tickets[3]), "he did not get in");
        room.give_entry_back(&Ticket { room: 2, ..tickets[4] });
        assert!(!room.take_entry(&tickets[4]), "a ticket of another line");
    }

    #[test]
    fn fewer_are_called_while_people_stand_at_the_door() {
        let (room, tickets) = waiting(500);
        (0..20).for_each(|_| room.found_no_slot());
        room.left(Slots::whole(200));
        room.step(100, FULL);
        assert_eq!(called(&room, &tickets), 97, "100 left; 20 knocks in 100 ms are 100 who stand there");
        room.left(Slots::whole(200));
        room.step(200, FULL);
        assert_eq!(called(&room, &tickets), 197, "nobody knocks any more: they are in, or went away");
    }

    #[test]
    fn a_ticket_that_was_called_too_long_ago_to_know_lets_nobody_in() {
        let room = Room::restore(RoomSnapshot { room: 1, next: CALLED_MAX + 9, called: CALLED_MAX + 5 });
        let ticket = |number: u64| Ticket { client: ClientKey(1), room: 1, number, drawn_unix_ms: 0 };
        assert!(!room.take_entry(&ticket(4)) && room.take_entry(&ticket(5)));
    }

    #[test]
    fn a_line_is_empty_once_everybody_came() {
        let (room, tickets) = waiting(3);
        assert!(room.is_busy());
        room.left(Slots::whole(6));
        room.step(100, FULL);
        assert!(room.is_busy(), "three are expected");
        tickets.iter().for_each(|ticket| room.came(ticket));
        assert!(!room.is_busy());
        room.left(Slots::whole(1000));
        room.step(200, FULL);
        let late: Vec<Ticket> = (0..50).map(|client| room.draw(ClientKey(client), 0)).collect();
        room.step(300, FULL);
        assert!(called(&room, &late) <= 1, "credit was saved up while nobody waited");
    }

    #[test]
    fn tickets_of_another_line_or_from_the_future_count_for_nothing() {
        let (room, tickets) = waiting(3);
        assert_eq!(Room::new(2).turn(&tickets[0]), None);
        assert_eq!(room.turn(&Ticket { number: 3, ..tickets[0] }), None);
    }

    #[test]
    fn a_line_survives_its_process() {
        let (room, tickets) = waiting(30);
        room.left(Slots::whole(20));
        room.step(100, FULL);
        let again = Room::restore(room.snapshot());
        assert_eq!(called(&again, &tickets), 10);
        assert_eq!(again.draw(ClientKey(1), 0).number(), 30);
        let read: RoomSnapshot = serde_json::from_str(&serde_json::to_string(&room.snapshot()).unwrap()).unwrap();
        assert_eq!(read, room.snapshot());
    }

    #[test]
    fn a_clock_that_jumps_calls_no_crowd() {
        let (room, tickets) = waiting(100);
        let idle = Seen { in_flight: Slots::ZERO, free: Slots::ONE, visit_units: 1.0 };
        room.step(1_000_000, idle);
        assert_eq!(called(&room, &tickets), 10, "one second at most");
        room.step(5, idle);
        assert_eq!(called(&room, &tickets), 10);
        room.step(105, idle);
        assert_eq!(called(&room, &tickets), 11);
    }
}
