//! The frame that every picture of the report shares: one time axis, phases, marks, a value axis, lines and columns.

use naru_model::written::thousands;

use super::PhaseSpan;
use super::svg::{Px, Svg};
use crate::recorder::{Mark, MarkKind};

/// Width of every picture, so that the time axes stand above one another.
const WIDTH: f64 = 1000.0;
const LEFT: f64 = 62.0;
const RIGHT: f64 = 88.0;
const TOP: f64 = 40.0 + (MARK_ROWS - 1) as f64 * LABEL_GAP;
const BOTTOM: f64 = 24.0;
/// Rows of the names of marks: those that would print over each other stand in different ones.
const MARK_ROWS: usize = 3;
/// Height of the rows of marks above a picture.
const HEAD: f64 = 22.0 + (MARK_ROWS - 1) as f64 * LABEL_GAP;
/// Height of a band.
const BAND: f64 = 15.0;
/// Direct labels closer than this are pushed apart.
const LABEL_GAP: f64 = 13.5;
/// Assumed width of a small label's character, for keeping labels inside the picture.
const CHARACTER: f64 = 6.0;

/// The value axis.
#[derive(Debug, Clone, Copy)]
pub(super) enum Scale {
    /// From zero to at least the given value.
    Linear {
        /// The highest value shown.
        most: f64,
    },
    /// Microseconds, in decades.
    Micros {
        /// The lowest value shown.
        low: f64,
        /// The highest.
        high: f64,
    },
}

impl Scale {
    /// A linear scale for values up to `most`.
    pub(super) fn linear(most: f64) -> Self {
        Self::Linear { most: step(most) * (most / step(most)).ceil().max(1.0) }
    }

    /// Decades around the values.
    pub(super) fn micros(values: impl Iterator<Item = u64>) -> Self {
        let (mut low, mut high) = (f64::MAX, 0.0_f64);
        for value in values {
            let value = (value as f64).max(1.0);
            (low, high) = (low.min(value), high.max(value));
        }
        if high == 0.0 {
            (low, high) = (1e3, 1e6);
        }
        // The next 1, 2 or 5 outside: whole decades would leave half of a picture empty.
        let (low, high) = (round(low, false), round(high, true));
        // At least a decade, so that noise does not look like a mountain.
        Self::Micros { low, high: high.max(low * 10.0) }
    }

    /// Where in the height a value stands: 0 at the bottom, 1 at the top.
    fn share(self, value: f64) -> f64 {
        match self {
            Self::Linear { most } => (value / most).clamp(0.0, 1.0),
            Self::Micros { low, high } => ((value.max(low) / low).log10() / (high / low).log10()).clamp(0.0, 1.0),
        }
    }

    fn ticks(self) -> Vec<(f64, String)> {
        match self {
            Self::Linear { most } => {
                let step = step(most);
                let count = (most / step).round() as usize;
                (0..=count).map(|n| n as f64 * step).map(|value| (value, thousands(value as u64))).collect()
            }
            Self::Micros { low, high } => {
                let (first, last) = (low.log10().ceil() as i32, (high.log10() + 1e-9).floor() as i32);
                let decades = (first..=last).map(|n| 10_f64.powi(n));
                decades.map(|value| (value, micros(value as u64))).collect()
            }
        }
    }
}

/// The nearest 1, 2 or 5 times a power of ten that is not below (`up`) or not above `value`.
fn round(value: f64, up: bool) -> f64 {
    let decade = 10_f64.powf(value.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|step| step * decade);
    let found = if up {
        steps.into_iter().find(|step| *step >= value * 0.999)
    } else {
        steps.into_iter().rfind(|step| *step <= value * 1.001)
    };
    found.unwrap_or(value)
}

/// A step of 1, 2 or 5 times a power of ten that cuts `most` into three to six.
fn step(most: f64) -> f64 {
    let rough = (most.max(1.0) / 4.0).max(0.25);
    let decade = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().find(|step| step * decade >= rough * 0.8).unwrap_or(10.0) * decade;
    // Everything counted here is whole.
    step.max(1.0)
}

/// A time in the unit that reads best: `850 µs`, `12 ms`, `3.4 s`.
pub(super) fn micros(us: u64) -> String {
    let (value, unit) = match us {
        0..1_000 => return format!("{us} µs"),
        1_000..1_000_000 => (us as f64 / 1e3, "ms"),
        _ => (us as f64 / 1e6, "s"),
    };
    let rounded = if value < 9.95 { (value * 10.0).round() / 10.0 } else { value.round() };
    format!("{rounded} {unit}")
}

