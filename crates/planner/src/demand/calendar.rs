//! Events known in advance, and where a minute stands to them.

/// How long before an event its audience begins to gather, in minutes.
const GATHERING: i64 = 60;
/// How long after an event's beginning it is still felt, in minutes.
const FELT: i64 = 300;

/// When events begin, in minutes since 1970-01-01, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Calendar {
    events: Vec<i64>,
}

/// Where a minute stands to the event that matters to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Phase {
    /// When the event begins, in minutes since 1970-01-01.
    pub event: i64,
    /// The minute, counted from the event's beginning; negative while people gather.
    pub offset: i64,
}

impl Calendar {
    /// A calendar of events in any order; what is named twice counts once.
    pub fn new(mut events: Vec<i64>) -> Self {
        events.sort_unstable();
        events.dedup();
        Self { events }
    }

    /// The events, in order.
    pub fn events(&self) -> &[i64] {
        &self.events
    }

    /// The event that matters to a minute: the last one that people have begun to gather for, unless it is over. An event
    /// gives way to the next when people gather for that one.
    pub fn phase(&self, minute: i64) -> Option<Phase> {
        let begun = self.events.partition_point(|event| event - GATHERING <= minute);
        let event = *self.events[..begun].last()?;
        (minute < event + FELT).then_some(Phase { event, offset: minute - event })
    }
}

impl Phase {
    /// Steps of five minutes in what an event's response is told.
    pub const STEPS: usize = ((GATHERING + FELT) / Self::STEP_MINUTES) as usize;
    /// Minutes in a step.
    pub const STEP_MINUTES: i64 = 5;

    /// The step in which the minute lies.
    pub fn step(&self) -> usize {
        ((self.offset + GATHERING) / Self::STEP_MINUTES) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_gives_way_to_the_next() {
        let calendar = Calendar::new(vec![1000, 700, 1000]);
        let check = |minute, expect: Option<(i64, i64)>| {
            assert_eq!(calendar.phase(minute).map(|phase| (phase.event, phase.offset)), expect, "{minute}");
        };
        check(639, None);
        check(640, Some((700, -60)));
        check(939, Some((700, 239)));
        check(940, Some((1000, -60)));
        check(1299, Some((1000, 299)));
        check(1300, None);
        assert_eq!(calendar.phase(1299).map(|phase| phase.step()), Some(Phase::STEPS - 1));
        assert_eq!(Calendar::new(vec![]).phase(0), None);
    }
}
