//! Whether a target is away: so many looks in a row without an answer.

/// Looks in a row with an answer after which a target is back: one answer between two failures is no recovery.
const BACK_AFTER: u32 = 3;

/// What the looks at one target say.
#[derive(Debug, Clone, Default)]
pub struct Away {
    missed: u32,
    answered: u32,
    first_missed_ms: i64,
    away: bool,
}

impl Away {
    /// Takes a look in: whether the target answered.
    pub fn look(&mut self, at_ms: i64, answered: bool, away_after: u32) {
        if answered {
            (self.missed, self.answered) = (0, self.answered.saturating_add(1));
            self.away &= self.answered < BACK_AFTER;
            return;
        }
        if self.missed == 0 && !self.away {
            self.first_missed_ms = at_ms;
        }
        (self.missed, self.answered) = (self.missed.saturating_add(1), 0);
        self.away |= self.missed >= away_after;
    }

    /// Since when it is away, if it is.
    pub fn since_ms(&self) -> Option<i64> {
        self.away.then_some(self.first_missed_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_away_after_some_looks_and_back_after_some() {
        let check = |looks: &str, expect: Option<i64>| {
            let mut away = Away::default();
            looks.chars().enumerate().for_each(|(at, look)| away.look(at as i64, look == '+', 2));
            assert_eq!(away.since_ms(), expect, "{looks}");
        };
        check("", None);
        check("+-+-+-", None);
        check("+--", Some(1));
        check("--+-+", Some(0));
        check("--++-+++", None);
        check("--+++-", None);
        check("--+++--", Some(5));
    }
}