/// The name of a line, beside its end.
struct Label {
    x: f64,
    y: f64,
    class: &'static str,
    text: String,
}

/// One picture.
pub(super) struct Chart {
    svg: Svg,
    scale: Scale,
    seconds: usize,
    height: f64,
    labels: Vec<Label>,
    /// Where each row of marks' names is taken, from and to.
    taken: [Vec<(f64, f64)>; MARK_ROWS],
}

impl Chart {
    /// Draws the frame. `seconds` is the length of the time axis; `describe` is read out by screen readers.
    pub(super) fn new(describe: &str, height: f64, seconds: usize, scale: Scale, phases: &[PhaseSpan]) -> Self {
        let mut chart = Self {
            svg: Svg::default(),
            scale,
            seconds: seconds.max(1),
            height,
            labels: Vec::new(),
            taken: Default::default(),
        };
        let view = format!("0 0 {WIDTH} {height}");
        chart.svg.open("svg", &[("viewBox", &view), ("role", &"img"), ("aria-label", &describe)]);
        for (index, phase) in phases.iter().enumerate() {
            let (from, to) = (chart.x(phase.from_s), chart.x(phase.to_s));
            let class = if index % 2 == 0 { "phase" } else { "phase odd" };
            chart.rect(class, (from, TOP - HEAD), (to - from, chart.bottom() - TOP + HEAD));
            // A name that does not fit would run into the next one.
            if width_of(&phase.name) < to - from {
                let at = [
                    ("class", &"phase-name" as _),
                    ("x", &Px((from + to) / 2.0) as _),
                    ("y", &Px(TOP - HEAD - 4.0) as _),
                ];
                chart.svg.text("text", &at, &phase.name);
            }
        }
        for (value, label) in scale.ticks() {
            let y = chart.y(value);
            chart.line("grid", (LEFT, y), (WIDTH - RIGHT, y));
            let at = [("class", &"tick end" as _), ("x", &Px(LEFT - 8.0) as _), ("y", &Px(y + 4.0) as _)];
            chart.svg.text("text", &at, &label);
        }
        let every = [1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600, 7200]
            .into_iter()
            .find(|every| seconds / every <= 12)
            .unwrap_or(14_400);
        for second in (0..=chart.seconds).step_by(every) {
            let x = chart.x(second as f64);
            let label = format!("{second} s");
            let at = [("class", &"tick middle" as _), ("x", &Px(x) as _), ("y", &Px(chart.bottom() + 16.0) as _)];
            chart.svg.text("text", &at, &label);
        }
        chart.line("axis", (LEFT, chart.bottom()), (WIDTH - RIGHT, chart.bottom()));
        chart
    }

    fn x(&self, second: f64) -> f64 {
        LEFT + (WIDTH - LEFT - RIGHT) * (second / self.seconds as f64).clamp(0.0, 1.0)
    }

    fn y(&self, value: f64) -> f64 {
        self.bottom() - (self.bottom() - TOP) * self.scale.share(value)
    }

    fn bottom(&self) -> f64 {
        self.height - BOTTOM
    }

    fn rect(&mut self, class: &str, corner: (f64, f64), size: (f64, f64)) {
        let (x, y, width, height) = (Px(corner.0), Px(corner.1), Px(size.0.max(0.0)), Px(size.1.max(0.0)));
        self.svg.leaf("rect", &[("class", &class), ("x", &x), ("y", &y), ("width", &width), ("height", &height)]);
    }

    fn line(&mut self, class: &str, from: (f64, f64), to: (f64, f64)) {
        let (x1, y1, x2, y2) = (Px(from.0), Px(from.1), Px(to.0), Px(to.1));
        self.svg.leaf("line", &[("class", &class), ("x1", &x1), ("y1", &y1), ("x2", &x2), ("y2", &y2)]);
    }

