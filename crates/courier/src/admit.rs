//! Who of a campaign's file gets its message now, later or never; pure.

use crate::hours;
use crate::reached::Last;
use crate::recipients::{Broken, Recipient};

/// What became of a line. A byte a recipient is all that a campaign keeps for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum LineState {
    /// Not sent yet.
    Planned = 0,
    /// In a durable batch.
    Persisted = 1,
    /// The provider has it.
    Accepted = 2,
    /// It arrived.
    Delivered = 3,
    /// The provider says that it did not arrive.
    Failed = 4,
    /// The key's lifetime is over and nobody knows.
    InDoubt = 5,
    /// Nobody will ever know, or the provider refuses it.
    Dead = 6,
    /// No consent.
    NoConsent = 7,
    /// On the list of those who want nothing.
    Suppressed = 8,
    /// Had a campaign within the frequency cap.
    Capped = 9,
    /// The same token stood on an earlier line.
    Repeated = 10,
    /// A broken line: fields.
    BrokenFields = 11,
    /// A broken line: id.
    BrokenId = 12,
    /// A broken line: token.
    BrokenToken = 13,
    /// A broken line: consent.
    BrokenConsent = 14,
    /// A broken line: zone.
    BrokenZone = 15,
    /// A broken line: too long, or not UTF-8.
    BrokenText = 16,
}

/// How many states there are.
pub const STATES: usize = 17;

const ALL: [(LineState, &str); STATES] = [
    (LineState::Planned, "planned"),
    (LineState::Persisted, "persisted"),
    (LineState::Accepted, "accepted"),
    (LineState::Delivered, "delivered"),
    (LineState::Failed, "failed"),
    (LineState::InDoubt, "in_doubt"),
    (LineState::Dead, "dead"),
    (LineState::NoConsent, "no_consent"),
    (LineState::Suppressed, "suppressed"),
    (LineState::Capped, "capped"),
    (LineState::Repeated, "repeated"),
    (LineState::BrokenFields, "broken_fields"),
    (LineState::BrokenId, "broken_id"),
    (LineState::BrokenToken, "broken_token"),
    (LineState::BrokenConsent, "broken_consent"),
    (LineState::BrokenZone, "broken_zone"),
    (LineState::BrokenText, "broken_text"),
];

impl LineState {
    /// The state that a byte stands for.
    pub fn read(byte: u8) -> Option<Self> {
        ALL.get(usize::from(byte)).map(|(state, _)| *state)
    }

    /// Its name in reports.
    pub fn name(self) -> &'static str {
        ALL[self as usize].1
    }

    /// Whether the line itself is broken.
    pub fn is_broken(self) -> bool {
        self >= Self::BrokenFields
    }

    /// Whether nothing more will happen to the line.
    pub fn is_final(self) -> bool {
        !matches!(self, Self::Planned | Self::Persisted | Self::Accepted | Self::InDoubt)
    }
}

/// What happens to a line now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It goes out.
    Send,
    /// It never does, and why.
    Never(LineState),
    /// Not within the recipient's hours; after so many milliseconds.
    Later(i64),
}

/// What the rules go by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// The campaign's number in the log.
    pub campaign: u16,
    /// Days within which a recipient gets one campaign at most; 0 for no cap.
    pub cap_days: u16,
    /// How long before the end of the hours nothing is begun, in milliseconds.
    pub hours_margin_ms: i64,
}

/// Decides about a line, by the recipient's last campaign and whether the token is suppressed.
pub fn admit(
    line: Result<Recipient<'_>, Broken>,
    last: Option<Last>,
    suppressed: bool,
    now_ms: i64,
    rules: Rules,
) -> Verdict {
    let recipient = match line {
        Ok(recipient) => recipient,
        Err(broken) => return Verdict::Never(state(broken)),
    };
    let capped = |last: Last| {
        let days = hours::day(now_ms, recipient.zone) - i64::from(last.day);
        rules.cap_days > 0 && days < i64::from(rules.cap_days)
    };
    match last {
        _ if !recipient.consent => Verdict::Never(LineState::NoConsent),
        _ if suppressed => Verdict::Never(LineState::Suppressed),
        Some(last) if last.campaign == rules.campaign => Verdict::Never(LineState::Repeated),
        Some(last) if capped(last) => Verdict::Never(LineState::Capped),
        _ => match hours::opens_in_ms(now_ms, recipient.zone, rules.hours_margin_ms) {
            0 => Verdict::Send,
            ms => Verdict::Later(ms),
        },
    }
}

fn state(broken: Broken) -> LineState {
    match broken {
        Broken::Fields => LineState::BrokenFields,
        Broken::Id => LineState::BrokenId,
        Broken::Token => LineState::BrokenToken,
        Broken::Consent => LineState::BrokenConsent,
        Broken::Zone => LineState::BrokenZone,
        Broken::Text => LineState::BrokenText,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_its_place_in_the_table() {
        for (place, (state, _)) in ALL.iter().enumerate() {
            assert_eq!(*state as usize, place);
            assert_eq!(LineState::read(*state as u8), Some(*state));
        }
        assert_eq!(LineState::read(200), None);
    }

    #[test]
    fn consent_suppression_repetition_cap_and_hours_are_held_in_this_order() {
        // 2026-11-11 12:00 UTC, day 20768.
        let noon = 1_794_398_400_000;
        let today = u16::try_from(hours::day(noon, 0)).expect("before 2149");
        let rules = Rules { campaign: 5, cap_days: 3, hours_margin_ms: 0 };
        let person = |consent, zone| Ok(Recipient { token: "t", consent, zone });
        let last = |campaign, day| Some(Last { campaign, day });
        let check = |line, last, suppressed, expect| assert_eq!(admit(line, last, suppressed, noon, rules), expect);
        check(person(true, 0), None, false, Verdict::Send);
        check(person(false, 0), None, true, Verdict::Never(LineState::NoConsent));
        check(person(true, 0), None, true, Verdict::Never(LineState::Suppressed));
        check(person(true, 0), last(5, today), false, Verdict::Never(LineState::Repeated));
        check(person(true, 0), last(4, today - 2), false, Verdict::Never(LineState::Capped));
        check(person(true, 0), last(4, today - 3), false, Verdict::Send);
        check(person(true, 540), None, false, Verdict::Later(11 * 3_600_000));
        check(Err(Broken::Zone), None, false, Verdict::Never(LineState::BrokenZone));
    }
}
