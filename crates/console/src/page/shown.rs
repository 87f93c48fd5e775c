//! Numbers and times as a person reads them, with their units.

use maud::{Markup, html};
use naru_model::written::{self, thousands};

use crate::words::Words;

/// Won.
pub fn won(krw: u64) -> String {
    format!("₩{}", thousands(krw))
}

/// A number that is not whole: with one place below ten, with none above.
pub fn rounded(value: f64) -> String {
    if value.abs() < 9.95 && value.fract() != 0.0 {
        format!("{value:.1}")
    } else {
        thousands(value.round().max(0.0) as u64)
    }
}

/// Thousandths of slots, as slots.
pub fn slots(thousandths: u64) -> String {
    rounded(thousandths as f64 / 1_000.0)
}

/// A length of time.
pub fn length(seconds: f64) -> String {
    match seconds {
        below if below < 1.0 => format!("{:.0} ms", below * 1_000.0),
        below if below < 120.0 => format!("{below:.0} s"),
        below if below < 7_200.0 => format!("{:.0} min", below / 60.0),
        below if below < 172_800.0 => format!("{:.0} h", below / 3_600.0),
        rest => format!("{:.0} d", rest / 86_400.0),
    }
}

/// A moment: in UTC here, and as the browser's clock shows it once its script has run.
pub fn moment(unix_ms: i64) -> Markup {
    let (seconds, day) = (unix_ms.div_euclid(1_000).rem_euclid(86_400), unix_ms.div_euclid(86_400_000));
    let (year, month, day) = written::date(day);
    let clock = format!("{:02}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60);
    html! { time datetime={ (format!("{year:04}-{month:02}-{day:02}T{clock}Z")) } { (clock) " UTC" } }
}

/// How full something is: two parts of a whole. Widths are attributes, since a page carries no style.
pub fn bar(parts: [(f64, &str); 2], whole: f64, label: &str) -> Markup {
    let percent = |value: f64| if whole > 0.0 { (value / whole * 100.0).clamp(0.0, 100.0) } else { 0.0 };
    let (first, second) = (percent(parts[0].0), percent(parts[1].0));
    html! {
        svg.bar viewBox="0 0 100 8" preserveAspectRatio="none" role="img" aria-label=(label) {
            title { (label) }
            rect.track x="0" y="0" width="100" height="8" {}
            rect class=(parts[0].1) x="0" y="0" width=(format!("{first:.2}")) height="8" {}
            rect class=(parts[1].1) x=(format!("{first:.2}")) y="0" width=(format!("{:.2}", second.min(100.0 - first))) height="8" {}
        }
    }
}

/// A table that may be wider than its card: it scrolls by itself, by keys, too.
pub fn scroll(label: &str, table: &Markup) -> Markup {
    html! { div.scroll tabindex="0" role="region" aria-label=(label) { (table) } }
}

/// A short word about how something stands: its sign differs with its colour, for those who do not see colours.
pub fn chip(kind: Tone, text: &str) -> Markup {
    let (class, sign) = match kind {
        Tone::Well => ("chip well", "●"),
        Tone::Look => ("chip look", "▲"),
        Tone::Bad => ("chip bad", "✕"),
        Tone::Off => ("chip off", "○"),
    };
    html! { span class=(class) { span aria-hidden="true" { (sign) } " " (text) } }
}

/// How something stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tone {
    /// It is not configured.
    Off,
    /// As it should be.
    Well,
    /// Somebody may want to look.
    Look,
    /// Somebody must look.
    Bad,
}

/// A card with its heading, and a role's absence in place of what it would say.
pub fn away(words: &Words, why: Option<&str>) -> Markup {
    match why {
        Some(why) => html! { p.away { (chip(Tone::Bad, words.away)) " " span.why { (why) } } },
        None => html! { p.away { (chip(Tone::Off, words.not_connected)) } },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        let check = |value: u64, expect: &str| assert_eq!(thousands(value), expect);
        check(0, "0");
        check(999, "999");
        check(1_000, "1,000");
        check(12_345_678, "12,345,678");
        assert_eq!([rounded(0.25), rounded(3.0), rounded(9.96), rounded(1_234.5)], ["0.2", "3", "10", "1,235"]);
        assert_eq!([length(0.25), length(61.0), length(7_200.0)], ["250 ms", "61 s", "2 h"]);
    }

    #[test]
    fn moments_are_dates_and_times() {
        let check = |unix_ms: i64, expect: &str| {
            assert!(moment(unix_ms).into_string().contains(expect), "{unix_ms}: {}", moment(unix_ms).into_string());
        };
        check(0, "1970-01-01T00:00:00Z");
        check(951_782_400_000, "2000-02-29T00:00:00Z");
        check(1_794_355_199_999, "2026-11-10T23:59:59Z");
    }
}
