//! When an advertisement may reach a person: from 08:00 to 21:00 by the recipient's own clock.
//!
//! The law (Korea: the Network Act, article 50, paragraph 3) forbids it from 21:00 to 08:00 without a consent of its own, which
//! the courier does not know of.

/// Minutes after midnight from which, and before which, sending is allowed.
const FROM_MINUTE: i64 = 8 * 60;
const UNTIL_MINUTE: i64 = 21 * 60;

const MINUTE_MS: i64 = 60_000;
const DAY_MS: i64 = 24 * 60 * MINUTE_MS;
/// The earliest and latest clocks of the world, in minutes: UTC-12:00 and UTC+14:00.
const ZONE_LEAST: i16 = -12 * 60;
const ZONE_MOST: i16 = 14 * 60;

/// Names for zones whose clocks never change. Others are written as an offset, such as `+01:00`: rules of daylight saving
/// are data that the courier does not carry.
const NAMED: [(&str, i16); 8] = [
    ("Asia/Bangkok", 420),
    ("Asia/Ho_Chi_Minh", 420),
    ("Asia/Jakarta", 420),
    ("Asia/Seoul", 540),
    ("Asia/Shanghai", 480),
    ("Asia/Singapore", 480),
    ("Asia/Tokyo", 540),
    ("UTC", 0),
];

/// Minutes ahead of UTC of a zone's name or offset (`Asia/Seoul`, `+09:00`).
pub fn zone(text: &str) -> Option<i16> {
    if let Some((_, minutes)) = NAMED.iter().find(|(name, _)| *name == text) {
        return Some(*minutes);
    }
    let (sign, rest) = text.strip_prefix('+').map(|rest| (1, rest)).or_else(|| Some((-1, text.strip_prefix('-')?)))?;
    let (hours, minutes) = rest.split_once(':')?;
    let number = |text: &str| {
        (text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse::<i16>().ok()).flatten()
    };
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    let zone = sign * (hours * 60 + minutes);
    (minutes < 60 && (ZONE_LEAST..=ZONE_MOST).contains(&zone)).then_some(zone)
}

fn since_midnight_ms(unix_ms: i64, zone: i16) -> i64 {
    unix_ms.saturating_add(i64::from(zone) * MINUTE_MS).rem_euclid(DAY_MS)
}

/// Whether sending is allowed now, and stays so for `margin_ms`: a message takes its time to arrive.
pub fn allowed(unix_ms: i64, zone: i16, margin_ms: i64) -> bool {
    let local = since_midnight_ms(unix_ms, zone);
    (FROM_MINUTE * MINUTE_MS..UNTIL_MINUTE * MINUTE_MS - margin_ms).contains(&local)
}

/// Milliseconds until the window opens next; 0 within it, but for the margin at its end.
pub fn opens_in_ms(unix_ms: i64, zone: i16, margin_ms: i64) -> i64 {
    if allowed(unix_ms, zone, margin_ms) {
        return 0;
    }
    (FROM_MINUTE * MINUTE_MS - since_midnight_ms(unix_ms, zone)).rem_euclid(DAY_MS)
}

/// Days since 1970 by the recipient's clock.
pub fn day(unix_ms: i64, zone: i16) -> i64 {
    unix_ms.saturating_add(i64::from(zone) * MINUTE_MS).div_euclid(DAY_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-11 00:00:00 UTC.
    const MIDNIGHT: i64 = 1_794_355_200_000;

    #[test]
    fn zones_are_names_without_daylight_saving_or_offsets() {
        let check = |text: &str, expect: Option<i16>| assert_eq!(zone(text), expect, "{text}");
        check("Asia/Seoul", Some(540));
        check("+09:00", Some(540));
        check("-03:30", Some(-210));
        check("+13:45", Some(825));
        check("UTC", Some(0));
        check("Europe/Berlin", None);
        check("+9:00", None);
        check("+09:60", None);
        check("+15:00", None);
        check("-13:00", None);
        check("09:00", None);
        check("", None);
    }

    #[test]
    fn the_window_is_by_the_recipients_clock_and_ends_with_a_margin() {
        let at = |hours: i64, minutes: i64| MIDNIGHT + (hours * 60 + minutes) * MINUTE_MS;
        let check = |now: i64, zone: i16, expect: bool| assert_eq!(allowed(now, zone, 0), expect, "{now} {zone}");
        check(at(8, 0), 0, true);
        check(at(7, 59), 0, false);
        check(at(20, 59), 0, true);
        check(at(21, 0), 0, false);
        check(at(0, 0), 540, true);
        check(at(12, 0), 540, false);
        check(at(23, 0), 540, true);
        assert!(!allowed(at(20, 59), 0, 2 * MINUTE_MS));
        assert_eq!(opens_in_ms(at(21, 0), 0, 0), 11 * 60 * MINUTE_MS);
        assert_eq!(opens_in_ms(at(7, 0), 0, 0), 60 * MINUTE_MS);
        assert_eq!(opens_in_ms(at(9, 0), 0, 0), 0);
        assert_eq!(opens_in_ms(at(20, 59), 0, 2 * MINUTE_MS), (11 * 60 + 1) * MINUTE_MS);
        assert_eq!(day(at(23, 0), 540) - day(at(0, 0), 0), 1);
    }
}