    /// Shades what a fault lasted and names its ends.
    pub(super) fn marks(&mut self, marks: &[Mark]) {
        for (index, mark) in marks.iter().enumerate() {
            let Some(ends) = end_of(mark.kind) else { continue };
            let end = marks[index..].iter().find(|later| later.kind == ends && later.subject == mark.subject);
            let class = if matches!(mark.kind, MarkKind::Left | MarkKind::Switching) { "fault mild" } else { "fault" };
            let from = self.x(mark.at_us as f64 / 1e6);
            let to = self.x(end.map_or(self.seconds as f64, |end| end.at_us as f64 / 1e6));
            self.rect(class, (from, TOP), (to - from, self.bottom() - TOP));
            self.line(&format!("{class} begin"), (from, TOP - 12.0), (from, self.bottom()));
            let began = format!("{} {}", mark.subject, mark.kind.name());
            // A switch is over at once: one label for both of its ends.
            let is_switch = mark.kind == MarkKind::Switching;
            let fits_before = !is_switch && from - width_of(&began) > LEFT;
            if fits_before {
                self.mark_label(class, "end", from - 4.0, &began);
            }
            let Some(end) = end else {
                if !fits_before {
                    self.mark_label(class, "start", from + 4.0, &began);
                }
                continue;
            };
            self.line(&format!("{class} over"), (to, TOP - 12.0), (to, self.bottom()));
            // Where there is no room before the beginning, one label after the end says both.
            let over = match (is_switch, fits_before) {
                (true, _) => format!("{} {}", end.kind.name(), end.subject),
                (false, true) => end.kind.name().to_owned(),
                (false, false) => format!("{began}, {}", end.kind.name()),
            };
            self.mark_label(class, "start", to + 4.0, &over);
        }
    }

    fn mark_label(&mut self, class: &str, anchor: &str, x: f64, text: &str) {
        // A label that would leave the picture is moved back into it.
        let x = if anchor == "start" { x.min(WIDTH - width_of(text)) } else { x };
        let (from, to) = if anchor == "start" { (x, x + width_of(text)) } else { (x - width_of(text), x) };
        let is_free = |taken: &Vec<(f64, f64)>| taken.iter().all(|other| to < other.0 || other.1 < from);
        let row = self.taken.iter().position(is_free).unwrap_or(MARK_ROWS - 1);
        self.taken[row].push((from, to));
        let class = format!("{class} mark-name {anchor}");
        let y = Px(TOP - 4.0 - row as f64 * LABEL_GAP);
        self.svg.text("text", &[("class", &class), ("x", &Px(x)), ("y", &y)], text);
    }

    /// A band along the top: what held from one second to another.
    pub(super) fn band(&mut self, class: &str, from_s: f64, to_s: f64, text: &str) {
        let (from, to) = (self.x(from_s), self.x(to_s));
        self.rect(&format!("band {class}"), (from, TOP + 2.0), (to - from, BAND));
        if width_of(text) < to - from {
            let x = Px((from + to) / 2.0);
            let at = [("class", &"band-name" as _), ("x", &x as _), ("y", &Px(TOP + BAND - 3.0) as _)];
            self.svg.text("text", &at, text);
        }
    }

    /// Columns from the bottom, one per second.
    pub(super) fn columns(&mut self, class: &str, values: impl Iterator<Item = f64>) {
        for (second, value) in values.enumerate().filter(|(_, value)| *value > 0.0) {
            let (from, to) = (self.x(second as f64), self.x(second as f64 + 1.0));
            // Less than two pixels would not be seen, and one failed request has to be seen.
            let top = self.y(value).min(self.bottom() - 2.0);
            self.rect(class, (from, top), (to - from, self.bottom() - top));
        }
    }

    /// A line of steps, one per second, filled down to the axis if the class says so.
    pub(super) fn steps(&mut self, class: &str, values: &[f64]) {
        let mut path = format!("M{} {}", Px(self.x(0.0)), Px(self.bottom()));
        for (second, value) in values.iter().enumerate() {
            let y = self.y(*value);
            path.push_str(&format!("V{}H{}", Px(y), Px(self.x(second as f64 + 1.0))));
        }
        path.push_str(&format!("V{}", Px(self.bottom())));
        self.svg.leaf("path", &[("class", &class), ("d", &path)]);
    }

    /// A line through points in time; `None` interrupts it. The label stands beside its end, in its colour.
    pub(super) fn curve(&mut self, class: &'static str, label: &str, points: &[(f64, Option<f64>)]) {
        let mut path = String::new();
        let mut alone = Vec::new();
        let mut last = None;
        for run in points.chunk_by(|a, b| a.1.is_some() == b.1.is_some()).filter(|run| run[0].1.is_some()) {
            let whole: Vec<(f64, f64)> =
                run.iter().filter_map(|(at, value)| value.map(|value| (self.x(*at), self.y(value)))).collect();
            for (index, (x, y)) in whole.iter().enumerate() {
                let command = if index == 0 { 'M' } else { 'L' };
                path.push_str(&format!("{command}{} {}", Px(*x), Px(*y)));
            }
            if let [point] = whole[..] {
                alone.push(point);
            }
            last = whole.last().copied();
        }
        self.svg.leaf("path", &[("class", &format!("curve {class}")), ("d", &path)]);
        for (x, y) in alone {
            self.svg.leaf("circle", &[("class", &format!("dot {class}")), ("cx", &Px(x)), ("cy", &Px(y)), ("r", &2)]);
        }
        if let Some((x, y)) = last {
            self.labels.push(Label { x, y, class, text: label.to_owned() });
        }
    }

