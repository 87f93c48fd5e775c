//! Numbers and dates as people write them.

/// A number with its thousands apart, as Korean and English have it: `10,000,000`.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The date (year, month, day) of a day, counted from 1970-01-01, by the proleptic Gregorian calendar (Hinnant,
/// "chrono-compatible low-level date algorithms", 2013: `civil_from_days`). Years begin in March there, so that a leap day
/// is a year's last.
pub fn date(days: i64) -> (i64, i64, i64) {
    let days = days + DAYS_TO_1970;
    let (era, of_era) = (days.div_euclid(DAYS_PER_ERA), days.rem_euclid(DAYS_PER_ERA));
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let (month, carry) = if from_march < 10 { (from_march + 3, 0) } else { (from_march - 9, 1) };
    (era * 400 + year_of_era + carry, month, day)
}

/// The day of a date, counted from 1970-01-01: `days_from_civil`. A date that the calendar does not have gives the day of
/// another one; [`date`] tells.
pub fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, from_march) = if month <= 2 { (year - 1, month + 9) } else { (year, month - 3) };
    let of_year = (153 * from_march + 2) / 5 + day - 1;
    365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + of_year - DAYS_TO_1970
}

/// 400 years.
const DAYS_PER_ERA: i64 = 146_097;
/// From 0000-03-01.
const DAYS_TO_1970: i64 = 719_468;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        let check = |number: u64, expect: &str| assert_eq!(thousands(number), expect);
        check(0, "0");
        check(999, "999");
        check(1_000, "1,000");
        check(12_345_678, "12,345,678");
    }

    #[test]
    fn dates_are_those_of_the_calendar_in_both_directions() {
        let check = |day: i64, expect: (i64, i64, i64)| {
            assert_eq!(date(day), expect);
            let (year, month, of_month) = expect;
            assert_eq!(days(year, month, of_month), day);
        };
        check(0, (1970, 1, 1));
        check(-1, (1969, 12, 31));
        check(11_016, (2000, 2, 29));
        check(20_768, (2026, 11, 11));
        check(47_540, (2100, 2, 28));
        check(47_541, (2100, 3, 1));
        for day in (-800_000..800_000).step_by(97) {
            let (year, month, of_month) = date(day);
            assert_eq!(days(year, month, of_month), day);
        }
    }
}
