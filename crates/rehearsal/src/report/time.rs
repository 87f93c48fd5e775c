//! A time of day for people, without a calendar library.

use std::time::{SystemTime, UNIX_EPOCH};

/// `2026-11-11 10:00:00 UTC`. A clock set before 1970 shows 1970.
pub(super) fn utc(at: SystemTime) -> String {
    let seconds = at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = date(days);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02} UTC", of_day / 3600, of_day / 60 % 60, of_day % 60)
}

/// The Gregorian date `days` after 1970-01-01. Years are counted from March, so that a leap day is a year's last.
fn date(days: u64) -> (u64, u64, u64) {
    const DAYS_PER_ERA: u64 = 146_097; // 400 years
    let since_march_of_0 = days + 719_468;
    let (era, of_era) = (since_march_of_0 / DAYS_PER_ERA, since_march_of_0 % DAYS_PER_ERA);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn dates_are_gregorian() {
        let check = |seconds: u64, expect: &str| assert_eq!(utc(UNIX_EPOCH + Duration::from_secs(seconds)), expect);
        check(0, "1970-01-01 00:00:00 UTC");
        check(951_827_696, "2000-02-29 12:34:56 UTC");
        check(1_794_391_200, "2026-11-11 10:00:00 UTC");
        check(4_107_542_399, "2100-02-28 23:59:59 UTC");
        check(4_107_542_400, "2100-03-01 00:00:00 UTC");
    }
}