    /// The names beside the lines' ends, pushed apart where they would overlap.
    fn direct_labels(&mut self) {
        let mut labels = std::mem::take(&mut self.labels);
        labels.sort_by(|a, b| a.y.total_cmp(&b.y));
        let mut floor = TOP;
        for label in &mut labels {
            label.y = label.y.max(floor);
            floor = label.y + LABEL_GAP;
        }
        // Pushed below the axis: move the lowest ones up again.
        let mut ceiling = self.bottom();
        for label in labels.iter_mut().rev() {
            label.y = label.y.min(ceiling);
            ceiling = label.y - LABEL_GAP;
        }
        // One column for all, right of the line that ends last.
        let x = labels.iter().map(|label| label.x).fold(LEFT, f64::max) + 8.0;
        for label in labels {
            let class = format!("name {}", label.class);
            let at = [("class", &class as _), ("x", &Px(x) as _), ("y", &Px(label.y + 4.0) as _)];
            self.svg.text("text", &at, &label.text);
        }
    }

    /// What a reader sees when pointing at a second.
    pub(super) fn tooltips(&mut self, text: impl Fn(usize) -> String) {
        for second in 0..self.seconds {
            let (from, to) = (self.x(second as f64), self.x(second as f64 + 1.0));
            let (x, width) = (Px(from), Px(to - from));
            let (y, height) = (Px(TOP), Px(self.bottom() - TOP));
            let at: [(&str, &dyn std::fmt::Display); 5] =
                [("class", &"hit"), ("x", &x), ("y", &y), ("width", &width), ("height", &height)];
            self.svg.open("rect", &at);
            self.svg.text("title", &[], &text(second));
            self.svg.close();
        }
    }

    /// The picture.
    pub(super) fn finish(mut self) -> String {
        self.direct_labels();
        self.svg.finish()
    }
}

fn width_of(text: &str) -> f64 {
    text.chars().count() as f64 * CHARACTER
}

fn end_of(kind: MarkKind) -> Option<MarkKind> {
    match kind {
        MarkKind::Killed => Some(MarkKind::Answering),
        MarkKind::Paused => Some(MarkKind::Continued),
        MarkKind::Left => Some(MarkKind::Joined),
        MarkKind::Switching => Some(MarkKind::Switched),
        MarkKind::Answering | MarkKind::Continued | MarkKind::Joined | MarkKind::Switched | MarkKind::Pointed => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_few() {
        for most in [0.0, 1.0, 3.0, 7.0, 45.0, 312.0, 999.0, 12_345.0, 1e6] {
            let Scale::Linear { most: top } = Scale::linear(most) else { panic!("a linear scale") };
            let ticks = Scale::linear(most).ticks();
            assert!((2..=7).contains(&ticks.len()), "{most}: {ticks:?}");
            assert!(
                top >= most && ticks.last().is_some_and(|(value, _)| (value - top).abs() < 1e-9),
                "{most}: {ticks:?}"
            );
        }
    }

    #[test]
    fn times_read_well() {
        let check = |us: u64, expect: &str| assert_eq!(micros(us), expect);
        check(0, "0 µs");
        check(850, "850 µs");
        check(1_000, "1 ms");
        check(3_449, "3.4 ms");
        check(12_345, "12 ms");
        check(999_400, "999 ms");
        check(3_400_000, "3.4 s");
        check(42_000_000, "42 s");
        assert_eq!(thousands(1_234_567), "1,234,567");
    }

    #[test]
    fn labels_that_meet_are_pushed_apart_and_stay_inside() {
        let mut chart = Chart::new("test", 120.0, 10, Scale::linear(10.0), &[]);
        for label in ["one", "two", "three"] {
            chart.curve("p50", label, &[(0.0, Some(0.0)), (10.0, Some(0.0))]);
        }
        let text = chart.finish();
        let ys: Vec<f64> = text
            .split("class=\"name p50\"")
            .skip(1)
            .filter_map(|rest| rest.split("y=\"").nth(1)?.split('"').next()?.parse().ok())
            .collect();
        assert_eq!(ys.len(), 3);
        assert!(ys.windows(2).all(|pair| pair[1] - pair[0] >= LABEL_GAP - 0.11), "{ys:?}");
        assert!(ys.iter().all(|y| (TOP..=120.0).contains(y)), "{ys:?}");
    }
}
