//! What the page says, in each language.

use std::fmt::Write as _;
use std::time::Duration;

/// A language of the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// Korean, the first language of the page.
    Korean,
    /// English.
    English,
}

/// The fixed texts of a language. They are ours: nothing in them needs to be escaped.
#[derive(Debug)]
pub(super) struct Words {
    pub(super) tag: &'static str,
    pub(super) waiting: &'static str,
    pub(super) waiting_why: &'static str,
    pub(super) called: &'static str,
    pub(super) called_why: &'static str,
    pub(super) place: &'static str,
    pub(super) estimate: &'static str,
    pub(super) notes: [&'static str; 3],
    pub(super) again: &'static str,
}

const KOREAN: Words = Words {
    tag: "ko",
    waiting: "접속 대기 중입니다",
    waiting_why: "지금 이용하시는 분이 많아 순서대로 안내해 드리고 있습니다.",
    called: "입장하실 차례입니다",
    called_why: "빈자리가 나는 대로 자동으로 연결해 드리겠습니다.",
    place: "나의 대기 순서",
    estimate: "예상 대기 시간",
    notes: [
        "화면은 자동으로 새로고침되며, 차례가 되면 바로 연결됩니다.",
        "새로고침하셔도 순서는 그대로 유지됩니다.",
        "여러 창을 열어도 순서가 빨라지지 않습니다.",
    ],
    again: "지금 다시 확인하기",
};

const ENGLISH: Words = Words {
    tag: "en",
    waiting: "You are in line",
    waiting_why: "Many people are here right now, so everyone is let in by turn.",
    called: "It is your turn",
    called_why: "This page lets you in by itself as soon as there is room.",
    place: "Your place in line",
    estimate: "Estimated wait",
    notes: [
        "This page refreshes by itself and lets you in when it is your turn.",
        "Refreshing it yourself does not lose your place.",
        "Opening more tabs does not make it faster.",
    ],
    again: "Check again now",
};

impl Language {
    pub(super) fn words(self) -> &'static Words {
        match self {
            Self::Korean => &KOREAN,
            Self::English => &ENGLISH,
        }
    }

    /// What makes a number a place.
    pub(super) fn ordinal(self, place: u64) -> &'static str {
        match (self, place % 10, place % 100) {
            (Self::Korean, _, _) => "번째",
            (Self::English, _, 11..=13) => "th",
            (Self::English, 1, _) => "st",
            (Self::English, 2, _) => "nd",
            (Self::English, 3, _) => "rd",
            (Self::English, _, _) => "th",
        }
    }

    pub(super) fn wait(self, wait: Wait) -> String {
        let mut text = String::new();
        let written = match (self, wait) {
            (Self::Korean, Wait::Unknown) => write!(text, "아직 알 수 없습니다"),
            (Self::Korean, Wait::UnderAMinute) => write!(text, "1분 이내"),
            (Self::Korean, Wait::Minutes(minutes)) => write!(text, "약 {minutes}분"),
            (Self::Korean, Wait::Between(from, to)) => write!(text, "약 {from}~{to}분"),
            (Self::Korean, Wait::OverAnHour) => write!(text, "1시간 이상"),
            (Self::English, Wait::Unknown) => write!(text, "not known yet"),
            (Self::English, Wait::UnderAMinute) => write!(text, "less than a minute"),
            (Self::English, Wait::Minutes(minutes)) => write!(text, "about {minutes} minutes"),
            (Self::English, Wait::Between(from, to)) => write!(text, "about {from} to {to} minutes"),
            (Self::English, Wait::OverAnHour) => write!(text, "more than an hour"),
        };
        written.expect("writing to a string cannot fail");
        text
    }
}

/// An estimate as exact as it can honestly be: it follows from the rate of the last seconds, so the longer it is, the
/// coarser it is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    Unknown,
    UnderAMinute,
    Minutes(u64),
    Between(u64, u64),
    OverAnHour,
}

impl Wait {
    /// Above this many minutes a single number would say more than is known.
    const SINGLE_MINUTES_MAX: u64 = 10;
    /// How wide what is said instead is, in minutes.
    const SPAN_MINUTES: u64 = 5;

    pub(super) fn of(estimate: Option<Duration>) -> Self {
        let Some(estimate) = estimate else { return Self::Unknown };
        // Rather a minute too much: nobody minds to be let in early.
        let minutes = estimate.as_millis().div_ceil(60_000).try_into().unwrap_or(u64::MAX);
        match minutes {
            0 | 1 => Self::UnderAMinute,
            _ if minutes <= Self::SINGLE_MINUTES_MAX => Self::Minutes(minutes),
            _ if minutes <= 60 => {
                let to = minutes.div_ceil(Self::SPAN_MINUTES) * Self::SPAN_MINUTES;
                Self::Between(to - Self::SPAN_MINUTES, to)
            }
            _ => Self::OverAnHour,
        }
    }
}

#[cfg(test)]
mod tests {
    use naru_model::written::thousands;

    use super::*;

    #[test]
    fn a_wait_is_said_as_exactly_as_it_is_known() {
        let check = |seconds: Option<u64>, korean: &str, english: &str| {
            let wait = Wait::of(seconds.map(Duration::from_secs));
            assert_eq!(Language::Korean.wait(wait), korean, "{seconds:?}");
            assert_eq!(Language::English.wait(wait), english, "{seconds:?}");
        };
        check(None, "아직 알 수 없습니다", "not known yet");
        check(Some(0), "1분 이내", "less than a minute");
        check(Some(60), "1분 이내", "less than a minute");
        check(Some(61), "약 2분", "about 2 minutes");
        check(Some(600), "약 10분", "about 10 minutes");
        check(Some(601), "약 10~15분", "about 10 to 15 minutes");
        check(Some(900), "약 10~15분", "about 10 to 15 minutes");
        check(Some(901), "약 15~20분", "about 15 to 20 minutes");
        check(Some(3_600), "약 55~60분", "about 55 to 60 minutes");
        check(Some(3_601), "1시간 이상", "more than an hour");
        check(Some(u64::MAX), "1시간 이상", "more than an hour");
    }

    #[test]
    fn a_place_is_written_as_people_write_it() {
        let check = |place: u64, number: &str, suffix: &str| {
            assert_eq!(thousands(place), number);
            assert_eq!(Language::English.ordinal(place), suffix, "{place}");
        };
        check(1, "1", "st");
        check(2, "2", "nd");
        check(3, "3", "rd");
        check(4, "4", "th");
        check(11, "11", "th");
        check(112, "112", "th");
        check(1_013, "1,013", "th");
        check(20_021, "20,021", "st");
        check(u64::MAX, "18,446,744,073,709,551,615", "th");
    }
}
